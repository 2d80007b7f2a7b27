"""A panel as Markdown: the verdict first, then the numbers it stands on."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tiebreak_analysis.displacement.measure import Panel
from tiebreak_analysis.displacement.parts import Part
from tiebreak_analysis.displacement.training import Phase
from tiebreak_analysis.displacement.verdict import MIXED, YES
from tiebreak_analysis.statistics import MIN_SEEDS, Interval

HEADER = [
    "pairs", "n", "displaced (%)", "chosen", "rejected", "margin", "chosen/token",
    "rejected/token", "chosen up (%)", "undone (%)",
]  # fmt: skip


def text(panel: Panel) -> str:
    """Verdict, table by group and bucket, length, training, and how to read it."""
    groups, bare = panel.groups, _bare(panel)
    rows = [_row(part, bare) for part in (groups.whole, groups.near, groups.distant)]
    rows += [_row(part, bare, "edit distance ") for part in panel.by_edit_distance]
    rows += [_row(part, bare, "chosen tokens ") for part in panel.by_length]
    lines = [f"### {_escape(panel.label)}" if panel.label else "### displacement", ""]
    lines += [f"**{panel.verdict}**", "", *_table(HEADER, rows), ""]
    lines += [f"- {note}" for note in _notes(panel)]
    return "\n".join(lines) + "\n"


def comparison_text(panels: Sequence[Panel]) -> str:
    """One line per panel, then each verdict."""
    header = ["method", "runs", *HEADER[1:]]
    rows = [
        [_escape(panel.label), _runs(panel), *_row(panel.groups.whole, _bare(panel))[1:]]
        for panel in panels
    ]
    verdicts = [f"- {_escape(panel.label)}: {panel.verdict}" for panel in panels]
    return "\n".join([*_table(header, rows), "", *verdicts]) + "\n"


def _bare(panel: Panel) -> bool:
    """Whether to print means alone."""
    return 1 < len(panel.run_ids) < MIN_SEEDS


def _runs(panel: Panel) -> str:
    """How many runs are in the numbers: one when the frame named none."""
    unnamed = not panel.run_ids and sum(panel.groups.whole.num_chosen) > 0
    return str(len(panel.run_ids) + unnamed)


def _row(part: Part, bare: bool, before: str = "") -> list[str]:
    return [_escape(before + part.name), _counts(part.num_chosen), *_cells(part, bare)]


def _cells(part: Part, bare: bool) -> list[str]:
    cells = [
        _number(part.displaced, 0, scale=100),
        _number(part.chosen, 2, signed=True),
        _number(part.rejected, 2, signed=True),
        _number(part.margin, 2, signed=True),
        _number(part.chosen_per_token, 3, signed=True),
        _number(part.rejected_per_token, 3, signed=True),
        _number(part.chosen_share, 0, scale=100),
        _number(part.undone, 0, scale=100),
    ]
    return [_bared(cell, bare) for cell in cells]


def _notes(panel: Panel) -> list[str]:
    notes = [_correlation(panel)]
    if panel.training:
        notes.append(_training(panel.training))
    if panel.without_pairs:
        notes.append(
            f"without pairs, in none of the numbers: {_escape(', '.join(panel.without_pairs))}"
        )
    if panel.answer.found in (YES, MIXED):
        notes.append(
            "is it broken? Not by itself: a loss on the difference alone allows it. Whether it did "
            "harm is told by gold/reward, win_rate/start and kl/reference"
        )
    notes.append(
        f"{_over(panel)}; drift in nats (policy minus start model, a sum over the response; mean "
        "over responses); displaced: chosen responses with a drift below zero; -: no such pairs"
    )
    notes.append(
        "chosen up: its share of what pulled the margin up, the rest is the rejected going down; "
        "undone: how much of that pull the other side took back; -: the margin did not clearly grow"
    )
    return notes


def _over(panel: Panel) -> str:
    if panel.over == "pairs":
        return "one run; [low, high]: 95 % interval over its pairs, so of this model alone"
    if _bare(panel):
        return f"{len(panel.run_ids)} runs: each number by run first; too few for intervals"
    runs = len(panel.run_ids)
    return f"{runs} runs: each number by run first; [low, high]: 95 % interval over runs"


def _correlation(panel: Panel) -> str:
    both = (panel.length_correlation, panel.length_correlation_per_token)
    if None in both:
        return "length difference against drift margin: too few pairs, or all alike"
    margin, per_token = (_bared(_number(found, 2, signed=True), _bare(panel)) for found in both)
    return (
        "length difference (chosen minus rejected) against drift margin, rank correlation: "
        f"{margin}; against the margin per token: {per_token}"
    )


def _training(phases: Sequence[Phase]) -> str:
    """Where the chosen drift stood highest on training pairs, and where it ended."""
    known = [phase for phase in phases if phase.chosen is not None]
    peak = max(known, key=lambda phase: _mean(phase.chosen))
    last = known[-1]
    return (
        f"on training pairs: chosen highest in steps {peak.first_step} to {peak.last_step} "
        f"({_mean(peak.chosen):+.2f}), at the end (steps {last.first_step} to {last.last_step}) "
        f"chosen {_mean(last.chosen):+.2f}, rejected {_number(last.rejected, 2, signed=True)}, "
        f"displaced {_number(last.displaced, 0, scale=100)} %"
    )


def _mean(interval: Interval | None) -> float:
    assert interval is not None
    return interval.mean


def _number(found: Interval | None, decimals: int, scale: float = 1, signed: bool = False) -> str:
    """`71 [65, 77]`; without an interval `71`; without a value `-`."""
    if found is None:
        return "-"
    sign = "+" if signed else ""
    if found.low is None or found.high is None:
        return f"{scale * found.mean:{sign}.{decimals}f}"
    values = (scale * value for value in (found.mean, found.low, found.high))
    mean, low, high = (f"{value:{sign}.{decimals}f}" for value in values)
    return f"{mean} [{low}, {high}]"


def _bared(number: str, bare: bool) -> str:
    return number.split(" [")[0] if bare else number


def _counts(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low}-{high}"


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    """A pipe table whose columns line up in plain text too; numbers to the right."""
    widths = [max(3, *(len(row[at]) for row in [header, *rows])) for at in range(len(header))]
    rule = [f":{'-' * (w - 1)}" if at == 0 else f"{'-' * (w - 1)}:" for at, w in enumerate(widths)]
    lines = []
    for row in [header, rule, *rows]:
        first, *rest = zip(row, widths, strict=True)
        cells = [first[0].ljust(first[1]), *(value.rjust(width) for value, width in rest)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _escape(words: str) -> str:
    """No label may open a cell, emphasis, code, a link or HTML."""
    text = re.sub(r"([\\|*`<&\[\]~])", r"\\\1", " ".join(words.split()))
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)
