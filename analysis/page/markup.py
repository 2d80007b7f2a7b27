"""HTML by construction: text is escaped where it enters, so nothing can be forgotten later."""

from __future__ import annotations

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


def join(children: Iterable[Child], between: str = "") -> Markup:
    return Markup(
        between.join(
            child.text if isinstance(child, Markup) else escape(child) for child in children
        )
    )


def table(head: Iterable[Child], body: Iterable[Iterable[Child]], class_: str = "") -> Markup:
    """A table in a box of its own that scrolls; the first cell of a row is its heading."""
    rows = []
    for first, *others in body:
        cells = (tag("td", cell) for cell in others)
        rows.append(tag("tr", tag("th", first, scope="row"), *cells))
    top = tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in head)))
    return scroll(tag("table", top, tag("tbody", *rows), class_=class_ or None))


def scroll(content: Markup) -> Markup:
    """A box that scrolls by itself; it takes the focus so that arrow keys can move it."""
    return tag("div", content, class_="scroll", tabindex=0)
