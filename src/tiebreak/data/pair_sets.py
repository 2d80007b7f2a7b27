"""Pair sets: preferences that a model is measured on and was not trained on, by name."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiebreak.data.examples import Example, conversations
from tiebreak.data.formats import called, kind_of
from tiebreak.data.read import read_preferences
from tiebreak.data.sources.files import Source, content_of, lengths_of, stamp_of
from tiebreak.data.sources.source import TEST, Data, Lengths
from tiebreak.errors import UserError

KEY = "evaluation.pair_sets"


@dataclass(frozen=True)
class PairSet:
    """One entry of `evaluation.pair_sets`: a file, a pattern of files, a folder or a Hub id. split:
    of the latter two, which may be written as SOURCE:SPLIT."""

    name: str
    source: str
    split: str

    @classmethod
    def read(cls, text: str) -> PairSet:
        """UserError: no name can be made of it."""
        source, split = text, TEST
        if ":" in text and kind_of(text) is None and not Path(text).exists():
            source, _, split = text.rpartition(":")
        name = clean(called(source))
        if not name or not source or not split:
            raise UserError(f"{KEY}: {text!r} is no FILE, ORG/NAME or ORG/NAME:SPLIT")
        return cls(name, source, split)

    @property
    def _place(self) -> Source:
        return self.source, self.split, None, None

    def stamp(self) -> Hashable:
        """Another value when one of its files was changed."""
        return stamp_of(self._place)

    def content(self, data: Data) -> dict[str, Any]:
        """What determines its rows and how they are cut, as plain JSON. UserError: it is not
        there."""
        settings = {"pairs": content_of(self._place), "max_length": data.max_length}
        more = {
            "max_prompt_length": data.max_prompt_length,
            "as_conversation": None if data.may_be_plain else True,
            "encode_together": None if data.joined else False,
        }
        return settings | {name: value for name, value in more.items() if value is not None}

    def rows(self, data: Data) -> list[Example]:
        """Its pairs, or ranked lists. UserError: it has none."""
        examples = read_preferences(self.source, self.split)
        if len(examples[0].responses) < 2:
            raise UserError(
                f"{examples[0].where}: a single labelled answer, and {KEY} compares two answers to "
                "a prompt; give rows with prompt, chosen and rejected"
            )
        return examples if data.may_be_plain else conversations(examples)

    def expected(self, max_length: int) -> Lengths | None:
        """Rows and lengths before they are token ids; None for a Hub data set."""
        return lengths_of(self._place, 3, max_length)


def pair_sets(given: Sequence[str]) -> dict[str, PairSet]:
    """By name. UserError: two have the same."""
    found: dict[str, PairSet] = {}
    for text in given:
        one = PairSet.read(text)
        if one.name in found:
            raise UserError(
                f"{KEY}: {found[one.name].source} and {one.source} are both called {one.name}; "
                "rename one of the files"
            )
        found[one.name] = one
    return found


def clean(text: str) -> str:
    """A name that can be a folder's and a part of a metric's."""
    return re.sub(r"[^\w.+-]+", "-", text).strip("-.")
