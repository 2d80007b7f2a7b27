"""The Arizona study (arXiv 2404.14723): scenarios by methods, and how much data is needed.

The demo is its scenarios by its methods, small enough to run while one waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tiebreak_analysis.published import published
from tiebreak_analysis.records.runs import Record, Runs
from tiebreak_analysis.statistics import Sample
from tiebreak_analysis.studies import effect
from tiebreak_analysis.studies.effect import Effect, EffectTest
from tiebreak_analysis.studies.study import Done, StudyReport, TableSpec
from tiebreak_analysis.tables.rows import SCENARIOS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TENTH = 0.1
MOST = 0.5
NEARER, FARTHER = ("kto", "cpo"), ("dpo", "ipo")
PARTS = ("gold/helpfulness", "gold/faithfulness", "gold/tone", "gold/length")
SIZE = ("gold/reward", "win_rate/start", "length/generated", "kl/reference")
MISTRAL = ("arizona-7b", "arizona-base-7b")
DEMO_SWEEP = "arizona-mini"
DEMO_TRAINING = ("drift/margin", "drift/chosen", "drift/rejected")
BASE, SFT = "align-from-base", "sft-then-align"


def tenth(runs: Runs, records: Sequence[Record], name: str, full: int, how: str) -> Effect:
    """Effect 4: the gain with a tenth of `full` pairs, minus half the gain with all of them, must
    lie above zero, for each method of the sweep. how: what else differs between the sizes.

    The share itself stands in the details (`analysis.studies.effect.share`).
    """
    tests, details = [], []
    for method in sorted({record.method for record in records}) or ["dpo"]:
        small = _gains(runs, records, method, TENTH * full)
        large = _gains(runs, records, method, full)
        half = None if large is None else effect.combined([large], [MOST])
        what = f"{method.upper()}: gain with a tenth, minus half the gain with all"
        tests.append(effect.apart(what, "reward", small, half))
        over = f"{method.upper()}: gain with a tenth over gain with all"
        details.append(_share(over, small, large))
    claim = f"Half or more of the gain is there with a tenth of the data (of {full} pairs; {how})"
    return Effect(name, claim, tuple(tests), tuple(details))


def nearer(runs: Runs, records: Sequence[Record]) -> Effect:
    """Effect 5: what align-from-base lacks of sft-then-align, by method, on the same seeds and
    prompts; the mean over DPO and IPO minus the mean over KTO and CPO must lie above zero.

    The four single differences stand in the details.
    """
    gaps = {method: _gap(runs, records, method) for method in (*FARTHER, *NEARER)}
    there = [gap for gap in gaps.values() if gap is not None]
    contrast = effect.combined(there, [0.5, 0.5, -0.5, -0.5]) if len(there) == len(gaps) else None
    missed = "gold reward that align-from-base misses"
    what = f"{missed}, mean of DPO and IPO minus mean of KTO and CPO"
    return Effect(
        "base-reaches-sft",
        "Align-from-base with KTO or CPO comes nearer to SFT-then-align than with DPO or IPO",
        tests=(effect.mean(what, "reward", 0.0, contrast),),
        details=tuple(
            effect.apart(
                f"{missed}, {far.upper()} minus {near.upper()}", "reward", gaps[far], gaps[near]
            )
            for far in FARTHER
            for near in NEARER
        ),
    )


def _gains(runs: Runs, records: Sequence[Record], method: str, size: float) -> Sample | None:
    """Gold reward gained over the start model, by seed and prompt."""
    found = effect.pick(records, {"method.name": method, "data.num_pairs": size})
    return effect.sample(
        runs.items, found, lambda rows: rows["reward/after"] - rows["reward/before"]
    )


def _share(what: str, small: Sample | None, large: Sample | None) -> EffectTest:
    if small is None or large is None or not set(small.seeds) & set(large.seeds):
        return effect.estimated(what, "%", MOST, None, missing=effect.UNPAIRED)
    return EffectTest(what, "%", MOST, effect.share(small, large))


def _gap(runs: Runs, records: Sequence[Record], method: str) -> Sample | None:
    """Gold reward of sft-then-align minus align-from-base, by seed and prompt."""
    wheres = [{"method.name": method, "scenario.name": scenario} for scenario in (SFT, BASE)]
    both = [
        effect.sample(runs.items, effect.pick(records, where), lambda rows: rows["reward/after"])
        for where in wheres
    ]
    there = [one for one in both if one is not None]
    return effect.combined(there, [1.0, -1.0]) if len(there) == 2 else None


def effects(runs: Runs, done: Done) -> tuple[Effect, ...]:
    one_pass, same_steps = done["arizona-size-mini"], done["arizona-steps-mini"]
    return (
        tenth(runs, one_pass, "tenth-of-data", 4000, "one pass, so a tenth of the steps too"),
        tenth(runs, same_steps, "tenth-of-data-same-steps", 1200, "as many steps for both"),
    )


def figures(runs: Runs, done: Done) -> dict[str, Figure]:
    """Reward against the number of pairs, and the parts of the reward by method."""
    from tiebreak_analysis.figures.curves import data_size

    found: dict[str, Figure] = {}
    both = (*done["arizona-size-mini"], *done["arizona-steps-mini"])
    sizes = effect.points(both, ["gold/reward"], {"rows": "data.num_pairs"}, _training)
    if len(sizes):
        found["training-size"] = data_size(sizes, start=effect.start_of(both, "gold/reward"))
    return found | _parts(done["arizona-mini"])


def _parts(records: Sequence[Record]) -> dict[str, Figure]:
    """The parts of the reward by method, per scenario. The radar is there to be laid beside the
    paper's, where no part is below zero."""
    from tiebreak_analysis.figures.categories import dots, radar

    found: dict[str, Figure] = {}
    for scenario in SCENARIOS:
        scores = effect.melted([r for r in records if r.scenario == scenario], PARTS)
        if len(scores):
            found[f"parts-{scenario}"] = dots(scores, unit="mean of the part")
            means = scores.groupby(["method", "category"])["value"].mean()
            if len(means) == len(PARTS) * scores["method"].nunique() and (means >= 0).all():
                found[f"radar-{scenario}"] = radar(scores)
    return found


