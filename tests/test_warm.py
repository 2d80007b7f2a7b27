"""What a worker keeps: within its room, what was used last, while its files stay as they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tiebreak.data.tokens import Tokens
from tiebreak.store import stamps
from tiebreak.warm import SHARE, Kept, kept, share_of_memory

TOKENS = Tokens(["a", "b"], [[1, 70000], [3]], [([5], [6, 2]), ([7], [8])], [None, None])


@pytest.fixture
def room() -> Iterator[Kept]:
    kept.room = 2**20
    yield kept
    kept.room = 0
    kept._items.clear()


def test_nothing_is_kept_unless_asked(tmp_path: Path) -> None:
    TOKENS.save(tmp_path)
    assert Tokens.load(tmp_path) is not Tokens.load(tmp_path)
    assert not kept._items


def test_what_was_used_longest_ago_goes_first() -> None:
    some = Kept(10)
    for name, size in (("a", 4), ("b", 4), ("c", 3)):
        some.put(name, name.upper(), size)
        some.get("b")
    assert [some.get(name) for name in "abc"] == [None, "B", "C"]
    some.put("d", "D", 6)  # b was used before c: it goes
    assert [some.get(name) for name in "bcd"] == [None, "C", "D"]
    some.put("e", "E", 11)
    assert some.get("e") is None and some.get("d") == "D", "what has no room removes nothing"


def test_the_same_tokens_until_their_files_change(tmp_path: Path, room: Kept) -> None:
    TOKENS.save(tmp_path)
    first = Tokens.load(tmp_path)
    assert first == TOKENS and Tokens.load(tmp_path) is first
    other = Tokens(["a"], [[1]], [([2], [3])], [None])
    other.save(tmp_path)
    os.utime(tmp_path / "tokens.json", (1, 1))  # a clock may be too coarse to tell
    assert Tokens.load(tmp_path) == other


def test_two_folders_are_two_things(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "file.json").write_text("{}")
        os.utime(tmp_path / name / "file.json", (1, 1))
    of_a, of_b = (stamps((tmp_path / name).glob("*.json")) for name in "ab")
    assert of_a != of_b and len(of_a) == 1


def test_ids_are_one_object_each(tmp_path: Path) -> None:
    """Millions of places share some thousands of ids."""
    rows = Tokens([str(i) for i in range(9)], [[70000]] * 9, [([70000], [7])] * 9, [None] * 9)
    rows.save(tmp_path)
    found = Tokens.load(tmp_path)
    assert found == rows and all(type(i) is int for row in found.prompts for i in row)
    assert found.prompts[0][0] is found.prompts[8][0]


def test_a_worker_may_keep_a_share_of_the_memory() -> None:
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert share_of_memory() == whole // SHARE
