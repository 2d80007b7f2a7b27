"""What a method looks like in every figure: colour, marker, line. No matplotlib here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

# Okabe and Ito (2008), "Color Universal Design", less yellow (unreadable on white), plus a grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6E6E6E")
# Eleven, so that with seven colours the first 77 methods differ in one or the other.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")
Line = str | tuple[float, tuple[float, ...]]
LINES: tuple[Line, ...] = ("-", (0, (5, 2)), (0, (1.2, 1.4)), (0, (5, 1.6, 1.2, 1.6)), (0, (8, 2)))
START = "start model"

# The place in this list makes the look, so a method looks the same in every figure and every
# study. Append only. The first seven differ in colour; the next seven share a colour with one
# they are seldom drawn beside (tdpo1 with kto, not with dpo or tdpo2).
ORDER = tuple(
    "dpo ipo kto cpo simpo dpop tdpo2 spin rdpo tdpo1 rrhf sft orpo slic cdpo robust bco rso "
    "repo alphapo exo nca apo-zero apo-down sppo discopop wpo ld-dpo cal-dpo dpo-norm rpo "
    "beta-dpo tr-dpo".split()
)
NUM_LOOKS = len(COLOURS) * len(MARKERS)
RESERVED = 44  # looks for `ORDER` and what is appended to it; the rest go by hash
assert len(ORDER) <= RESERVED


@dataclass(frozen=True)
class Look:
    """How one series is drawn; `filled` tells variants of one method apart."""

    colour: str
    marker: str
    line: Line = "-"
    filled: bool = True


def look(method: str) -> Look:
    """The look of a method; black for the start model.

    A method that is not in `ORDER` gets one of the looks not reserved for it, by the hash of its
    name: the same everywhere, and never that of a listed method.
    """
    if method == START:
        return Look("#000000", "*", (0, (2, 2)))
    if method in ORDER:
        at = ORDER.index(method)
    else:
        number = int.from_bytes(sha256(method.encode()).digest()[:8])
        at = RESERVED + number % (NUM_LOOKS - RESERVED)
    return Look(COLOURS[at % len(COLOURS)], MARKERS[at % len(MARKERS)], LINES[at % len(LINES)])


def looks(methods: Mapping[str, str]) -> dict[str, Look]:
    """Label -> look, in the order of legends. `methods`: label -> method.

    Labels of one method (`dpo (beta=0.05)`, `dpo (beta=0.1)`) share its colour; the second and
    later ones differ in line and in an open marker.
    """
    found: dict[str, Look] = {}
    variants: dict[str, int] = {}
    for label in sorted(methods, key=lambda label: (legend_order(methods[label]), label)):
        method = methods[label]
        at = variants[method] = variants.get(method, -1) + 1
        first = look(method)
        lines = [first.line, *(line for line in LINES if line != first.line)]
        markers = [first.marker, *(marker for marker in MARKERS if marker != first.marker)]
        found[label] = replace(
            first,
            line=lines[at % len(lines)],
            marker=markers[(at + 1) // 2 % len(markers)],
            filled=at % 2 == 0,
        )
    return found


def legend_order(method: str) -> tuple[int, str]:
    """Sort key of a method in a legend: as in `ORDER`, then by name, the start model last."""
    if method == START:
        return len(ORDER) + 1, method
    return (ORDER.index(method) if method in ORDER else len(ORDER)), method
