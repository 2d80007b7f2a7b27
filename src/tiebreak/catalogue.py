"""The catalogue of methods for readers, made from the methods' own files: lines and cards for the
terminal, and docs/methods: an index, and a page and a plot per method. The plot shows loss and
gradient against the margin of one made-up pair."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from tiebreak.config.typed import Choice, search_space
from tiebreak.errors import UserError, nearest
from tiebreak.methods import METHODS, Method, Pairs, Responses

MADE_BY = "<!-- Made by `make docs` from the method's file. Change that, not this. -->"
CARD = ("Paper", "Official code", "Convention", "Training")
SECTIONS = {"Fixes": "What it fixes", "Watch": "What to watch", "Fails": "How it fails"}
PARTS = (*CARD, *SECTIONS)

# The plot's made-up pair and margins.
LENGTHS = (20, 24)  # tokens of the chosen and of the rejected response
TOKEN = -1.5  # nats, each token's log-prob under the reference
FARTHEST = 20.0  # nats
STEPS = 160
# Distinct with any kind of colour vision (Okabe and Ito), and as lines.
INK = {"loss": ("#000000", "-"), "chosen": ("#0072B2", "-"), "rejected": ("#D55E00", "--")}


def catalogue() -> list[dict[str, Any]]:
    return [entry(name) for name in METHODS]


def entry(name: str) -> dict[str, Any]:
    """A method as plain values: name, title, summary, needs, loss at the start, source and
    hyper-parameters."""
    cls = METHODS[name]
    return {
        "name": name,
        "title": docstring(name)[0],
        "summary": cls.summary,
        "needs": cls().needs.words(),
        "loss_at_start": cls.start_loss,
        "source": next(line for line in docstring(name) if line.startswith("Paper:")),
        "hyperparameters": {
            field.name: {
                "default": field.default,
                "allowed": _allowed(field.metadata),
                "search": str(search_space(name).get(field.name, "")),
                "source": field.metadata["source"],
            }
            for field in dataclasses.fields(cls)
        },
    }


def catalogue_lines() -> list[str]:
    """The lines of `tiebreak methods`: three per method."""
    width = max(map(len, METHODS)) + 2
    lines = []
    for method in catalogue():
        values = ", ".join(
            f"{key}={value['default']}" + (f" ({value['search']})" if value["search"] else "")
            for key, value in method["hyperparameters"].items()
        )
        lines.append(f"{method['name']:<{width}}{method['summary']}")
        needs = f"needs {', '.join(method['needs']) or 'nothing'}"
        lines.append(f"{'':<{width}}{needs}{'; ' + values if values else ''}")
        lines.append(f"{'':<{width}}{method['source'].removeprefix('Paper: ')}")
    return [*lines, "", "one method with its convention: tiebreak methods NAME"]


def card(name: str) -> str:
    """The convention card of one method; UserError for an unknown name."""
    if name not in METHODS:
        hint = nearest(name, METHODS)
        raise UserError(f"unknown method {name!r}{hint}; there are {', '.join(METHODS)}")
    method = entry(name)
    rows = [
        f"  {key} = {value['default']}   allowed: {value['allowed']}"
        f"{'   search: ' + value['search'] if value['search'] else ''}   from: {value['source']}"
        for key, value in method["hyperparameters"].items()
    ]
    blocks = [
        "\n".join(docstring(name)),
        "Hyper-parameters:\n" + ("\n".join(rows) or "  none"),
        f"Needs: {', '.join(method['needs']) or 'nothing'}",
        f"Loss before the first update: {method['loss_at_start']}",
    ]
    return "\n\n".join(blocks)


def docstring(name: str) -> list[str]:
    """The lines of the method file's docstring."""
    text = sys.modules[METHODS[name].__module__].__doc__
    assert text is not None
    return inspect.cleandoc(text).splitlines()


def parts(name: str) -> dict[str, list[str]]:
    """The lines of a method's docstring by part of PARTS; those before the first part under ""."""
    lines_of: dict[str, list[str]] = {"": []}
    for line in docstring(name):
        part, colon, rest = line.partition(":")
        if colon and part in PARTS:
            lines_of[part] = [rest.strip()]
        else:
            lines_of[next(reversed(lines_of))].append(line)
    return lines_of


def _allowed(metadata: Any) -> str:
    """The values a hyper-parameter may take, in words."""
    signs = {"above": ">", "below": "<", "at_least": ">=", "at_most": "<="}
    bounds = [f"{signs[check]} {limit:g}" for check, limit in metadata["check"].items()]
    return " or ".join(metadata["options"]) or " and ".join(bounds) or "any"


