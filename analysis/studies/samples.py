"""From the runs of a study to samples (one setting, by seed and item) and to frames for figures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tiebreak.errors import UserError
from tiebreak_analysis.records.runs import Record, Runs, Setting, setting_text, varying
from tiebreak_analysis.statistics import Interval, Sample, mean_interval

if TYPE_CHECKING:
    import pandas as pd

Where = Mapping[str, Setting]
"""Settings by dotted key that single out runs: `{"method.name": "dpo", "method.beta": 0.1}`."""
BySeed = Mapping[int, Record]
Label = Callable[[Record], str]


class Measured(Protocol):
    """The part of `analysis.records.Runs` that an effect reads."""

    @property
    def records(self) -> Sequence[Record]: ...

    def items(self, keys: Sequence[str] | None, evaluator: str = "gold") -> pd.DataFrame: ...

    def pairs(self, keys: Sequence[str] | None) -> pd.DataFrame: ...


def finished(runs: Measured, ids: Collection[str]) -> list[Record]:
    """The finished records of a sweep, by its run ids."""
    wanted = set(ids)
    return [r for r in runs.records if r.finished and r.run_id in wanted]


def pick(records: Sequence[Record], where: Where) -> BySeed:
    """The runs with these settings, by seed. UserError: two runs of a seed have them."""
    found: dict[int, Record] = {}
    for record in records:
        if not all(_is(record.settings.get(key), value) for key, value in where.items()):
            continue
        if record.seed in found:
            other = found[record.seed]
            apart = ", ".join(varying([record.settings, other.settings])) or "nothing told"
            raise UserError(
                f"runs {other.run_id} and {record.run_id} are both seed {record.seed} of "
                f"{named(where)}; they differ in {apart}: leave one of them out of the study"
            )
        found[record.seed] = record
    return dict(sorted(found.items()))


def named(where: Where) -> str:
    """`dpo, edit_distance=0.1`, for a sentence."""
    names = [str(v) for k, v in where.items() if k.endswith(".name")]
    rest = [f"{k.split('.')[-1]}={setting_text(v)}" for k, v in where.items() if ".name" not in k]
    return ", ".join([*names, *rest])


def values(records: Sequence[Record], key: str) -> list[float]:
    """The numbers a setting takes in these runs, ascending."""
    found = {record.settings.get(key) for record in records}
    return sorted(float(v) for v in found if isinstance(v, (int, float)) and v is not True)


def gain(record: Record, metric: str = "gold/reward") -> float | None:
    """A run's metric minus that of its own start model."""
    after, before = record.metrics.get(metric), record.start.get(metric)
    return None if after is None or before is None else after - before


def of_items(
    runs: Measured, found: BySeed, make: Callable[[pd.DataFrame], pd.Series]
) -> Sample | None:
    """(seeds, prompts): `make` of the rows of `items/gold.parquet`. None: nobody has rows."""
    return _sample(runs.items([r.key for r in found.values()]), found, make)


def of_pairs(
    runs: Measured, found: BySeed, make: Callable[[pd.DataFrame], pd.Series]
) -> Sample | None:
    """(seeds, held-out pairs): `make` of the rows of `pairs.parquet`. None: nobody has rows."""
    return _sample(runs.pairs([r.key for r in found.values()]), found, make)


def combined(samples: Sequence[Sample], weights: Sequence[float]) -> Sample | None:
    """Weighted sum of samples, on the seeds and items all of them have. None: they share none."""
    seeds = [s for s in samples[0].seeds if all(s in other.seeds for other in samples)]
    sets = [set(other.items) for other in samples]
    items = [i for i in samples[0].items if all(i in other for other in sets)]
    if not seeds or (not items and any(sets)):
        return None
    tables = [s.at(tuple(seeds), tuple(items)) for s in samples]
    total = sum(w * table for w, table in zip(weights, tables, strict=True))
    return Sample(tuple(seeds), tuple(items), np.asarray(total))


def _sample(
    frame: pd.DataFrame, found: BySeed, make: Callable[[pd.DataFrame], pd.Series]
) -> Sample | None:
    """Rows without a number, and items that not every seed has, are left out."""
    if frame.empty:
        return None
    seed_of = {record.key: seed for seed, record in found.items()}
    rows = frame.assign(value=make(frame).astype(float), seed=frame["run_id"].map(seed_of))
    table = rows.pivot(index="seed", columns="id", values="value").dropna(axis=1)
    if table.empty:
        return None
    seeds = tuple(int(seed) for seed in table.index)
    return Sample(seeds, tuple(map(str, table.columns)), table.to_numpy(dtype=float))


def _is(here: Setting | None, wanted: Setting) -> bool:
    return here is not None and setting_text(here) == setting_text(wanted)


def points(
    records: Sequence[Record],
    metrics: Sequence[str],
    settings: Mapping[str, str] | None = None,
    label: Label | None = None,
) -> pd.DataFrame:
    """`method`, `run_id`, `seed`, the metrics, and settings: column -> dotted key; with a `label`
    where one is given. Runs that lack one of them have no row."""
    import pandas as pd

    wanted = settings or {}
    names = ["method", "run_id", "seed", *wanted, *metrics, *(["label"] if label else [])]
    rows = [
        (
            *(record.method, record.key, record.seed),
            *(record.settings.get(key) for key in wanted.values()),
            *(record.metrics.get(metric) for metric in metrics),
            *([label(record)] if label else []),
        )
        for record in records
    ]
    return pd.DataFrame(rows, columns=pd.Index(names)).dropna()


def history(runs: Runs, records: Sequence[Record], label: Label | None = None) -> pd.DataFrame:
    """Every step of these runs, with `method`, and a `label` where one is given."""
    frame = runs.history([record.key for record in records])
    columns = {"method": {record.key: record.method for record in records}}
    if label:
        columns["label"] = {record.key: label(record) for record in records}
    return frame.assign(**{name: frame["run_id"].map(of) for name, of in columns.items()})


def start_of(records: Sequence[Record], metric: str) -> Interval | None:
    """Mean of a metric over the start models, each distinct one counting once."""
    found = {r.start_model: r.start[metric] for r in records if metric in r.start}
    return mean_interval(list(found.values())) if found else None


def melted(records: Sequence[Record], metrics: Sequence[str]) -> pd.DataFrame:
    """`method`, `category` (the metric's last word), `value`: a row per run and metric."""
    import pandas as pd

    rows = [
        (record.method, metric.split("/")[-1], record.metrics[metric])
        for metric in metrics
        for record in records
        if metric in record.metrics
    ]
    return pd.DataFrame(rows, columns=pd.Index(["method", "category", "value"]))
