from __future__ import annotations

import dataclasses

import pytest

from tiebreak.data.world import WEIGHTS, gold
from tiebreak.errors import UserError

PROMPT = "write a short kind note about the river. mention red boats and worn bridges."
PERFECT = "hello my dear friend! many people visit the river. we saw red boats and worn bridges."


def test_a_faultless_answer_has_every_part_at_its_best():
    worth = gold(PROMPT, PERFECT)
    assert dataclasses.asdict(worth) == pytest.approx(
        {
            "reward": 1.0,
            "helpfulness": 1.0,
            "faithfulness": 1.0,
            "tone": 1.0,
            "repetition": 0.0,
            "length": 1.0,
        }
    )


@pytest.mark.parametrize(
    ("part", "value", "response"),
    [
        ("faithfulness", 0.5, PERFECT.replace(" and worn bridges", "")),
        ("faithfulness", 0.0, PERFECT.replace("worn", "new")),  # contradicted
        (
            "faithfulness",
            0.0,
            PERFECT + " do not miss new bridges.",
        ),  # said both ways is contradicted
        ("faithfulness", 0.75, PERFECT + " i like calm shores."),  # invented
        ("faithfulness", 1.0, PERFECT + " i like worn bridges."),
        ("helpfulness", 0.5, PERFECT.replace("boats and worn", "boats")),
        ("helpfulness", 0.75, PERFECT + " you should see the farm."),
        ("helpfulness", 0.75, PERFECT + " red the river."),
        ("helpfulness", 0.75, PERFECT + " i know the"),  # cut off
        ("helpfulness", 0.75, PERFECT + " i like sour boats."),  # no such value of boats
        ("helpfulness", 0.5, PERFECT.replace("many people visit the river. ", "")),
        ("tone", 0.0, PERFECT.replace("hello my dear friend!", "yours faithfully.")),
        ("tone", 0.5, PERFECT + " yours faithfully."),
        ("tone", 0.0, PERFECT.replace("hello my dear friend! ", "")),
        ("length", 0.5, "boats are red."),
        ("length", 0.8, PERFECT + " take good care!"),
    ],
)
def test_each_fault_moves_its_part(part, value, response):
    assert getattr(gold(PROMPT, response), part) == pytest.approx(value)


def test_saying_it_again_costs_repetition_and_gains_nothing():
    again = gold(PROMPT, PERFECT + " many people visit the river.")
    assert again.helpfulness == 1.0
    assert again.repetition > 0.05
    assert again.reward < gold(PROMPT, PERFECT).reward


def test_reward_is_the_weighted_sum_of_the_parts():
    worth = gold(PROMPT, PERFECT.replace("worn", "new") + " i like calm shores. the")
    assert worth.reward == pytest.approx(sum(w * getattr(worth, n) for n, w in WEIGHTS.items()))


@pytest.mark.parametrize(
    "response",
    ["", " ", ".", "!!!", "river " * 30, "i like red boats " * 20, PROMPT, "<unk> \x00 é 7",
     "many people visit the river. " * 12, "hello my dear friend! " * 10],
)  # fmt: skip
def test_degenerate_answers_are_worth_little(response):
    honest_but_poor = "i know the river well. i like red boats. the farm is near the town."
    assert gold(PROMPT, response).reward <= 0.2 < gold(PROMPT, honest_but_poor).reward


def test_order_from_faultless_to_empty():
    answers = [
        PERFECT,
        PERFECT.replace("hello my dear friend!", "these are the facts."),
        PERFECT.replace("worn", "new"),
        "dear sir or madam. many people visit the farm.",
        "",
        "we saw blue boats and new bridges.",
    ]
    rewards = [gold(PROMPT, answer).reward for answer in answers]
    assert rewards == sorted(rewards, reverse=True)
    assert len(set(rewards)) == len(rewards)


def test_spacing_and_case_do_not_matter():
    spaced = PERFECT.replace("!", " !").replace(".", " .").upper()
    assert gold(PROMPT.upper(), f"  {spaced}\n") == gold(PROMPT, PERFECT)


@pytest.mark.parametrize("prompt", ["", "what is the capital of France?", PROMPT + " thanks."])
def test_a_foreign_prompt_is_refused(prompt):
    with pytest.raises(UserError, match="not a request of the controlled world"):
        gold(prompt, PERFECT)
