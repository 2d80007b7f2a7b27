"""HTML by construction: text is escaped where it enters, so nothing can be forgotten later."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Markup:
    """Text that is HTML already. Only this module and the page's own templates make it."""

    text: str


Child = Markup | str
VOID = ("meta", "wbr")  # elements without an end


def tag(name: str, /, *children: Child, **attributes: str | int | bool | None) -> Markup:
    """`<name ...>children</name>`. `class_`: class, `data_value`: data-value; None or False: none.

    There is no `style` attribute: the page's content security policy would ignore it.
    """
    told = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        told.append(f" {key}" if value is True else f' {key}="{escape(str(value))}"')
    start = f"<{name}{''.join(told)}>"
    return Markup(start if name in VOID else f"{start}{join(children).text}</{name}>")


def join(children: Iterable[Child]) -> Markup:
    return Markup("".join(c.text if isinstance(c, Markup) else escape(c) for c in children))


def scrolling_table(heads: Iterable[Markup], bodies: Iterable[Markup], class_: str) -> Markup:
    """A table in a box of its own, which takes the focus so that arrow keys can move it."""
    content = tag("table", tag("thead", tag("tr", *heads)), *bodies, class_=class_)
    return tag("div", content, class_="scroll", tabindex=0)


def body(name: str, rows: Iterable[Markup], width: int) -> Markup:
    """Rows of a table with their name above them, across all columns."""
    span = tag("th", name, colspan=width, scope="rowgroup")
    return tag("tbody", tag("tr", span, class_="scenario"), *rows)


def zipped(text: str) -> str:
    """Gzipped, in base64: long text of which no character means anything to a parser of HTML. The
    same text gives the same; `unzipped` in state.js gives it back."""
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()
