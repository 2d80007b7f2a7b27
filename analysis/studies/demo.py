"""The demo: scenarios by methods as in the Arizona study, small enough to run while one waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiebreak_analysis.records.runs import Runs
from tiebreak_analysis.studies import arizona
from tiebreak_analysis.studies.effect import Effect
from tiebreak_analysis.studies.frames import history, points
from tiebreak_analysis.studies.study import Done, StudyReport, TableSpec
from tiebreak_analysis.tables.comparison import SCENARIOS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SWEEP = "arizona-mini"
TRAINING = ("drift/margin", "drift/chosen", "drift/rejected")


def effects(runs: Runs, done: Done) -> tuple[Effect, ...]:
    return (arizona.nearer(runs, done[SWEEP]),)


def figures(runs: Runs, done: Done) -> dict[str, Figure]:
    """Per scenario the drift over training; reward against KL; who is displaced."""
    from tiebreak_analysis.displacement import compare, tidy
    from tiebreak_analysis.figures.curves import curves
    from tiebreak_analysis.figures.displaced import displaced
    from tiebreak_analysis.figures.frontier import frontier

    found: dict[str, Figure] = {}
    for scenario in SCENARIOS:
        records = [record for record in done[SWEEP] if record.scenario == scenario]
        frame = history(runs, records)
        names = [name for name in TRAINING if name in frame and frame[name].notna().any()]
        if names:
            found[f"drift-{scenario}"] = curves(frame, names, block=5)
        rewards = points(records, ["kl/reference", "gold/reward"])
        if len(rewards):  # one setting per method, so its path is a point
            found[f"reward-and-kl-{scenario}"] = frontier(rewards.assign(beta=0.0), names=False)
        if records:
            methods = sorted({record.method for record in records})
            ids = {m: [r.run_id for r in records if r.method == m] for m in methods}
            panels = compare(runs.pairs([r.run_id for r in records]), ids)
            found[f"displaced-{scenario}"] = displaced(tidy(panels))
    return found


STUDY = StudyReport(
    name="demo",
    title="Demo: the Arizona study's scenarios in miniature",
    sweeps=(SWEEP,),
    real=(),
    tables=(TableSpec("scenarios", (SWEEP,)),),
    effects=effects,
    figures=figures,
    papers=(),
)
