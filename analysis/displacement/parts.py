"""What happened to a set of held-out pairs: drift, displaced share, who made the margin grow; and a
verdict in words, are chosen responses displaced, from stated thresholds, with a remedy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import betaincinv

from tiebreak_analysis.statistics import Interval, mean_interval

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.95
YES, NO, MIXED, UNKNOWN = "yes", "no", "mixed", "cannot tell"
ANSWERS = (YES, NO, MIXED, UNKNOWN)

# Fewer pairs say nothing: of 30, a true half may show as anything from a third to two thirds.
MIN_PAIRS = 30
# Nats per token. Below this the chosen response counts as not moved: its tokens' probability
# changed by less than 1 %, and the sign of so small a drift is no finding, however many share it.
STILL = 0.01
# A majority: the share's 95 % interval must lie on one side of it.
HALF = 0.5
# A share of the growth that is all of it, once printed in whole per cent.
ALL = 0.995

NEAR_REMEDY = "DPOP, CPO's NLL term or more distant pairs avoid this"
REMEDY = "DPOP or an NLL term on the chosen (CPO, ORPO) avoids this, a larger beta lessens it"


@dataclass(frozen=True)
class PairSet:
    """One set of pairs: all of them, or a bucket. Where nothing was measured: None.

    For one run the intervals are over its pairs; for several, over the runs (one value each).
    """

    name: str
    num_chosen: tuple[int, ...]
    """Chosen responses in this set, by run. All of them have a rejected one, unless the data are
    unpaired (a label for each response): then `margin.n` counts the pairs."""
    displaced: Interval | None = None
    """Share of chosen responses whose drift is below zero."""
    chosen: Interval | None = None
    """Drift in nats, a sum over the response; mean over responses. Likewise `rejected`."""
    rejected: Interval | None = None
    chosen_per_token: Interval | None = None
    """Drift over length, in nats per token; mean over responses."""
    rejected_per_token: Interval | None = None
    margin: Interval | None = None
    """Drift of chosen minus drift of rejected, in nats; mean over pairs."""
    chosen_share: Interval | None = None
    """See `split`. None where the margin did not clearly grow."""
    rejected_share: Interval | None = None
    undone: Interval | None = None


MEASURES = [field.name for field in fields(PairSet)][2:]


def part(name: str, rows: pd.DataFrame) -> PairSet:
    """The numbers of these rows of one run's `pairs.parquet`; missing sides are left out."""
    if rows.empty:
        return PairSet(name, (0,))
    chosen, rejected = (rows[f"drift/{side}"].to_numpy() for side in ("chosen", "rejected"))
    lengths = (rows[f"length/{side}"].to_numpy() for side in ("chosen", "rejected"))
    per_token = [drift / length for drift, length in zip((chosen, rejected), lengths, strict=True)]
    both = ~np.isnan(chosen) & ~np.isnan(rejected)
    num_chosen = int((~np.isnan(chosen)).sum())
    margin = _mean((chosen - rejected)[both])
    shares: Sequence[Interval | None] = (None, None, None)
    if margin is not None and margin.low is not None and margin.low > 0:
        of_both = (fmean(drift[both].tolist()) for drift in (chosen, rejected))
        shares = [Interval(value, None, None, margin.n) for value in split(*of_both)]
    return PairSet(
        name,
        (num_chosen,),
        share(int((chosen < 0).sum()), num_chosen) if num_chosen else None,
        *(_mean(values) for values in (chosen, rejected, *per_token)),
        margin,
        *shares,
    )


def split(chosen: float, rejected: float) -> tuple[float, float, float]:
    """Who made a margin grow: (share of chosen up, share of rejected down, share undone).

    `chosen` and `rejected` are mean drifts in nats, with chosen > rejected. A margin is pulled up
    by a chosen response that rises and by a rejected one that falls; the first two numbers are
    the shares of that pull and add up to 1. When one side moves the wrong way, the third number is
    how much of the pull it took back, less than all: growth = pull * (1 - undone).
    """
    assert chosen > rejected, "a margin that did not grow has no growth to split"
    up, down = max(chosen, 0.0), max(-rejected, 0.0)
    back = max(-chosen, 0.0) + max(rejected, 0.0)
    pull = up + down
    return up / pull, down / pull, back / pull


