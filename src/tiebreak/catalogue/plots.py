"""The plot of a method: its loss and its gradient against the margin of one made-up pair."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tiebreak.methods import Method, Pairs, Responses

LENGTHS = (20, 24)  # tokens of the chosen and of the rejected response
TOKEN = -1.5  # nats, each token's log-prob under the reference
FARTHEST = 20.0  # nats
STEPS = 160
# Told apart with any kind of colour vision (Okabe and Ito), and as lines.
INK = {"loss": ("#000000", "-"), "chosen": ("#0072B2", "-"), "rejected": ("#D55E00", "--")}


@dataclass(frozen=True)
class Curve:
    """Against `margins` (nats): the loss, and its slope per nat of each response's log-prob."""

    margins: list[float]
    loss: list[float]
    chosen: list[float]
    rejected: list[float]


def curve(method: Method) -> Curve:
    """The method at its settings, the pair being its whole optimiser batch."""
    margins = [FARTHEST * (2 * i / STEPS - 1) for i in range(STEPS + 1)]
    loss, slopes = [], {"chosen": [], "rejected": []}
    for margin in margins:
        pairs = _carried(method, made_pair(margin))
        value = method.loss(pairs).mean()
        value.backward()
        loss.append(value.item())
        for side, found in slopes.items():
            grad = getattr(pairs, side).policy.grad
            found.append(0.0 if grad is None else grad.mean().item())
    return Curve(margins, loss, **slopes)


def made_pair(margin: float) -> Pairs:
    """Half of `margin` made by the chosen response going up, half by the rejected going down."""
    import torch

    from tiebreak.methods import Pairs

    return Pairs(
        _response(LENGTHS[0], margin / 2),
        _response(LENGTHS[1], -margin / 2),
        mismatched=_response(LENGTHS[1], 0.0),
        prompt=_response(LENGTHS[0], 0.0),
        index=torch.zeros(1, dtype=torch.long),
        noise=torch.full((1,), 0.5, dtype=torch.float64),
    )


def _response(length: int, drift: float) -> Responses:
    """(1, length): the drift spread evenly over the tokens; what else a method may ask for."""
    import torch

    from tiebreak.methods import Responses

    reference_BT = torch.full((1, length), TOKEN, dtype=torch.float64)
    policy_BT = (reference_BT + drift / length).requires_grad_()
    return Responses(
        policy_BT,
        reference_BT,
        torch.ones(1, length, dtype=torch.bool),
        forward_kl=(policy_BT - reference_BT).square() / 2,
        collision=torch.full((1, length), TOKEN, dtype=torch.float64),
    )


def _carried(method: Method, pairs: Pairs) -> Pairs:
    carry: Any = getattr(method, "carry", None)
    return pairs if carry is None else dataclasses.replace(pairs, carried=carry(pairs, {}))


def draw(name: str, method: Method, path: Path) -> None:
    """Write the plot as an SVG: the same bytes for the same curve."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    found = curve(method)
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = Figure(figsize=(7.6, 2.9), layout="constrained", facecolor="white")
        left, right = figure.subplots(1, 2)
        _line(left, found, "loss")
        left.set_ylabel("loss (the method's own unit)")
        for side in ("chosen", "rejected"):
            _line(right, found, side)
        right.set_ylabel("slope of the loss (per nat)")
        right.legend(frameon=False)
        for axes in (left, right):
            axes.set_xlabel("margin h (nats)")
            axes.axvline(0, color="#999999", linewidth=0.6)
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(color="#e6e6e6", linewidth=0.6)
            axes.set_axisbelow(True)
        right.axhline(0, color="#999999", linewidth=0.6)
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(path, format="svg", metadata={"Title": f"{name}: loss, slopes", **nothing})


def _line(axes: Any, found: Curve, what: str) -> None:
    colour, style = INK[what]
    axes.plot(found.margins, getattr(found, what), style, color=colour, label=what, linewidth=1.6)
