"""Every file in conf/ and sweeps/ composes, from any folder, and agrees with the code."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from tiebreak.config.compose import GROUPS, configure, options
from tiebreak.config.schema import Start
from tiebreak.errors import UserError
from tiebreak.home import shipped
from tiebreak.methods import METHODS
from tiebreak.sweep.sweep_file import read_sweep_file
from tiebreak.track.record_format import CHECKPOINT

# Two filled in by model=PLACE, data=PLACE; one that no training takes.
TEMPLATES = {("model", "checkpoint"), ("data", "files"), ("data", "none")}


FILES = [group for group in GROUPS if group != "method"]  # a method is a class


def test_every_method_is_offered() -> None:
    assert sorted(METHODS) == options("method")


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_its_name_and_its_defaults(name: str) -> None:
    run = configure([f"method={name}"])
    assert run.method == METHODS[name]()
    defaults = {f.name: f.default for f in dataclasses.fields(METHODS[name])}
    assert list(run.resolved["method"].items()) == [("name", name), *defaults.items()]


@pytest.mark.parametrize("group", FILES)
def test_a_file_is_named_as_it_names_itself(group: str) -> None:
    for name in options(group):
        if (group, name) not in TEMPLATES:
            written = yaml.safe_load((shipped("conf") / group / f"{name}.yaml").read_text())
            assert written["name"] == name


@pytest.mark.parametrize("group", [g for g in GROUPS if g not in ("model", "scenario")])
def test_every_choice_composes(group: str) -> None:
    for name in options(group):
        if (group, name) not in TEMPLATES:
            assert configure([f"{group}={name}"]).names | {group: name} != {}


@pytest.mark.parametrize("data", ["world", "ultrafeedback"])
@pytest.mark.parametrize("model", [m for m in options("model") if m != "checkpoint"])
def test_every_model_has_the_scenarios_it_says(model: str, data: str) -> None:
    written = yaml.safe_load((shipped("conf") / "model" / f"{model}.yaml").read_text())
    for scenario in (name for name in options("scenario") if name != CHECKPOINT):
        overrides = [f"model={model}", f"scenario={scenario}", f"data={data}"]
        start = yaml.safe_load((shipped("conf") / "scenario" / f"{scenario}.yaml").read_text())
        has = written[start["start"]] or (start["start"] == Start.SFT and written["base"])
        if has:
            assert configure(overrides).names["model"] == model
        else:
            with pytest.raises(UserError, match="does not have"):
                configure(overrides)


def test_a_checkpoint_is_measured_as_it_is_given() -> None:
    """The name that readers of records know, without training and without data."""
    given = ["model=smollm2-135m-instruct", f"scenario={CHECKPOINT}", "data=none"]
    run = configure(given)
    assert not run.trains and run.names["method"] == "smollm2-135m-instruct"
    assert run.start_source == configure([given[0], "scenario=align-from-instruct"]).start_source
    with pytest.raises(UserError, match="model=tiny is made here"):
        configure(["model=tiny", *given[1:]])
    with pytest.raises(UserError, match="data=none has no rows, and scenario=sft-then-align"):
        configure(["data=none"])


def test_conf_is_found_from_another_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf").mkdir()  # a conf folder of somebody else is not ours
    assert configure([]).method_name == "dpo"


def test_the_studies_expand() -> None:
    runs = read_sweep_file("arizona-mini").runs()
    assert len(runs) == 36
    # Scenarios vary fastest, so that the shared stages of a seed are asked for early.
    points = {(r.method_name, r.scenario.name, r.seed) for r in runs}
    assert len(points) == 36 and {r.seed for r in runs} == {1, 2, 3}
    assert {r.method_name for r in runs} == {"dpo", "ipo", "kto", "cpo"}
