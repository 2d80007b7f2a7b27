from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.analysis.conftest import measured
from tiebreak.errors import UserError
from tiebreak.track.record_format import RESULT
from tiebreak_analysis.records.runs import load
from tiebreak_analysis.tables.comparison import comparison
from tiebreak_analysis.tables.labels import natural
from tiebreak_analysis.tables.rows import Planned
from tiebreak_analysis.tables.table import Row, Table

WriteRun = Callable[..., str]  # tests/analysis/conftest.py


def rows(table: Table) -> list[Row]:
    return [row for section in table.sections for row in section.rows]


def labels(table: Table) -> list[tuple[str, str, int]]:
    return [(row.scenario, row.label, row.n) for row in rows(table)]


def interval(row: Row, at: int):
    cell = row.cells[at]
    assert cell is not None
    return cell.interval


def notes(table: Table) -> str:
    return "\n".join(table.notes)


def test_numbers_by_hand(runs_dir: Path, write_run: WriteRun):
    """Three seeds 0.4, 0.5, 0.6: s = 0.1, t(2) = 4.30265, half width 0.248414."""
    for seed, reward in ((1, 0.4), (2, 0.5), (3, 0.6)):
        write_run("dpo", seed, reward, 0.2)
    table = comparison(load(runs_dir))
    assert [column.key for column in table.sections[0].columns] == [
        "gold/reward", "gain:gold/reward",
    ]  # fmt: skip
    assert labels(table) == [
        ("align-from-base", "start model", 1), ("align-from-base", "dpo", 3),
    ]  # fmt: skip
    start, dpo = rows(table)
    assert interval(dpo, 0).mean == pytest.approx(0.5)
    assert interval(dpo, 0).half_width == pytest.approx(0.248414, abs=1e-6)
    assert interval(dpo, 1).mean == pytest.approx(0.3)
    assert (interval(start, 0).mean, interval(start, 0).low) == (0.2, None)
    assert start.cells[1] is None


def test_each_seed_is_held_against_its_own_start(runs_dir: Path, write_run: WriteRun):
    """Rewards spread, gains do not: 0.3 for every seed."""
    for seed, start in ((1, 0.1), (2, 0.2), (3, 0.3)):
        write_run("dpo", seed, start + 0.3, start, scenario="sft-then-align")
        write_run("kto", seed, start + 0.1, start, scenario="sft-then-align")
    start, dpo, kto = rows(comparison(load(runs_dir)))
    assert (start.n, start.label, len(start.run_ids)) == (3, "start model", 6)
    assert interval(start, 0).mean == pytest.approx(0.2)
    assert interval(start, 0).half_width == pytest.approx(0.248414, abs=1e-6)
    assert interval(dpo, 1).mean == pytest.approx(0.3)
    assert interval(dpo, 1).half_width == pytest.approx(0, abs=1e-12)
    assert interval(kto, 1).mean == pytest.approx(0.1)


def test_order(runs_dir: Path, write_run: WriteRun):
    for scenario in ("align-from-instruct", "align-from-base", "sft-then-align", "my-own"):
        for method in ("kto", "dpo"):
            write_run(method, scenario=scenario)
    runs = load(runs_dir)
    told = list(dict.fromkeys(row.scenario for row in rows(comparison(runs))))
    assert told == ["sft-then-align", "align-from-base", "align-from-instruct", "my-own"]


def test_groups_never_mix(runs_dir: Path, write_run: WriteRun):
    for beta in (0.1, 0.05, 5e-7):
        write_run("dpo", 1, method_settings={"beta": beta})
        write_run("dpo", 2, method_settings={"beta": beta})
    write_run("ipo")
    told = labels(comparison(load(runs_dir)))
    assert [(label, n) for _, label, n in told[1:]] == [
        ("dpo (beta=5e-07)", 2), ("dpo (beta=0.05)", 2), ("dpo (beta=0.1)", 2), ("ipo", 1),
    ]  # fmt: skip


def test_what_differs_inside_a_group_is_no_label(runs_dir: Path, write_run: WriteRun):
    """A path or a worker count may differ between machines; the group id says it is one row."""
    first = write_run("dpo", 1)
    write_run("dpo", 2)
    write_run("dpo", 1, method_settings={"beta": 0.05})
    config = runs_dir / first / "config.yaml"
    config.write_text(config.read_text().replace("name: tiny", "name: tiny\n  path: /elsewhere"))
    assert "/elsewhere" in config.read_text()
    told = [(label, n) for _, label, n in labels(comparison(load(runs_dir)))]
    assert told == [("start model", 1), ("dpo (beta=0.05)", 1), ("dpo (beta=0.1)", 2)]


