"""The note of what a table's questions share with the training data."""

from __future__ import annotations

import json
from pathlib import Path

from tests.analysis.conftest import WriteRun, measured
from tiebreak_analysis.records import load
from tiebreak_analysis.tables.comparison import comparison

METRICS = {"hellaswag/acc_norm": 0.5, "hh/likelihood": 0.5, "mmlu/acc": 0.5}


def counted(runs_dir: Path, run_id: str, **overlap: tuple[int, int]) -> None:
    path = measured(runs_dir / run_id) / "result.json"
    counts = {name: {"overlapping": k, "questions": n, "short": 1}
              for name, (k, n) in overlap.items()}  # fmt: skip
    path.write_text(json.dumps(json.loads(path.read_text()) | {"overlap": counts}))


def test_a_share_per_column_that_was_looked_at(runs_dir: Path, write_run: WriteRun) -> None:
    how = {"metrics": METRICS, "start_metrics": METRICS}
    one, other = (write_run(seed=seed, **how) for seed in (1, 2))
    counted(runs_dir, one, hellaswag=(3, 1000), hh=(0, 40), boolq=(1, 2), mmlu=(0, 0))
    counted(runs_dir, other, hellaswag=(6, 1000), hh=(0, 40))
    write_run(seed=3, **how)
    (note,) = [n for n in comparison(load(runs_dir)).notes if n.startswith("overlap")]
    assert note == (
        "overlap of training data with hellaswag: 0.3 to 0.6 % of questions, hh: 0.0 % of "
        "questions (docs/evaluation.md)"
    )


def test_no_note_where_nothing_was_looked_at(runs_dir: Path, write_run: WriteRun) -> None:
    write_run()
    assert not any("overlap" in note for note in comparison(load(runs_dir)).notes)
