"""How often a table declares a difference: where there is none (A/A), and where there is one.

    python benchmarks/verdicts.py [--runs FOLDER] [--tables 1000] [--coverage] [--json]

A/A: tables of one method against itself under four names, three scenarios, three directed columns.
A table errs if any pair of names in it is told apart. Power: one method is better by --gap in gold
reward in one scenario (of --runs, the one whose seeds differ most); found if a given other method
is told apart from it. --coverage: how often other intervals of a mean miss. Values come from real
runs (--runs), or else from variance components fitted to such runs. docs/statistics.md shows what
this prints.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks import interval_candidates as candidates  # noqa: E402
from benchmarks.interval_candidates import Variances  # noqa: E402
from benchmarks.simulated_tables import REWARD, Model, Shape, Source, read  # noqa: E402
from tiebreak.errors import UserError  # noqa: E402
from tiebreak_analysis.statistics import crossed, holm, p_value  # noqa: E402

FAMILIES = ("table", "column of a scenario", "none")
KINDS = {
    "mean, gold reward": Variances(0.00036, 0.014, 0.032),
    "difference, gold reward": Variances(0.00072, 0.002, 0.05),
    "mean, accuracy": Variances(0.00003, 0.113, 0.024),
    "difference, accuracy": Variances(0.00006, 0.01, 0.025),
    "difference, seeds alike": Variances(0, 0, 0.05),
}


@dataclass(frozen=True)
class Rate:
    """A share of simulated tables and its standard error."""

    share: float
    error: float

    @classmethod
    def of(cls, hits: Sequence[bool]) -> Rate:
        share = float(np.mean(hits))
        return cls(share, (share * (1 - share) / len(hits)) ** 0.5)


def tests(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """p (columns, scenarios, pairs) of every pair of methods; columns (C, M, S, I).

    As `analysis.statistics.difference` has them, all scenarios and pairs of a column at once.
    """
    found = []
    for values in columns.values():
        a, b = zip(*combinations(range(values.shape[1]), 2), strict=True)
        found.append(p_value(crossed(values[:, list(a)] - values[:, list(b)])))
    return np.stack(found)


def corrected(p: np.ndarray, family: str) -> np.ndarray:
    """Adjusted p of the same shape: Holm over the whole table, per column and scenario, or raw."""
    if family == "none":
        return p
    if family == "table":
        return _holm(p.ravel()).reshape(p.shape)
    return np.apply_along_axis(_holm, 2, p)


def _holm(p: np.ndarray) -> np.ndarray:
    values = holm([None if np.isnan(value) else float(value) for value in p])
    return np.array([np.nan if value is None else value for value in values])


def false_alarms(
    source: Source, shape: Shape, tables: int, seed: int, level: float = 0.95
) -> dict[str, Rate]:
    """Family of Holm's correction -> share of tables of one method that tell any pair apart."""
    rng = np.random.default_rng(seed)
    hits: dict[str, list[bool]] = {family: [] for family in FAMILIES}
    for _ in range(tables):
        p = tests(source.draw(rng, shape))
        for family in FAMILIES:
            hits[family].append(bool((corrected(p, family) < 1 - level).any()))
    return {family: Rate.of(found) for family, found in hits.items()}


