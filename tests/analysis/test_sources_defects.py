"""Records and tables that cannot be used: named, with the reason, and never averaged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.analysis.conftest import measured
from tests.analysis.record_files import fill, parquet, read
from tiebreak.errors import UserError
from tiebreak_analysis.records import source_from
from tiebreak_analysis.records.files import Unreadable, log_rows
from tiebreak_analysis.records.runs import load

WriteRun = Callable[..., str]


def test_a_copied_folder_is_not_a_second_run(runs_dir: Path, write_run: WriteRun) -> None:
    run_id = write_run()
    for name in (f"{run_id} (copy)", f"{run_id}.bak", "0" * 12, "backup"):
        shutil.copytree(runs_dir / run_id, runs_dir / name)
    (runs_dir / "123456789abc").symlink_to(runs_dir / run_id)
    runs = load(runs_dir)
    assert [record.run_id for record in runs.records] == [run_id]
    why = {path.name: reason for path, reason in runs.skipped}
    assert (
        why[f"{run_id} (copy)"]
        == why["backup"]
        == ("the folder's name is not a run id (12 hex characters)")
    )
    assert (
        why["0" * 12]
        == why["123456789abc"]
        == (f"manifest.json is of run {run_id}: the folder was renamed or copied")
    )
    assert len(why) == 5


def test_two_records_of_one_group_and_seed_are_both_left_out(
    runs_dir: Path, write_run: WriteRun
) -> None:
    """A run id made by hand, or by another version: which of the two is meant, nobody knows."""
    first, kept = write_run(seed=1), write_run(seed=2)
    second = "0123456789ab"
    shutil.copytree(runs_dir / first, runs_dir / second)
    for name in ("manifest.json", "result.json"):
        inside = measured(runs_dir / second) if name == "result.json" else runs_dir / second
        path = inside / name
        path.write_text(path.read_text().replace(first, second))
    runs = load(runs_dir)
    assert [record.run_id for record in runs.records] == [kept]
    assert {path.name for path, _ in runs.skipped} == {first, second}
    ids, group = ", ".join(sorted([first, second])), read(runs_dir / first / "manifest.json")
    assert {why for _, why in runs.skipped} == {
        f"{ids} are all of group {group['group_id']}, seed 1; move away all but one"
    }


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def turn_to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


ITEMS, PAIRS, TEXTS = "items/gold.parquet", "pairs.parquet", "generations.jsonl"
LOG = "metrics.jsonl"
BREAK = {
    "no parquet": ("items", ITEMS, lambda path: path.write_text("PAR1")),
    "torn parquet": ("pairs", PAIRS, cut),
    "no id": ("items", ITEMS, lambda path: parquet(path, {"win": [1.0]})),
    "twice": ("pairs", PAIRS, lambda path: parquet(path, {"id": ["a", "b", "a"]})),
    "nested": ("pairs", PAIRS, lambda path: parquet(path, {"id": ["a"], "x": [[1]]})),
    "no JSON": ("generations", TEXTS, lambda path: path.write_text("{}\n{\n")),
    "no text": ("generations", TEXTS, lambda path: path.write_text('{"id": 1}\n')),
    "steps": ("history", LOG, lambda path: path.write_text('{"step": 2}\n{"step": 2}\n')),
    "value": ("history", LOG, lambda path: path.write_text('{"step": 1, "x": "y"}\n')),
    "line": ("history", LOG, lambda path: path.write_text('{"step": 1\n{"step": 2}\n')),
    "folder": ("pairs", PAIRS, turn_to_folder),
}


@pytest.mark.parametrize("case", BREAK)
def test_a_damaged_table_is_named_and_has_no_rows(
    case: str, runs_dir: Path, write_run: WriteRun
) -> None:
    what, file, spoil = BREAK[case]
    broken, kept, without = (write_run(seed=seed) for seed in (1, 2, 3))
    for run_id in (broken, kept):
        fill(runs_dir / run_id)
    spoil((runs_dir / broken if file == LOG else measured(runs_dir / broken)) / file)
    runs = load(runs_dir)
    frame = getattr(runs, what)()
    assert set(frame["run_id"]) == {kept}, "and a run without the file is no error"
    assert list(runs.damaged) == [(broken, file)]
    assert "\n" not in runs.damaged[broken, file]
    assert str(runs_dir) not in runs.damaged[broken, file]
    assert len(runs.records) == 3, "its metrics are whole"


def test_frames_without_rows_have_their_columns(runs_dir: Path, write_run: WriteRun) -> None:
    write_run()
    runs = load(runs_dir)
    assert list(runs.history()) == ["run_id", "step"]
    assert list(runs.pairs()) == list(runs.items()) == ["run_id", "id"]
    assert list(runs.generations()) == ["run_id", "id", "prompt", "before", "after"]
    assert load(runs_dir / "none").items().empty


def test_frames_are_sorted_and_a_benchmark_has_its_own(runs_dir: Path, write_run: WriteRun) -> None:
    ids = [write_run(seed=seed) for seed in (1, 2)]
    for run_id in ids:
        fill(runs_dir / run_id)
    parquet(
        measured(runs_dir / ids[0]) / "items" / "gsm8k.parquet", {"id": ["q1"], "correct": [True]}
    )
    runs = load(runs_dir)
    assert runs.items(ids[::-1])["run_id"].tolist() == sorted(ids * 5)
    assert runs.items(evaluator="gsm8k").to_dict("list") == {
        "run_id": [ids[0]], "id": ["q1"], "correct": [True],
    }  # fmt: skip
    assert "edit_distance" not in runs.pairs(), "no run has a value there"
    turns = runs.generations([ids[0]])["prompt"]
    assert turns[0] == '[{"role": "user", "content": "<b>é</b>"}]' and turns[1] == "p"


def test_a_log_torn_by_a_kill_has_its_whole_lines() -> None:
    torn = b'{"step": 1}\n{"step": 2}\n{"st'
    assert log_rows("metrics.jsonl", torn) == [{"step": 1}, {"step": 2}]
    assert log_rows("metrics.jsonl", b'{"st') == log_rows("metrics.jsonl", b"") == []
    with pytest.raises(Unreadable, match="metrics.jsonl:2 is of step 1, after step 1"):
        log_rows("metrics.jsonl", b'{"step": 1}\n{"step": 1}\n')


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nowhere", r"--source 'nowhere': no such folder.*wandb:FOLDER.*wandb-api:ENTITY/PROJECT"),
        ("wandb:nowhere", "--source wandb:nowhere: no such folder"),
        ("wandb:.", "no W&B log in it; give the folder that holds offline-run-"),
        ("wandb-api:team", "give wandb-api:ENTITY/PROJECT"),
        ("wandb-api:/x", "give wandb-api:ENTITY/PROJECT"),
        ("wandb-api:a/b/c", "give wandb-api:ENTITY/PROJECT"),
    ],
)
def test_a_source_that_is_none(
    text: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=why):
        source_from(text)


def test_a_server_without_a_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(UserError, match="no key; set WANDB_API_KEY"):
        load(source_from("wandb-api:team/tiebreak"))
