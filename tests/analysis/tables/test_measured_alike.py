"""How a run was measured: sections by evaluation, keys of evaluators, columns of time."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tiebreak.errors import UserError
from tiebreak.track.record_format import THROUGHPUT
from tiebreak_analysis.records.runs import Record, Runs, load
from tiebreak_analysis.tables.comparison import comparison
from tiebreak_analysis.tables.table import Row, Table
from tiebreak_analysis.tables.text import markdown

Write = Callable[..., str]
METRICS = {"gold/reward": 0.5, "accuracy/likelihood": 0.6}


def measured(record: Record, finished: str = "", **how: Any) -> Record:
    manifest = dict(record.manifest) | {"times": {"finished": finished}}
    return replace(record, manifest=manifest, **how)


def with_records(runs: Runs, *records: Record) -> Runs:
    return replace(runs, records=records)


def row_of(table: Table, label: str) -> Row:
    (row,) = [row for section in table.sections for row in section.rows if row.label == label]
    return row


def test_two_keys_of_an_evaluator_never_meet_in_a_column(runs_dir: Path, write_run: Write):
    for seed in (1, 2, 3):
        write_run("dpo", seed, metrics=METRICS, start_metrics={"gold/reward": 0.1})
    runs = load(runs_dir)
    keys = [("2026-01-03", "new"), ("2026-01-02", "new"), ("2026-01-01", "old")]
    records = [
        measured(record, when, evaluators={"gold": key, "pairs": "same"})
        for record, (when, key) in zip(runs.records, keys, strict=True)
    ]
    table = comparison(with_records(runs, *records))
    reward, gain, accuracy = row_of(table, "dpo").cells
    assert reward is not None and gain is not None and accuracy is not None
    assert (reward.num_seeds, gain.num_seeds, accuracy.num_seeds) == (2, 2, 3)
    old = records[2].run_id
    assert old not in reward.run_ids and old in accuracy.run_ids
    (note,) = [note for note in table.notes if note.startswith("measured by an older version")]
    assert note.endswith(f": gold: {old}")


def test_one_key_needs_no_note(runs_dir: Path, write_run: Write):
    write_run("dpo", metrics=METRICS)
    runs = load(runs_dir)
    table = comparison(with_records(runs, measured(runs.records[0], evaluators={"gold": "a"})))
    assert "older version" not in "\n".join(table.notes)


def test_two_evaluations_of_a_run_are_two_sections(runs_dir: Path, write_run: Write):
    write_run("dpo", metrics=METRICS)
    runs = load(runs_dir)
    one, two = (measured(runs.records[0], evaluation=name * 12) for name in "ab")
    table = comparison(with_records(runs, one, replace(two, metrics={"gold/reward": 0.9})))
    assert [section.evaluation for section in table.sections] == ["a" * 12, "b" * 12]
    means = [section.rows[-1].cells[0].interval.mean for section in table.sections
             if section.rows[-1].cells[0] is not None]  # fmt: skip
    assert means == [0.5, 0.9] and table.num_runs == 1


def test_time_is_a_column_when_asked_for(runs_dir: Path, write_run: Write):
    for method, seconds in (("dpo", 60.0), ("ipo", 90.0)):
        for seed in (1, 2, 3):
            run_id = write_run(method, seed, metrics=METRICS)
            row = {
                "step": 1,
                "seconds": seconds + seed,
                "response_tokens/s": 1.0,
                "memory/peak": 700.0,
            }
            (runs_dir / run_id / THROUGHPUT).write_text(json.dumps(row) + "\n")
    runs = load(runs_dir)
    table = comparison(runs, metrics=["seconds", "memory/peak"])
    (section,) = table.sections
    assert [column.heading for column in section.columns] == ["seconds", "memory/peak (MiB)"]
    assert [row.label for row in section.rows] == ["start model", "dpo", "ipo"]
    assert "| 62.0 ± 2.5 |" in markdown(table) and "bold" not in "\n".join(table.notes)
    assert [column.key for column in comparison(runs).sections[0].columns] == [
        "gold/reward", "gain:gold/reward", "accuracy/likelihood",
    ]  # fmt: skip
    with pytest.raises(UserError, match="no finished run has metric 'pairs/s'"):
        comparison(runs, metrics=["pairs/s"])
