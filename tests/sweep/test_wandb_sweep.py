"""A study as a W&B sweep: an agent would do the runs of `tiebreak sweep`, by the same ids."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from tiebreak import cli
from tiebreak.compose import compose
from tiebreak.errors import UserError
from tiebreak.home import shipped
from tiebreak.sweep import sweep_file as sweeps
from tiebreak.sweep.sweep_file import SweepFile, read_sweep_file
from tiebreak.sweep.wandb_export import export

Make = Callable[..., SweepFile]
TUNED = "axes: {method: [cdpo], seed: [1, 2]}\nfixed: {train.max_steps: 4}\n"


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setattr(sweeps, "shipped", lambda folder: tmp_path)

    def made(text: str, *extra: str) -> SweepFile:
        (tmp_path / "mine.yaml").write_text(text)
        return read_sweep_file("mine", extra)

    return made


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `tiebreak` on the PATH that prints its arguments."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "tiebreak"
    program.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


def calls(text: str, order: int = 1) -> list[list[str]]:
    """What an agent runs for each point, its parameters in either order; W&B keeps JSON."""
    config = yaml.safe_load(text)
    parameters = dict(sorted(config["parameters"].items())[::order])
    points = itertools.product(*(one["values"] for one in parameters.values()))
    return [call(config, dict(zip(parameters, point, strict=True))) for point in points]


def call(config: dict[str, Any], point: dict[str, Any]) -> list[str]:
    values = {k: int(v) if isinstance(v, float) and v == int(v) else v for k, v in point.items()}
    sent = json.loads(json.dumps({k: {"value": v} for k, v in values.items()}))
    macros = {**create_sweep_command_args({"args": sent}), "program": [config["program"]],
              "env": ["/usr/bin/env"]}  # fmt: skip
    command: list[str] = []
    for part in config["command"]:
        command += macros[part[2:-1]] if part[:2] == "${" and part[-1] == "}" else [part]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    first, *overrides = done.stdout.splitlines()
    assert first == "run"
    return overrides


def ids(study: SweepFile) -> list[str]:
    return sorted(run.run_id for run in study.runs())


def composed(text: str, order: int = 1) -> list[str]:
    return sorted(compose(overrides).run_id for overrides in calls(text, order))


def miniatures() -> list[str]:
    """The run ids of the others hold commits of models and data that only the Hub knows."""
    plans = {p.stem: yaml.safe_load(p.read_text()) for p in shipped("sweeps").glob("*.yaml")}
    return sorted(name for name, plan in plans.items() if plan["fixed"].get("model") == "tiny")


def test_there_are_miniatures() -> None:
    assert {"arizona-mini", "every-method", "tdpo-mini"} <= set(miniatures())


@pytest.mark.parametrize("name", miniatures())
def test_every_sweep_of_ours(name: str, shown: None) -> None:
    study = read_sweep_file(name)
    if study.search is None:
        assert composed(export(study)) == ids(study)
    elif len(list(study.cells())) > 1:
        with pytest.raises(UserError, match="a W&B sweep tunes one method"):
            export(study)
    else:
        assert "run_cap: " in export(study)


def test_axes_are_the_parameters(make: Make, shown: None) -> None:
    study = make(
        "axes: {method: [dpo, kto], train.max_steps: [null, 4], train.learning_rate: [1.0e-05, 1]}"
        "\nfixed: {train.lora.targets: [q_proj, 'v proj'], train.drift: false, data.num_pairs: 50}"
    )
    text = export(study)
    assert composed(text) == composed(text, order=-1) == ids(study)
    assert yaml.safe_load(text)["parameters"]["method"] == {"values": ["dpo", "kto"]}
    assert '- train.lora.targets=["q_proj", "v proj"]' in text


@pytest.mark.parametrize(
    "text",
    [
        "axes: {method: [dpo, kto], seed: [1, 2]}\nsettings: {kto: {method.beta: 0.5}}",
        "axes: {method: [dpo], train.lora.rank: [4, 8]}\nfixed:"
        " {train.adapter: lora, train.lora: '{rank: 2}'}",
        "axes: {method: [dpo]}\nsettings:\n  dpo: {tracker.project: '\"a b; $HOME `x` \\ c\"'}",
    ],
)
def test_runs_with_keys_of_their_own_are_lists_of_overrides(
    make: Make, shown: None, text: str
) -> None:
    study = make(text)
    config = yaml.safe_load(export(study))
    assert list(config["parameters"]) == ["run"]
    runs = [{**study.values(cell), **seed} for cell, seed in study.points()]
    wanted = [[sweeps.override(k, v) for k, v in run.items()] for run in runs]
    assert sorted(calls(export(study))) == sorted(wanted)


def test_what_the_command_line_fixes_is_no_parameter(make: Make, shown: None) -> None:
    text = "axes: {method: [dpo, kto], train.batch_size: [8, 16]}"
    study = make(text, "train.batch_size=4", "seed=5")
    config = yaml.safe_load(export(study))
    assert list(config["parameters"]) == ["method"]
    assert composed(export(study)) == ids(study)
    only = make("axes: {train.batch_size: [8, 16]}", "train.batch_size=4")
    assert composed(export(only)) == ids(only) and len(ids(only)) == 1


def test_a_search(make: Make, shown: None) -> None:
    study = make(TUNED + "search: {trials: 3, sampler: tpe, seed: 7, space: "
                 "{train.learning_rate: {low: 1.0e-6, high: 1.0e-4, log: true}}}")  # fmt: skip
    config = yaml.safe_load(export(study))
    assert (config["method"], config["run_cap"]) == ("bayes", 3)
    assert config["metric"] == {"name": "gold/reward", "goal": "maximize"}
    assert config["parameters"]["train.learning_rate"] == {
        "distribution": "log_uniform_values", "min": 1e-6, "max": 1e-4,
    }  # fmt: skip
    assert config["parameters"]["method.beta"] == {"values": [0.01, 0.05, 0.1]}
    point = {"method.beta": 0.05, "method.label_smoothing": 0.2, "train.learning_rate": 2.5e-6}
    trial = study.run({"method": "cdpo"}, {**point, "seed": 7, "evaluation.split": "validation"})
    assert compose(call(config, point)).run_id == trial.run_id


def test_a_search_of_lists_at_random_and_a_pruner(make: Make) -> None:
    text = export(make(TUNED + "search: {trials: 2, maximise: false, pruner: asha}"))
    config = yaml.safe_load(text)
    assert (config["method"], config["metric"]["goal"]) == ("random", "minimize")
    assert "# search.pruner=asha is left out: W&B's agent ends no run early." in text
    assert yaml.safe_load(export(make(TUNED + "search: {trials: 2, sampler: grid}")))["method"] == (
        "grid"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("axes: {method: [dpo, kto]}\nsearch: {trials: 2}", "axis method has 2 values; leave one"),
        ("axes: {method: [sft]}\nsearch: {trials: 2}", "nothing to tune for"),
        ("axes: {method: [cal-dpo]}\nsearch: {trials: 2, sampler: grid}", "beta is an interval"),
        ("axes: {method: [dpo]}\nfixed: {tracker: none}", "tracker=none: W&B would see nothing"),
        ("axes: {method: [dpo]}\nfixed: {tracker.mode: offline}", "leave it at auto"),
    ],
)
def test_what_cannot_be_exported(make: Make, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        export(make(text))


def test_command(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = make("axes: {method: [dpo]}", "seed=3")
    cli.main(["sweep", "mine", "--export", "wandb", "seed=3"])
    assert capsys.readouterr().out == export(study)
    out = tmp_path / "w.yaml"
    cli.main(["sweep", "mine", "--export", "wandb", "--out", str(out), "seed=3"])
    assert capsys.readouterr().out == f"W&B sweep: {out}\n" and out.read_text() == export(study)
    with pytest.raises(SystemExit, match="2"):
        cli.main(["sweep", "mine", "--out", str(out)])
    assert "give --export wandb too" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        cli.main(["sweep", "mine", "--export", "wandb", "--workers", "2"])
    assert "leave --workers and --engine out" in capsys.readouterr().err
