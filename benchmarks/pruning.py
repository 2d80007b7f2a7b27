"""ASHA against random search at equal cost: how good is the setting that each of them picks?

    python benchmarks/pruning.py

A pool of DPO settings (learning rate and beta, drawn at random) is trained to the end on the
controlled world and looked at on validation rows where `tiebreak sweep` looks. Both searches are
then replayed on the pool, many times, in random orders: random search trains every setting to its
end, ASHA (the pruner that a sweep uses) ends the weaker ones early and so tries more. Cost is CPU
seconds: updates, looks and final evaluations. What is compared is the *test* reward of the setting
with the best *validation* reward. The interval is over pools, resampled from the one that was
trained; every setting is trained with one seed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import numpy as np  # noqa: E402

from tiebreak.compose import Run, compose  # noqa: E402
from tiebreak.config.typed import Choice, Interval, Space  # noqa: E402
from tiebreak.home import artefacts_dir  # noqa: E402
from tiebreak.run import trials  # noqa: E402
from tiebreak.store import Store  # noqa: E402

METRIC = "gold/reward"
SPACE: Space = {
    "train.learning_rate": Interval(1e-5, 3e-3, log=True),
    "method.beta": Choice((0.01, 0.05, 0.1)),
}
FIXED = ("model=tiny", "data=world", "method=dpo", "scenario=align-from-base", "tracker=none")
PRETEND = tuple(
    "model.pretraining.documents=300 model.pretraining.hidden_size=32 "
    "model.pretraining.intermediate_size=64 model.pretraining.layers=2 "
    "model.pretraining.batch_size=32 data.num_pairs=160 data.num_test_pairs=8 "
    "evaluation.num_prompts=8 evaluation.max_new_tokens=8".split()
)
RUNGS = 2


@dataclass(frozen=True)
class Trained:
    """One setting, trained to its end."""

    settings: dict[str, Any]
    looks: Sequence[float]
    """The validation metric at each rung."""
    validation: float
    test: float
    seconds: Sequence[float]
    """CPU seconds up to each look, the look included, and in all, the evaluation included."""


class Looks:
    """Where a sweep would look at this training: keeps what it sees, and ends nothing."""

    def __init__(self, run: Run, began: float) -> None:
        rows = run.plan.held_out
        self.run, self.began = run, began
        self.rows = Store(artefacts_dir()).path(rows.name, rows.key)
        self.values: list[float] = []
        self.seconds: list[float] = []

    def __call__(self, step: int, steps: int, paths: Any, model: Any) -> None:
        from tiebreak.run.trials import validate

        if trials.rung_at(step, steps, RUNGS) is not None:
            self.values.append(validate(self.run, self.rows, model)[METRIC])
            self.seconds.append(time.process_time() - self.began)


def prepare(sizes: Sequence[str]) -> None:
    """The stages that all settings share are no cost of either search."""
    from tiebreak.run.execute import execute

    execute(compose([*FIXED, *sizes, "train.max_steps=1"]))


def train(settings: dict[str, Any], sizes: Sequence[str]) -> Trained:
    """One setting of the pool: looked at, judged on validation rows, and on the test."""
    from tiebreak.run.execute import execute
    from tiebreak.track.record import read_result

    chosen = [*FIXED, *sizes, *(f"{key}={value}" for key, value in settings.items())]
    began = time.process_time()
    run = compose([*chosen, "evaluation.split=validation"])
    looks = Looks(run, began)
    outcome = execute(run, on_step=looks)
    seconds = (*looks.seconds, time.process_time() - began)
    test = execute(compose([*chosen, "evaluation.split=test"]))
    value, after = (
        read_result(one.folder, one.evaluation_id)["metrics"][METRIC] for one in (outcome, test)
    )
    return Trained(settings, tuple(looks.values), value, after, seconds)


def pool_of(num: int, sizes: Sequence[str], processes: int) -> list[Trained]:
    prepare(sizes)
    points = [trials.draw(SPACE, "pruning", number) for number in range(num)]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn) as executor:
        return list(executor.map(train, points, [sizes] * num))


def random_search(order: Sequence[Trained], costs: Sequence[float], budget: float) -> list[Trained]:
    """The settings that are trained to the end before the budget is spent."""
    return list(order[: int(budget / costs[-1])])


def asha(order: Sequence[Trained], costs: Sequence[float], budget: float) -> list[Trained]:
    """The same with the sweep's pruner; an unfinished training at the end of the budget is lost."""
    import optuna

    study = optuna.create_study(
        direction="maximize", pruner=trials.pruner("asha", len(order[0].looks))
    )
    whole, spent = [], 0.0
    for one in order:
        trial, before = study.ask(), 0.0
        for rung, value in enumerate((*one.looks, None)):
            spent += costs[rung] - before
            before = costs[rung]
            if spent > budget:
                return whole
            if value is None:
                study.tell(trial, one.validation)
                whole.append(one)
                continue
            trial.report(value, trials.REDUCTION**rung)
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
    return whole


