"""What the commands print about a home with one finished run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.end_to_end.commands import (
    MICRO,
    Command,
    evaluation_of,
    only_run,
    read_json,
    result_of,
)
from tiebreak.compose import compose


def test_plan_before_and_after(
    prepared: Path, tmp_path: Path, tiebreak: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path))
    before = tiebreak("plan", *MICRO).out.splitlines()
    assert before[0].endswith("not finished")
    assert [line.split()[2] for line in before[1:]] == [
        "tokens", "tokens", "pretrain", "tokens", "sft", "reference", "align",
        "generations", "generations", "gold", "gold", "pairs", "pairs",
    ]  # fmt: skip
    assert all(line.startswith("  would run  ") for line in before[1:])
    keys = [re.search(r" [0-9a-f]{16}( |$)", line) for line in before[1:]]
    assert all(keys), "known before anything is built"
    assert not list(tmp_path.iterdir()), "a plan makes nothing"

    monkeypatch.setenv("TIEBREAK_HOME", str(prepared))
    after = tiebreak("plan", *MICRO).out.splitlines()
    assert after[0].endswith(", finished")
    assert {line.split()[0] for line in after[1:]} == {"cached"}
    assert [line.split()[1] for line in after[1:]] == [
        "tokens", "tokens", "align",
        "generations", "generations", "gold", "gold", "pairs", "pairs",
    ]  # fmt: skip
    other = tiebreak("plan", *MICRO, "method=kto").out
    assert re.search(r"cached +sft ", other) and re.search(r"would run +align ", other)


def test_the_plan_of_a_sweep_counts_what_is_cached(home: Path, tiebreak: Command) -> None:
    answer = tiebreak("plan", "arizona-mini", *MICRO, "--workers", "2", "--price", "3")
    assert answer.code == 0, answer.err
    assert answer.out.startswith("35 runs to do, 1 finished")
    built = {line.split()[0]: line for line in answer.out.splitlines() if line.startswith("  ")}
    assert "pretrain" not in built and re.search(r"align +35 ", built["align"])
    assert "by the clock: " in answer.out and "money: " in answer.out
    assert len(list((home / "runs").iterdir())) == 1, "a plan makes nothing"


def test_a_plan_is_what_a_run_does(home: Path, tiebreak: Command) -> None:
    planned = re.findall(r"would run +(\w+)", tiebreak("plan", *MICRO, "method=cpo").out)
    done = tiebreak("run", *MICRO, "method=cpo")
    assert f"stages: {len(planned)} built" in done.out
    assert planned == ["align", "generations", "gold", "pairs"]


def test_a_policy_is_evaluated_on_validation_rows_without_training_again(
    home: Path, tiebreak: Command
) -> None:
    validation = [*MICRO, "evaluation.split=validation"]
    planned = re.findall(r"would run +(\w+)", tiebreak("plan", *validation).out)
    assert planned == ["tokens", *["generations"] * 2, *["gold"] * 2, *["pairs"] * 2]
    assert "stages: 7 built" in tiebreak("run", *validation).out
    headings = re.findall("^### .*", tiebreak("table").out, re.MULTILINE)
    assert len(headings) == 2
    assert [heading.endswith("(validation)") for heading in headings].count(True) == 1


def test_a_record_says_what_it_is(prepared: Path) -> None:
    run, folder = compose(MICRO), only_run(prepared)
    manifest, result = read_json(folder / "manifest.json"), result_of(folder)
    assert folder.name == manifest["run_id"] == result["run_id"] == run.run_id
    assert manifest["group_id"] == run.group_id
    assert evaluation_of(folder).name == result["evaluation"] == run.evaluation_id
    assert result["evaluators"] == run.evaluators and len(result["evaluators"]) == 3
    assert {"data", "start_model", "model", "tokens"} == set(manifest["hashes"])
    assert manifest["hashes"]["start_model"] == result["start"]["model"]
    assert manifest["hashes"]["model"] != manifest["hashes"]["start_model"]
    assert [s["stage"] for s in manifest["stages"]].count("tokens") == 3
    assert not any(s["reused"] for s in manifest["stages"])
    whole = "".join(p.read_text() for p in folder.rglob("*.json*"))
    assert str(prepared) not in whole, "no path of a machine"


def test_runs(home: Path, tiebreak: Command) -> None:
    (line,) = tiebreak("runs").out.splitlines()
    assert line.startswith(f"{only_run(home).name}  finished  sft-then-align")
    assert "dpo" in line and "seed 1" in line and "gold/reward" in line
    (row,) = json.loads(tiebreak("runs", "--json").out)
    assert row["run_id"] == only_run(home).name and row["status"] == "finished"
    assert row["metrics"] == result_of(only_run(home))["metrics"]
    (only_run(home) / "status.json").write_text("{")
    assert "unreadable" in tiebreak("runs").out


@pytest.mark.parametrize(
    ("form", "start"), [("md", "|"), ("tex", "\\begin{tabular}"), ("csv", "")]
)  # fmt: skip
def test_table(form: str, start: str, home: Path, tiebreak: Command, tmp_path: Path) -> None:
    shown = tiebreak("table", "--format", form)
    assert shown.code == 0 and start in shown.out and "dpo" in shown.out.lower()
    written = tiebreak("table", "--format", form, "--out", str(tmp_path / "table"))
    assert written.out == f"table: {tmp_path / 'table'}\n"
    assert (tmp_path / "table").read_text().rstrip("\n") == shown.out.rstrip("\n")
    value = f"{result_of(only_run(home))['metrics']['gold/reward']:.2f}"
    assert value in shown.out


def test_table_that_cannot_be_written(home: Path, tiebreak: Command, tmp_path: Path) -> None:
    answer = tiebreak("table", "--out", str(tmp_path / "no" / "table.md"))
    assert answer.code == 2
    assert answer.err == (
        f"tiebreak: --out {tmp_path}/no/table.md: No such file or directory; give a file to write\n"
    )


def test_table_of_a_study_that_was_not_run(home: Path, tiebreak: Command) -> None:
    answer = tiebreak("table", "arizona-mini")
    assert answer.code == 2 and "tiebreak sweep arizona-mini" in answer.err