def share(count: int, n: int) -> Interval:
    """`count` of `n` as a share, with the exact binomial 95 % interval.

    Source: Clopper and Pearson (1934). It holds its level at every share, also at 0 and 1.
    """
    assert 0 <= count <= n > 0
    tail = (1 - LEVEL) / 2
    low = float(betaincinv(count, n - count + 1, tail)) if count else 0.0
    high = float(betaincinv(count + 1, n - count, 1 - tail)) if count < n else 1.0
    return Interval(count / n, low, high, n)


def pooled_part(parts: Sequence[PairSet]) -> PairSet:
    """One set of pairs over several runs: mean over the runs that have a value, each once."""
    measures: dict[str, Interval | None] = {}
    for name in MEASURES:
        means = [value.mean for one in parts if (value := getattr(one, name)) is not None]
        measures[name] = mean_interval(means, LEVEL) if means else None
    return PairSet(parts[0].name, tuple(n for p in parts for n in p.num_chosen), **measures)


def _mean(values: np.ndarray) -> Interval | None:
    """Mean of the values that were measured; None: there is none."""
    measured = values[~np.isnan(values)]
    return mean_interval(measured.tolist(), LEVEL) if len(measured) else None


def position_profile(
    logp: Sequence[np.ndarray], first: Sequence[int | None], before: int = 5, after: int = 15
) -> pd.DataFrame:
    """Mean by position relative to the first token in which chosen and rejected differ (0).

    DPO on near-duplicate pairs lowers the chosen tokens after it, which both responses share (Pal
    et al. 2024, arXiv 2402.13228, section 3). `logp`: per response its log-probs or drifts in nats,
    (tokens,); `first`: the column `first_difference` of `pair_tokens.parquet`, None where the
    responses are the same. Columns: position, from -before to +after; mean, low, high (over
    responses); n, the responses that reach there. A position that none reaches has no row.
    """
    import pandas as pd

    rows = []
    pairs = [(t, at) for t, at in zip(logp, first, strict=True) if at is not None]
    for position in range(-before, after + 1):
        places = [(tokens, at + position) for tokens, at in pairs]
        values = [float(tokens[at]) for tokens, at in places if 0 <= at < len(tokens)]
        if values:
            found = mean_interval(values)
            rows.append((position, found.mean, found.low, found.high, found.n))
    return pd.DataFrame(rows, columns=pd.Index(["position", "mean", "low", "high", "n"]))


@dataclass(frozen=True)
class Groups:
    """All pairs, and the two groups that tend to differ."""

    whole: PairSet
    near: PairSet
    distant: PairSet

    @property
    def all(self) -> tuple[PairSet, PairSet, PairSet]:
        return self.whole, self.near, self.distant

    @property
    def both(self) -> bool:
        """Whether near-duplicate pairs and the others can each be judged."""
        return min(_least(self.near), _least(self.distant)) >= MIN_PAIRS


@dataclass(frozen=True)
class Displaced:
    found: str
    near: bool
    """Whether the answer is about the near-duplicate pairs alone."""


def answer(groups: Groups) -> Displaced:
    """Whether one run's chosen responses are displaced.

    Near-duplicate pairs and the others are judged apart where both have enough pairs: yes about the
    near ones alone is still yes, any other difference is mixed. Otherwise all are judged together.
    """
    if _least(groups.whole) < MIN_PAIRS:
        return Displaced(UNKNOWN, near=False)
    if not groups.both:
        return Displaced(judge(groups.whole), near=_least(groups.near) == _least(groups.whole))
    near, distant = judge(groups.near), judge(groups.distant)
    if near == distant:
        return Displaced(near, near=False)
    return Displaced(YES, near=True) if near == YES else Displaced(MIXED, near=False)


def judge(part: PairSet) -> str:
    """The answer for one set of pairs of one run, with `MIN_PAIRS` or more.

    `no`: the chosen hardly moved, or rose with most not displaced; `yes`: it fell, and most are
    displaced; `mixed`: mean and majority disagree, or there is no clear majority.
    """
    assert part.chosen_per_token is not None and part.displaced is not None
    assert part.displaced.low is not None and part.displaced.high is not None
    drift = part.chosen_per_token.mean
    if abs(drift) < STILL:
        return NO
    if drift < 0 and part.displaced.low > HALF:
        return YES
    return NO if drift > 0 and part.displaced.high < HALF else MIXED


