"""What may stand in one section, and how its data are called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tiebreak_analysis.records.runs import load
from tiebreak_analysis.tables.comparison import comparison

WriteRun = Callable[..., str]


def test_sections_of_one_data_set_say_in_what_it_differs(runs_dir: Path, write_run: WriteRun):
    for pairs in (400, 40):
        data = {"name": "world", "num_pairs": pairs, "length_bias": 0.0}
        write_run("dpo", data_hash=f"{pairs:064d}", config={"data": data})
    small, large = comparison(load(runs_dir)).sections
    assert (small.data, large.data) == ("world (num_pairs=40)", "world (num_pairs=400)")
    assert [row.label for row in small.rows] == ["start model", "dpo"]


def test_the_same_data_in_two_places_is_one_section(runs_dir: Path, write_run: WriteRun):
    for method, path in (("dpo", "a.jsonl"), ("ipo", "b.jsonl")):
        write_run(method, config={"data": {"name": "mine", "path": path}}, data="mine")
    (section,) = comparison(load(runs_dir)).sections
    assert section.data == "mine"