def power(
    source: Source, shape: Shape, gap: float, tables: int, seed: int, level: float = 0.95
) -> dict[str, Rate]:
    """Family -> share of tables that tell the better method apart from a given other one.

    The error takes the other methods of a table as one another's copies: it is never too small.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, list[float]] = {family: [] for family in FAMILIES}
    for _ in range(tables):
        columns = source.draw(rng, shape)
        columns[REWARD] = columns[REWARD].copy()
        columns[REWARD][0, 0] += gap
        p = tests(columns)
        means = columns[REWARD][0].mean((-2, -1))
        for family in FAMILIES:
            told = corrected(p, family)[0, 0, : shape.methods - 1] < 1 - level
            found[family].append(float((told & (means[0] > means[1:])).mean()))
    return {
        family: Rate(float(np.mean(share)), float(np.std(share) / len(share) ** 0.5))
        for family, share in found.items()
    }


def coverage(seed: int, draws: int, bootstraps: int) -> list[dict[str, object]]:
    """Per kind of mean, number of seeds and rule: how often it errs at 5 %, 1 % and 0.1 %."""
    rows: list[dict[str, object]] = []
    for kind, variances in KINDS.items():
        for num_seeds in (3, 5, 10):
            rng = np.random.default_rng([seed, num_seeds])
            drawn = candidates.squares(rng, variances, num_seeds, 256, draws)
            about = {"of": kind, "seeds": num_seeds}
            for rule, p in candidates.p_values(drawn).items():
                errs = {f"{100 * a:g} %": float((p < a).mean()) for a in (0.05, 0.01, 0.001)}
                rows.append({**about, "rule": rule, **errs})
            if bootstraps:
                missed = candidates.bootstrap_misses(rng, variances, num_seeds, 256, bootstraps)
                rows += [{**about, "rule": rule, "5 %": share} for rule, share in missed.items()]
    return rows


def measure(args: argparse.Namespace) -> dict[str, object]:
    if args.coverage:
        return {"coverage": coverage(args.seed, 20 * args.tables, args.tables // 2)}
    source = read(args.runs, args.method) if args.runs else Model()
    began = time.perf_counter()
    alarms = {
        seeds: {
            family: vars(rate)
            for family, rate in false_alarms(
                source, Shape(seeds=seeds), args.tables, args.seed
            ).items()
        }
        for seeds in args.seeds
    }
    seconds = time.perf_counter() - began
    powers = {
        seeds: {
            family: vars(rate)
            for family, rate in power(
                source, Shape(seeds=seeds), args.gap, args.tables, args.seed
            ).items()
        }
        for seeds in (*args.seeds, *args.power_seeds)
    }
    return {"aa": alarms, "gap": args.gap, "power": powers, "aa_seconds": seconds}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=Path, help="a runs folder; else from a fitted model")
    parser.add_argument("--method", help="of --runs: the one compared with itself")
    parser.add_argument("--tables", type=int, default=1000, help="simulated, for each figure")
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 5], help="of the A/A tables")
    parser.add_argument("--power-seeds", type=int, nargs="*", default=[8, 10, 12, 15])
    parser.add_argument("--gap", type=float, default=0.05, help="in gold reward")
    parser.add_argument("--coverage", action="store_true", help="compare intervals instead")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    args = parser.parse_args(argv)
    if args.tables < 1:
        parser.error(f"--tables {args.tables}: give 1 or more")
    if min((*args.seeds, *args.power_seeds)) < 2:
        parser.error("--seeds, --power-seeds: give 2 or more; with one nothing is tested")
    if args.method and not args.runs:
        parser.error("--method names a method of --runs; give both")
    return args


def show(found: Mapping[str, object]) -> str:
    """The figures as Markdown tables."""
    if "coverage" in found:
        rows = found["coverage"]
        assert isinstance(rows, list)
        heads = ["of", "seeds", "rule", "5 %", "1 %", "0.1 %"]
        lines = [[_text(row.get(head)) for head in heads] for row in rows]
    else:
        heads = ["simulated", "seeds", *(f"Holm over: {family}" for family in FAMILIES)]
        lines = []
        for what, name in (("aa", "no difference"), ("power", f"{found['gap']:g} better")):
            rates = found[what]
            assert isinstance(rates, dict)
            lines += [
                [
                    name,
                    str(seeds),
                    *(
                        f"{100 * r['share']:.1f} ± {100 * r['error']:.1f} %"
                        for r in by_family.values()
                    ),
                ]
                for seeds, by_family in rates.items()
            ]
    cells = [heads, ["---"] * len(heads), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{100 * value:.2f} %" if isinstance(value, float) else str(value)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    try:
        found = measure(args)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(found) if args.json else show(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