def pooled_answer(answers: Sequence[Displaced]) -> Displaced:
    """The answer that all runs which can tell agree on, else mixed.

    Agreement and not an interval over seeds, because two or three seeds have none worth the name;
    each run's own answer already rests on an interval over its pairs.
    """
    clear = [a for a in answers if a.found != UNKNOWN]
    votes = {a.found for a in clear}
    found = MIXED if len(votes) > 1 else next(iter(votes), UNKNOWN)
    return Displaced(found, near=bool(clear) and all(a.near for a in clear))


def verdict(answers: Sequence[Displaced], groups: Groups) -> str:
    """The verdict of one run, or over several with the votes; its numbers are means over runs."""
    overall, votes = pooled_answer(answers), Counter(a.found for a in answers)
    if overall.found == UNKNOWN:
        counts = ", ".join(map(str, groups.whole.num_chosen))
        pairs = f"pairs in {len(answers)} runs" if len(answers) > 1 else _noun(groups.whole)
        pairs = pairs.removesuffix("s") if counts == "1" else pairs
        return f"displaced: {UNKNOWN}: {counts} {pairs} (needs {MIN_PAIRS})"
    by_vote = ", ".join(f"{found} in {votes[found]}" for found in ANSWERS if votes[found])
    of_runs = f" ({by_vote} of {len(answers)} runs)" if len(answers) > 1 else ""
    return f"displaced: {overall.found}{of_runs} - {_body(overall, groups)}"


def _body(answer: Displaced, groups: Groups) -> str:
    subject = groups.near if answer.near else groups.whole
    clauses = [_share(answer, groups), _moved(answer, subject), _growth(subject)]
    if answer.found == YES:
        clauses.append(NEAR_REMEDY if answer.near else REMEDY)
    return "; ".join(clause for clause in clauses if clause)


def _share(answer: Displaced, groups: Groups) -> str:
    """`71 % of near-duplicate pairs, 8 % of the others`, or `71 % of pairs`."""
    apart = answer.near or answer.found == MIXED
    if apart and groups.both:
        near, distant = _percent(groups.near.displaced), _percent(groups.distant.displaced)
        return f"{near} of {groups.near.name}, {distant} of the others"
    if answer.near:
        return f"{_percent(groups.near.displaced)} of {groups.near.name}"
    return f"{_percent(groups.whole.displaced)} of {_noun(groups.whole)}"


def _moved(answer: Displaced, part: PairSet) -> str:
    """A clause on where the chosen responses went; empty where a yes says that already."""
    assert part.chosen_per_token is not None
    drift = part.chosen_per_token.mean
    if answer.found == YES:
        return ""
    if abs(drift) < STILL:
        return f"the chosen hardly moved ({drift:+.3f} nats per token)"
    return f"the chosen {'fell' if drift < 0 else 'rose'} on average ({drift:+.3f} nats per token)"


def _growth(part: PairSet) -> str:
    """A clause on which side made the margin grow."""
    if part.margin is None:
        return ""
    if part.chosen_share is None or part.rejected_share is None:
        fell = part.margin.high is not None and part.margin.high < 0
        change = "fell" if fell else "did not clearly grow"
        return f"the margin {change} ({part.margin.mean:+.2f} nats)"
    if part.rejected_share.mean >= ALL:
        return "the margin grew only because the rejected fell"
    if part.chosen_share.mean >= ALL:
        return "the margin grew only because the chosen rose"
    up, down = _percent(part.chosen_share), _percent(part.rejected_share)
    return f"the margin grew by the chosen rising ({up}) and the rejected falling ({down})"


def _least(part: PairSet) -> int:
    """Chosen responses in the run that has fewest."""
    return min(part.num_chosen, default=0)


def _noun(part: PairSet) -> str:
    unpaired = part.chosen is not None and part.margin is None
    return "chosen responses" if unpaired else "pairs"


def _percent(share: Interval | None) -> str:
    assert share is not None
    return f"{100 * share.mean:.0f} %"
