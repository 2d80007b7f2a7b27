"""An effect: a claim, what was measured for and against it, and what may be said; and the samples
(one setting, by seed and item) and frames for figures that come from the runs of a study.

Each test asks whether an estimate lies above a threshold fixed beforehand. Its interval answers:
wholly above, the test holds; wholly below, it fails; across, nobody can tell. All tests of an
effect must hold together, so no correction for their number is due: the chance that all hold
although one is false is no larger than that one's own (Berger 1982, intersection-union test).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from tiebreak.errors import UserError
from tiebreak.metrics import MT_BENCH_CATEGORIES
from tiebreak_analysis import statistics
from tiebreak_analysis.figures.palette import START
from tiebreak_analysis.records.runs import Record, Runs, Setting, Settings, setting_text, varying
from tiebreak_analysis.statistics import MIN_SEEDS, Difference, Interval, Sample

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.95
UNPAIRED = "no seed has a finished run of each"
FARTHEST = 64.0  # an interval wider than this says nothing

Where = Mapping[str, Setting]
"""Settings by dotted key that single out runs: `{"method.name": "dpo", "method.beta": 0.1}`."""
BySeed = Mapping[int, Record]
Label = Callable[[Record], str]
ReadRows = Callable[[Sequence[str]], "pd.DataFrame"]
Make = Callable[["pd.DataFrame"], "pd.Series"]


def finished(runs: Runs, ids: Collection[str]) -> list[Record]:
    """The finished records of a sweep, by its run ids."""
    wanted = set(ids)
    return [r for r in runs.records if r.finished and r.run_id in wanted]


def pick(records: Sequence[Record], where: Where) -> BySeed:
    """The runs with these settings, by seed. UserError: two runs of a seed have them."""
    found: dict[int, Record] = {}
    for record in records:
        if not all(_has(record.settings, key, value) for key, value in where.items()):
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


def _has(settings: Settings, key: str, wanted: Setting) -> bool:
    here = settings.get(key)
    return here is not None and setting_text(here) == setting_text(wanted)


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


def sample(read: ReadRows, found: BySeed, make: Make) -> Sample | None:
    """(seeds, items): `make` of the rows `Runs.items` or `Runs.pairs` (`read`) has of these runs.

    Rows without a number, and items that not every seed has, are left out. None: nothing is left.
    """
    frame = read([record.key for record in found.values()])
    if frame.empty:
        return None
    seed_of = {record.key: seed for seed, record in found.items()}
    rows = frame.assign(value=make(frame).astype(float), seed=frame["run_id"].map(seed_of))
    table = rows.pivot(index="seed", columns="id", values="value").dropna(axis=1)
    if table.empty:
        return None
    seeds = tuple(int(seed) for seed in table.index)
    return Sample(seeds, tuple(map(str, table.columns)), table.to_numpy(dtype=float))


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
    rows = [
        {"method": record.method, "run_id": record.key, "seed": record.seed}
        | {column: record.settings.get(key) for column, key in wanted.items()}
        | {metric: record.metrics.get(metric) for metric in metrics}
        | ({"label": label(record)} if label else {})
        for record in records
    ]
    return pd.DataFrame(rows).dropna()


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
    return statistics.mean_interval(list(found.values())) if found else None


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


def by_category(records: Sequence[Record], evaluator: str) -> pd.DataFrame:
    """As `melted`, of the categories of `mt_bench` or `mt_bench_pairwise`, with each distinct start
    model as one run of the method "start model". Without rows where nobody was judged."""
    import pandas as pd

    metrics = [f"{evaluator}/{category}" for category in MT_BENCH_CATEGORIES]
    starts = {record.start_key: record for record in records}.values()
    before = [replace(record, method=START, metrics=record.start) for record in starts]
    of_runs = melted(records, metrics)
    return pd.concat([of_runs, melted(before, metrics)]) if len(of_runs) else of_runs


class Holds(StrEnum):
    """Whether a test or an effect holds."""

    YES = "holds"
    NO = "does not hold"
    OPEN = "cannot tell"


@dataclass(frozen=True)
class EffectEstimate:
    """A mean and its interval, in the unit of its test, and what it rests on."""

    mean: float
    low: float | None
    high: float | None
    num_seeds: int
    num_items: int = 0
    """Prompts or pairs that every seed was measured on; 0: one number per seed."""

    @classmethod
    def of(cls, found: Difference | Interval, num_items: int = 0) -> EffectEstimate:
        if isinstance(found, Interval):
            return cls(found.mean, found.low, found.high, found.n, num_items)
        return cls(found.mean, found.low, found.high, found.num_seeds, found.num_items)


@dataclass(frozen=True)
class EffectTest:
    """One estimate against one threshold.

    what: what is estimated, with its sign (`DPO minus SimPO, ...`). guard: it only must not fail,
    where a condition can be refuted but needs more seeds to be shown. missing: why there is no
    estimate.
    """

    what: str
    unit: str
    threshold: float
    estimate: EffectEstimate | None
    guard: bool = False
    missing: str = ""

    @property
    def outcome(self) -> Holds:
        found = self.estimate
        if found is None or found.low is None or found.high is None or found.num_seeds < MIN_SEEDS:
            return Holds.OPEN
        if found.low > self.threshold:
            return Holds.YES
        return Holds.NO if found.high < self.threshold else Holds.OPEN

    @property
    def words(self) -> str:
        """One sentence: the number, its interval, what it should be above, and the outcome."""
        if self.estimate is None:
            return f"{self.what}: not measured ({self.missing})"
        found = self.estimate
        words = f"{self.what}: {number(found.mean, self.unit)}"
        if found.low is not None and found.high is not None:
            words += f" [{_bare(found.low, self.unit)}, {_bare(found.high, self.unit)}]"
        items = f" x {found.num_items} items" if found.num_items else ""
        words += f" ({found.num_seeds} seed{'' if found.num_seeds == 1 else 's'}{items})"
        bound = number(self.threshold, "%" if self.unit == "%" else "")
        wanted = f"{'must not be below' if self.guard else 'must be above'} {bound}"
        few = f", too few seeds (needs {MIN_SEEDS})" if found.num_seeds < MIN_SEEDS else ""
        return f"{words}; {wanted}: {self.outcome}{few}"


@dataclass(frozen=True)
class Effect:
    """What a study says about one claim.

    claim: as the paper, or folklore, has it. tests: the first is the one the claim is about.
    details: estimates worth seeing that decide nothing.
    """

    name: str
    claim: str
    tests: tuple[EffectTest, ...]
    details: tuple[EffectTest, ...] = ()
    remark: str = ""

    def __post_init__(self) -> None:
        assert self.tests and not self.tests[0].guard, "an effect is about its first test"

    @property
    def outcome(self) -> Holds:
        if any(test.outcome is Holds.NO for test in self.tests):
            return Holds.NO
        if any(test.outcome is Holds.OPEN and not test.guard for test in self.tests):
            return Holds.OPEN
        return Holds.YES

    @property
    def holds(self) -> bool:
        return self.outcome is Holds.YES

    @property
    def words(self) -> str:
        """The claim, its outcome, and every test of it."""
        parts = [f"{self.claim}: {self.outcome}"]
        parts += [test.words[:1].upper() + test.words[1:] for test in self.tests]
        return ". ".join(parts) + (f". {self.remark}" if self.remark else ".")


def estimated(
    what: str,
    unit: str,
    threshold: float,
    found: Difference | Interval | None,
    *,
    guard: bool = False,
    missing: str = "",
) -> EffectTest:
    """A test of a result of `analysis.statistics`; None with the reason why there is none."""
    assert found is not None or missing, "a missing estimate says why"
    estimate = None if found is None else EffectEstimate.of(found)
    return EffectTest(what, unit, threshold, estimate, guard, missing)


def number(value: float, unit: str = "") -> str:
    """Three significant digits: `0.137`, `12.3 tokens`, `95 %`."""
    return f"{_bare(value, unit)} {unit}".rstrip()


def _bare(value: float, unit: str) -> str:
    """A share is kept as a share and printed in per cent."""
    return f"{100 * value if unit == '%' else value:.3g}"


def mean(what: str, unit: str, threshold: float, sample: Sample | None) -> EffectTest:
    """The mean of a sample against a threshold, over seeds and items."""
    if sample is None:
        return estimated(what, unit, threshold, None, missing="no finished run")
    found = EffectEstimate.of(statistics.interval(sample, LEVEL), len(sample.items))
    return EffectTest(what, unit, threshold, found)


def apart(what: str, unit: str, a: Sample | None, b: Sample | None) -> EffectTest:
    """a minus b, paired on seeds and items, against zero."""
    if a is None or b is None or not set(a.seeds) & set(b.seeds):
        return estimated(what, unit, 0.0, None, missing=UNPAIRED)
    return estimated(what, unit, 0.0, statistics.difference(a, b, LEVEL))


def share(part: Sample, whole: Sample) -> EffectEstimate:
    """Mean of `part` over mean of `whole`: all c for which `part` - c `whole` cannot be told from
    zero (Fieller 1954, "Some problems in interval estimation").

    Unlike an interval of the ratios by seed it does not break where a seed's `whole` is small. No
    interval where `whole` is not told from zero: then no ratio is excluded. The two share a seed.
    """
    from scipy.optimize import brentq

    both = [combined([part, whole], weights) for weights in ([1.0, 0.0], [0.0, 1.0])]
    assert both[0] is not None and both[1] is not None, "the two share a seed and an item"
    part, whole = both[0], both[1]
    counts = len(part.seeds), len(part.items)
    base = statistics.interval(whole, LEVEL)
    ratio = part.mean / whole.mean if whole.mean else 0.0
    if base.low is None or base.low <= 0:
        return EffectEstimate(ratio, None, None, *counts)

    def ends(c: float) -> tuple[float, float]:
        """The first is above zero for a c that is too small, the second below for one too large."""
        scaled = Sample(whole.seeds, whole.items, c * whole.values)
        found = statistics.difference(part, scaled, LEVEL)
        if found.low is None or found.high is None:
            return found.mean, found.mean
        return found.low, found.high

    width = 1.0
    while ends(ratio - width)[0] <= 0 or ends(ratio + width)[1] >= 0:
        width *= 2
        if width > FARTHEST:
            return EffectEstimate(ratio, None, None, *counts)
    lowest = float(brentq(lambda c: ends(c)[0], ratio - width, ratio, xtol=1e-4))
    highest = float(brentq(lambda c: ends(c)[1], ratio, ratio + width, xtol=1e-4))
    return EffectEstimate(ratio, lowest, highest, *counts)
