"""The fast version of `benchmarks/verdicts.py`: false alarms, power, and that it tests what we do.

With 150 tables a rate is only known to a few per cent. A bound on false alarms is the number that
5 % would exceed in one of 10,000 simulations; one on power is three standard errors below.
"""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from benchmarks import verdicts
from benchmarks.interval_candidates import Variances, bootstrap_misses
from benchmarks.simulated_tables import COLUMNS, REWARD, Model, Shape, read
from tiebreak.errors import UserError
from tiebreak_analysis.statistics import RECOMMENDED_SEEDS, Sample, difference, holm

TABLES = 150


def write_runs(folder: Path, methods: tuple[str, ...] = ("dpo",), seeds: int = 5) -> Path:
    """Records with items, from the fitted model."""
    drawn = Model().draw(np.random.default_rng(0), Shape(2, len(methods), seeds, 64))
    for at, scenario in enumerate(("align-from-base", "sft-then-align")):
        for m, method in enumerate(methods):
            for seed in range(seeds):
                run = folder / f"{at}{m}{seed:010d}"
                evaluation = run / "evaluations" / "e0"
                (evaluation / "items").mkdir(parents=True)
                names = {"method": method, "scenario": scenario}
                manifest = {"names": names, "group_id": f"{scenario} {method}"}
                (run / "manifest.json").write_text(json.dumps(manifest))
                (evaluation / "result.json").write_text("{}")
                reward, win, correct = (drawn[name][at, m, seed] for name in COLUMNS)
                gold = pd.DataFrame({"reward/after": reward, "win": win})
                gold.to_parquet(evaluation / "items" / "gold.parquet")
                pairs = pd.DataFrame({"correct/after": correct > 0})
                pairs.to_parquet(evaluation / "pairs.parquet")
    return folder


@pytest.mark.parametrize("seeds", [3, 5])
def test_one_method_against_itself(seeds: int) -> None:
    found = verdicts.false_alarms(Model(), Shape(seeds=seeds), TABLES, seed=0)
    most = binom.ppf(1 - 1e-4, TABLES, 0.05)
    assert found["table"].share * TABLES <= most
    # without correction most such tables would declare something: the simulation can fail
    assert found["none"].share > 0.4


def test_real_runs_against_themselves(tmp_path: Path) -> None:
    source = read(write_runs(tmp_path))
    found = verdicts.false_alarms(source, Shape(seeds=5), TABLES, seed=0)
    assert found["table"].share * TABLES <= binom.ppf(1 - 1e-4, TABLES, 0.05)
    assert found["none"].share > 0.4


def test_a_gap_is_found_at_the_recommended_number_of_seeds() -> None:
    shape = Shape(seeds=RECOMMENDED_SEEDS)
    found = verdicts.power(Model(), shape, 0.05, TABLES, seed=0)["table"]
    assert found.share >= 0.8 - 3 * found.error


def test_the_simulation_judges_as_a_table_does() -> None:
    shape = Shape(scenarios=2, methods=3, seeds=3, items=40)
    columns = Model(seed=0.0, rest=0.001).draw(np.random.default_rng(1), shape)
    columns[REWARD][1, 2] -= 0.1
    items = tuple(map(str, range(40)))
    methods = ("a", "b", "c")
    family = {}
    for column, values in columns.items():
        for scenario in range(2):
            samples = {
                name: Sample((1, 2, 3), items, values[scenario, at])
                for at, name in enumerate(methods)
            }
            for a, b in combinations(methods, 2):
                family[column, scenario, a, b] = difference(samples[a], samples[b]).p
    adjusted = dict(zip(family, holm(list(family.values())), strict=True))
    ours = verdicts.corrected(verdicts.tests(columns), "table")
    expected = [np.nan if p is None else p for p in adjusted.values()]
    assert ours.ravel() == pytest.approx(expected, nan_ok=True)
    against_a = [adjusted[REWARD, 1, "a", other] for other in ("b", "c")]
    assert against_a[0] > 0.05 > against_a[1], "the gap is found, and no other"


def test_resampled_runs_keep_mean_and_seed_variance(tmp_path: Path) -> None:
    source = read(write_runs(tmp_path, ("dpo", "ipo"), seeds=10), method="ipo")
    answers = source.scenarios[0]
    rng = np.random.default_rng(0)
    drawn = source.draw(rng, Shape(1, 200, 20, 256))[REWARD][0]
    assert drawn.mean() == pytest.approx(answers.reward_KI.mean(), abs=0.02)
    of_rest = answers.reward_KI.var(0).mean() / 256
    between = drawn.mean(-1).var(-1, ddof=1).mean() - of_rest
    assert between == pytest.approx(answers.reward_seed_variance, rel=0.2, abs=2e-5)
    assert answers.reward_seed_variance > 0


def test_runs_of_one_seed_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="two seeds"):
        read(write_runs(tmp_path, seeds=1))
    assert verdicts.main(["--runs", str(tmp_path / "none"), "--tables", "2"]) == 2
    assert "no runs" in capsys.readouterr().err


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--tables", "4", "--seeds", "3", "--power-seeds", "5"]
    assert verdicts.main([*few, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["power"]) == {"3", "5"}
    assert verdicts.main(few) == 0
    assert "no difference | 3 |" in capsys.readouterr().out
    assert verdicts.main(["--coverage", "--tables", "3"]) == 0
    assert "pigeonhole" in capsys.readouterr().out


def test_coverage_separates_the_rules() -> None:
    """Where seeds and items both count, and far in the tail; bounds of 3.5 standard errors."""
    rows = verdicts.coverage(seed=0, draws=4000, bootstraps=0)
    at = {(row["of"], row["seeds"], row["rule"]): row for row in rows}
    ours = [row for row in rows if row["rule"] == "Behrens-Fisher (ours)"]
    assert max(float(row["5 %"]) for row in ours) < 0.05 + 3.5 * (0.05 * 0.95 / 4000) ** 0.5
    assert max(float(row["0.1 %"]) for row in ours) < 0.001 + 3.5 * (0.001 / 4000) ** 0.5
    assert float(at["mean, gold reward", 3, "Satterthwaite"]["0.1 %"]) > 0.004
    assert float(at["mean, accuracy", 10, "Student over seeds"]["5 %"]) > 0.5


def test_bootstraps_do_not_cover_with_three_seeds() -> None:
    seeds_only = Variances(0.01, 0, 0.01)
    rng = np.random.default_rng(0)
    missed = bootstrap_misses(rng, seeds_only, 3, 64, num_tables=100, num_resamples=200)
    assert min(missed.values()) > 0.1
