"""How often a table of single models tells two of them apart that are equally good.

    python benchmarks/model_verdicts.py [--tables 1000] [--models 4] [--json]

Equal models: each has strengths of its own by question, and in the benchmark with subjects by
subject, and all are equally good over the questions there could have been. Columns: six benchmarks
of 0 and 1 of 100 to 1,000 questions, one of 57 subjects, a reward, and the average. A table errs if
any two models in it are marked. Also: how often the interval of a difference and of the average
misses, how often a gap of --gap is found, and the first two figures without heed of subjects.
docs/statistics.md shows what this prints.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tiebreak_analysis.questions import (  # noqa: E402
    average,
    by_subject,
    model_difference,
    signal_to_noise,
)
from tiebreak_analysis.statistics import Sample, holm, mean_interval  # noqa: E402

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


def tests(columns: Columns) -> dict[tuple[str, int, int], float]:
    """Adjusted p of every pair of models in every column, as a table corrects them."""
    p = {
        (name, a, b): found.p
        for name, samples in columns.items()
        for a, b in combinations(range(len(samples)), 2)
        if (found := model_difference(samples[a], samples[b])) is not None
    }
    return {key: value for key, value in zip(p, holm(list(p.values())), strict=True)
            if value is not None}  # fmt: skip


def false_marks(
    tables: int, models: int, seeds: int, seed: int, *, clustered: bool = True
) -> float:
    """Share of tables of equal models in which any two are marked as different."""
    rng = np.random.default_rng([seed, seeds])
    drawn = (table(rng, models, seeds, clustered=clustered) for _ in range(tables))
    return float(np.mean([min(tests(columns).values()) < 0.05 for columns in drawn]))


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
    told: dict[str, list[bool]] = {}
    for _ in range(tables):
        for (name, a, b), p in tests(table(rng, models, 1, gap=gap)).items():
            if (a, b) == (0, 1) and name != REWARD:
                told.setdefault(name, []).append(p < 0.05)
    return {name: float(np.mean(values)) for name, values in told.items()}


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
    parser.add_argument("--gap", type=float, default=0.05, help="share of questions")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    args = parser.parse_args(argv)
    if args.tables < 1 or args.models < 2:
        parser.error("--tables: give 1 or more; --models: give 2 or more")
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
