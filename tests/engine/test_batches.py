"""Which rows make which batch, mismatched partners, and the share of a process."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiebreak.engine.batches import mismatch, plan_batches, share_of_rank
from tiebreak.errors import UserError


def test_the_seed_and_nothing_else_fixes_the_order():
    plan = plan_batches(20, 6, epochs=2, seed=1)
    assert plan == plan_batches(20, 6, epochs=2, seed=1)
    assert plan != plan_batches(20, 6, epochs=2, seed=2)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 3), st.integers(0, 5))
def test_each_row_once_per_epoch(num_rows, batch_size, epochs, seed):
    plan = plan_batches(num_rows, batch_size, epochs, seed)
    per_epoch = -(-num_rows // batch_size)
    assert len(plan) == per_epoch * epochs
    for epoch in range(epochs):
        steps = plan.steps[epoch * per_epoch : (epoch + 1) * per_epoch]
        assert sorted(i for step in steps for i in step) == list(range(num_rows))
        assert {len(step) for step in steps[:-1]} <= {batch_size}


def test_epochs_are_shuffled_differently():
    plan = plan_batches(50, 50, epochs=2, seed=0)
    assert plan.steps[0] != plan.steps[1]


def test_a_plan_cut_short_is_the_beginning_of_the_long_one():
    """So that a resumed run, or one with max_steps, meets the same batches."""
    long = plan_batches(20, 6, epochs=3, seed=1)
    assert plan_batches(20, 6, epochs=3, seed=1, max_steps=5).steps == long.steps[:5]
    assert plan_batches(20, 6, epochs=1.5, seed=1).steps == long.steps[:6]
    assert len(plan_batches(20, 6, epochs=0.01, seed=1)) == 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=20), st.integers(1, 2))
def test_mismatch_never_shares_a_prompt(kinds, branches):
    prompts = [[kind, 9] for kind in kinds]
    if len(set(kinds)) == 1:
        with pytest.raises(UserError, match="same prompt"):
            mismatch(prompts, [branches] * len(prompts))
        return
    partners = mismatch(prompts, [branches] * len(prompts))
    for row, (other, branch) in enumerate(partners):
        assert prompts[other] != prompts[row]
        assert 0 <= branch < branches
    assert partners == mismatch(prompts, [branches] * len(prompts)), "a property of the data"


def test_mismatch_uses_both_sides_of_pairs_and_every_row():
    partners = mismatch([[i] for i in range(10)], [2] * 10)
    assert sorted(other for other, _ in partners) == list(range(10))
    assert sum(branch for _, branch in partners) == 5


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(), max_size=20, unique=True), st.integers(1, 5))
def test_shares_partition_the_batch(rows, num_ranks):
    shares = [share_of_rank(rows, rank, num_ranks) for rank in range(num_ranks)]
    assert sorted(i for share in shares for i in share) == sorted(rows)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
