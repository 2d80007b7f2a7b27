"""The critical-difference diagram: mean ranks, and which of them cannot be told apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tiebreak_analysis.figures.palette import looks
from tiebreak_analysis.figures.style import LETTER, ONE_COLUMN, TWO_COLUMNS, drawn, grid, house

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tiebreak_analysis.statistics import Ranking

STEP = 0.17  # inches from one name to the next
LEFT, RIGHT = -0.02, 1.02  # where names end and begin; ranks lie between 0 and 1


def critical_difference(ranking: Ranking, methods: Mapping[str, str] | None = None) -> Figure:
    """Demsar (2006), figure 1: the best on the left, a bar over methods not told apart.

    `ranking`: of `analysis.statistics.friedman`. `methods`: name -> method, where the names are
    labels with settings.
    """
    look_of = looks(methods or {name: name for name in ranking.names})
    count, bars = len(ranking.names), len(ranking.groups)
    rows = bars + 1.2 + (count + 1) // 2
    side = LETTER * (max(map(len, ranking.names)) + 7)  # inches for a name and its rank
    width = ONE_COLUMN if side < ONE_COLUMN / 3.5 else TWO_COLUMNS
    margin = side / (width - 2 * side)
    with house():
        figure, (axes,) = grid(1, 1, width, 0.85 + STEP * rows)
        axes.set(xlim=(-margin, 1 + margin), ylim=(-rows, 0.62 / STEP))
        axes.axis("off")
        _axis(axes, ranking)
        for at, group in enumerate(ranking.groups):
            ends = [_place(ranking, ranking.names.index(name)) for name in (group[0], group[-1])]
            ends = [ends[0] - 0.012, ends[1] + 0.012]
            axes.plot(ends, [-0.8 - at] * 2, color="black", linewidth=2.4, solid_capstyle="butt")
        for at, name in enumerate(ranking.names):
            half = (count + 1) // 2
            down = -(bars + 1.2) - (at if at < half else count - 1 - at)
            _name(axes, name, _place(ranking, at), ranking.mean_ranks[at], down, at < half)
            axes.plot([_place(ranking, at)], [0], clip_on=False, zorder=4, **drawn(look_of[name]))
        axes.text(
            0.5, -rows, f"{ranking.num_blocks} blocks; all alike: p {_p(ranking.p)}",
            ha="center", va="top", fontsize=7, color="#555555",
        )  # fmt: skip
    return figure


def _place(ranking: Ranking, at: int) -> float:
    return (ranking.mean_ranks[at] - 1) / (len(ranking.names) - 1)


def _axis(axes: Axes, ranking: Ranking) -> None:
    count = len(ranking.names)
    axes.plot([0, 1], [0, 0], color="black", linewidth=0.8)
    for rank in range(1, count + 1):
        place = (rank - 1) / (count - 1)
        axes.plot([place, place], [0, 0.35], color="black", linewidth=0.8)
        axes.text(place, 0.5, str(rank), ha="center", va="bottom", fontsize=7)
    width = ranking.critical_difference / (count - 1)
    high = 0.4 / STEP
    if width <= 1:
        axes.plot([0, width], [high, high], color="black", linewidth=0.8)
        for end in (0, width):
            axes.plot([end, end], [high - 0.2, high + 0.2], color="black", linewidth=0.8)
    axes.text(
        min(width, 1) / 2 if width <= 1 else 0.5, high + 0.3,
        f"critical difference {ranking.critical_difference:.2f}",
        ha="center", va="bottom", fontsize=7,
    )  # fmt: skip


def _name(axes: Axes, name: str, place: float, rank: float, down: float, left: bool) -> None:
    edge = LEFT if left else RIGHT
    axes.plot([place, place, edge], [0, down, down], color="#777777", linewidth=0.6, zorder=1)
    told = f"{name}  {rank:.2f}" if left else f"{rank:.2f}  {name}"
    axes.text(
        edge + (-0.01 if left else 0.01), down, told, ha="right" if left else "left",
        va="center", fontsize=7,
    )  # fmt: skip


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
