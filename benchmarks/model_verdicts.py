"""How often a table of single models tells two of them apart that are equally good.

    python benchmarks/model_verdicts.py [--tables 1000] [--models 4] [--checkpoints 3] [--json]

Equal models: each has strengths of its own by question, and in the benchmark with subjects by
subject, and all are equally good over the questions there could have been. Columns: six benchmarks
of 0 and 1 of 100 to 1,000 questions, one of 57 subjects, a reward, and the average. A table errs if
any two models in it are said to differ: the rows of methods alone, and with their start model and
--checkpoints models from elsewhere in the family of tests. Also: how often the interval of a
difference and of the average misses, how often a gap of --gap is found, and false marks and misses
without heed of subjects. docs/statistics.md shows what this prints.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tiebreak.metrics import Direction  # noqa: E402
from tiebreak.track.record_format import CHECKPOINT  # noqa: E402
from tiebreak_analysis.questions import average, by_subject, signal_to_noise  # noqa: E402
from tiebreak_analysis.statistics import Sample, mean_interval  # noqa: E402
from tiebreak_analysis.tables.models import models_judged  # noqa: E402
from tiebreak_analysis.tables.table import (  # noqa: E402
    START,
    Cell,
    Column,
    ModelTests,
    Row,
)

SIZES = {"small": 100, "lean": 200, "usual": 300, "wide": 400, "large": 600, "full": 1000}
SUBJECTS, OF_SUBJECT = 57, "subjects"
REWARD = "reward"
Columns = Mapping[str, list[Sample]]
"""Column -> a sample per model."""


def table(
    rng: np.random.Generator, models: int, seeds: int, *, gap: float = 0.0, clustered: bool = True
) -> Columns:
    """One table of equal models. gap: how much better the first one is, in every benchmark."""
    better = gap * (np.arange(models) == 0)
    columns = {
        name: _answers(rng, np.zeros((models, size)), seeds, better) for name, size in SIZES.items()
    }
    sizes = rng.integers(3, 25, SUBJECTS)
    subject_I = np.repeat(np.arange(SUBJECTS), sizes)
    strength_MG = rng.normal(0, 0.6, (models, SUBJECTS))
    answers = _answers(rng, strength_MG[:, subject_I], seeds, better)
    columns[OF_SUBJECT] = answers if not clustered else [
        np.stack([by_subject(one, subject_I) for one in values]) for values in answers
    ]  # fmt: skip
    samples = {
        name: [Sample(tuple(range(seeds)), tuple(map(str, range(values.shape[1]))), values)
               for values in found]
        for name, found in columns.items()
    }  # fmt: skip
    samples["average"] = [
        average([(name, samples[name][at]) for name in samples]) for at in range(models)
    ]
    reward = 0.6 + rng.normal(0, 0.12, 256) + rng.normal(0, 0.2, (models, seeds, 256))
    names = tuple(map(str, range(256)))
    samples[REWARD] = [Sample(tuple(range(seeds)), names, values) for values in reward]
    return samples


def _answers(
    rng: np.random.Generator, strength_MI: np.ndarray, seeds: int, better_M: np.ndarray
) -> list[np.ndarray]:
    """Per model (seeds, questions) of 0 and 1; its own strength by question, the same in all
    seeds, is added to what `strength_MI` has."""
    models, size = strength_MI.shape
    own = strength_MI + rng.normal(0, 0.5, (models, size)) + rng.normal(0, 1.5, size)
    chance = 1 / (1 + np.exp(-own)) + better_M[:, None]
    return [(rng.random((seeds, size)) < row).astype(float) for row in chance]


def tests(columns: Columns, checkpoints: int | None = None) -> ModelTests:
    """What a section of a table finds. checkpoints None: every model is the row of a method; else
    the last so many are checkpoints and the first one is the start model, with one seed each."""
    models = len(next(iter(columns.values())))
    last = models - (checkpoints or 0)
    rows = []
    for at in range(models):
        start, given = checkpoints is not None and not at, at >= last
        scenario, label = CHECKPOINT if given else "align", START if start else f"m{at}"
        samples = [samples[at] for samples in columns.values()]
        if start or given:
            samples = [Sample(one.seeds[:1], one.items, one.values[:1]) for one in samples]
        cells = tuple(Cell(mean_interval(one.values.mean(0)), (label,), one) for one in samples)
        method = None if start else label
        rows.append(Row(scenario, label, method, label, len(samples[0].seeds), (label,), cells))
    blocks = [(part, True) for part in (rows[:last], rows[last:]) if part]
    return models_judged(blocks, [Column(name, direction=Direction.UP) for name in columns])[1]


def false_marks(
    tables: int,
    models: int,
    seeds: int,
    seed: int,
    *,
    checkpoints: int | None = None,
    clustered: bool = True,
) -> float:
    """Share of tables of equal models in which any two are said to differ. checkpoints: so many
    beside the methods, and the start model (None: neither)."""
    rng = np.random.default_rng([seed, seeds])
    number = models if checkpoints is None else models + 1 + checkpoints
    drawn = (table(rng, number, seeds, clustered=clustered) for _ in range(tables))
    return float(np.mean([bool(tests(columns, checkpoints).pairs) for columns in drawn]))


def misses(tables: int, seed: int, *, clustered: bool = True) -> dict[str, float]:
    """How often 95 % intervals of the difference of two equal models miss 0."""
    rng = np.random.default_rng([seed, 7])
    missed: dict[str, list[bool]] = {}
    for _ in range(tables):
        for name, (a, b) in table(rng, 2, 1, clustered=clustered).items():
            found = mean_interval(a.values[0] - b.values[0])
            assert found.low is not None and found.high is not None
            missed.setdefault(name, []).append(not found.low <= 0 <= found.high)
    return {name: float(np.mean(values)) for name, values in missed.items()}


def found(tables: int, models: int, gap: float, seed: int) -> dict[str, float]:
    """By column, how often the better model is told apart from a given other one."""
    rng = np.random.default_rng([seed, 11])
    told = {name: 0 for name in (*SIZES, OF_SUBJECT, "average")}
    for _ in range(tables):
        for pair in tests(table(rng, models, 1, gap=gap)).pairs:
            if {pair.better, pair.worse} == {"m0", "m1"} and pair.column in told:
                told[pair.column] += 1
    return {name: number / tables for name, number in told.items()}


def ratios(tables: int, models: int, seeds: int, seed: int) -> dict[str, float]:
    """Signal-to-noise of columns of equal models: root mean square, and the share at 2 or more."""
    rng = np.random.default_rng([seed, 13])
    values = [
        signal_to_noise([samples])
        for _ in range(tables)
        for name, samples in table(rng, models, seeds).items()
    ]
    known = np.array([value for value in values if value is not None])
    return {"typical": float(np.sqrt(np.mean(known**2))), "2 or more": float(np.mean(known >= 2))}


def measure(args: argparse.Namespace) -> dict[str, object]:
    few = max(1, args.tables // 5)
    return {
        "tables": args.tables,
        "false marks": {
            f"{seeds} seeds a model": false_marks(args.tables, args.models, seeds, args.seed)
            for seeds in (1, 2)
        },
        f"false marks, with the start model and {args.checkpoints} checkpoints": {
            f"{seeds} seeds a model": false_marks(
                args.tables, args.models, seeds, args.seed, checkpoints=args.checkpoints
            )
            for seeds in (1, 2)
        },
        "false marks, subjects ignored": false_marks(
            args.tables, args.models, 1, args.seed, clustered=False
        ),
        "interval misses": misses(args.tables, args.seed),
        "interval misses, subjects ignored": misses(args.tables, args.seed, clustered=False),
        f"gap of {args.gap:g} found": found(few, args.models, args.gap, args.seed),
        "signal-to-noise of equal models": {
            f"{models} models, {seeds} seeds": ratios(few, models, seeds, args.seed)
            for models in (2, 4, 10)
            for seeds in (1, 3)
        },
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tables", type=int, default=1000, help="simulated, for each figure")
    parser.add_argument("--models", type=int, default=4, help="in a table")
    parser.add_argument("--checkpoints", type=int, default=3, help="beside them")
    parser.add_argument("--gap", type=float, default=0.05, help="share of questions")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    args = parser.parse_args(argv)
    if args.tables < 1 or args.models < 2 or args.checkpoints < 0:
        parser.error("--tables: give 1 or more; --models: 2 or more; --checkpoints: 0 or more")
    told = measure(args)
    if args.json:
        print(json.dumps(told))
        return 0
    for name, value in told.items():
        print(f"{name}: {_text(value)}")
    return 0


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(one)}" for name, one in value.items())
    return f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    raise SystemExit(main())
