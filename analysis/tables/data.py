"""A table as data: a line per cell as CSV, and all of it with where each run came from as JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from csv import writer
from dataclasses import asdict
from typing import Any

from tiebreak.metrics import Direction
from tiebreak_analysis.published import PublishedFigure
from tiebreak_analysis.records.runs import Record
from tiebreak_analysis.tables.table import LEVEL, Cell, Row, Section, Table

FORMAT = 1
HEADER = (
    "model data data_hash evaluation validation scenario row method metric gain "
    "mean low high num_seeds num_items best tied behind behind_low behind_high p "
    "published published_unit published_source published_marks "
    "n planned group_id run_ids stale "
    "signal_to_noise model_low model_high model_differs model_behind model_behind_low "
    "model_behind_high model_p"
).split()


def csv(table: Table) -> str:
    """Full precision, unscaled. An empty field: not measured, not tested or not known."""
    stream = io.StringIO()
    out = writer(stream, lineterminator="\n")
    out.writerows([HEADER, *lines(table)])
    return stream.getvalue()


def lines(table: Table) -> Iterator[list[Any]]:
    """One per cell, as HEADER names them. None: empty. `p` is Holm's, against the best; `model_p`
    against the best of the single models it was compared with, over questions alone."""
    for section in table.sections:
        place = [section.model, section.data, section.data_hash, section.evaluation]
        for row in section.rows:
            who = [int(section.validation), row.scenario, row.label, row.method]
            for at, (column, cell, figure) in enumerate(section.slots(row)):
                if cell is None and figure is None and not row.missing:
                    continue
                signal = section.signal[at] if section.signal else None
                run_ids = () if cell is None else cell.run_ids
                stale = (run_id for run_id in run_ids if run_id in row.stale)
                beside: list[Any] = [None] * 4
                if figure is not None:
                    beside = [figure.value, figure.unit, figure.source, " ".join(figure.marks)]
                numbers = [column.metric, int(column.gain), *_numbers(cell), *beside]
                ids = [row.group_id, " ".join(run_ids), " ".join(stale)]
                counts = [row.n, row.planned]
                yield [*place, *who, *numbers, *counts, *ids, signal, *_of_models(cell)]


def _numbers(cell: Cell | None) -> list[Any]:
    if cell is None:
        return [None] * 11
    i, behind = cell.interval, cell.behind
    gap = [None] * 3 if behind is None else [behind.mean, behind.low, behind.high]
    counts = [cell.num_seeds, cell.num_items]
    return [i.mean, i.low, i.high, *counts, int(cell.best), int(cell.tied), *gap, cell.p]


def _of_models(cell: Cell | None) -> list[Any]:
    if cell is None or cell.models is None:
        return [None] * 7
    found, behind = cell.models, cell.models.behind
    gap = [None] * 3 if behind is None else [behind.mean, behind.low, behind.high]
    return [found.interval.low, found.interval.high, int(found.differs), *gap, found.p]


def _fields(of: object, names: str) -> dict[str, Any]:
    return {name: getattr(of, name) for name in names.split()}


def sidecar(table: Table) -> str:
    """The table as JSON, keys sorted, no NaN; a run id in a cell is a key of `runs`."""
    content = _fields(table, "command notes num_runs") | {
        "format": FORMAT,
        "level": LEVEL,
        "runs": {record.run_id: _run(record) for record in table.records},
        "sections": [_section(section) for section in table.sections],
    }
    return json.dumps(content, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def _run(record: Record) -> dict[str, Any]:
    """Where one run came from: code, versions and hashes. None: its record does not say."""
    manifest = record.manifest
    git, hashes = manifest.get("git", {}), manifest.get("hashes", {})
    return _fields(record, "run_id group_id seed start_model") | {
        "commit": git.get("commit"),
        "dirty": git.get("dirty"),
        "data": record.data_hash,
        "tokens": hashes.get("tokens"),
        "evaluation": record.evaluation,
        "model": hashes.get("model"),
        "versions": manifest.get("versions", {}),
    }


def _section(section: Section) -> dict[str, Any]:
    plain = "data data_hash evaluation model num_tests stale validation"
    return _fields(section, plain) | {
        "columns": [_column(section, at) for at in range(len(section.columns))],
        "rows": [_row(section, row) for row in section.rows],
        "verdicts": [asdict(verdict) for verdict in section.verdicts],
        **({"averaged": section.averaged} if section.averaged else {}),
        **({"models": _models(section)} if section.models.number else {}),
    }


def _models(section: Section) -> dict[str, Any]:
    """What is said of single models over their questions: every pair that differs."""
    return {
        "num_tests": section.models.number,
        "pairs": [asdict(pair) for pair in section.models.pairs],
    }


def _row(section: Section, row: Row) -> dict[str, Any]:
    cells = {
        column.key: _cell(cell, figure)
        for column, cell, figure in section.slots(row)
        if cell is not None or figure is not None
    }
    plain = "group_id label method n planned run_ids scenario stale"
    return _fields(row, plain) | {"cells": cells}


def _column(section: Section, at: int) -> dict[str, Any]:
    column = section.columns[at]
    content = asdict(column) | {"key": column.key}
    if section.signal and section.signal[at] is not None:
        content |= {"signal_to_noise": section.signal[at], "undecided": section.undecided(at)}
    direction = content.pop("direction")
    content["higher_is_better"] = direction is Direction.UP
    return content | ({"lower_is_better": True} if direction is Direction.DOWN else {})


def _cell(cell: Cell | None, figure: PublishedFigure | None) -> dict[str, Any]:
    """In the metric's own unit, unscaled; a published figure in the unit it was published in."""
    published: dict[str, Any] = {"published": None if figure is None else asdict(figure)}
    if cell is None:
        return published
    plain = published | _fields(cell, "best num_items run_ids tied")
    if cell.models is not None:
        plain["models"] = asdict(cell.models)
    return (
        plain
        | _fields(cell.interval, "mean low high")
        | {
            "behind_best": None if cell.behind is None else asdict(cell.behind),
            "p_adjusted": cell.p,
            "seeds": cell.sample.seeds,
            "values": cell.sample.values.reshape(cell.num_seeds, -1).mean(1).tolist(),
        }
    )
