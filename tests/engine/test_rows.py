"""The row layout against what each branch must see, stated without looking at the layout."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tiebreak.engine.rows import Branches, build

PAD = 0
ids = st.lists(st.integers(1, 50), min_size=1, max_size=6)
row = st.builds(Branches, ids, st.lists(ids, min_size=1, max_size=3))


def test_one_pair_by_hand():
    rows = build([Branches([7, 8], [[1, 2, 3], [4]])], PAD)
    # [7 | 8 1 2 | 8]: the second branch is one token long, so only the prompt's last token is in it
    assert rows.input_ids.tolist() == [[7, 8, 1, 2, 8]]
    assert rows.position_ids.tolist() == [[0, 1, 2, 3, 1]]
    assert rows.scored.tolist() == [[False, True, True, True, True]]
    assert rows.targets.tolist() == [1, 2, 3, 4]
    assert rows.lengths == [3, 1]
    seen = [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 0, 0, 0, 1]]
    assert rows.attention_mask.shape == (1, 1, 5, 5)
    assert rows.attention_mask[0, 0].int().tolist() == seen


def test_a_prompt_of_one_token_and_a_response_of_one_token():
    rows = build([Branches([9], [[3]])], PAD)
    assert rows.input_ids.tolist() == [[9]]
    assert rows.targets.tolist() == [3]
    assert rows.attention_mask.all()


@settings(max_examples=60, deadline=None)
@given(st.lists(row, min_size=1, max_size=4))
def test_every_scored_position_sees_its_own_past_and_nothing_else(branches):
    """What position q sees, in order of position id, is the prompt and its response so far."""
    rows = build(branches, PAD)
    want = [
        ([*b.prompt, *response[:t]], response[t])
        for b in branches for response in b.responses for t in range(len(response))
    ]  # fmt: skip
    scored = rows.scored.nonzero().tolist()
    assert len(scored) == len(want) == len(rows.targets)
    for (r, q), (context, target), got in zip(scored, want, rows.targets.tolist(), strict=True):
        keys = rows.attention_mask[r, 0, q].nonzero().flatten().tolist()
        assert rows.input_ids[r, keys].tolist() == context
        assert rows.position_ids[r, keys].tolist() == list(range(len(context)))
        assert rows.position_ids[r, q] == len(context) - 1
        assert got == target


@settings(max_examples=30, deadline=None)
@given(st.lists(row, min_size=1, max_size=4))
def test_positions_are_prompt_plus_responses_less_one(branches):
    counts = [len(b.prompt) + sum(len(r) for r in b.responses) - 1 for b in branches]
    assert [b.positions() for b in branches] == counts
    rows = build(branches, PAD)
    assert rows.input_ids.shape == (len(branches), max(counts))
    assert rows.lengths == [len(r) for b in branches for r in b.responses]
    for r, count in enumerate(counts):
        real = torch.arange(max(counts)) < count
        assert not rows.attention_mask[r, 0][real][:, ~real].any(), "padding is never seen"
        assert rows.attention_mask[r, 0].any(-1).all(), "a query that sees nothing makes NaN"
        assert not rows.scored[r, ~real].any()


def test_split_gives_values_back_per_response():
    rows = build([Branches([7, 8], [[1, 2, 3], [4]]), Branches([5], [[6, 6]])], PAD)
    parts = rows.split(torch.arange(6.0))
    assert [p.tolist() for p in parts] == [[0, 1, 2], [3], [4, 5]]


@pytest.mark.parametrize("bad", [Branches([], [[1]]), Branches([1], [[2], []])])
def test_empty_parts_are_refused(bad):
    with pytest.raises(AssertionError, match="at least one token"):
        build([bad], PAD)
