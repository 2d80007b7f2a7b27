"""A finished comparison as a W&B run of its own, beside the runs that it compares."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from analysis.tables import render, tidy
from analysis.tables.table import Section, Table
from tiebreak.errors import UserError
from tiebreak.track.mirror import opened
from tiebreak.track.shown import Comparison

PLACE = re.compile(r"(?:([\w.-]+)/)?([\w.-]+)")


@dataclass(frozen=True)
class Place:
    """A W&B project; online if there is a key, else a log for `wandb sync`."""

    project: str
    entity: str | None
    name: str = "wandb"
    mode: str = "auto"

    @classmethod
    def of(cls, text: str) -> Place:
        """`PROJECT` or `ENTITY/PROJECT`. UserError: neither."""
        found = PLACE.fullmatch(text)
        if found is None:
            raise UserError(f"--wandb {text}: give PROJECT or ENTITY/PROJECT")
        return cls(found[2], found[1])


def publish(name: str, table: Table, place: Place, folder: Path) -> str | None:
    """Sends `table` under `name`; a later call renews that W&B run. Where it is; None: nowhere,
    and the reason was said."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    names = {
        "id": f"comparison-{slug}"[:64],
        "group": "comparison",
        "name": name,
        "job_type": "comparison",
        "config": {"comparison": name, "command": table.command},
    }
    with opened(place, names, folder) as mirror:
        mirror.comparison(compared(table))
        return mirror.where


def compared(table: Table) -> Comparison:
    """Every interval of `table`; n and who is tied stand in the rows."""
    summary = {
        f"{_place(table, section)}{row.scenario}/{row.label}/{column.key}{end}": value
        for section in table.sections
        for row in section.rows
        for column, cell in zip(section.columns, row.cells, strict=True)
        if cell is not None
        for end, value in (
            ("", cell.interval.mean),
            ("/low", cell.interval.low),
            ("/high", cell.interval.high),
        )
        if value is not None
    }
    rows = list(tidy.lines(table))
    return Comparison({"status": "comparison", **summary}, render.html(table), tidy.HEADER, rows)


def _place(table: Table, section: Section) -> str:
    """Which section a value is of, where there are several."""
    return "" if len(table.sections) == 1 else f"{section.title}/"
