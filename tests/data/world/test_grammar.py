from __future__ import annotations

from random import Random

import pytest

from tiebreak.data.world.gold import gold, read_request, read_response
from tiebreak.data.world.grammar import (
    ASPECTS,
    SCALES,
    TONES,
    TOPICS,
    Request,
    draw_request,
    join_words,
    vocabulary,
    words_of,
    write_answer,
    write_request,
)


def draw(count: int, split: str = "train") -> list[Request]:
    rng = Random("requests")
    return [draw_request(rng, split) for _ in range(count)]


def test_what_is_written_is_read_back():
    rng = Random(0)
    for request in draw(300):
        assert read_request(write_request(rng, request)) == request


def test_no_set_of_facts_is_on_both_sides():
    sides = [
        {(r.topic, frozenset(r.facts)) for r in draw(2000, split)} for split in ("train", "test")
    ]
    assert not sides[0] & sides[1]


def test_the_side_ignores_tone_length_and_order():
    request = Request("river", (("pools", "cold"), ("boats", "red")), "kind", "short")
    other = Request("river", (("boats", "red"), ("pools", "cold")), "plain", "long")
    assert request.split == other.split


def test_a_fifth_of_all_requests_is_kept_for_testing():
    requests = [
        Request(topic, ((aspect, value),), "kind", "short")
        for aspect, (topic, scale) in ASPECTS.items()
        for value in SCALES[scale]
    ]
    share = sum(r.split == "test" for r in requests) / len(requests)
    assert 0.15 < share < 0.25


def test_gold_rises_with_quality():
    rng = Random(1)
    means = []
    for quality in (0.0, 0.25, 0.5, 0.75, 1.0):
        rewards = []
        for request in draw(300):
            prompt = write_request(rng, request)
            rewards.append(gold(prompt, write_answer(rng, request, quality)).reward)
        means.append(sum(rewards) / len(rewards))
    assert all(b > a + 0.05 for a, b in zip(means, means[1:], strict=False))
    assert means[-1] > 0.98


def test_the_grammar_writes_its_own_language():
    rng = Random(2)
    known = set(vocabulary())
    for request in draw(300):
        text = write_answer(rng, request, 1.0)
        assert read_response(text).broken == 0
        assert set(words_of(write_request(rng, request) + text)) <= known
        assert join_words(words_of(text)) == text


@pytest.mark.parametrize("quality", [0.0, 1.0])
def test_sizes(quality):
    rng = Random(3)
    for request in draw(500):
        assert 9 <= len(words_of(write_answer(rng, request, quality))) <= 60
        assert 12 <= len(words_of(write_request(rng, request))) <= 30


def test_the_lexicon_is_unambiguous():
    assert len(ASPECTS) == sum(len(aspects) for aspects in TOPICS.values())
    assert len({v for values in SCALES.values() for v in values}) == sum(map(len, SCALES.values()))
    kinds = [set(TOPICS), set(ASPECTS), {v for values in SCALES.values() for v in values}]
    assert not kinds[0] & kinds[1] and not kinds[1] & kinds[2] and not kinds[0] & kinds[2]
    texts = [t for tone in TONES.values() for place in tone.values() for t in place]
    assert len(set(texts)) == len(texts)
    assert all(len(read_response(t).tones) == 1 for t in texts)
