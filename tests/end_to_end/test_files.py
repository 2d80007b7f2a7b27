"""A checkpoint folder and data files, end to end: the path that real models and data take."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.closeness import assert_rows_near
from tests.end_to_end.commands import (
    Answer,
    Command,
    evaluation_of,
    read_json,
    read_lines,
    result_of,
)
from tests.end_to_end.rows import SMALL, checkpoint, demonstrations, pairs, unpaired, write


@pytest.fixture
def given(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    checkpoint(prepared, tmp_path / "model")
    write(tmp_path / "pairs.jsonl", pairs())
    write(tmp_path / "labelled.jsonl", unpaired())
    write(tmp_path / "shown.jsonl", demonstrations())
    return [*SMALL, "model=./model"]


def good(answer: Answer) -> Answer:
    assert answer.code == 0, answer.err
    return answer


def test_pairs_with_lora_and_both_references(given: list[str], tiebreak: Command) -> None:
    """The adapter switched off gives the numbers of the stored reference."""
    overrides = [*given, "data=pairs.jsonl", "scenario=align-from-base"]
    stored, live = (
        good(tiebreak("run", *overrides, f"train.reference={kind}")).record
        for kind in ("store", "live")
    )
    logs = [read_lines(record / "metrics.jsonl") for record in (stored, live)]
    assert len(logs[0]) == 5
    signs = {"reward/accuracy", "displaced/share"}  # of differences that are 0 up to rounding
    for one, other in zip(*logs, strict=True):
        assert one.keys() == other.keys() and "drift/chosen" in one
        compared = one.keys() - signs
        assert_rows_near({n: other[n] for n in compared}, {n: one[n] for n in compared})
    result = result_of(stored)
    assert {"accuracy/likelihood", "drift/chosen", "length/generated"} <= set(result["metrics"])
    assert "gold/reward" not in result["metrics"]
    assert len(read_lines(evaluation_of(stored) / "generations.jsonl")) == 4


def test_labelled_answers_with_kto(given: list[str], tiebreak: Command) -> None:
    overrides = [*given, "data=labelled.jsonl", "scenario=align-from-base", "method=kto"]
    record = good(tiebreak("run", *overrides)).record
    first = read_lines(record / "metrics.jsonl")[0]
    assert first["loss"] == pytest.approx(0.5, abs=1e-5)
    assert "reward/margin" not in first
    result = result_of(record)["metrics"]
    assert {"drift/chosen", "drift/rejected"} <= set(result)
    assert "accuracy/likelihood" not in result


def test_sft_on_given_demonstrations(given: list[str], tiebreak: Command, tmp_path: Path) -> None:
    overrides = [*given, "data=pairs.jsonl", "data.demonstrations=shown.jsonl", "method=cpo"]
    record = good(tiebreak("run", *overrides)).record
    stages = [stage["stage"] for stage in read_json(record / "manifest.json")["stages"]]
    assert "sft" in stages and "pretrain" not in stages
    (log,) = (tmp_path / "home" / "artefacts" / "sft").glob("[0-9a-f]*/log.jsonl")
    assert read_lines(log)


def test_data_shows_rows_as_tokens(given: list[str], tiebreak: Command) -> None:
    shown = good(tiebreak(
        "data", *given, "data=pairs.jsonl", "scenario=align-from-base", "--rows", "2",
    )).out  # fmt: skip
    assert "pairs: train, 43 rows" in shown and "pairs: test, 5 rows" in shown
    assert shown.count("<user>") == 2 and shown.count("<assistant>") == 2
    assert shown.count("chosen, ") == 2 and "<eos>" in shown and "lint:" in shown


def test_data_of_the_world(tiebreak: Command) -> None:
    shown = good(tiebreak("data", "data.num_pairs=5", "data.num_test_pairs=3")).out
    assert "world: train, 5 rows" in shown and "world: test, 3 rows" in shown
    assert "lint: nothing found" in shown


def test_data_refuses_what_a_run_refuses(
    given: list[str], tiebreak: Command, tmp_path: Path
) -> None:
    write(tmp_path / "broken.jsonl", [*pairs(3), "not json"])
    answer = tiebreak("data", *given, "data=broken.jsonl", "scenario=align-from-base")
    assert answer.code == 2 and "broken.jsonl:4: not JSON" in answer.err
