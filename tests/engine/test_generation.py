"""Answers that are sampled by item: the same in any batch, split and order, from the model's own
distribution."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch

from tests.tiny import VOCAB, make_model
from tiebreak.engine.generation import ItemDraws, generate, uniform
from tiebreak.errors import UserError

_draw = random.Random(0)
PROMPTS = [[_draw.randrange(3, VOCAB) for _ in range(_draw.randint(3, 15))] for _ in range(24)]
ITEMS = [f"item {number}" for number in range(24)]


def answers(
    model: Any, which: Sequence[int], batch_size: int, *, by_item: bool = True, seed: int = 5,
    temperature: float = 1.0,
) -> dict[int, list[int]]:  # fmt: skip
    found = generate(
        model, [PROMPTS[i] for i in which], pad_id=0, end_ids=[2], max_new_tokens=20,
        temperature=temperature, batch_size=batch_size, seed=seed,
        items=[ITEMS[i] for i in which] if by_item else None,
    )  # fmt: skip
    return dict(zip(which, found, strict=True))


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_batches_of_8_equal_batches_of_5_over_three_parts(temperature: float) -> None:
    model = make_model()
    whole = answers(model, range(24), 8, temperature=temperature)
    parts = [answers(model, range(rank, 24, 3), 5, temperature=temperature) for rank in range(3)]
    assert parts[0] | parts[1] | parts[2] == whole
    assert len({tuple(ids) for ids in whole.values()}) > 20 and max(map(len, whole.values())) > 5


def test_the_order_of_the_prompts_does_not_count_and_the_seed_does() -> None:
    model = make_model()
    whole = answers(model, range(24), 8)
    assert answers(model, list(reversed(range(24))), 8) == whole
    other = answers(model, range(24), 8, seed=6)
    assert all(other[i] != whole[i] for i in whole)


def test_one_stream_depends_on_the_batch() -> None:
    """What the other way gives, so that the test above can fail."""
    model = make_model()
    whole = answers(model, range(24), 8, by_item=False)
    assert answers(model, range(24), 8, by_item=False) == whole
    assert answers(model, range(24), 5, by_item=False) != whole


def test_greedy_answers_read_no_numbers() -> None:
    model = make_model()
    named = answers(model, range(24), 8, temperature=0.0)
    assert named == answers(model, range(24), 8, temperature=0.0, by_item=False, seed=6)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_tokens_are_drawn_from_the_models_distribution(temperature: float) -> None:
    """Pearson's chi-square of 4000 first tokens, below its mean and four standard deviations."""
    many = 4000
    logits_V = make_model()(input_ids=torch.tensor([PROMPTS[0]])).logits[0, -1].detach()
    draws = ItemDraws([str(n) for n in range(many)], 1, temperature, len(PROMPTS[0]))
    ids = torch.tensor([PROMPTS[0]]).expand(many, -1)
    token_B = draws(ids, logits_V.expand(many, -1)).argmax(-1)
    seen_V = torch.bincount(token_B, minlength=VOCAB).double()
    asked_V = (logits_V.double() / temperature).softmax(-1) * many
    likely_V = asked_V >= 5  # the others in one cell, as the test asks for
    seen = torch.cat([seen_V[likely_V], seen_V[~likely_V].sum()[None]])
    asked = torch.cat([asked_V[likely_V], asked_V[~likely_V].sum()[None]])
    freedom = len(asked) - 1
    chi_square = float(((seen - asked) ** 2 / asked).sum())
    assert freedom > 50 and chi_square < freedom + 4 * (2 * freedom) ** 0.5
    flat = torch.full_like(asked, many / len(asked))
    assert float(((seen - flat) ** 2 / flat).sum()) > 4 * freedom, "it can fail"


def test_a_token_without_probability_is_never_drawn() -> None:
    scores = torch.full((200, 7), -torch.inf)
    scores[:, 3], scores[:, 5] = 0.0, 1.0
    picked = ItemDraws([str(n) for n in range(200)], 0, 1.0, 1)(torch.zeros(200, 1).long(), scores)
    assert set(picked.argmax(-1).tolist()) == {3, 5}


def test_numbers_are_even_and_belong_to_seed_item_and_step() -> None:
    numbers = sorted(uniform(0, str(item), step) for item in range(100) for step in range(100))
    assert 0 <= numbers[0] and numbers[-1] < 1 and len(set(numbers)) == 10_000
    assert max(b - a for a, b in pairwise(numbers)) < 0.002
    furthest = max(abs(n - (i + 0.5) / 10_000) for i, n in enumerate(numbers))
    assert furthest < 0.0163, "Kolmogorov and Smirnov at 1 %"
    assert len({uniform(1, "1", 1), uniform(11, "1", 1), uniform(1, "11", 1),
                uniform(1, "1", 11)}) == 4  # fmt: skip
    assert uniform(5, "item 0", 3) == 0.16183872142076838, "the same on every machine"


def test_a_model_of_nan_says_so() -> None:
    with pytest.raises(UserError, match="not finite"):
        ItemDraws(["a"], 0, 1.0, 1)(torch.zeros(1, 1).long(), torch.full((1, 5), torch.nan))
