"""Every method trains, in every scenario: the study of the README in miniature."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.commands import MICRO, read_lines, result_of
from tiebreak.compose import Run, compose
from tiebreak.methods import METHODS
from tiebreak.run.execute import execute
from tiebreak.sweep.sweep_file import read_sweep_file

SCENARIOS = ("align-from-base", "align-from-instruct", "sft-then-align")


@pytest.fixture(scope="module", autouse=True)
def shared_home(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One store for the file: a start model is made and evaluated once."""
    copy = tmp_path_factory.mktemp("every") / "home"
    shutil.copytree(prepared, copy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIEBREAK_HOME", str(copy))
        yield copy


def test_the_study_names_every_method_and_scenario() -> None:
    runs = read_sweep_file("every-method", ["train.max_steps=1"]).runs()
    found = {(run.method_name, run.scenario.name) for run in runs}
    assert found == {(method, scenario) for method in METHODS for scenario in SCENARIOS}
    (moving,) = {run.method for run in runs if run.method_name == "tr-dpo"}
    assert moving.reference_share(10) > 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_trains(name: str) -> None:
    at = SCENARIOS[sorted(METHODS).index(name) % 3]  # each pair is run by the study itself
    run: Run = compose([*MICRO, f"scenario={at}", f"method={name}", "train.max_steps=3"])
    outcome = execute(run, lambda line: None)
    rows = read_lines(outcome.folder / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3]
    known = run.method.loss_at_start()
    if known is not None:
        assert rows[0]["loss"] == pytest.approx(known, rel=1e-3)
    assert rows[2]["drift/chosen"] != 0, "the policy moved"
    result = result_of(outcome.folder)
    assert {"gold/reward", "accuracy/likelihood", "kl/reference"} <= set(result["metrics"])
    assert outcome.folder.name == run.run_id