def _training(record: Record) -> str:
    steps = record.settings.get("train.max_steps")
    return f"{record.method}, {'one pass' if steps is None else f'{steps} steps'}"


def figures_of_demo(runs: Runs, done: Done) -> dict[str, Figure]:
    """Per scenario the drift over training; reward against KL; who is displaced."""
    from tiebreak_analysis.displacement import compare, tidy
    from tiebreak_analysis.figures.categories import displaced
    from tiebreak_analysis.figures.curves import curves
    from tiebreak_analysis.figures.frontier import frontier

    found: dict[str, Figure] = {}
    for scenario in SCENARIOS:
        records = [record for record in done[DEMO_SWEEP] if record.scenario == scenario]
        frame = effect.history(runs, records)
        names = [name for name in DEMO_TRAINING if name in frame and frame[name].notna().any()]
        if names:
            found[f"drift-{scenario}"] = curves(frame, names, block=5)
        rewards = effect.points(records, ["kl/reference", "gold/reward"])
        if len(rewards):  # one setting per method, so its path is a point
            found[f"reward-and-kl-{scenario}"] = frontier(rewards.assign(beta=0.0), names=False)
        if records:
            methods = sorted({record.method for record in records})
            ids = {m: [r.key for r in records if r.method == m] for m in methods}
            panels = compare(runs.pairs([r.key for r in records]), ids)
            found[f"displaced-{scenario}"] = displaced(tidy(panels))
    return found


STUDY = StudyReport(
    name="arizona",
    title="Arizona: scenarios, methods, and how much data",
    sweeps=("arizona-mini", "arizona-size-mini", "arizona-steps-mini"),
    real=(*MISTRAL, "arizona-size-7b"),
    tables=(
        TableSpec("scenarios", ("arizona-mini",)),
        TableSpec("training-size", ("arizona-size-mini",), SIZE),
        TableSpec("training-size-same-steps", ("arizona-steps-mini",), SIZE),
        TableSpec("mistral-7b", MISTRAL, published=lambda: published("arizona", "mistral-7b")),
        TableSpec("mistral-7b-training-size", ("arizona-size-7b",)),
    ),
    effects=effects,
    figures=figures,
    papers=("arizona",),
)

SEEDS = StudyReport(
    name="arizona-seeds",
    title="Arizona at twelve seeds: scenarios and methods",
    sweeps=("arizona-seeds-mini",),
    real=(),
    tables=(TableSpec("scenarios", ("arizona-seeds-mini",)),),
    effects=lambda runs, done: (nearer(runs, done["arizona-seeds-mini"]),),
    figures=lambda runs, done: _parts(done["arizona-seeds-mini"]),
    papers=("arizona",),
)

DEMO = StudyReport(
    name="demo",
    title="Demo: the Arizona study's scenarios in miniature",
    sweeps=(DEMO_SWEEP,),
    real=(),
    tables=(TableSpec("scenarios", (DEMO_SWEEP,)),),
    effects=lambda runs, done: (nearer(runs, done[DEMO_SWEEP]),),
    figures=figures_of_demo,
)