def pages() -> dict[str, str]:
    """The text of every page by its file name."""
    return {"README.md": _index(), **{f"{name}.md": _page(name) for name in METHODS}}


def write_pages(folder: Path) -> int:
    """Write all pages and plots into `folder`, beside its other files; the number of methods.
    UserError when the folder cannot be written."""
    texts = pages()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        for name, cls in METHODS.items():
            draw(name, cls(), folder / f"{name}.svg")
    except OSError as error:
        raise UserError(f"--docs {folder}: {error.strerror}; give a folder to write") from error
    return len(METHODS)


def _index() -> str:
    rows = [
        [f"[{method['name']}]({method['name']}.md)", method["summary"],
         ", ".join(method["needs"]) or "nothing", _paper(method["name"])]
        for method in catalogue()
    ]  # fmt: skip
    table = _table(["method", "what it is", "needs", "paper"], rows)
    intro = (
        f"{len(METHODS)} methods, each one file in `src/tiebreak/methods/`.\n"
        "`tiebreak methods` prints this list, `tiebreak methods NAME` a card; "
        "how to add one is in\n[adding-a-method.md](../adding-a-method.md)."
    )
    return "\n\n".join([MADE_BY, "# Methods", intro, table]) + "\n"


def _page(name: str) -> str:
    method, card_parts = entry(name), parts(name)
    return "\n\n".join(
        [
            MADE_BY,
            f"# {name}",
            *_prose(card_parts[""]),
            f"`{name}`: {method['summary']}.",
            *(block for part in CARD for block in _card_part(part, card_parts)),
            "## Hyper-parameters",
            _hyperparameters(method["hyperparameters"]),
            f"Needs: {', '.join(method['needs']) or 'nothing'}.",
            f"Loss before the first update: {method['loss_at_start'].rstrip('.')}.",
            "## Use",
            _use(name, method["hyperparameters"]),
            *(block for part in SECTIONS if part in card_parts for block in _section(part, name)),
            "## Loss and gradient",
            f"![Loss and slopes of {name} against the margin]({name}.svg)",
            _caption(name),
        ]
    ) + "\n"  # fmt: skip


def _card_part(part: str, card_parts: dict[str, list[str]]) -> Iterator[str]:
    if part in card_parts:
        lines = [_linked(part, line) for line in card_parts[part]]
        yield from _prose([f"**{part}:** {lines[0]}", *lines[1:]])


def _section(part: str, name: str) -> Iterator[str]:
    yield f"## {SECTIONS[part]}"
    first, *others = parts(name)[part]
    word = first.partition(" ")[0]
    if len(word) > 1 and word not in entry(name)["hyperparameters"]:  # h stays h
        first = first[:1].upper() + first[1:]
    yield from _prose([first, *others])


def _prose(lines: list[str]) -> Iterator[str]:
    """Markdown blocks of a card's lines: paragraphs, and indented lines as blocks of code."""
    for indented, group in groupby(lines, lambda line: line.startswith("    ") or not line):
        text = "\n".join(group).strip("\n")
        if not text:
            continue
        if indented:
            yield "```\n" + "\n".join(row[4:] for row in text.split("\n")) + "\n```"
        else:
            # A sign at the start of a line would begin a list.
            yield re.sub(r"^([-+*#>]|\d+[.)])(?= )", r"\\\1", text, flags=re.MULTILINE)


def _linked(part: str, line: str) -> str:
    if part == "Official code":
        line = re.sub(r"^([\w.-]+/[\w.-]*\w)", r"[\1](https://github.com/\1)", line)
    return re.sub(r"arXiv (\d{4}\.\d{4,5})", r"[arXiv \1](https://arxiv.org/abs/\1)", line)


def _paper(name: str) -> str:
    """Authors, year and number of a method's paper, as its card has them."""
    text = " ".join(parts(name)["Paper"])
    short = re.match(r".*?arXiv \d{4}\.\d{4,5}", text)
    return _linked("Paper", short[0] if short else text)


def _hyperparameters(values: dict[str, dict[str, Any]]) -> str:
    if not values:
        return "None."
    rows = [
        [f"`{key}`", f"`{v['default']}`", v["allowed"], v["search"] or "-", v["source"]]
        for key, v in values.items()
    ]
    return _table(["key", "default", "allowed", "worth trying", "source of the default"], rows)


def _table(heads: list[str], rows: list[list[str]]) -> str:
    cells = [heads, ["---"] * len(heads), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells
    )


