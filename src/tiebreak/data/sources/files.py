"""Preferences, and demonstrations, from JSONL, Parquet or the Hub (docs/data.md)."""

from __future__ import annotations

import functools
from collections.abc import Hashable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from tiebreak.data.examples import Example, refuse_shared_prompts, split_by_prompt
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
from tiebreak.store import stamps

BYTES_PER_TOKEN = 4  # of text that nobody has tokenised yet


@dataclass(frozen=True, kw_only=True)
class FileData(Data):
    """Rows that somebody wrote; those held out have a file or split of their own, or a share."""

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
        """`revision` is among them on every side: `identity` has the commit it stands for."""
        if side == DEMONSTRATIONS:
            return frozenset(
                "revision train train_split test test_split test_share validation_share max_rows "
                "max_test_rows".split()
            )
        unread = {"revision", "demonstrations", "demonstrations_split"}
        if self.test:  # none are split off the training rows
            unread.add("test_share")
        if side == TEST:
            unread |= {"max_rows", "validation_share"}
            unread |= {"train", "train_split"} if self.test else {"test", "test_split"}
        else:
            unread |= {"test", "test_split", "max_test_rows" if side == TRAIN else "max_rows"}
        return frozenset(unread)

    def identity(self, side: str) -> dict[str, Any]:
        """Each file that is read for the side, by its content in place of its name."""
        named = {
            "train": (self.train, self.train_split),
            "test": (self.test, self.test_split),
            "demonstrations": (self.demonstrations, self.demonstrations_split),
        }
        ignored = self.ignored(side)
        return {
            key: _fingerprint(source, split, self.revision)
            for key, (source, split) in named.items()
            if source and key not in ignored
        }

    def stamps(self) -> Hashable:
        named = (self.train, self.test, self.demonstrations)
        return stamps(Path(source) for source in named if source and Path(source).is_file())

    def rows(self, side: str, sample: Sampler | None = None) -> list[Example]:
        """With `as_conversation`, a plain prompt is the only user turn of a conversation."""
        if side == DEMONSTRATIONS:
            assert self.demonstrations is not None
            where, split = self.demonstrations, self.demonstrations_split
            examples = read_demonstrations(where, split, self.revision)
        else:
            examples = self._preferences(side)
        if not self.as_conversation:
            return examples
        return [
            replace(one, prompt=[{"role": "user", "content": one.prompt}])
            if isinstance(one.prompt, str)
            else one
            for one in examples
        ]

    def _preferences(self, side: str) -> list[Example]:
        train = read_preferences(self.train, self.train_split, self.revision)
        if self.test is None:
            train, test = split_by_prompt(train, self.test_share, seed=0)
        else:
            test = read_preferences(self.test, self.test_split, self.revision)
            refuse_shared_prompts(train, test)
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
        """From the rows and bytes of a file; None for a Hub data set. A prompt and its responses
        are taken to be of one length, and cut at the limit."""
        source, share, most = self._size(side)
        if source is None or not Path(source).is_file():
            return None
        rows, size = _rows_and_bytes(source, Path(source).stat().st_mtime_ns)
        parts = 2 if side == DEMONSTRATIONS else 3
        each = min(size / max(rows, 1) / BYTES_PER_TOKEN / parts, self.max_length / 2)
        total = rows * share if most is None else min(rows * share, most)
        return Lengths(total, each, each, parts - 1)

    def _size(self, side: str) -> tuple[str | None, float, int | None]:
        """(file, share of its rows, rows at most) of a side."""
        if side == DEMONSTRATIONS:
            return self.demonstrations, 1.0, None
        if side == TEST and self.test is not None:
            return self.test, 1.0, self.max_test_rows
        test = self.test_share if self.test is None else 0.0
        shares = {
            TRAIN: (1 - test) * (1 - self.validation_share),
            VALIDATION: (1 - test) * self.validation_share,
            TEST: test,
        }
        return self.train, shares[side], self.max_rows if side == TRAIN else self.max_test_rows


def _fingerprint(source: str, split: str, revision: str | None) -> str:
    """A file is read again only if it changed; a Hub is asked once per process."""
    stamp = None if is_hub(source) or not Path(source).is_file() else stamps([Path(source)])
    return _fingerprint_of(source, split, revision, stamp)


@functools.lru_cache
def _fingerprint_of(source: str, split: str, revision: str | None, stamp: object) -> str:
    return fingerprint(source, split, revision)


@functools.lru_cache
def _rows_and_bytes(source: str, stamp: int) -> tuple[int, int]:
    path = Path(source)
    if path.suffix == ".parquet":
        from pyarrow import parquet

        about: Any = parquet.ParquetFile(path).metadata
        groups = [about.row_group(i).total_byte_size for i in range(about.num_row_groups)]
        return about.num_rows, sum(groups)
    with path.open("rb") as stream:
        rows = sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))
    return rows, path.stat().st_size


SOURCE = FileData