def test_same_word_in_two_places_is_spelt_out(runs_dir: Path, write_run: WriteRun):
    write_run("dpo", method_settings={"size": 1}, config={"train": {"size": 1}})
    write_run("dpo", method_settings={"size": 2}, config={"train": {"size": 2}})
    told = [label for _, label, _ in labels(comparison(load(runs_dir)))]
    assert told[1:] == ["dpo (method.size=1, train.size=1)", "dpo (method.size=2, train.size=2)"]


def test_groups_with_equal_settings_are_told_by_their_id(runs_dir: Path, write_run: WriteRun):
    """The id also hashes what no config key shows (a file's content): still two rows."""
    ids = [write_run("dpo", 1), write_run("dpo", 2)]
    for run_id in ids:
        for path in (runs_dir / run_id / "manifest.json", measured(runs_dir / run_id) / RESULT):
            group = load(runs_dir).records[0].group_id
            if run_id == ids[1]:
                path.write_text(path.read_text().replace(group, "abcdef012345"))
    told = [label for _, label, _ in labels(comparison(load(runs_dir)))]
    assert len(told) == 3 and "dpo [group abcdef01]" in told


@pytest.mark.parametrize(
    "other",
    [
        {"model": "large"},
        {"config": {"model": {"name": "tiny", "layers": 4}}},
        {"data": "letters"},
        {"data_hash": "f" * 64},
        {"evaluation": "f" * 64},
    ],
)
def test_only_like_is_compared_with_like(runs_dir: Path, write_run: WriteRun, other: dict):
    write_run("dpo")
    write_run("ipo", **other)
    table = comparison(load(runs_dir))
    assert [len(section.rows) for section in table.sections] == [2, 2]
    assert len({section.title for section in table.sections}) == 2
    assert not any(cell.best for row in rows(table) for cell in row.cells if cell is not None)


def test_scenarios_that_differ_have_their_own_start(runs_dir: Path, write_run: WriteRun):
    for rate in (1e-5, 2e-5):
        scenario = {"name": "sft-then-align", "learning_rate": rate}
        write_run(scenario="sft-then-align", config={"scenario": scenario}, start_model=f"{rate}")
    assert [(scenario, label) for scenario, label, _ in labels(comparison(load(runs_dir)))] == [
        ("sft-then-align (learning_rate=1e-05)", "start model"),
        ("sft-then-align (learning_rate=1e-05)", "dpo"),
        ("sft-then-align (learning_rate=2e-05)", "start model"),
        ("sft-then-align (learning_rate=2e-05)", "dpo"),
    ]


def test_best_needs_two_methods_and_a_better_end(runs_dir: Path, write_run: WriteRun):
    for seed in (1, 2, 3):
        for method, reward in {"dpo": 0.6, "ipo": 0.5 + seed / 100}.items():
            measured = {"gold/reward": reward, "length/generated": 10 * reward}
            write_run(method, seed, metrics=measured, start_reward=0.9)
        write_run("dpo", seed, 0.7, scenario="sft-then-align")
    table = comparison(load(runs_dir))
    assert [column.key for column in table.sections[0].columns][2:] == ["length/generated"]
    best = {
        (row.scenario, row.label, at)
        for row in rows(table)
        for at, cell in enumerate(row.cells)
        if cell is not None and cell.best
    }
    assert best == {("align-from-base", "dpo", 0), ("align-from-base", "dpo", 1)}
    assert "bold: highest mean among the methods of a scenario" in notes(table)


def test_two_settings_of_one_method_have_no_best(runs_dir: Path, write_run: WriteRun):
    write_run("dpo", reward=0.6)
    write_run("dpo", reward=0.5, method_settings={"beta": 0.5})
    table = comparison(load(runs_dir))
    assert not any(cell.best for row in rows(table) for cell in row.cells if cell is not None)
    assert "bold" not in notes(table)


def test_what_is_not_in_the_table_is_counted(runs_dir: Path, write_run: WriteRun):
    write_run("dpo", 1)
    write_run("dpo", 2, status="failed")
    write_run("dpo", 3, status="failed")
    write_run("dpo", 4, status="running")
    torn = write_run("dpo", 5)
    (measured(runs_dir / torn) / RESULT).write_text("{")
    table = comparison(load(runs_dir))
    assert table.num_runs == 1
    assert "2 failed, 1 running: not in the table" in notes(table)
    assert f"1 unreadable record skipped: {torn} (result.json cannot be read" in notes(table)
    assert "too few seeds (fewer than 3) in 1 of 1 method row:" in notes(table)


