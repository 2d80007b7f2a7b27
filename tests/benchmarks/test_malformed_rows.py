"""A small part of the 10,000 files; and that the check can fail."""

from __future__ import annotations

import json
import random

import pytest

from benchmarks import malformed_rows
from tiebreak.errors import UserError


def test_no_file_ends_in_a_traceback_and_no_row_is_lost(tmp_path):
    counts = malformed_rows.check(400, 7, tmp_path)
    assert (
        counts.total() == 400 and min(counts[what] for what in ("read", "dropped", "refused")) > 5
    )


def test_every_good_row_is_read(tmp_path):
    for i, (row, demonstration) in enumerate(malformed_rows.good_rows()):
        for kind in malformed_rows.KINDS:
            path = tmp_path / f"{i}{kind}"
            content = malformed_rows.written([row, row], kind, random.Random(2))
            assert content is not None
            path.write_bytes(content)
            assert malformed_rows.outcome(path, demonstration, 2) == "read", row


def test_a_row_that_is_nowhere_is_found(tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "a", "chosen": "b", "rejected": "c"}))
    with pytest.raises(AssertionError, match="a row is lost"):
        malformed_rows.outcome(path, False, 2)

    def unnamed(path):
        raise UserError("something is wrong")

    monkeypatch.setattr(malformed_rows, "read_preferences", unnamed)
    with pytest.raises(AssertionError, match="the file is not named"):
        malformed_rows.outcome(path, False, 1)