def picked(whole: Sequence[Trained]) -> float:
    """The test metric of the setting with the best validation metric."""
    return max(whole, key=lambda one: one.validation).test


def replay(
    pool: Sequence[Trained], budget: int, pools: int, orders: int, seed: int
) -> Iterator[tuple[float, float, float, float]]:
    """Per resampled pool: the mean of what random search and ASHA pick, and settings tried."""
    costs = np.median([one.seconds for one in pool], axis=0)
    rng = np.random.default_rng(seed)
    for _ in range(pools):
        drawn = [pool[i] for i in rng.integers(len(pool), size=len(pool))]
        found = []
        for _ in range(orders):
            order = [drawn[i] for i in rng.permutation(len(drawn))]
            ours = asha(order, costs, budget * costs[-1])
            plain = random_search(order, costs, budget * costs[-1])
            found.append((picked(plain), picked(ours), len(plain), len(ours)))
        plain_test, asha_test, num_plain, num_asha = np.mean(found, axis=0)
        yield plain_test, asha_test, num_plain, num_asha


def compare(pool: Sequence[Trained], args: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for budget in args.budgets:
        found = np.array(list(replay(pool, budget, args.pools, args.orders, seed=0)))
        margin = found[:, 1] - found[:, 0]
        low, high = np.quantile(margin, [0.025, 0.975])
        rows.append(
            {
                "budget": budget,
                "random": float(found[:, 0].mean()),
                "asha": float(found[:, 1].mean()),
                "margin": float(margin.mean()),
                "low": float(low),
                "high": float(high),
                "trained_to_the_end": [float(found[:, 2].mean()), float(found[:, 3].mean())],
            }
        )
    return rows


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--settings", type=int, default=36, help="how many are in the pool")
    parser.add_argument("--budgets", type=int, nargs="+", default=[4, 8, 12],
                        help="costs of so many whole trainings")  # fmt: skip
    parser.add_argument("--pools", type=int, default=200, help="resampled pools")
    parser.add_argument("--orders", type=int, default=10, help="orders of each")
    parser.add_argument("--rungs", type=int, choices=(1, 2), default=2, help="looks to replay with")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="read the pool from this file, or write it there")
    parser.add_argument("--home", type=Path, help="where runs go and stay (default: nowhere)")
    parser.add_argument("--pretend", action="store_true", help="tiny sizes: shows that it works")
    args = parser.parse_args(argv)
    for name in ("settings", "pools", "orders", "processes"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} {getattr(args, name)}: give 1 or more")
    if not all(1 <= budget <= args.settings for budget in args.budgets):
        parser.error(f"--budgets {args.budgets}: give 1 to {args.settings}, the settings there are")
    return args


def trained(args: argparse.Namespace) -> list[Trained]:
    if args.keep and args.keep.is_file():
        rows: list[dict[str, Any]] = json.loads(args.keep.read_text())
        return [Trained(**row) for row in rows]
    with tempfile.TemporaryDirectory() as name:
        os.environ |= {"TIEBREAK_HOME": str(args.home or name), "OMP_NUM_THREADS": "1"}
        pool = pool_of(args.settings, PRETEND if args.pretend else (), args.processes)
    if args.keep:
        args.keep.write_text(json.dumps([asdict(one) for one in pool], indent=1))
    return pool


def last_look(one: Trained) -> Trained:
    """The same training with its last look alone: what the first one cost is taken off the rest."""
    steps = one.seconds[-1] / trials.REDUCTION**RUNGS / 2  # half of a run is training, roughly
    saved = max(0.0, one.seconds[0] - steps)
    seconds = tuple(value - saved for value in one.seconds[1:])
    return Trained(one.settings, one.looks[1:], one.validation, one.test, seconds)


def main(argv: Sequence[str] | None = None) -> int:
    import optuna

    args = parse(argv)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pool = trained(args)
    if args.rungs == 1:
        pool = [last_look(one) for one in pool]
    costs = np.median([one.seconds for one in pool], axis=0)
    print(f"{len(pool)} settings; CPU seconds to each look and in all: "
          f"{', '.join(f'{c:.1f}' for c in costs)}")  # fmt: skip
    for row in compare(pool, args):
        plain, ours = row["trained_to_the_end"]
        print(
            f"cost of {row['budget']} trainings: {METRIC} random {row['random']:.3f}, "
            f"ASHA {row['asha']:.3f}, margin {row['margin']:+.3f} "
            f"[{row['low']:+.3f}, {row['high']:+.3f}] (95 %); trained to the end "
            f"{plain:.1f} and {ours:.1f}"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
