from __future__ import annotations

import pytest

from tiebreak.data.examples import (
    Dropped,
    Example,
    drop_shared_prompts,
    drop_untrainable,
    refuse_if_many,
    split_by_prompt,
)
from tiebreak.errors import UserError


def pair(i: int, prompt="p", chosen="a", rejected="b") -> Example:
    return Example(str(i), prompt, (chosen, rejected), where=f"rows.jsonl:{i}")


def test_untrainable_rows_are_dropped_by_reason_with_their_place():
    rows = [
        pair(1),
        pair(2, prompt=" \n"),
        pair(3, prompt=[]),
        pair(4, prompt=[{"role": "user", "content": " "}]),
        pair(5, rejected="  "),
        pair(6, chosen="b "),
        Example("7", "p", ("",), label=True, where="rows.jsonl:7"),
        Example("8", "p", ("x",), label=False, where="rows.jsonl:8"),
    ]
    kept, dropped = drop_untrainable(rows)
    assert [example.id for example in kept] == ["1", "8"]
    assert dropped.counts == {"chosen-is-rejected": 1, "empty-prompt": 3, "empty-response": 2}
    assert dropped.places["empty-response"] == ("rows.jsonl:5", "rows.jsonl:7")
    assert dropped.share == 6 / 8


def test_many_dropped_rows_are_refused_at_the_share():
    dropped = Dropped(200, {"empty-prompt": ("rows.jsonl:3", "rows.jsonl:9")})
    refuse_if_many(dropped, 0.01)
    with pytest.raises(UserError) as caught:
        refuse_if_many(dropped, 0.009)
    message = str(caught.value)
    for part in ("2 of 200", "1.0%", "empty-prompt 2", "rows.jsonl:3", "data.max_dropped_share"):
        assert part in message


def test_nothing_left_is_refused_whatever_the_share():
    with pytest.raises(UserError, match="1 of 1 rows"):
        refuse_if_many(Dropped(1, {"empty-prompt": ("rows.jsonl:1",)}), 1.0)


def test_steps_add_up():
    first = Dropped(10, {"empty-prompt": ("a",)})
    both = first.then(Dropped(9, {"prompt-too-long": ("b", "c"), "empty-prompt": ("d",)}))
    assert both.total == 10
    assert both.counts == {"empty-prompt": 2, "prompt-too-long": 2}
    with pytest.raises(AssertionError):
        first.then(Dropped(10, {}))


def test_a_prompt_on_both_sides_leaves_the_training_rows_and_is_counted():
    turn = [{"role": "user", "content": "q2 "}]
    train = [pair(1, "q1"), pair(2, "q2"), pair(3, "q2"), pair(4, "q3")]
    test = [pair(11, "new"), pair(12, turn), pair(13, "q3"), pair(14, "q2")]
    kept, dropped = drop_untrainable(drop_shared_prompts(train, test, 0.75))
    assert [one.id for one in kept] == ["1"]
    assert dropped.places == {"prompt-in-test": ("rows.jsonl:2", "rows.jsonl:3", "rows.jsonl:4")}
    refuse_if_many(dropped, 0.0)  # they have a limit of their own
    assert drop_shared_prompts(train, test[:1], 0.0) == train


def test_more_shared_prompts_than_the_limit_are_refused_with_the_first_two_places():
    train = [pair(1, "q1"), pair(2, "q2"), pair(3, "q2"), pair(4, "q3")]
    with pytest.raises(UserError) as caught:
        drop_shared_prompts(train, [pair(12, "q2"), pair(14, "q2")], 0.49)
    for part in ("2 of 4 training rows (50.0%)", "first rows.jsonl:2 and rows.jsonl:12",
                 "data.max_shared_prompts (now 0.49)"):  # fmt: skip
        assert part in str(caught.value)


def test_what_is_as_it_should_be_has_no_part_in_the_limit_but_is_not_all():
    dropped = Dropped(2, {"no-preference": ("a",), "empty-prompt": ("b",)})
    with pytest.raises(UserError, match="2 of 2 rows"):
        refuse_if_many(dropped, 1.0)
    refuse_if_many(Dropped(2, {"no-preference": ("a",)}), 0.0)


def test_a_split_never_shares_a_prompt_and_depends_only_on_the_seed():
    rows = [pair(i, f"q{i % 40}") for i in range(200)]
    train, test = split_by_prompt(rows, 0.1, seed=0)
    assert drop_shared_prompts(train, test, 0.0) == train
    assert len(test) == 20 and len(train) == 180
    assert [row.id for row in train] == sorted((row.id for row in train), key=int)
    again = split_by_prompt(rows[::-1], 0.1, seed=0)
    assert {row.id for row in again[1]} == {row.id for row in test}
    other = split_by_prompt(rows, 0.1, seed=1)
    assert {row.id for row in other[1]} != {row.id for row in test}


def test_a_split_leaves_no_side_empty():
    train, test = split_by_prompt([pair(1, "a"), pair(2, "b")], 0.99, seed=0)
    assert len(train) == len(test) == 1
    with pytest.raises(UserError, match="1 different prompts"):
        split_by_prompt([pair(1), pair(2)], 0.5, seed=0)
    with pytest.raises(UserError, match="data.test_share=1.5"):
        split_by_prompt([pair(1, "a"), pair(2, "b")], 1.5, seed=0)
    with pytest.raises(UserError, match="data.validation_share=0.5: 1 different .* with data.test"):
        split_by_prompt([pair(1)], 0.5, seed=1, key="data.validation_share")
