"""Best, tied, lower: what a table may claim, and what it says when it may claim nothing."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from tiebreak.metrics import Direction, Metric
from tiebreak_analysis.records.runs import load
from tiebreak_analysis.statistics import Sample, difference, holm
from tiebreak_analysis.tables import table as table_module
from tiebreak_analysis.tables import ties
from tiebreak_analysis.tables.comparison import comparison
from tiebreak_analysis.tables.table import Cell, Table, Verdict
from tiebreak_analysis.tables.text import latex, markdown

Write = Callable[..., str]
WriteStudy = Callable[..., dict[tuple[str, int], str]]


def marks(table: Table, place: int = 0) -> dict[str, str]:
    return {
        row.label: "best" if cell.best else "tied" if cell.tied else ""
        for row in table.sections[0].rows
        if (cell := row.cells[place]) is not None and row.method is not None
    }


def cell_of(table: Table, label: str, place: int = 0) -> Cell:
    (found,) = [row.cells[place] for row in table.sections[0].rows if row.label == label]
    assert found is not None
    return found


def only_verdict(table: Table) -> Verdict:
    (found,) = table.sections[0].verdicts
    return found


def test_best_tied_and_lower(runs_dir: Path, write_study: WriteStudy):
    write_study({"kto": 0.8, "dpo": 0.795, "cpo": 0.5})
    table = comparison(load(runs_dir))
    assert marks(table) == marks(table, 1) == {"kto": "best", "dpo": "tied", "cpo": ""}
    cpo = cell_of(table, "cpo")
    assert cpo.behind is not None and cpo.p is not None and cpo.p < 0.05
    assert cpo.behind.mean == pytest.approx(0.3, abs=0.05)
    assert (cpo.behind.num_seeds, cpo.behind.num_items) == (5, 40)
    found = only_verdict(table)
    assert (found.best, found.tied, found.lower) == ("kto", ("dpo",), ("cpo",))
    low, high = cpo.behind.low, cpo.behind.high
    assert found.text == (
        f"kto, dpo tied for best gold/reward; "
        f"cpo lower by {cpo.behind.mean:.3f} [{low:.3f}, {high:.3f}]"
    )
    assert any("not distinguishable" in note and "(6)" in note for note in table.notes)
    assert "with 5 seeds only large differences can be shown" in "\n".join(table.notes)


def test_one_mark_per_cell_in_text(runs_dir: Path, write_study: WriteStudy):
    write_study({"kto": 0.8, "dpo": 0.795, "cpo": 0.5})
    table = comparison(load(runs_dir))
    means = {name: f"{cell_of(table, name).interval.mean:.3f}" for name in ("kto", "dpo", "cpo")}
    text = markdown(table)
    assert f"| **{means['kto']}** ± " in text
    assert f" {means['dpo']}† ± " in text and f" {means['cpo']} ± " in text
    text = latex(table)
    assert rf"$\mathbf{{{means['kto']}}} \pm " in text
    assert rf"${means['dpo']}^{{\dagger}} \pm " in text
    assert all(ord(character) < 128 for character in text)


def test_the_family_is_every_pair_of_the_section(runs_dir: Path, write_study: WriteStudy):
    """Two scenarios, two columns with a better end; a gain is no second test of its metric."""
    for scenario in ("align-from-base", "align-from-instruct"):
        write_study({"a": 0.5, "b": 0.52, "c": 0.54}, scenario=scenario)
    table = comparison(load(runs_dir))
    (section,) = table.sections
    assert section.num_tests == 2 * 2 * 3
    raw = []
    for scenario in ("align-from-base", "align-from-instruct"):
        for place in (0, 2):
            cells = [row.cells[place] for row in section.rows
                     if row.scenario == scenario and row.method]  # fmt: skip
            samples = [cell.sample for cell in cells if cell is not None]
            raw += [difference(one, other).p for one, other in combinations(samples, 2)]
    expected = {round(p, 12) for p in holm(raw) if p is not None}
    told = {round(cell.p, 12) for row in section.rows for cell in row.cells
            if cell is not None and cell.p is not None}  # fmt: skip
    assert told and told <= expected


def test_a_gain_over_other_starts_is_a_test_of_its_own(
    runs_dir: Path, write_study: WriteStudy, write_measured: Write
):
    write_study({"a": 0.5, "b": 0.52})
    before = comparison(load(runs_dir)).sections[0].num_tests
    rng = np.random.default_rng(3)
    for seed in (1, 2, 3):
        write_measured("c", seed, rng.normal(size=40), rng.normal(size=40), start_model="other")
    section = comparison(load(runs_dir)).sections[0]
    assert (before, section.num_tests) == (2, 3 * 3)


def test_many_pairs_at_once_are_the_differences_one_by_one():
    rng = np.random.default_rng(5)
    items = tuple(f"i{at}" for at in range(30))
    samples = {f"m{at}": Sample((1, 2, 3), items, rng.normal(at / 9, 1, (3, 30)))
               for at in range(13)}  # fmt: skip
    found = ties._tested(samples, list(combinations(samples, 2)))
    assert len(found) == 78 > ties.AT_ONCE
    for (one, other), p in found.items():
        assert p == pytest.approx(difference(samples[one], samples[other]).p, rel=1e-12)


@pytest.mark.parametrize("seeds", [1, 2])
def test_too_few_seeds_claim_nothing(runs_dir: Path, write_study: WriteStudy, seeds: int):
    write_study({"kto": 0.9, "cpo": 0.1}, seeds=seeds)
    table = comparison(load(runs_dir))
    assert marks(table) == {"kto": "", "cpo": ""}
    found = only_verdict(table)
    assert (found.best, found.tied, found.lower) == (None, (), ())
    assert found.text == "no verdict on gold/reward: fewer than 3 seeds"
    assert "**0" not in markdown(table) and "†" not in markdown(table)
    assert "they cannot tell methods apart, and none of them is marked" in "\n".join(table.notes)


def test_a_row_of_one_seed_is_neither_best_nor_in_the_way(
    runs_dir: Path, write_study: WriteStudy, write_measured: Write
):
    write_study({"kto": 0.8, "cpo": 0.5})
    write_measured("lucky", 1, np.full(40, 2.0), np.full(40, 0.2))
    table = comparison(load(runs_dir))
    assert marks(table) == {"kto": "best", "cpo": "", "lucky": ""}
    assert only_verdict(table).text.endswith("; lucky not compared, fewer than 3 seeds")


def test_differences_without_spread_are_not_tested(runs_dir: Path, write_run: Write):
    for seed in (1, 2, 3):
        write_run("dpo", seed, seed / 8)
        write_run("ipo", seed, seed / 8 + 0.25)
    table = comparison(load(runs_dir))
    assert marks(table) == {"dpo": "", "ipo": ""}
    assert "differences without any spread" in only_verdict(table).text


def test_methods_on_different_seeds_are_not_compared(runs_dir: Path, write_run: Write):
    for seed in (1, 2, 3):
        write_run("dpo", seed, 0.5 + seed / 50)
        write_run("ipo", 10 + seed, 0.9 + seed**2 / 50)
    table = comparison(load(runs_dir))
    assert marks(table) == {"dpo": "", "ipo": ""}
    assert "seeds in common" in only_verdict(table).text


def test_lower_overall_but_not_on_common_seeds_is_no_loss(runs_dir: Path, write_run: Write):
    """`a` has one seed more, a high one: the highest mean, yet below `b` wherever they meet."""
    for seed in range(1, 6):
        write_run("a", seed, 0.50 + seed / 1000)
        write_run("b", seed, 0.60 + seed**2 / 1000)
    write_run("a", 6, 3.0)
    table = comparison(load(runs_dir))
    b = cell_of(table, "b")
    assert cell_of(table, "a").best and b.p is not None and b.p < 0.05
    assert b.behind is not None and b.behind.mean < 0
    assert b.tied and only_verdict(table).lower == ()


def test_one_with_items_and_one_without_meet_over_seeds(
    runs_dir: Path, write_study: WriteStudy, write_run: Write
):
    write_study({"kto": 0.8})
    for seed in range(1, 6):
        write_run("cpo", seed, 0.3 + seed**2 / 1000)
    table = comparison(load(runs_dir))
    cpo = cell_of(table, "cpo")
    assert cpo.behind is not None and cpo.behind.num_items == 0 and cpo.p is not None


def test_long_lists_are_counted(runs_dir: Path, write_study: WriteStudy):
    good = {f"good{at}": 0.8 for at in range(8)}
    bad = {f"bad{at}": 0.1 for at in range(8)}
    write_study(good | bad)
    text = only_verdict(comparison(load(runs_dir))).text
    assert " and 7 others tied for best gold/reward; 8 others lower by 0." in text


def test_too_many_pairs_are_not_tested(
    runs_dir: Path, write_study: WriteStudy, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ties, "MOST", 5)
    write_study({"a": 0.5, "b": 0.52, "c": 0.9})
    table = comparison(load(runs_dir))
    assert marks(table) == {"a": "", "b": "", "c": ""}
    assert only_verdict(table).text == "no verdict on gold/reward: 6 pairs are too many to test"


def test_points_for_shares(runs_dir: Path, write_run: Write):
    for seed in (1, 2, 3):
        write_run("dpo", seed, metrics={"win_rate/start": 0.9 + seed / 100})
        write_run("ipo", seed, metrics={"win_rate/start": 0.5 + seed**2 / 500})
    text = only_verdict(comparison(load(runs_dir))).text
    assert text.startswith("dpo has the best win_rate/start; ipo lower by 41.1 points [")


def test_less_can_be_better(
    runs_dir: Path, write_run: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lowest mean is best; a gap is told as a positive number."""
    perplexity = Metric("text/perplexity", "1", "mean over texts", "", Direction.DOWN, 2)
    monkeypatch.setattr(table_module, "table_metric", lambda name: perplexity)
    for seed in (1, 2, 3):
        write_run("dpo", seed, metrics={"text/perplexity": 9.0 + seed / 100})
        write_run("ipo", seed, metrics={"text/perplexity": 12.0 + seed**2 / 50})
    table = comparison(load(runs_dir), metrics=["text/perplexity"])
    assert marks(table) == {"dpo": "best", "ipo": ""}
    assert only_verdict(table).text.startswith(
        "dpo has the best text/perplexity; ipo higher by 3.07 [2."
    )
    assert "bold: best mean (the lowest where less is better)" in "\n".join(table.notes)
