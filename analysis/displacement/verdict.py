"""Are chosen responses displaced? One line in words, from stated thresholds, and a remedy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tiebreak_analysis.displacement.parts import PairSet

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
class Groups:
    """All pairs, and the two groups that tend to differ."""

    whole: PairSet
    near: PairSet
    distant: PairSet

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

    Near-duplicate pairs and the others are judged apart where both have enough pairs: yes about
    the near ones alone is still yes, anything else in which they differ is mixed. Otherwise all
    pairs are judged together.
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


def line(answer: Displaced, groups: Groups) -> str:
    """The verdict of one run."""
    if answer.found == UNKNOWN:
        return f"displaced: {UNKNOWN}: {_counted(groups.whole)} (needs {MIN_PAIRS})"
    return f"displaced: {answer.found} - {_body(answer, groups)}"


def pooled(answers: Sequence[Displaced]) -> Displaced:
    """The answer that all runs which can tell agree on, else mixed.

    Agreement and not an interval over seeds, because two or three seeds have none worth the name;
    each run's own answer already rests on an interval over its pairs.
    """
    clear = [a for a in answers if a.found != UNKNOWN]
    votes = {a.found for a in clear}
    found = MIXED if len(votes) > 1 else next(iter(votes), UNKNOWN)
    return Displaced(found, near=bool(clear) and all(a.near for a in clear))


def pooled_line(answers: Sequence[Displaced], groups: Groups) -> str:
    """The verdict over several runs, with the votes; its numbers are means over runs."""
    overall, votes = pooled(answers), Counter(a.found for a in answers)
    if overall.found == UNKNOWN:
        counts = ", ".join(map(str, groups.whole.num_chosen))
        return f"displaced: {UNKNOWN}: {counts} pairs in {len(answers)} runs (needs {MIN_PAIRS})"
    counts = ", ".join(f"{found} in {votes[found]}" for found in ANSWERS if votes[found])
    lead = f"displaced: {overall.found} ({counts} of {len(answers)} runs)"
    return f"{lead} - {_body(overall, groups)}"


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
        near, distant = _percent(groups.near), _percent(groups.distant)
        return f"{near} of {groups.near.name}, {distant} of the others"
    if answer.near:
        return f"{_percent(groups.near)} of {groups.near.name}"
    return f"{_percent(groups.whole)} of {_noun(groups.whole)}"


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
    up, down = _percent_of(part.chosen_share.mean), _percent_of(part.rejected_share.mean)
    return f"the margin grew by the chosen rising ({up}) and the rejected falling ({down})"


def _least(part: PairSet) -> int:
    """Chosen responses in the run that has fewest."""
    return min(part.num_chosen, default=0)


def _counted(part: PairSet) -> str:
    count = sum(part.num_chosen)
    return f"{count} {_noun(part)[: -1 if count == 1 else None]}"


def _noun(part: PairSet) -> str:
    unpaired = part.chosen is not None and part.margin is None
    return "chosen responses" if unpaired else "pairs"


def _percent(part: PairSet) -> str:
    assert part.displaced is not None
    return _percent_of(part.displaced.mean)


def _percent_of(share: float) -> str:
    return f"{100 * share:.0f} %"