def _use(name: str, values: dict[str, dict[str, Any]]) -> str:
    """Commands for a run at the defaults and for one with another value of the search space."""
    settings = [
        f" method.{key}={value}"
        for key, space in search_space(name).items()
        for value in (space.values if isinstance(space, Choice) else (space.low, space.high))
        if value != values[key]["default"]
    ]
    commands = [f"tiebreak run method={name}{setting}" for setting in ["", *settings[:1]]]
    return "\n".join(["```", *commands, "```"])


def _caption(name: str) -> str:
    """A caption of what the plot shows, and of what replaces the values of a real model."""
    needs = METHODS[name]().needs
    assumptions = {
        "Both responses count: the mean of their two losses is drawn.": needs.unit == "response",
        "The KL of a token is taken to be half its squared drift.": needs.forward_kl,
        "The mismatched response stays at the reference.": needs.mismatched,
        "The prompt's log-probs stay at the reference.": needs.prompt,
        f"The collision log-prob of every token is {TOKEN} nats.": needs.collision,
        "Statistics of the batch are those of this pair alone.": bool(needs.whole_batch),
        "The reference does not move.": needs.moving_reference,
    }
    text = " ".join(
        [
            f"One pair of {LENGTHS[0]} and {LENGTHS[1]} tokens, {TOKEN} nats each under the "
            f"reference, at the defaults. The margin h goes from {-FARTHEST:g} to {FARTHEST:g} "
            "nats, half of it made by the chosen response going up and half by the rejected going "
            "down, evenly over their tokens. Right: the slope of the loss as a whole response's "
            "log-prob rises by one nat, evenly over its tokens; below zero, an update raises that "
            "response.",
            *(sentence for sentence, holds in assumptions.items() if holds),
        ]
    )
    return textwrap.fill(text, 100, break_on_hyphens=False)


def curve(method: Method) -> dict[str, list[float]]:
    """`margins` (nats), the `loss` at each, and its slope per nat of each response's log-prob; each
    made-up pair is a whole optimiser batch."""
    margins = [FARTHEST * (2 * i / STEPS - 1) for i in range(STEPS + 1)]
    points: dict[str, list[float]] = {"margins": margins, "loss": [], "chosen": [], "rejected": []}
    for margin in margins:
        pairs = made_pair(margin)
        pairs = dataclasses.replace(pairs, carried=method.carry(pairs, {}))
        value = method.loss(pairs).mean()
        value.backward()
        points["loss"].append(value.item())
        for side in ("chosen", "rejected"):
            grad = getattr(pairs, side).policy.grad
            points[side].append(0.0 if grad is None else grad.mean().item())
    return points


def made_pair(margin: float) -> Pairs:
    """A pair with that margin (nats): the chosen is up by half of it, the rejected down by half."""
    import torch

    return Pairs(
        _response(LENGTHS[0], margin / 2),
        _response(LENGTHS[1], -margin / 2),
        mismatched=_response(LENGTHS[1], 0.0),
        prompt=_response(LENGTHS[0], 0.0),
        index=torch.zeros(1, dtype=torch.long),
        noise=torch.full((1,), 0.5, dtype=torch.float64),
    )


def _response(length: int, drift: float) -> Responses:
    """A response (1, length) whose drift (nats) is spread evenly, with all a method may ask for."""
    import torch

    reference_BT = torch.full((1, length), TOKEN, dtype=torch.float64)
    policy_BT = (reference_BT + drift / length).requires_grad_()
    forward_kl_BT = (policy_BT - reference_BT).square() / 2
    return Responses(policy_BT, reference_BT, forward_kl=forward_kl_BT, collision=reference_BT)


def draw(name: str, method: Method, path: Path) -> None:
    """Write the plot of a method as an SVG; equal curves give equal bytes."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    points = curve(method)
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = Figure(figsize=(7.6, 2.9), layout="constrained", facecolor="white")
        left, right = figure.subplots(1, 2)
        for axes, line in ((left, "loss"), (right, "chosen"), (right, "rejected")):
            colour, style = INK[line]
            axes.plot(
                points["margins"], points[line], style, color=colour, label=line, linewidth=1.6
            )
        left.set_ylabel("loss (the method's own unit)")
        right.set_ylabel("slope of the loss (per nat)")
        right.legend(frameon=False)
        for axes in (left, right):
            axes.set_xlabel("margin h (nats)")
            axes.axvline(0, color="#999999", linewidth=0.6)
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(color="#e6e6e6", linewidth=0.6)
            axes.set_axisbelow(True)
        right.axhline(0, color="#999999", linewidth=0.6)
        left_out = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(path, format="svg", metadata={"Title": f"{name}: loss, slopes", **left_out})
