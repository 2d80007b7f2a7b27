"""tiebreak evaluate: a checkpoint that was not trained here gets a record and a row of tables."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.end_to_end.commands import (
    MICRO,
    Command,
    evaluation_of,
    only_run,
    read_json,
    read_lines,
    result_of,
)
from tests.end_to_end.rows import SMALL, checkpoint, pairs, write
from tests.harness.made import make_mirror

HOW = [item for item in MICRO if item.startswith(("tracker", "data", "evaluation"))]
WORLD = ["data=world", *HOW]
COMPARED = {"kl/reference", "win_rate/start", "drift/chosen", "drift/rejected", "displaced/share",
            "accuracy/drift"}  # fmt: skip


@pytest.fixture
def released(prepared: Path, tmp_path: Path) -> Path:
    return checkpoint(prepared, tmp_path / "released")


def test_its_row_stands_beside_the_runs(
    released: Path, home: Path, tiebreak: Command, tmp_path: Path
) -> None:
    trained = result_of(only_run(home))
    done = tiebreak("evaluate", str(released), "--as", "zephyr", *WORLD)
    assert done.code == 0, done.err
    assert "stages: 4 built, 0 reused" in done.out
    result, manifest = result_of(done.record), read_json(done.record / "manifest.json")
    assert result["evaluators"] == trained["evaluators"]
    assert result["metrics"].keys() == trained["metrics"].keys() - COMPARED
    assert result["start"]["metrics"] == {}
    assert manifest["names"]["method"] == "zephyr"
    assert manifest["names"]["scenario"] == "checkpoint"
    _holds_no_start(evaluation_of(done.record))
    again = tiebreak("evaluate", str(released), "--as", "zephyr", *WORLD)
    assert again.code == 0 and "this run is done" in again.out
    table = tiebreak("table")
    (row,) = (line for line in table.out.splitlines() if line.startswith("| checkpoint"))
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells[:2] == ["checkpoint", "zephyr"] and cells[-1] == "1"
    assert f"{result['metrics']['gold/reward']:.3f} ± " in cells[2]
    assert cells[3] == ""  # no gain
    assert table.out.count("### model") == 1 and "- checkpoint: a model that was" in table.out
    assert f"{done.record.name}  finished  checkpoint" in tiebreak("runs").out
    assert tiebreak("page", "--out", str(tmp_path / "page.html")).code == 0
    assert "zephyr" in (tmp_path / "page.html").read_text()


def _holds_no_start(folder: Path) -> None:
    names = [name for file in folder.rglob("*.parquet") for name in pq.read_schema(file).names]
    assert "correct/after" in names and "reward/after" in names
    assert not [n for n in names if n.endswith("/before") or n.startswith("drift") or n == "win"]
    assert read_lines(folder / "generations.jsonl")[0].keys() == {"id", "prompt", "after"}


def test_what_was_measured_is_not_measured_again(
    released: Path, tiebreak: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under another name, as the start model of a run, and when an evaluator is added."""
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path / "fresh"))
    how = [f"data={write(tmp_path / 'pairs.jsonl', pairs())}", *SMALL]
    run = tiebreak("run", f"model={released}", "scenario=align-from-instruct", *how)
    assert run.code == 0, run.err
    given = [item for item in how if not item.startswith("train.")]
    given += ["train.precision=float32"]
    some = tiebreak("evaluate", str(released), *given, "evaluation.evaluators=[pairs]")
    assert "stages: 0 built, 1 reused" in some.out, some.err
    more = tiebreak("evaluate", str(released), *given)
    assert "stages: 0 built, 2 reused" in more.out and more.record == some.record
    other = tiebreak("evaluate", str(released), "--as", "other", *given)
    assert "stages: 0 built, 2 reused" in other.out and other.record != some.record
    for mine, start in ((other, run), (some, run)):
        assert result_of(mine.record)["metrics"].items() <= result_of(start.record)["start"][
            "metrics"
        ].items()  # fmt: skip
    (policy,) = (tmp_path / "fresh" / "artefacts" / "align").glob("[0-9a-f]*")
    adapter = tmp_path / "adapter"
    shutil.copytree(policy, adapter)
    tuned = tiebreak("evaluate", str(adapter), *given)
    assert tuned.code == 0, tuned.err
    mine, trained = (result_of(one.record)["metrics"] for one in (tuned, run))
    assert mine["accuracy/likelihood"] == trained["accuracy/likelihood"]
    assert {line.split("|")[2].strip() for line in tiebreak("table").out.splitlines()
            if line.startswith("|")} >= {"adapter", "other", "released", "dpo"}  # fmt: skip


