"""DPOP (arXiv 2402.13228): near-duplicate pairs, and who makes the chosen response less likely."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tiebreak_analysis.displacement import position_profile
from tiebreak_analysis.displacement.parts import STILL
from tiebreak_analysis.records.runs import Record, Runs
from tiebreak_analysis.statistics import Sample
from tiebreak_analysis.studies import effect
from tiebreak_analysis.studies.effect import BySeed, Effect, EffectTest
from tiebreak_analysis.studies.study import Done, StudyReport, TableSpec
from tiebreak_analysis.tables.table import START

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NEAR = 0.1  # the edit distance of dpop-mini
OTHERS = ("ipo", "slic", "cpo")
METRICS = (
    "drift/chosen", "drift/rejected", "displaced/share", "accuracy/drift", "gold/reward",
    "length/generated",
)  # fmt: skip
TRAINING = ("drift/chosen", "drift/rejected", "displaced/share")
CLAIM = (
    "On near-duplicate pairs DPO makes the chosen response less likely than the start model has "
    "it, and DPOP does not"
)


def displacement(runs: Runs, records: Sequence[Record]) -> Effect:
    """Effect 1, on held-out pairs at edit distance 0.1.

    DPOP's drift of the chosen must lie above DPO's; DPO's below zero; DPOP's, per token, above
    minus the drift that counts as not moved (`analysis.displacement.parts.STILL`), since no
    interval can show that it is exactly zero.
    """
    dpo, dpop = (_found(records, method) for method in ("dpo", "dpop"))
    of_dpo, of_dpop = _drift(runs, dpo), _drift(runs, dpop)
    fallen = [
        effect.sample(runs.pairs, of, lambda rows: rows["drift/chosen"] < 0) for of in (dpo, dpop)
    ]
    fall = None if of_dpo is None else effect.combined([of_dpo], [-1.0])
    per_token = effect.sample(
        runs.pairs, dpop, lambda rows: rows["drift/chosen"] / rows["length/chosen"]
    )
    return Effect(
        "displacement",
        CLAIM,
        tests=(
            effect.apart("drift of the chosen, DPOP minus DPO", "nats", of_dpop, of_dpo),
            effect.mean("fall of the chosen under DPO (drift, negated)", "nats", 0.0, fall),
            effect.mean("drift of the chosen under DPOP", "nats/token", -STILL, per_token),
        ),
        details=(
            effect.apart("share of chosen responses displaced, DPO minus DPOP", "%", *fallen),
            *_others(runs, records),
        ),
    )


def _found(records: Sequence[Record], method: str) -> BySeed:
    return effect.pick(records, {"method.name": method, "data.edit_distance": NEAR})


def _drift(runs: Runs, found: BySeed) -> Sample | None:
    return effect.sample(runs.pairs, found, lambda rows: rows["drift/chosen"])


def _others(runs: Runs, records: Sequence[Record]) -> list[EffectTest]:
    """The other methods' drift: above zero means not displaced."""
    found = {method: _found(records, method) for method in OTHERS}
    return [
        effect.mean(
            f"drift of the chosen under {method.upper()}", "nats", 0.0, _drift(runs, by_seed)
        )
        for method, by_seed in found.items()
        if by_seed
    ]


def figures(runs: Runs, done: Done) -> dict[str, Figure]:
    """Drift over training on near-duplicate pairs, by position in the response, and by distance."""
    from tiebreak_analysis.displacement import compare, tidy
    from tiebreak_analysis.figures.categories import displaced
    from tiebreak_analysis.figures.curves import curves, token_profile
    from tiebreak_analysis.figures.frontier import frontier

    found: dict[str, Figure] = {}
    near, distances = done["dpop-mini"], done["dpop-distance-mini"]
    frame = effect.history(runs, near)
    if len(frame):
        metrics = [name for name in TRAINING if name in frame]
        found["drift-over-training"] = curves(frame, metrics, block=5)
    if near:
        ids = {m: [r.key for r in near if r.method == m] for m in ("dpo", "dpop", *OTHERS)}
        groups = {method: run_ids for method, run_ids in ids.items() if run_ids}
        panels = compare(runs.pairs([r.key for r in near]), groups)
        measures = ("displaced", "chosen")
        found["near-duplicates"] = displaced(tidy(panels), measures=measures, by="group")
    drifts, log_probs = _profiles(runs, near)
    if len(drifts):
        found["token-profile"] = token_profile(drifts, name="drift of the chosen (nats/token)")
        found["token-log-probs"] = token_profile(log_probs)
    frame = effect.history(runs, [r for r in distances if r.method == "dpo"], _at_distance)
    if len(frame) and "drift/chosen" in frame:
        found["dpo-over-training-by-distance"] = curves(frame, ["drift/chosen"], block=5)
    spread = effect.points(distances, ["drift/chosen"], {"edit distance": "data.edit_distance"})
    if len(spread):
        spread["asked edit distance"] = spread["edit distance"]
        found["drift-by-edit-distance"] = frontier(
            spread, "asked edit distance", "drift/chosen", setting="edit distance", log_x=True
        )
    return found


def _at_distance(record: Record) -> str:
    return f"{record.method} at {record.settings['data.edit_distance']:g}"


def _profiles(runs: Runs, records: Sequence[Record]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """By position from the first token that differs, a row per run: drift of the chosen, and its
    log-prob as in Figure 4 of the paper, where the start model has rows, too."""
    import pandas as pd

    known = {record.key: record for record in records}
    drifts, log_probs, starts = [], [], {}
    for run_id, pairs in runs.pair_tokens(list(known)).groupby("run_id", sort=True):
        record = known[str(run_id)]
        before, after = pairs["logp/chosen/before"], pairs["logp/chosen/after"]
        first = [None if pd.isna(at) else int(at) for at in pairs["first_difference"]]
        named = {"run_id": run_id, "method": record.method}
        drifts.append(position_profile(list(after - before), first).assign(**named))
        log_probs.append(position_profile(list(after), first).assign(**named))
        if record.start_model not in starts:
            named["method"] = START
            starts[record.start_model] = position_profile(list(before), first).assign(**named)
    if not drifts:
        return pd.DataFrame(), pd.DataFrame()
    return pd.concat(drifts), pd.concat([*log_probs, *starts.values()])


STUDY = StudyReport(
    name="dpop",
    title="DPOP: near-duplicate pairs and displacement",
    sweeps=("dpop-mini", "dpop-distance-mini"),
    real=("dpop-7b",),
    tables=(
        TableSpec("near-duplicates", ("dpop-mini",), METRICS),
        TableSpec("edit-distance", ("dpop-distance-mini",), METRICS),
        TableSpec("real-data", ("dpop-7b",), METRICS),
    ),
    effects=lambda runs, done: (displacement(runs, done["dpop-mini"]),),
    figures=figures,
    papers=("dpop",),
)
