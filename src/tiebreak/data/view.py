"""Rows as the model will see them, coloured, with every special token and boundary visible."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tiebreak.data.encode import special_ids
from tiebreak.data.examples import Dropped
from tiebreak.data.lint import Finding
from tiebreak.data.template import DATE
from tiebreak.data.tokens import TokenReport, Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

STYLES = {"chosen": "green", "rejected": "red", "response": "green"}
SPECIAL = "bold reverse"
BOUNDARY = " ┃ "  # between prompt and response; not part of the ids


def show(
    tokens: Tokens,
    tokenizer: PreTrainedTokenizerBase,
    report: TokenReport,
    findings: Sequence[Finding],
    num_rows: int,
    console: Console,
    dropped: Dropped | None = None,
) -> None:
    """The first num_rows rows, the counts by reason, and the lint findings. dropped: all rows left
    out, when steps before tokenising also dropped some."""
    special = special_ids(tokenizer)
    for row in range(min(num_rows, len(tokens))):
        label = {None: "", True: " desirable", False: " undesirable"}[tokens.labels[row]]
        prompt = tokens.prompts[row]
        console.rule(Text(f"{visible(tokens.ids[row])}{label}"), align="left")
        console.print(_marked(prompt, "dim", tokenizer, special), soft_wrap=True)
        for side, ids in zip(report.sides, tokens.responses[row], strict=True):
            cut = "" if ids[-1] in report.end_ids else ", cut"
            head = f"{side}, {len(prompt)} + {len(ids)} tokens{cut}"
            text = Text().append(head, style="bold").append(BOUNDARY, style="bold yellow")
            answer = _marked(ids, STYLES.get(side, "yellow"), tokenizer, special, prompt)
            console.print(text.append_text(answer), soft_wrap=True)
    console.print(_counts(tokens, report, dropped or report.dropped))
    if report.use.dated:
        console.print(f"the chat template asks for the date, which is always {DATE:%d %b %Y}")
    for finding in findings:
        style = "bold red" if finding.severity == "error" else "yellow"
        line = Text().append(f"{finding.severity} {finding.code}: ", style=style)
        console.print(line.append(visible(finding.message)), soft_wrap=True)
    if not findings:
        console.print("lint: nothing found", style="green")


def visible(text: str) -> str:
    """Text with control, bidirectional and unassigned characters written as escapes. Data can hold
    terminal escape sequences; printed as they are they would act. New lines stay, marked, because
    they matter in a template."""
    return "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    if character == "\n":
        return "⏎\n"
    if character != " " and unicodedata.category(character)[0] in "CZ":
        return character.encode("unicode_escape").decode("ascii")
    return character


def _marked(
    ids: list[int],
    style: str,
    tokenizer: PreTrainedTokenizerBase,
    special: set[int],
    before: Sequence[int] = (),
) -> Text:
    # Neighbours are decoded together: a character may be spread over several tokens. What stands
    # before them is, too: some tokenizers take a space off the beginning of what they decode.
    text, seen = Text(), list(before)
    for is_special, group in groupby(ids, key=special.__contains__):
        tokens = list(group)
        if is_special:
            for token in tokens:
                text.append(visible(str(tokenizer.decode([token]))), style=SPECIAL)
        else:
            parts = (seen[-8:], seen[-8:] + tokens, tokens)
            head, whole, alone = (
                str(tokenizer.decode(part, clean_up_tokenization_spaces=False)) for part in parts
            )
            words = whole.removeprefix(head) if whole.startswith(head) else alone
            text.append(visible(words), style=style)
        seen += tokens
    return text


def _counts(tokens: Tokens, report: TokenReport, dropped: Dropped) -> Table:
    table = Table("rows", "number", "share", box=None, title="tokens", title_justify="left")
    read, kept = max(dropped.total, 1), max(len(tokens), 1)
    rows = [("read", dropped.total, read), ("kept", len(tokens), read)]
    rows += [(f"dropped: {reason}", count, read) for reason, count in dropped.counts.items()]
    rows += [(f"emptied: {side}", count, read) for side, count in report.emptied.items()]
    rows += [(f"truncated: {side}", count, kept) for side, count in report.truncated.items()]
    for name, count, of in rows:
        table.add_row(escape(name), str(count), f"{count / of:.1%}")
    return table