def test_an_evaluation_that_was_stopped_goes_on(
    released: Path,
    prepared: Path,
    home: Path,
    tiebreak: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tiebreak.stages.evaluators import answers

    def stops(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as during:
        during.setattr(answers, "score", stops)
        stopped = tiebreak("evaluate", str(released), *WORLD)
    assert stopped.code == 130
    assert "stopped; go on with: tiebreak evaluate" in stopped.err
    (record,) = (path for path in (home / "runs").iterdir() if path.name != only_run(prepared).name)
    assert read_json(record / "status.json")["status"] == "stopped"
    done = tiebreak("evaluate", str(released), *WORLD)
    assert "stages: 1 built, 3 reused" in done.out and done.record == record


def test_a_study_file_lists_checkpoints(
    released: Path, home: Path, tiebreak: Command, tmp_path: Path
) -> None:
    lines = [f"  {key}: {value}" for key, _, value in (item.partition("=") for item in MICRO)]
    study = tmp_path / "mine.yaml"
    study.write_text("\n".join(
        ["axes: {seed: [1], method: [dpo]}", "fixed:", *lines, "checkpoints:",
         f"  zephyr: {released}", f"  twin: {released}", ""]
    ))  # fmt: skip
    done = tiebreak("sweep", str(study), "--workers", "1")
    assert done.code == 0, done.err
    assert "3 runs: 2 done now, 1 finished before, 0 failed" in done.out
    assert "checkpoint · twin" in done.out
    assert "mine: 3 runs: 3 done" in tiebreak("status", str(study)).out
    assert "3 runs: 0 done now, 3 finished before" in tiebreak("sweep", str(study)).out
    table = tiebreak("table", str(study)).out
    rows = [line.split("|")[2].strip() for line in table.splitlines() if line.startswith("|")]
    assert rows[2:] == ["start model", "dpo", "twin", "zephyr"]


REFUSED = [
    (["/no/such/folder"], "checkpoint '/no/such/folder': no such folder, and not a Hub id"),
    (["nothere"], "unknown model 'nothere'"),
    (["HERE"], "nothing to measure; give data=FILE"),
    (["HERE", "--as", " "], "--as needs a name"),
    (["HERE", "evaluation.evaluators=[gold]"], "evaluation.evaluators: gold needs held-out rows"),
    (["HERE", "evaluation.evaluators=[pears]"], "evaluation.evaluators: unknown evaluator 'pears'"),
    (["HERE", "data=world", "method=dpo"], "method has no effect on a model that is measured"),
    (["HERE", "data=world", "seed=2"], "seed has no effect on a model that is measured"),
    (["HERE", "data=wrld"], "unknown data 'wrld' (nearest: 'world')"),
    (["tiny", "data=world"], "model=tiny is made here, and scenario=checkpoint measures"),
]


@pytest.mark.parametrize(("words", "said"), REFUSED)
def test_a_mistake_is_one_line(
    words: list[str], said: str, released: Path, home: Path, tiebreak: Command
) -> None:
    refused = tiebreak("evaluate", *(str(released) if word == "HERE" else word for word in words))
    assert refused.code == 2 and refused.out == ""
    assert refused.err.count("\n") == 1 and f"tiebreak: {said}" in refused.err


def test_a_benchmark_is_added_and_measured_alone(
    released: Path, tiebreak: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without data; what a run of the same checkpoint measured is there already."""
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path / "fresh"))
    mirror = f"evaluation.mirror={make_mirror(tmp_path / 'mirror')}"
    asked = ["evaluate", str(released), "tracker=none", mirror, "evaluation.questions=4"]
    one = tiebreak(*asked, "evaluation.benchmarks=[winogrande]")
    assert one.code == 0, one.err
    two = tiebreak(*asked, "evaluation.benchmarks=[winogrande,mmlu_anatomy]")
    assert "stages: 1 built, 1 reused" in two.out and two.record == one.record
    assert set(result_of(two.record)["metrics"]) == {"winogrande/acc", "mmlu_anatomy/acc"}
    columns = pq.read_schema(evaluation_of(two.record) / "items" / "winogrande.parquet").names
    assert "acc/after" in columns and "acc/before" not in columns
    plain = tmp_path / "plain"
    shutil.copytree(released, plain)
    for file in plain.glob("*template*"):
        file.unlink()
    config = read_json(plain / "tokenizer_config.json")
    config.pop("chat_template", None)
    (plain / "tokenizer_config.json").write_text(json.dumps(config))
    asked[1] = str(plain)
    refused = tiebreak(
        *asked, "evaluation.benchmarks=[winogrande]", "evaluation.chat_template=true"
    )
    assert refused.code == 2 and "has no chat template; give model.chat_template=" in refused.err
    assert refused.err.count("\n") == 1
