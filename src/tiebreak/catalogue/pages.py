"""docs/methods: one page per method and an index, made from the methods' own files."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from tiebreak.catalogue.cards import catalogue, entry, parts
from tiebreak.catalogue.plots import FARTHEST, LENGTHS, TOKEN, draw
from tiebreak.config.search import Choice, search_space
from tiebreak.errors import UserError
from tiebreak.methods import METHODS

MADE_BY = "<!-- Made by `make docs` from the method's file. Change that, not this. -->"
CARD = ("Paper", "Official code", "Convention", "Training")
SECTIONS = {"Fixes": "What it fixes", "Watch": "What to watch", "Fails": "How it fails"}


def pages() -> dict[str, str]:
    """File name -> text, for every page."""
    return {"README.md": _index(), **{f"{name}.md": _page(name) for name in METHODS}}


def write(folder: Path) -> int:
    """Write all pages and plots; how many methods. What else is in `folder` stays."""
    made = pages()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in made.items():
            (folder / name).write_text(text, encoding="utf-8")
        for name, cls in METHODS.items():
            draw(name, cls(), folder / f"{name}.svg")
    except OSError as error:
        raise UserError(f"--docs {folder}: {error.strerror}; give a folder to write") from error
    return len(METHODS)


def _index() -> str:
    rows = [
        [f"[{one['name']}]({one['name']}.md)", one["summary"],
         ", ".join(one["needs"]) or "nothing", _paper(one["name"])]
        for one in catalogue()
    ]  # fmt: skip
    table = _table(["method", "what it is", "needs", "paper"], rows)
    words = (
        f"{len(METHODS)} methods, each one file in `src/tiebreak/methods/`.\n"
        "`tiebreak methods` prints this list, `tiebreak methods NAME` a card; "
        "how to add one is in\n[adding-a-method.md](../adding-a-method.md)."
    )
    return "\n\n".join([MADE_BY, "# Methods", words, table]) + "\n"


def _page(name: str) -> str:
    one, given = entry(name), parts(name)
    return "\n\n".join(
        [
            MADE_BY,
            f"# {name}",
            *_prose(given[""]),
            f"`{name}`: {one['summary']}.",
            *(block for part in CARD for block in _card_part(part, given)),
            "## Hyper-parameters",
            _hyperparameters(one["hyperparameters"]),
            f"Needs: {', '.join(one['needs']) or 'nothing'}.",
            f"Loss before the first update: {one['loss_at_start'].rstrip('.')}.",
            "## Use",
            _use(name, one["hyperparameters"]),
            *(block for part in SECTIONS if part in given for block in _section(part, name)),
            "## Loss and gradient",
            f"![Loss and slopes of {name} against the margin]({name}.svg)",
            _caption(name),
        ]
    ) + "\n"  # fmt: skip


def _card_part(part: str, given: dict[str, list[str]]) -> Iterator[str]:
    if part in given:
        lines = [_linked(part, line) for line in given[part]]
        yield from _prose([f"**{part}:** {lines[0]}", *lines[1:]])


def _section(part: str, name: str) -> Iterator[str]:
    yield f"## {SECTIONS[part]}"
    first, *others = parts(name)[part]
    word = first.partition(" ")[0]
    if len(word) > 1 and word not in entry(name)["hyperparameters"]:  # h stays h
        first = first[:1].upper() + first[1:]
    yield from _prose([first, *others])


def _prose(lines: list[str]) -> Iterator[str]:
    """Paragraphs, and what is indented as blocks of code."""
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
    """Authors, year and number, as the card has them."""
    text = " ".join(parts(name)["Paper"])
    short = re.match(r".*?arXiv \d{4}\.\d{4,5}", text)
    return _linked("Paper", short[0] if short else text)


def _hyperparameters(values: dict[str, dict[str, Any]]) -> str:
    if not values:
        return "None."
    rows = [
        [f"`{key}`", f"`{one['default']}`", one["allowed"], one["search"] or "-", one["source"]]
        for key, one in values.items()
    ]
    return _table(["key", "default", "allowed", "worth trying", "source of the default"], rows)


def _table(heads: list[str], rows: list[list[str]]) -> str:
    cells = [heads, ["---"] * len(heads), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells
    )


def _use(name: str, values: dict[str, dict[str, Any]]) -> str:
    """The command, and again with the first value of its search space that is no default."""
    tried = [
        f" method.{key}={value}"
        for key, space in search_space(name).items()
        for value in (space.values if isinstance(space, Choice) else (space.low, space.high))
        if value != values[key]["default"]
    ]
    commands = [f"tiebreak run method={name}{one}" for one in ["", *tried[:1]]]
    return "\n".join(["```", *commands, "```"])


def _caption(name: str) -> str:
    """What the plot shows, and what stands in for what a real model would give."""
    needs = METHODS[name]().needs
    chosen, rejected = LENGTHS
    given = {
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
            f"One pair of {chosen} and {rejected} tokens, {TOKEN} nats each under the reference, "
            f"at the defaults. The margin h goes from {-FARTHEST:g} to {FARTHEST:g} nats, half of "
            "it made by the chosen response going up and half by the rejected going down, evenly "
            "over their tokens. Right: the slope of the loss as a whole response's log-prob rises "
            "by one nat, evenly over its tokens; below zero, an update raises that response.",
            *(sentence for sentence, holds in given.items() if holds),
        ]
    )
    return textwrap.fill(text, 100, break_on_hyphens=False)
