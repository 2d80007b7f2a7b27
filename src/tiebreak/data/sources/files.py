"""Preferences, and demonstrations, from files or the Hub (docs/data.md)."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from tiebreak.data.examples import (
    SHARED,
    Example,
    conversations,
    drop_shared_prompts,
    prompt_key,
    split_by_prompt,
)
from tiebreak.data.formats import files_of, size_of
from tiebreak.data.read import fingerprint, is_hub, read_demonstrations, read_preferences
from tiebreak.data.sources.source import (
    DEMONSTRATIONS,
    TEST,
    TRAIN,
    VALIDATION,
    Data,
    Lengths,
    Sampler,
)
from tiebreak.errors import UserError
from tiebreak.store import Settings, stamps

Source = tuple[str, str, str | None, str | None]  # file or Hub id, split, revision, subset
BYTES_PER_TOKEN = 4  # of text that nobody has tokenised yet


@dataclass(frozen=True, kw_only=True)
class FileData(Data):
    """Rows that somebody wrote; those held out have a file or split of their own, or a share.
    subset: the configuration of a Hub data set. columns: names of the data -> ours."""

    train: str
    train_split: str
    test: str | None
    test_split: str
    test_share: float
    validation_share: float
    as_conversation: bool
    demonstrations: str | None
    demonstrations_split: str
    revision: str | None
    max_rows: int | None
    max_test_rows: int | None
    subset: str | None = None
    demonstrations_subset: str | None = None
    columns: Settings = Settings()
    max_shared_prompts: float = 0.05
    encode_together: bool = True

    compares_sides: ClassVar[bool] = True

    @property
    def may_be_plain(self) -> bool:
        return not self.as_conversation

    @property
    def joined(self) -> bool:
        return self.encode_together

    def sides(self) -> tuple[str, ...]:
        return (TRAIN, TEST, VALIDATION) if self.validation_share > 0 else (TRAIN, TEST)

    @property
    def can_demonstrate(self) -> bool:
        return self.demonstrations is not None

    def ignored(self, side: str) -> frozenset[str]:
        """`revision` and the subsets are among them on every side: `identity` has what they stand
        for."""
        never = {"revision", "subset", "demonstrations_subset", "max_shared_prompts"}
        if side == DEMONSTRATIONS:
            return frozenset(never) | frozenset(
                "train train_split test test_split test_share validation_share max_rows "
                "max_test_rows".split()
            )
        unread = never | {"demonstrations", "demonstrations_split"}
        if self.test:  # none are split off the training rows
            unread.add("test_share")
        if side == TEST:
            unread |= {"max_rows", "validation_share"}
            unread |= {"train", "train_split"} if self.test else {"test", "test_split"}
        else:
            unread |= {"test", "test_split", "max_test_rows" if side == TRAIN else "max_rows"}
        return frozenset(unread)

    def _named(self) -> dict[str, Source]:
        """What there is to be read. A file refuses a revision or a subset, unless they are meant
        for a Hub data set beside it."""
        asked = {
            "train": (self.train, self.train_split, self.subset),
            "test": (self.test, self.test_split, self.subset),
            "demonstrations": (
                self.demonstrations, self.demonstrations_split, self.demonstrations_subset,
            ),
        }  # fmt: skip
        hubs = {key for key, (source, *_) in asked.items() if source and is_hub(source)}
        named: dict[str, Source] = {}
        for key, (source, split, subset) in asked.items():
            if source and (key in hubs or not hubs):
                named[key] = source, split, self.revision, subset
            elif source:  # a file beside a Hub data set
                own = key == "demonstrations" or hubs == {"demonstrations"}
                named[key] = source, split, None, subset if own else None
        return named

    def check(self) -> None:
        super().check()
        for name, ours in self.columns.items():
            if not isinstance(ours, str):
                raise UserError(f"data.columns: {name}: {ours!r} is no name; write {{NAME: OURS}}")

    def identity(self, side: str) -> dict[str, Any]:
        """Each file that is read for the side, by its content in place of its name; and, for rows
        that are not the test rows, the test data as far as they take prompts away."""
        named, ignored = self._named(), self.ignored(side)
        found = {key: content_of(what) for key, what in named.items() if key not in ignored}
        if side in (TRAIN, VALIDATION) and (shared := self._shared(named)):
            found["shared"] = shared
        return found

    def _shared(self, named: dict[str, Source]) -> str | None:
        """Which training prompts are test prompts too, as a hash: None for none, and where one is
        an error. Files are read for it. Of Hub data sets it is the name of the test split, but for
        the one that is called as the training split is."""
        if "test" not in named or self.max_shared_prompts == 0:
            return None
        train, test = named["train"], named["test"]
        if is_hub(train[0]) or is_hub(test[0]):
            usual = (train[0], train[1].replace("train", "test"))
            return None if test[:2] == usual else content_of(test)
        return _shared_prompts(train, test, self.columns, stamp_of(train), stamp_of(test))

    def stamps(self) -> Hashable:
        return tuple(stamp_of(what) for what in self._named().values())

    def rows(self, side: str, sample: Sampler | None = None) -> list[Example]:
        """With `as_conversation`, a plain prompt is the only user turn of a conversation."""
        if side == DEMONSTRATIONS:
            examples = read_demonstrations(*self._named()[side], columns=self.columns)
        else:
            examples = self._preferences(side)
        if not self.as_conversation:
            return examples
        return conversations(examples)

    def _preferences(self, side: str) -> list[Example]:
        named = self._named()
        train = read_preferences(*named["train"], columns=self.columns)
        if self.test is None:
            train, test = split_by_prompt(train, self.test_share, seed=0)
        else:
            test = read_preferences(*named["test"], columns=self.columns)
            train = drop_shared_prompts(train, test, self.max_shared_prompts)
        if side == TEST:
            return test[: self.max_test_rows]
        if self.validation_share > 0:
            train, validation = split_by_prompt(
                train, self.validation_share, seed=1, key="data.validation_share"
            )
            if side == VALIDATION:
                return validation[: self.max_test_rows]
        return train[: self.max_rows]

    def expected(self, side: str) -> Lengths | None:
        """From the rows and bytes of a file; None for a Hub data set."""
        key, share, most = self._size(side)
        what = self._named().get(key)
        if what is None:
            return None
        found = lengths_of(what, 2 if side == DEMONSTRATIONS else 3, self.max_length)
        if found is None:
            return None
        rows = found.rows * share
        return replace(found, rows=rows if most is None else min(rows, most))

    def _size(self, side: str) -> tuple[str, float, int | None]:
        """(key of the source, share of its rows, rows at most) of a side."""
        if side == DEMONSTRATIONS:
            return "demonstrations", 1.0, None
        if side == TEST and self.test is not None:
            return "test", 1.0, self.max_test_rows
        test = self.test_share if self.test is None else 0.0
        shares = {
            TRAIN: (1 - test) * (1 - self.validation_share),
            VALIDATION: (1 - test) * self.validation_share,
            TEST: test,
        }
        return "train", shares[side], self.max_rows if side == TRAIN else self.max_test_rows


def stamp_of(what: Source) -> Hashable:
    """Of the files of a source: another when one was changed; None for a Hub data set, and for
    files that are gone, which reading names."""
    try:
        return None if is_hub(what[0]) else stamps(files_of(*what[:2]))
    except UserError:
        return None


def content_of(what: Source) -> str:
    """`fingerprint` of a source. A file is read again only if it changed; a Hub is asked once per
    process."""
    return _fingerprint_of(what, stamp_of(what))


@functools.lru_cache
def _fingerprint_of(what: Source, stamp: Hashable) -> str:
    return fingerprint(*what)


def lengths_of(what: Source, parts: int, max_length: int) -> Lengths | None:
    """Rows and lengths of a file whose rows have so many parts, a prompt and its responses, which
    are taken to be of one length; None for a Hub data set."""
    if (stamp := stamp_of(what)) is None:
        return None
    rows, size = _rows_and_bytes(what[0], what[1], stamp)
    each = min(size / max(rows, 1) / BYTES_PER_TOKEN / parts, max_length / 2)
    return Lengths(rows, each, each, parts - 1)


@functools.lru_cache
def _shared_prompts(
    train: Source, test: Source, columns: Settings, *stamps: Hashable
) -> str | None:
    asked = read_preferences(*test, columns=columns)
    marked = drop_shared_prompts(read_preferences(*train, columns=columns), asked, 1.0)
    keys = sorted({json.dumps(prompt_key(one.prompt)) for one in marked if one.unfit == SHARED})
    return hashlib.sha256(json.dumps(keys).encode()).hexdigest() if keys else None


@functools.lru_cache
def _rows_and_bytes(source: str, split: str, stamp: Hashable) -> tuple[int, int]:
    sizes = [size_of(path) for path in files_of(source, split)]
    return sum(rows for rows, _ in sizes), sum(size for _, size in sizes)


SOURCE = FileData
