"""TDPO (arXiv 2404.11999): reward against sequence KL, over beta and alpha."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tiebreak_analysis.published import published
from tiebreak_analysis.records.runs import Record, Runs
from tiebreak_analysis.studies import effect
from tiebreak_analysis.studies.effect import Effect, EffectTest, Where
from tiebreak_analysis.studies.equal_gain import EQUAL, Compared, against_dpo
from tiebreak_analysis.studies.study import Done, StudyReport, TableSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALPHA, BETA = 0.5, 0.1  # the paper's
REACHED = 0.9
METRICS = (
    "gold/reward", "kl/reference", "win_rate/start", "accuracy/drift", "drift/chosen",
    "drift/rejected", "length/generated",
)  # fmt: skip
CLAIM = "TDPO2 reaches DPO's gold reward at a lower sequence KL to the start model"
WHY = "no seed has a finished run of both for every beta, or one of them gained nothing"


def cheaper(records: Sequence[Record]) -> Effect:
    """Effect 2, over the betas of tdpo-mini.

    At equal gold reward (`analysis.studies.equal_gain`) DPO's KL minus TDPO2's must lie above zero;
    and TDPO2's best gain must not fall short of nine tenths of DPO's, or it would be the cheaper
    road to somewhere nearer.
    """
    tdpo2, betas = _against_dpo(records, {"method.name": "tdpo2", "method.alpha": ALPHA})
    tdpo1, _ = _against_dpo(records, {"method.name": "tdpo1"})
    reach = effect.estimated(
        "best gain of TDPO2 as a share of DPO's", "%", REACHED, tdpo2.reach, guard=True, missing=WHY
    )
    return Effect(
        "kl-at-equal-reward",
        CLAIM,
        tests=(_saved("TDPO2", tdpo2), reach),
        details=(_saved("TDPO1", tdpo1),),
        remark=f"{EQUAL}; beta: {', '.join(f'{beta:g}' for beta in betas) or 'none yet'}.",
    )


def _against_dpo(records: Sequence[Record], other: Where) -> tuple[Compared, list[float]]:
    """Over the betas both have, the largest (the weakest training) first; and these betas."""
    tried = [
        set(effect.values([r for r in records if r.method == method], "method.beta"))
        for method in ("dpo", other["method.name"])
    ]
    betas = sorted(set.intersection(*tried), reverse=True)
    kl = "kl/reference"
    return against_dpo(records, other, "method.beta", betas, lambda r: r.metrics.get(kl)), betas


def _saved(name: str, found: Compared) -> EffectTest:
    what = f"KL at equal gold reward, DPO minus {name}"
    return effect.estimated(what, "nats", 0.0, found.saved, missing=WHY)


def figures(runs: Runs, done: Done) -> dict[str, Figure]:
    """Reward against KL over beta and over alpha, and the entropy of the policy in training."""
    from tiebreak_analysis.figures.curves import curves
    from tiebreak_analysis.figures.frontier import frontier

    found: dict[str, Figure] = {}
    metrics = ["kl/reference", "gold/reward"]
    by_beta = effect.points(done["tdpo-mini"], metrics, {"beta": "method.beta"})
    if len(by_beta):
        found["frontier-beta"] = frontier(by_beta)
    usual = [r for r in done["tdpo-mini"] if r.settings.get("method.beta") == BETA]
    by_alpha = effect.points(done["tdpo-alpha-mini"], metrics, {"alpha": "method.alpha"})
    if len(by_alpha):
        found["frontier-alpha"] = frontier(by_alpha, setting="alpha")
    frame = effect.history(runs, usual)
    if len(frame):
        wanted = [name for name in ("entropy", "drift/chosen", "drift/rejected") if name in frame]
        found["training"] = curves(frame, wanted, block=5)
    return found


STUDY = StudyReport(
    name="tdpo",
    title="TDPO: reward against sequence KL",
    sweeps=("tdpo-mini", "tdpo-alpha-mini"),
    real=("tdpo-hh-2.8b",),
    tables=(
        TableSpec("beta", ("tdpo-mini",), METRICS),
        TableSpec("alpha", ("tdpo-alpha-mini",), METRICS),
        TableSpec("hh", ("tdpo-hh-2.8b",), METRICS, lambda: published("tdpo", "pythia-2.8b")),
    ),
    effects=lambda runs, done: (cheaper(done["tdpo-mini"]),),
    figures=figures,
    papers=("tdpo", "fpo"),
    notes=(
        "KL here is of the policy's own samples; the KL in the paper's figure is forward, at each "
        "prefix of the data's chosen and rejected responses.",
    ),
)
