"""Cells that are missing or stale are shown as such; what cannot be mixed stays apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tiebreak_analysis.records.runs import load
from tiebreak_analysis.tables.comparison import comparison
from tiebreak_analysis.tables.data import csv
from tiebreak_analysis.tables.labels import material
from tiebreak_analysis.tables.rows import Planned
from tiebreak_analysis.tables.table import Row, Table
from tiebreak_analysis.tables.text import latex, markdown

Write = Callable[..., str]


def rows(table: Table) -> dict[tuple[str, str], Row]:
    return {(row.scenario, row.label): row for s in table.sections for row in s.rows}


def plan(
    method: str,
    seed: int,
    scenario: str = "align-from-base",
    distance: float | None = None,
    **more: str,
) -> Planned:
    names = {"model": "tiny", "data": "world", **more}
    run_id = f"{sum(map(ord, method)) * 97 + seed:012x}"
    group = f"{sum(map(ord, method + scenario)):012x}"
    used = {f"{part}.name": names[part] for part in ("model", "data")}
    used |= {} if distance is None else {"data.edit_distance": distance}
    return Planned(
        run_id, group, names["model"], names["data"], scenario, method, material(used)
    )  # fmt: skip


def planned_of(runs_dir: Path) -> list[Planned]:
    return [Planned.of(record) for record in load(runs_dir).records]


def test_a_row_short_of_runs_says_so(runs_dir: Path, write_run: Write):
    done = [write_run("dpo", seed) for seed in (1, 2)]
    failed = write_run("dpo", 3, status="failed")
    assert {*done, failed} == {run.run_id for run in planned_of(runs_dir)}
    table = comparison(load(runs_dir), planned=planned_of(runs_dir))
    row = rows(table)["align-from-base", "dpo"]
    assert (row.n, row.planned, row.count) == (2, 3, "2 of 3")
    assert "| 2 of 3 |" in markdown(table)
    notes = "\n".join(table.notes)
    assert "n of m: only so many" in notes and "1 failed: not in the table" in notes
    assert rows(comparison(load(runs_dir)))["align-from-base", "dpo"].count == "2"


def test_a_group_without_any_run_is_missing(runs_dir: Path, write_run: Write):
    write_run("dpo", 1)
    wanted = [*planned_of(runs_dir), plan("kto", 1), plan("kto", 2)]
    wanted += [plan("dpo", 1, "sft-then-align")]
    table = comparison(load(runs_dir), planned=wanted)
    found = rows(table)
    kto, sft = found["align-from-base", "kto"], found["sft-then-align", "dpo"]
    assert (kto.n, kto.count, kto.cells, kto.missing) == (0, "0 of 2", (None, None), True)
    assert sft.missing and ("sft-then-align", "start model") not in found
    (line,) = [one for one in markdown(table).splitlines() if "| kto " in one]
    assert [part.strip() for part in line.split("|")[3:-1]] == ["missing", "missing", "0 of 2"]
    assert r"kto & missing & missing & 0 of 2 \\" in latex(table)
    assert sum(",kto," in one for one in csv(table).splitlines()) == 2
    assert "3 not started: not in the table" in table.notes


def test_a_missing_group_beside_one_of_the_same_method(runs_dir: Path, write_run: Write):
    write_run("dpo", 1)
    other = plan("dpo", 9)
    table = comparison(load(runs_dir), planned=[*planned_of(runs_dir), other])
    assert ("align-from-base", f"dpo [group {other.group_id[:8]}]") in rows(table)


def test_what_has_no_section_is_named(runs_dir: Path, write_run: Write):
    write_run("dpo", 1)
    wanted = [*planned_of(runs_dir), plan("kto", 1, model="large")]
    table = comparison(load(runs_dir), planned=wanted)
    assert ("align-from-base", "kto") not in rows(table)
    assert "to put it beside: kto in align-from-base (large, world)" in "\n".join(table.notes)


def test_a_missing_row_stands_with_the_data_it_asks_for(runs_dir: Path, write_run: Write):
    for distance in (0.1, 1.0):
        config = {"data": {"name": "world", "edit_distance": distance}}
        write_run("dpo", 1, data_hash=f"{distance:064}", config=config)
    wanted = [*planned_of(runs_dir), plan("kto", 1, distance=1.0), plan("kto", 2, distance=0.5)]
    table = comparison(load(runs_dir), planned=wanted)
    near, far = table.sections
    assert [row.label for row in near.rows] == ["start model", "dpo"]
    assert [(row.label, row.count) for row in far.rows][-1] == ("kto", "0 of 1")
    assert "missing whole, nothing finished to put it beside: kto" in "\n".join(table.notes)


def set_manifest(runs_dir: Path, run_id: str, **facts: object) -> None:
    path = runs_dir / run_id / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def test_runs_of_other_code_are_named(runs_dir: Path, write_run: Write):
    ids = [write_run(method, seed) for method in ("dpo", "kto") for seed in (1, 2)]
    for run_id in ids:
        made_by = {"git": {"commit": "a" * 40, "dirty": False}, "versions": {"torch": "2.13.0"}}
        set_manifest(runs_dir, run_id, **made_by)
    assert "stale" not in "\n".join(comparison(load(runs_dir)).notes)
    set_manifest(runs_dir, ids[3], git={"commit": "b" * 40, "dirty": False})
    set_manifest(runs_dir, ids[0], versions={"torch": "2.12.0"})
    table = comparison(load(runs_dir))
    found = rows(table)
    assert found["align-from-base", "kto"].stale == (ids[3],)
    assert found["align-from-base", "kto"].count == "2, 1 stale"
    assert found["align-from-base", "start model"].count == "1"
    stale = "stale, made by other code than most runs of the section: "
    assert f"{stale}{ids[3]}: commit bbbbbbbb (most: aaaaaaaa)" in table.notes
    assert f"{stale}{ids[0]}: torch 2.12.0 (most: 2.13.0)" in table.notes
    assert "| 2, 1 stale |" in markdown(table)


def test_two_evaluators_never_share_a_column(runs_dir: Path, write_run: Write):
    """Even of one method and seed, and however the rows are asked for."""
    evaluations = ("e" * 64, "f" * 64)
    for seed in (1, 2, 3):
        for method, evaluation in (("dpo", 0), ("dpo", 1), ("kto", 0)):
            write_run(method, seed, evaluation=evaluations[evaluation])
    table = comparison(
        load(runs_dir), planned=[Planned.of(record) for record in load(runs_dir).records]
    )
    by_evaluator = {r.run_id: r.evaluation for r in load(runs_dir).records}
    assert {s.evaluation for s in table.sections} == set(evaluations)
    for section in table.sections:
        for row in section.rows:
            assert {by_evaluator[one] for one in row.run_ids} == {section.evaluation}
            for cell in row.cells:
                assert cell is None or len(cell.run_ids) <= 3
