from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from random import Random

import pytest

from tiebreak.data.world import Knobs, corpus, demonstrations, describe, preference_pairs, prompts
from tiebreak.data.world.gold import gold, read_request
from tiebreak.data.world.grammar import words_of
from tiebreak.data.world.pairs import change_words
from tiebreak.errors import UserError

SMALL = Knobs(num_pairs=400)


def text(example) -> str:
    (turn,) = example.prompt
    assert turn["role"] == "user"
    return turn["content"]


def agreement(pairs) -> float:
    """Share of pairs whose chosen answer has the higher gold, ties left out."""
    worth = [tuple(gold(text(p), r).reward for r in p.responses) for p in pairs]
    signs = [chosen > rejected for chosen, rejected in worth if chosen != rejected]
    return sum(signs) / len(signs)


def mean_length_gap(pairs) -> float:
    return sum(len(words_of(c)) - len(words_of(r)) for c, r in (p.responses for p in pairs)) / len(
        pairs
    )


def test_labels_follow_gold_and_noise_breaks_them():
    clean = agreement(preference_pairs(SMALL, 0))
    assert 0.8 < clean < 1.0
    noisy = agreement(preference_pairs(replace(SMALL, label_noise=0.5), 0))
    assert 0.4 < noisy < 0.6
    assert agreement(preference_pairs(replace(SMALL, label_noise=1.0), 0)) == pytest.approx(
        1 - clean
    )


def test_temperature_is_the_labellers_doubt():
    sure = agreement(preference_pairs(replace(SMALL, temperature=1e-6), 0))
    unsure = agreement(preference_pairs(replace(SMALL, temperature=10.0), 0))
    assert sure == 1.0
    assert 0.4 < unsure < 0.6


def test_length_bias_makes_the_chosen_longer():
    fair, biased = (
        mean_length_gap(preference_pairs(replace(SMALL, length_bias=bias), 0)) for bias in (0, 0.2)
    )
    assert biased > fair + 4


@pytest.mark.parametrize(
    "knobs", [{"label_noise": 0.5}, {"length_bias": 1.0}, {"temperature": 9.0}]
)
def test_held_out_labels_are_never_wrong(knobs):
    assert agreement(preference_pairs(replace(SMALL, **knobs), 0, split="test")) == 1.0


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
def test_edit_distance_is_the_share_of_changed_words(share):
    pairs = preference_pairs(replace(SMALL, edit_distance=share), 0)
    changed = []
    for pair in pairs:
        chosen, rejected = (words_of(r) for r in pair.responses)
        assert len(chosen) == len(rejected)
        words = sum(word.isalpha() for word in chosen)
        changed.append(sum(a != b for a, b in zip(chosen, rejected, strict=True)) / words)
    assert sum(changed) / len(changed) == pytest.approx(share, abs=0.02)
    assert agreement(pairs) > 0.8


def test_a_small_change_stays_fluent_and_changes_the_meaning():
    answer = "i know the river well. i like red boats."
    changed = change_words(Random(0), answer, 0.01)
    differing = [(a, b) for a, b in zip(words_of(answer), words_of(changed), strict=True) if a != b]
    assert len(differing) == 1
    assert differing[0][0] in {"river", "red", "boats"}


def test_train_and_test_prompts_are_disjoint():
    def asked(examples) -> set:
        return {(r.topic, frozenset(r.facts)) for r in map(read_request, map(text, examples))}

    train = asked(preference_pairs(SMALL, 0)) | asked(demonstrations(400, 0))
    test = asked(preference_pairs(SMALL, 0, split="test")) | asked(prompts(400, 0))
    assert train and test and not train & test
    questions = [
        d.split("<user>")[1].split("<assistant>")[0] for d in corpus(400, 0) if "<user>" in d
    ]
    assert {read_request(question).split for question in questions} == {"train"}


