"""A finished comparison as a W&B run of its own, beside the runs that it compares."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from tiebreak.errors import UserError
from tiebreak.track import environment
from tiebreak.track.mirror import opened
from tiebreak.track.shown import Comparison
from tiebreak_analysis.page.page import table_document
from tiebreak_analysis.records.wandb import COMPARISON
from tiebreak_analysis.tables.data import HEADER, lines
from tiebreak_analysis.tables.table import Section, Table

PLACE = re.compile(r"(?:([\w.-]+)/)?([\w.-]+)")
READABLE = 40  # characters of an id; W&B takes 64


@dataclass(frozen=True)
class Place:
    """A W&B project; online if there is a key, else a log for `wandb sync`."""

    project: str
    entity: str | None
    name: str = "wandb"
    mode: str = "auto"

    @classmethod
    def of(cls, text: str) -> Place:
        """`PROJECT` or `ENTITY/PROJECT`. UserError: neither, or W&B is switched off."""
        found = PLACE.fullmatch(text)
        if found is None:
            raise UserError(f"--wandb {text!r}: give PROJECT or ENTITY/PROJECT")
        if environment.mode(cls.mode) == "disabled":
            raise UserError("--wandb: WANDB_MODE=disabled; unset it, or give it offline")
        return cls(found[2], found[1])


def publish(name: str, table: Table, place: Place, folder: Path) -> str:
    """Sends `table` under `name`; where it is. The same name and command renew that W&B run.

    UserError: not all of it arrived; the reason was said.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:READABLE]
    about = {
        "id": f"comparison-{slug}-{sha256(f'{name} {table.command}'.encode()).hexdigest()[:8]}",
        "group": COMPARISON,
        "name": name,
        "job_type": COMPARISON,
        "config": {"tiebreak": COMPARISON, "command": table.command},
    }
    with opened(place, about, folder) as mirror:
        mirror.comparison(compared(table))
        where = mirror.where
        if not mirror.finish() or where is None:
            raise UserError(f"--wandb: not all of {name} was sent; the reason stands above")
    return where


def compared(table: Table) -> Comparison:
    """Every interval of `table`; n and who is tied stand in the rows."""
    summary = {
        f"{_key(table, section, row.scenario, row.label, column.key)}{end}": value
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
    rows = list(lines(table))
    return Comparison({"status": COMPARISON, **summary}, table_document(table), HEADER, rows)


def _key(table: Table, section: Section, *parts: str) -> str:
    """With the section's title where there are several. W&B sorts and filters by plain names."""
    place = [] if len(table.sections) == 1 else [section.title]
    return "/".join(re.sub(r"[^\w.=/-]+", "_", part).strip("_") for part in (*place, *parts))
