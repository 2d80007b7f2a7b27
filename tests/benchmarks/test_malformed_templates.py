"""A small part of the 2,000 folders; and that the check can fail."""

from __future__ import annotations

import random

import pytest

from benchmarks import malformed_templates as malformed
from tiebreak.errors import UserError


def test_no_folder_ends_in_a_traceback_and_no_row_is_lost(tmp_path):
    counts = malformed.check(60, 3, tmp_path)
    assert counts.total() == 60 and min(counts["read"], counts["refused"]) > 5


@pytest.fixture
def first(tmp_path):
    run, examples = malformed.prepared(tmp_path)
    (tmp_path / "first" / "chat_template.jinja").write_text(malformed.PLAIN[0])
    return run, examples, tmp_path / "first"


def test_a_good_folder_is_read_and_a_broken_one_refused(first):
    assert malformed.outcome(*first) == "read"
    (first[2] / "chat_template.jinja").write_text("{{ 1 / 0 }}")
    assert malformed.outcome(*first) == "refused"


def test_every_kind_of_change_is_made(first):
    folder, draw = first[2], random.Random(1)
    changes = (malformed._template, malformed._key, malformed._value, malformed._bytes)
    for change in changes:
        before = {file: file.read_bytes() for file in malformed._files(folder)}
        for _ in range(9):
            change(folder, draw)
        assert before != {file: file.read_bytes() for file in malformed._files(folder)}, change


def test_a_row_that_is_nowhere_is_found(first, monkeypatch):
    plain = malformed.encode

    def losing(run, examples, tokenizer):
        return plain(run, examples[:-1], tokenizer)

    monkeypatch.setattr(malformed, "encode", losing)
    with pytest.raises(AssertionError, match="a row is lost"):
        malformed.outcome(*first)

    def unnamed(run):
        raise UserError("something is wrong")

    monkeypatch.setattr(malformed, "start_checkpoint", unnamed)
    with pytest.raises(AssertionError, match="what it is of is not said"):
        malformed.outcome(*first)
