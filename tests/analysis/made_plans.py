"""The plan of a study whose runs have records already."""

from __future__ import annotations

from collections.abc import Iterable

from tiebreak_analysis.records.runs import Record
from tiebreak_analysis.tables.labels import material
from tiebreak_analysis.tables.rows import Planned


def planned_by(records: Iterable[Record]) -> list[Planned]:
    return [
        Planned(r.run_id, r.group_id, r.model, r.data, r.scenario, r.method, material(r.settings))
        for r in records
    ]