def test_validation_stays_clear_of_the_test():
    """Pairs of pairs, prompts of prompts; both are of the test side, which no training sees."""
    tested, validated = (preference_pairs(SMALL, 0, split) for split in ("test", "validation"))
    assert len(validated) == len(tested) == 400
    assert not {text(p) for p in validated} & {text(p) for p in tested}
    assert agreement(validated) == 1.0
    asked, later = prompts(200, 0), prompts(200, 0, "validation")
    assert [*asked, *later] == prompts(400, 0)
    assert len({e.id for e in [*tested, *validated, *asked, *later]}) == 1200
    sides = {read_request(text(e)).split for e in [*validated, *later]}
    assert sides == {"test"}


def test_shapes_and_ids():
    pairs, held_out = preference_pairs(SMALL, 3), preference_pairs(SMALL, 3, split="test")
    assert all(len(p.responses) == 2 and p.responses[0] != p.responses[1] for p in pairs)
    evaluation = prompts(300, 3)
    assert all(p.responses == () for p in evaluation)
    assert len({text(p) for p in evaluation}) == 300
    assert all(len(d.responses) == 1 for d in demonstrations(50, 3))
    assert len({e.id for e in [*pairs, *held_out, *evaluation]}) == 1100


def test_instruct_answers_are_better_than_sft_answers():
    def mean_gold(examples) -> float:
        return sum(gold(text(e), e.responses[0]).reward for e in examples) / len(examples)

    sft, instruct = (mean_gold(demonstrations(400, 0, quality=q)) for q in ("sft", "instruct"))
    assert 0.6 < sft < instruct - 0.05 < 0.9


def test_another_seed_gives_other_data():
    assert corpus(20, 0) != corpus(20, 1)
    assert preference_pairs(SMALL, 0) != preference_pairs(SMALL, 1)
    assert {text(p) for p in prompts(50, 0)} != {text(p) for p in prompts(50, 1)}


def test_more_pairs_begin_with_the_same_pairs():
    assert preference_pairs(replace(SMALL, num_pairs=50), 0) == preference_pairs(SMALL, 0)[:50]


def test_the_same_bytes_in_every_process():
    script = (
        "from tiebreak.data.world import *; import hashlib;"
        "k = Knobs(num_pairs=30, edit_distance=.3);"
        "d = [corpus(30, 1), preference_pairs(k, 1), preference_pairs(k, 1, split='test'),"
        " demonstrations(30, 1, quality='instruct'), prompts(30, 1),"
        " preference_pairs(k, 1, split='validation'), prompts(30, 1, split='validation')];"
        "print(hashlib.sha256(repr(d).encode()).hexdigest())"
    )
    path = os.pathsep.join(p for p in sys.path if p)
    hashes = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [("num_pairs", 0), ("label_noise", 1.5), ("label_noise", float("nan")), ("edit_distance", 0.0),
     ("length_bias", float("inf")), ("temperature", 0.0), ("edit_distance", 2.0)],
)  # fmt: skip
def test_impossible_knobs_name_key_value_and_remedy(key, value):
    with pytest.raises(UserError, match=rf"knobs\.{key}: {value!r} .*; (use|ask)"):
        Knobs(**{key: value})


def test_misspelt_words_are_named():
    with pytest.raises(UserError, match="split: 'tests' is not known .*'test'"):
        preference_pairs(SMALL, 0, split="tests")
    with pytest.raises(UserError, match="quality: 'instrct' is not known .*'instruct'"):
        demonstrations(3, 0, quality="instrct")
    with pytest.raises(UserError, match="prompts: .* 10000"):
        prompts(10_001, 0)
    with pytest.raises(UserError, match="too few prompts for 10002; ask for 10000"):
        prompts(5_001, 0, split="validation")
    with pytest.raises(UserError, match="split: 'train' is not known; use 'validation' or 'test'"):
        prompts(3, 0, split="train")


def test_describe_counts():
    world = describe()
    assert world["version"] == 1
    assert 170 <= world["vocabulary"] <= 400
