"""The parts of the page: thinned curves, chosen prompts, tables that need no script."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from page_study import page_of
from test_page_write import Parsed

from tiebreak_analysis.figures.palette import look
from tiebreak_analysis.page import displacement as displaced
from tiebreak_analysis.page.charts import (
    MIN_POINTS,
    curves,
    largest_triangles,
    results,
)
from tiebreak_analysis.page.groups import Group, differences, groups_of, looks_of
from tiebreak_analysis.page.leaderboard import WIDTH, drawing, scale_of
from tiebreak_analysis.records.runs import Record, load
from tiebreak_analysis.statistics import Interval
from tiebreak_analysis.tables.comparison import comparison


def record(run_id: str, group_id: str = "g", seed: int = 1, status: str = "finished") -> Record:
    names = {"model": "m", "method": "dpo", "scenario": "s", "data": "d"}
    nothing = dict.fromkeys(("stage", "step", "steps", "error", "data_hash", "evaluation"))
    return Record(
        path=Path(run_id), run_id=run_id, group_id=group_id, status=status, seed=seed,
        start_model="x", metrics={}, start={}, settings={}, **names, **nothing,
    )  # fmt: skip


def group(*records: Record) -> Group:
    return Group(records[0].group_id, "dpo", "dpo", "s", "m", records)


def history(values: dict[str, list[float]]) -> pd.DataFrame:
    rows = [
        {"run_id": run, "step": step, "loss": value}
        for run, row in values.items()
        for step, value in enumerate(row, 1)
    ]
    return pd.DataFrame(rows)


def test_short_curves_are_kept_whole() -> None:
    found = curves(history({"a": [1.0, 2.0, 4.0]}), [group(record("a"))])
    assert found["steps"] == [[1, 2, 3]] and not found["cut"]
    assert found["metrics"] == {"loss": {"g": [0, {"a": [1.0, 2.0, 4.0]}]}}


def test_seeds_of_a_group_keep_the_same_steps_and_gaps_stay_gaps() -> None:
    log = history({"a": [1.0, float("nan"), 3.0], "b": [2.0, 5.0]})
    found = curves(log, [group(record("a"), record("b", seed=2))])
    at, rows = found["metrics"]["loss"]["g"]
    assert found["steps"][at] == [1, 2, 3]
    assert rows == {"a": [1.0, None, 3.0], "b": [2.0, 5.0, None]}


def test_long_curves_keep_ends_and_peak_and_only_measured_values() -> None:
    y = np.sin(np.arange(5000) / 400)
    y[3210] = 30.0
    log = history({"a": list(y)})
    found = curves(log, [group(record("a"))])
    at, rows = found["metrics"]["loss"]["g"]
    steps = found["steps"][at]
    assert found["cut"] and len(steps) == found["points"] == 300
    assert steps[0] == 1 and steps[-1] == 5000 and 3211 in steps
    assert np.allclose(rows["a"], y[np.array(steps) - 1], rtol=1e-4)


@pytest.mark.parametrize("length", [40, 41, 77, 1000])
def test_so_many_points_each_once(length: int) -> None:
    x = np.arange(length)
    kept = largest_triangles(x, np.cos(x)[None], 40)[0]
    assert len(kept) == len(set(kept.tolist())) == 40
    assert kept.tolist() == sorted(kept.tolist()) and kept[-1] == length - 1


def test_a_hundred_long_runs_stay_within_two_megabytes() -> None:
    rng = np.random.default_rng(0)
    names = [f"metric/{at}" for at in range(17)]
    log = pd.DataFrame(rng.standard_normal((100 * 500, 17)), columns=pd.Index(names))
    log.insert(0, "step", np.tile(np.arange(500), 100))
    log.insert(0, "run_id", np.repeat([f"r{at:03}" for at in range(100)], 500))
    groups = [group(record(f"r{at:03}", f"g{at:03}")) for at in range(100)]
    found = curves(log, groups)
    assert MIN_POINTS <= found["points"] < 300
    assert len(json.dumps(found, separators=(",", ":"))) < 2_500_000


def test_a_drawing_stays_inside_its_box_and_one_wild_interval_does_not_flatten_the_rest() -> None:
    tame, wild = Interval(0.5, 0.4, 0.6, 3), Interval(0.6, -90.0, 90.0, 2)
    low, high = scale_of([tame, wild])
    assert low >= 0.4 - 1e-9 and high <= 0.7 + 1e-9
    text = drawing(wild, (low, high), "#000000", gain=True).text
    assert 'x1="6.0"' in text and f'x2="{WIDTH - 6:.1f}"' in text


def test_a_lone_interval_and_none_at_all_have_a_scale() -> None:
    assert scale_of([]) == (0.0, 1.0)
    low, high = scale_of([Interval(0.5, None, None, 1)])
    assert low == high == 0.5 and "circle" in drawing(
        Interval(0.5, None, None, 1), (low, high), "#000000", gain=False
    ).text  # fmt: skip


def test_the_frontier_has_the_intervals_of_the_table(study: Path) -> None:
    runs = load(study)
    table = comparison(runs)
    row = next(row for row in table.sections[0].rows if row.method == "dpo")
    found = results(groups_of(runs.records, [table]), [table])
    told = found["groups"][row.group_id]["gold/reward"]
    cell = row.cells[0]
    assert cell is not None and told[1] == pytest.approx(cell.interval.low, rel=1e-4)
    assert found["axes"] == ["kl/reference", "gold/reward"]
    assert found["starts"][row.group_id] == {"gold/reward": [0.2]}


def test_only_keys_that_differ_are_shown(runs_dir: Path, write_run: Callable[..., str]) -> None:
    write_run("dpo", method_settings={"beta": 0.5})
    write_run("dpo", method_settings={"beta": 0.1})
    runs = load(runs_dir)
    text = differences(groups_of(runs.records, [comparison(runs)])).text
    words = [word for word in Parsed(text).words if word.strip()]
    assert "method.beta" in words and "train.learning_rate" not in words
    assert {"0.1", "0.5", "dpo (beta=0.1)"} <= set(words)


def test_every_link_of_the_leaderboard_leads_to_its_runs(study: Path) -> None:
    parsed = Parsed(page_of(study))
    places = {a["id"] for _, a in parsed.elements if "id" in a}
    links = {str(a["href"])[1:] for name, a in parsed.elements if name == "a"}
    assert len(links) > 12 and links <= places


def test_groups_of_the_same_name_are_told_apart() -> None:
    found = groups_of([record("a", "g1"), record("b", "g2")], [])
    assert [one.label for one in found] == ["dpo", "dpo [group g2]"]


def test_displacement_is_a_table_and_buckets_of_too_few_are_not_drawn(study: Path) -> None:
    runs = load(study)
    groups = groups_of(runs.records, [])
    panels = displaced.panels_of(runs, groups)
    assert len(panels) == 5, "the running and the torn run have left no pairs"
    rows = [a for name, a in Parsed(displaced.table(panels, groups).text).elements if name == "tr"]
    assert len(rows) == 1 + 2 + 5
    drawn = displaced.buckets(panels)["groups"]
    assert {tuple(part[0] for part in one["length"]) for one in drawn.values()} == {("17 to 32",)}
    assert all(one["edit_distance"] == [] for one in drawn.values()), "at most 10 pairs in each"


def test_no_pairs_no_displacement(tmp_path: Path) -> None:
    runs = load(tmp_path / "runs")
    assert displaced.panels_of(runs, []) == {}
    assert "No finished run" in displaced.table({}, []).text


def test_looks_are_those_of_the_figures_and_tell_settings_apart() -> None:
    two = [replace(group(record("a", "g1")), label=f"dpo (beta={beta})") for beta in (0.1, 0.2)]
    first, second = looks_of(two).values()
    assert first["colour"] == second["colour"] == look("dpo").colour
    assert first["dash"] != second["dash"] and second["symbol"].endswith("-open")
