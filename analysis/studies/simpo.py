"""SimPO (arXiv 2405.14734): length-biased labels, length normalisation, margin."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from tiebreak_analysis.published import published
from tiebreak_analysis.records.runs import Record, Runs, setting_text
from tiebreak_analysis.studies.effect import Effect, estimated, gain, points, values
from tiebreak_analysis.studies.equal_gain import EQUAL, against_dpo
from tiebreak_analysis.studies.study import Done, StudyReport, TableSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLAIM = (
    "With length-biased labels DPO lengthens the answers more than SimPO, and more than R-DPO, at "
    "equal gold reward"
)
WHY = "no seed has a finished run of both for every learning rate, or one gained nothing"
OTHERS = {"SimPO": "simpo", "R-DPO": "rdpo"}
METRICS = (
    "gold/reward", "win_rate/start", "length/generated", "kl/reference", "accuracy/likelihood",
    "accuracy/likelihood_per_token", "accuracy/drift",
)  # fmt: skip
MISTRAL = ("simpo-mistral-base-7b", "simpo-mistral-instruct-7b")
LLAMA = ("simpo-llama3-base-8b", "simpo-llama3-instruct-8b")
VERSIONS = ("README v0.1", "v3")


def lengthening(records: Sequence[Record]) -> Effect:
    """Effect 3, over the learning rates of simpo-length-mini.

    A path is (tokens gained, gold reward gained) by learning rate. At equal gold reward
    (`analysis.studies.equal_gain`) DPO's length minus SimPO's, and minus R-DPO's, must lie above
    zero. How much of DPO's best gain each of them reaches stands in the details.
    """
    rate, rates = "train.learning_rate", values(records, "train.learning_rate")
    found = {
        name: against_dpo(
            records, {"method.name": method}, rate, rates, lambda r: gain(r, "length/generated")
        )
        for name, method in OTHERS.items()
    }
    length = "length at equal gold reward, DPO minus"
    best = "as a share of DPO's"
    return Effect(
        "length-at-equal-reward",
        CLAIM,
        tests=tuple(
            estimated(f"{length} {name}", "tokens", 0.0, one.saved, missing=WHY)
            for name, one in found.items()
        ),
        details=tuple(
            estimated(f"best gain of {name} {best}", "%", 0.9, one.reach, missing=WHY)
            for name, one in found.items()
        ),
        remark=f"{EQUAL}; learning rate: {', '.join(map(setting_text, rates)) or 'none yet'}.",
    )


def figures(runs: Runs, done: Done) -> dict[str, Figure]:
    """Length against reward by learning rate; the reward's ranking against the likelihood's."""
    from tiebreak_analysis.figures.frontier import accuracy, frontier

    found: dict[str, Figure] = {}
    lengths = ["length/generated", "gold/reward"]
    by_rate = points(done["simpo-length-mini"], lengths, {"rate": "train.learning_rate"})
    if len(by_rate):
        found["length-against-reward"] = frontier(by_rate, "length/generated", setting="rate")
    rankings = points(done["simpo-mini"], ["accuracy/drift", "accuracy/likelihood"])
    if len(rankings):
        found["reward-and-likelihood"] = accuracy(rankings)
    margins = points(done["simpo-margin-mini"], lengths, {"gamma": "method.gamma"})
    if len(margins):
        found["margin"] = frontier(margins, "length/generated", setting="gamma")
    return found


STUDY = StudyReport(
    name="simpo",
    title="SimPO: length, length normalisation, margin",
    sweeps=(
        "simpo-mini",
        "simpo-length-mini",
        "simpo-margin-mini",
        "simpo-norm-mini",
        "simpo-unbiased-mini",
    ),  # fmt: skip
    real=(*MISTRAL, *LLAMA),
    tables=(
        TableSpec("main", ("simpo-mini",), METRICS),
        TableSpec("length", ("simpo-length-mini",), METRICS),
        TableSpec("ablations", ("simpo-margin-mini", "simpo-norm-mini"), METRICS),
        TableSpec("unbiased", ("simpo-unbiased-mini",), METRICS),
        *(
            TableSpec(model, sweeps, METRICS, partial(published, "simpo", model, versions=VERSIONS))
            for model, sweeps in (("mistral-7b", MISTRAL), ("llama-3-8b", LLAMA))
        ),
    ),
    effects=lambda runs, done: (lengthening(done["simpo-length-mini"]),),
    figures=figures,
    papers=("simpo",),
    notes=(
        "SimPO without length normalisation and without margin is CPO with alpha 0 (the row cpo of "
        "the ablations); its beta is SimPO's over 20 tokens.",
        "R-DPO's alpha is what the labels imply, length_bias / temperature: it is told what DPO "
        "and SimPO are not.",
    ),
)