def test_a_study(runs_dir: Path, write_run: WriteRun):
    wanted = {write_run("dpo", seed) for seed in (1, 2, 3)}
    plan = [Planned.of(record) for record in load(runs_dir).records]
    plan += [replace(plan[0], run_id="0" * 12), replace(plan[0], run_id="1" * 12)]
    write_run("dpo", 4)
    torn = write_run("dpo", 5)
    (measured(runs_dir / torn) / RESULT).write_text("{")
    table = comparison(load(runs_dir), planned=plan)
    assert set(rows(table)[1].run_ids) == wanted
    assert "2 not started: not in the table" in notes(table)
    assert "unreadable" not in notes(table) and "too few" not in notes(table)


def test_a_metric_that_some_seeds_lack(runs_dir: Path, write_run: WriteRun):
    write_run("dpo", 1, metrics={"gold/reward": 0.5, "kl/reference": 2.0})
    write_run("dpo", 2, metrics={"gold/reward": 0.5})
    table = comparison(load(runs_dir))
    dpo = rows(table)[1]
    assert (dpo.n, interval(dpo, 0).n, interval(dpo, 2).n) == (2, 2, 1)
    assert "only so many" in notes(table)


def test_real_text_has_no_gold(runs_dir: Path, write_run: WriteRun):
    metrics = {"accuracy/likelihood": 0.7, "kl/reference": 1.0, "win_rate/start": 0.6}
    write_run(metrics=metrics, start_metrics={"accuracy/likelihood": 0.5})
    (section,) = comparison(load(runs_dir)).sections
    assert [column.key for column in section.columns] == [
        "win_rate/start", "accuracy/likelihood", "gain:accuracy/likelihood", "kl/reference",
    ]  # fmt: skip


def test_chosen_metrics(runs_dir: Path, write_run: WriteRun):
    before = {"gold/tone": 0.1, "gold/reward": 0.0}
    write_run(metrics={"gold/tone": 0.5, "gold/reward": 1.0}, start_metrics=before)
    runs = load(runs_dir)
    table = comparison(runs, metrics=["gold/tone"])
    assert [c.key for c in table.sections[0].columns] == ["gold/tone", "gain:gold/tone"]
    with pytest.raises(UserError, match=r"metric 'gold/tonne' \(nearest: 'gold/tone'\)"):
        comparison(runs, metrics=["gold/tonne"])


def test_odd_starts_are_told(runs_dir: Path, write_run: WriteRun):
    write_run("dpo", start_reward=0.2)
    write_run("ipo", start_reward=0.3)
    write_run("kto", start_model="another")
    table = comparison(load(runs_dir))
    assert "runs measured it with different values" in notes(table)
    assert "more than one start model for a seed (align-from-base, seed 1)" in notes(table)
    assert rows(table)[0].n == 2


def test_equal_weights_with_other_templates_are_two_start_models(
    runs_dir: Path, write_run: WriteRun
):
    """Neither weights nor data differ."""
    for at, reward in enumerate((0.2, 0.4)):
        run_id = write_run("dpo", start_reward=reward, method_settings={"beta": 0.1 + at})
        manifest = runs_dir / run_id / "manifest.json"
        content = json.loads(manifest.read_text())
        content["hashes"]["tokens"] = str(at) * 64
        manifest.write_text(json.dumps(content))
    table = comparison(load(runs_dir))
    start, *methods = rows(table)
    assert (start.n, [row.n for row in methods]) == (2, [1, 1])
    assert start.cells[0] is not None and start.cells[0].interval.mean == pytest.approx(0.3)
    assert "more than one start model for a seed" in notes(table)
    assert "measured it with different values" not in notes(table)


def test_a_group_in_two_sections_is_told(runs_dir: Path, write_run: WriteRun):
    write_run(seed=1)
    other = runs_dir / write_run(seed=2) / "manifest.json"
    other.write_text(other.read_text().replace("d" * 64, "f" * 64))
    table = comparison(load(runs_dir))
    assert len(table.sections) == 2
    assert "its runs differ in data or evaluation" in notes(table)


def test_nothing_to_compare(runs_dir: Path, write_run: WriteRun):
    with pytest.raises(UserError, match="no finished runs under .*runs; start one with: tiebreak"):
        comparison(load(runs_dir))
    write_run(status="failed")
    with pytest.raises(UserError, match=r"\(1 failed: see tiebreak runs\); start one"):
        comparison(load(runs_dir))
    write_run("ipo")
    runs = load(runs_dir)
    failed = [Planned.of(record) for record in runs.records if not record.finished]
    with pytest.raises(UserError, match="none of the runs asked for is finished"):
        comparison(runs, planned=failed)


def test_natural_order():
    words = ["b=0.1", "b=10", "b=5e-07", "b=2", "b", "a (x)"]
    assert sorted(words, key=natural) == ["a (x)", "b", "b=5e-07", "b=0.1", "b=2", "b=10"]
