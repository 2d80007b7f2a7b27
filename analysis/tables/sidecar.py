"""What a table is made of, as JSON: exact numbers of every cell, and where each run came from."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from tiebreak_analysis.tables.published import Published
from tiebreak_analysis.tables.table import Cell, Row, Section, Table

FORMAT = 1


def sidecar(table: Table) -> str:
    """Sorted keys; `sections[].rows[].cells[].run_ids` are keys of `runs`. No NaN."""
    told = {
        "format": FORMAT,
        "command": table.command,
        "level": table.level,
        "notes": list(table.notes),
        "num_runs": table.num_runs,
        "runs": {run_id: asdict(facts) for run_id, facts in table.facts.items()},
        "sections": [_section(section) for section in table.sections],
    }
    return json.dumps(told, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def _section(section: Section) -> dict[str, Any]:
    return {
        "columns": [asdict(column) | {"key": column.key} for column in section.columns],
        "data": section.data,
        "data_hash": section.data_hash,
        "evaluator": section.evaluator,
        "model": section.model,
        "num_tests": section.num_tests,
        "rows": [_row(section, row) for row in section.rows],
        "stale": dict(section.stale),
        "validation": section.validation,
        "verdicts": [asdict(one) for one in section.verdicts],
    }


def _row(section: Section, row: Row) -> dict[str, Any]:
    figures = row.published or (None,) * len(section.columns)
    found = zip(section.columns, row.cells, figures, strict=True)
    return {
        "cells": {
            column.key: _cell(cell, figure)
            for column, cell, figure in found
            if cell is not None or figure is not None
        },
        "group_id": row.group_id,
        "label": row.label,
        "method": row.method,
        "n": row.n,
        "planned": row.planned,
        "run_ids": list(row.run_ids),
        "scenario": row.scenario,
        "stale": list(row.stale),
    }


def _cell(cell: Cell | None, figure: Published | None) -> dict[str, Any]:
    """In the metric's own unit, unscaled; a published figure in the unit it was published in."""
    told: dict[str, Any] = {"published": None if figure is None else asdict(figure)}
    if cell is None:
        return told
    interval, behind = cell.interval, cell.behind
    return told | {
        "behind_best": None if behind is None else asdict(behind),
        "best": cell.best,
        "high": interval.high,
        "low": interval.low,
        "mean": interval.mean,
        "num_items": cell.num_items,
        "p_adjusted": cell.p,
        "run_ids": list(cell.run_ids),
        "seeds": list(cell.sample.seeds),
        "tied": cell.tied,
        "values": [
            float(value) for value in cell.sample.values.reshape(cell.num_seeds, -1).mean(1)
        ],
    }
