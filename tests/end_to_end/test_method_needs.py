"""Runs of methods that ask the engine for something unusual, or for nothing."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.closeness import WITHIN
from tests.end_to_end.commands import BASE, Answer, Command, read_json, read_lines, result_of
from tests.end_to_end.rows import SMALL, checkpoint, pairs, ranked, write


def good(answer: Answer) -> Answer:
    assert answer.code == 0, answer.err
    return answer


@pytest.fixture
def given(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    checkpoint(prepared, tmp_path / "model")
    write(tmp_path / "pairs.jsonl", pairs())
    write(tmp_path / "lists.jsonl", ranked())
    return [*SMALL, "model=./model", "scenario=align-from-base"]


def test_ranked_lists_from_a_file(given: list[str], tiebreak: Command) -> None:
    overrides = [*given, "data=lists.jsonl", "method=rrhf", "method.k=3"]
    record = good(tiebreak("run", *overrides)).record
    first = read_lines(record / "metrics.jsonl")[0]
    assert {"reward/margin", "length/chosen", "drift/chosen"} <= set(first)
    metrics = result_of(record)["metrics"]
    assert {"accuracy/likelihood", "drift/rejected"} <= set(metrics), "best against worst"
    shown = good(tiebreak("data", *overrides)).out
    assert "rank 2, " in shown and "chosen, " in shown


def test_lists_and_methods_that_do_not_fit(given: list[str], tiebreak: Command) -> None:
    for overrides, message in (
        (["data=lists.jsonl", "method=dpo"], "method=dpo needs pairs and data=lists holds ranked"),
        (["data=lists.jsonl", "method=rrhf"], "method.k=2, and a row of data=lists holds 3 resp"),
        (["data=pairs.jsonl", "method=rrhf", "method.k=4"], "holds 2 responses; give method.k=2"),
    ):
        answer = tiebreak("run", *given, *overrides)
        assert answer.code == 2 and message in answer.err and "Traceback" not in answer.err


@pytest.mark.parametrize("method", ["tdpo2", "tr-dpo"])
def test_a_reference_beside_the_policy(home: Path, tiebreak: Command, method: str) -> None:
    """No pass is made ahead: the start model itself is there."""
    record = good(tiebreak("run", *BASE, f"method={method}")).record
    stages = [stage["stage"] for stage in read_json(record / "manifest.json")["stages"]]
    assert "reference" not in stages
    first = read_lines(record / "metrics.jsonl")[0]
    assert first["loss"] == pytest.approx(math.log(2), rel=1e-4)
    assert abs(first["drift/chosen"]) < WITHIN * abs(first["logp/chosen"])


def test_tdpo_takes_the_adapter_off(given: list[str], tiebreak: Command) -> None:
    record = good(tiebreak("run", *given, "data=pairs.jsonl", "method=tdpo1")).record
    rows = read_lines(record / "metrics.jsonl")
    assert rows[0]["loss"] == pytest.approx(math.log(2), rel=1e-4)
    assert abs(rows[-1]["drift/chosen"]) > 1e-3


@pytest.mark.parametrize("method", ["simpo", "orpo", "slic", "sft"])
def test_reference_free_methods_load_no_reference(
    home: Path, tiebreak: Command, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """One model is loaded to train, and nothing is scored ahead of it."""
    from tiebreak.engine import models, reference

    loaded: list[object] = []
    load = models.load_model

    def counted(*place: object) -> object:
        loaded.append(place)
        return load(*place)  # type: ignore[arg-type]

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("a table of reference log-probs was read or made")

    monkeypatch.setattr(models, "load_model", counted)
    monkeypatch.setattr(reference.ReferenceTable, "load", never)
    monkeypatch.setattr(reference.ReferenceTable, "save", never)
    log: list[int] = []
    from tiebreak.stages import align

    make = align.make_trainer
    monkeypatch.setattr(align, "make_trainer", lambda *a: (make(*a), log.append(len(loaded)))[0])
    before = len(loaded)
    overrides = [*BASE, f"method={method}", "train.drift=false", "train.max_steps=2"]
    record = good(tiebreak("run", *overrides)).record
    stages = [stage["stage"] for stage in read_json(record / "manifest.json")["stages"]]
    assert "reference" not in stages
    names = set(read_lines(record / "metrics.jsonl")[0])
    assert not {name for name in names if name.startswith("drift/")}
    assert len(log) == 1 and log[0] - before <= 2, "the start model's evaluation, and the policy"
