"""Panels as one tidy frame: what figures and pages draw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tiebreak_analysis.displacement.measure import Panel
from tiebreak_analysis.displacement.parts import MEASURES, Part

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = "label method over by bucket order num_chosen measure mean low high n".split()


def tidy(panels: Sequence[Panel], methods: Mapping[str, str] | None = None) -> pd.DataFrame:
    """One row per panel, bucket and measure (a field of `Part`), empty buckets too.

    `methods`: label -> method, where labels carry settings. Columns: label; method; over, what the
    intervals are over (`pairs` or `runs`); by (`group`, `edit_distance` or `length`); bucket, its
    name; order within `by`; num_chosen, chosen responses in the run that has fewest; measure;
    mean, low, high, n (missing where nothing was measured, n then 0).
    """
    import pandas as pd

    rows = [row for panel in panels for row in _rows(panel, methods or {})]
    return pd.DataFrame(rows, columns=pd.Index(COLUMNS))


def _rows(panel: Panel, methods: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    method = methods.get(panel.label, panel.label)
    about = {"label": panel.label, "method": method, "over": panel.over}
    groups = (panel.groups.whole, panel.groups.near, panel.groups.distant)
    for by, parts in (
        ("group", groups),
        ("edit_distance", panel.by_edit_distance),
        ("length", panel.by_length),
    ):
        for order, part in enumerate(parts):
            place = about | {"by": by, "bucket": part.name, "order": order}
            for measure in MEASURES:
                yield place | {"measure": measure} | _values(part, measure)


def _values(part: Part, measure: str) -> dict[str, Any]:
    found = getattr(part, measure)
    known = {"num_chosen": min(part.num_chosen)}
    if found is None:
        return known | {"mean": None, "low": None, "high": None, "n": 0}
    return known | {"mean": found.mean, "low": found.low, "high": found.high, "n": found.n}
