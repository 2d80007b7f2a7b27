"""Ranked lists: read, ordered, tokenised, refused."""

from __future__ import annotations

import json

import pytest

from tiebreak.data.examples import drop_untrainable
from tiebreak.data.read import read_preferences
from tiebreak.data.tokens import Limits, Tokens, tokenise
from tiebreak.errors import UserError


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(responses=("bad", "best", "fine"), scores=(0.1, 2, 1.5), prompt="say"):
    return {"prompt": prompt, "responses": list(responses), "scores": list(scores)}


def test_a_list_is_read_best_first(tmp_path):
    (example,) = read_preferences(write(tmp_path / "a.jsonl", row()))
    assert example.responses == ("best", "fine", "bad")
    assert example.scores == (2.0, 1.5, 0.1) and example.label is None


def test_equal_scores_keep_the_order_of_the_file(tmp_path):
    (example,) = read_preferences(write(tmp_path / "a.jsonl", row(scores=(1, 2, 1))))
    assert example.responses == ("best", "bad", "fine")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row(scores=(1, 2)), "3 responses with 2 scores; give two or more, one score each"),
        (row(scores=(1, 2, "3")), "'scores' holds something other than finite numbers"),
        (row(scores=(1, True, 3)), "'scores' holds something other than finite numbers"),
        ({"prompt": "a", "responses": ["x", "y"]}, "no field 'scores'"),
        ({"prompt": "a", "responses": "x", "scores": [1]}, "must both be lists"),
        (row(responses=("a", 1, "b")), "'responses[1]' is a int; give text"),
    ],
)
def test_a_bad_list_is_refused(tmp_path, bad, message):
    with pytest.raises(UserError) as caught:
        read_preferences(write(tmp_path / "a.jsonl", row(), bad))
    assert "a.jsonl:2: " in str(caught.value) and message in str(caught.value)


def test_lists_and_pairs_do_not_mix(tmp_path):
    pair = {"prompt": "a", "chosen": "x", "rejected": "y"}
    with pytest.raises(UserError, match=r"a.jsonl:2: a pair, but .*:1 is a list of 3"):
        read_preferences(write(tmp_path / "a.jsonl", row(), pair))
    with pytest.raises(UserError, match="a list of 2, but .* is a list of 3"):
        read_preferences(write(tmp_path / "a.jsonl", row(), row(("x", "y"), (1, 2))))


def test_a_list_without_a_preference_is_dropped(tmp_path):
    path = write(tmp_path / "a.jsonl", row(), row(scores=(1, 1, 1)))
    kept, dropped = drop_untrainable(read_preferences(path))
    assert len(kept) == 1 and dropped.counts == {"scores-all-equal": 1}


def test_scores_stay_with_their_tokens(tmp_path, make_tokenizer):
    examples = read_preferences(
        write(tmp_path / "a.jsonl", row(), row(prompt="say it", scores=(3, 2, 1)))
    )
    tokens, report = tokenise(examples, make_tokenizer(), Limits(40))
    assert report.sides == ("chosen", "rank 2", "rejected")
    assert tokens.scores == [(2.0, 1.5, 0.1), (3.0, 2.0, 1.0)]
    tokens.save(tmp_path / "t")
    assert Tokens.load(tmp_path / "t") == tokens
