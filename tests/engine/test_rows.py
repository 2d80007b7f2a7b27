"""The row layout against what each branch must see, stated without looking at the layout."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, causal_mask_function

from tiebreak.engine.masks import branches_apart
from tiebreak.engine.rows import Branches, Layout, Rows, build

PAD = 0


def seen(rows: Rows, pattern=causal_mask_function) -> torch.Tensor:
    """(R, L, L) bool: the mask that a layer of this pattern asks for while `rows` are scored."""
    size, length = rows.input_ids.shape
    with branches_apart(rows.position_ids, rows.branch):
        mask = ALL_MASK_ATTENTION_FUNCTIONS["sdpa"](
            batch_size=size, q_length=length, kv_length=length, mask_function=pattern,
            attention_mask=torch.ones(size, length, dtype=torch.bool),
        )  # fmt: skip
    return mask[:, 0]


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
    mask = [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 0, 0, 0, 1]]
    assert seen(rows)[0].int().tolist() == mask


def test_a_prompt_of_one_token_and_a_response_of_one_token():
    rows = build([Branches([9], [[3]])], PAD)
    assert rows.input_ids.tolist() == [[9]]
    assert rows.targets.tolist() == [3]
    assert seen(rows).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(row, min_size=1, max_size=4))
def test_every_scored_position_sees_its_own_past_and_nothing_else(branches):
    """What position q sees, in order of position id, is the prompt and its response so far."""
    rows = build(branches, PAD)
    want = [
        ([*b.prompt, *response[:t]], response[t])
        for b in branches for response in b.responses for t in range(len(response))
    ]  # fmt: skip
    scored, mask = rows.scored.nonzero().tolist(), seen(rows)
    assert len(scored) == len(want) == len(rows.targets)
    for (r, q), (context, target), got in zip(scored, want, rows.targets.tolist(), strict=True):
        keys = mask[r, q].nonzero().flatten().tolist()
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
    mask = seen(rows)
    for r, count in enumerate(counts):
        real = torch.arange(max(counts)) < count
        assert not mask[r][real][:, ~real].any(), "padding is never seen"
        assert mask[r].any(-1).all(), "a query that sees nothing makes NaN"
        assert not rows.scored[r, ~real].any()


def test_separate_rows_by_hand():
    rows = build([Branches([7, 8], [[1, 2, 3], [4]])], PAD, layout=Layout.SEPARATE)
    assert rows.input_ids.tolist() == [[7, 8, 1, 2], [7, 8, 0, 0]]
    assert rows.position_ids.tolist() == [[0, 1, 2, 3], [0, 1, 0, 0]]
    assert rows.branch.tolist() == [[0, 0, 0, 0], [0, 0, -1, -1]]
    assert rows.targets.tolist() == [1, 2, 3, 4] and rows.lengths == [3, 1]
    assert rows.forwards == [[0, 1]] and rows.positions == 2 * 4


@pytest.mark.parametrize(
    ("overhead", "forwards", "positions"),
    [
        (1, [[0], [1, 3], [2]], 4 + 2 * 2 + 1),  # rows of one length together
        (2, [[0], [1, 2, 3]], 4 + 3 * 2),  # a padded position for a forward less
        (7, [[0, 1, 2, 3]], 4 * 4),
    ],
)
def test_separate_rows_of_near_lengths_share_a_forward(overhead, forwards, positions):
    pairs = [Branches([7, 8], [[1, 2, 3], [4]]), Branches([7], [[1], [2, 3]])]
    rows = build(pairs, PAD, layout=Layout.SEPARATE, overhead=overhead)
    assert sorted(rows.forwards) == forwards and rows.positions == positions
    part = rows.part([1, 3])
    assert part.input_ids.tolist() == [[7, 8], [7, 2]]
    assert part.scored.tolist() == [[False, True], [True, True]]


@settings(max_examples=30, deadline=None)
@given(st.lists(row, min_size=1, max_size=4), st.booleans())
def test_layouts_score_the_same_tokens_in_the_same_order(branches, prompt):
    built = [build(branches, PAD, prompt, layout) for layout in Layout]
    for rows in built[1:]:
        assert rows.targets.tolist() == built[0].targets.tolist()
        assert rows.lengths == built[0].lengths
    padded = [row.positions(Layout.SEPARATE) for row in branches]
    assert built[1].input_ids.numel() >= sum(padded)
    alone = build(branches[:1], PAD, layout=Layout.SEPARATE)
    assert alone.positions == padded[0]
    cheapest = build(branches, PAD, layout=Layout.SEPARATE, overhead=0)
    assert cheapest.positions == sum(
        len(b.prompt) + len(r) - 1 for b in branches for r in b.responses
    )


def test_split_gives_values_back_per_response():
    rows = build([Branches([7, 8], [[1, 2, 3], [4]]), Branches([5], [[6, 6]])], PAD)
    parts = rows.split(torch.arange(6.0))
    assert [p.tolist() for p in parts] == [[0, 1, 2], [3], [4, 5]]


@pytest.mark.parametrize("bad", [Branches([], [[1]]), Branches([1], [[2], []])])
def test_empty_parts_are_refused(bad):
    with pytest.raises(AssertionError, match="at least one token"):
        build([bad], PAD)
