"""The probabilistic grammar: requests, and answers whose faults become rarer with quality."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random
from typing import Literal

from tiebreak.data.world.lexicon import (
    ASPECTS,
    FACT_SENTENCES,
    LENGTHS,
    REQUEST_NOUNS,
    REQUEST_VERBS,
    SCALES,
    TONES,
    TOPIC_SENTENCES,
    TOPICS,
)

Split = Literal["train", "test"]
Fact = tuple[str, str]  # (aspect, value): ("boats", "red")

TEST_EVERY = 5  # one fifth of all requests is kept for testing
FACTS_ASKED = {"short": (1, 2), "long": (2, 3)}

_TOKEN = re.compile(r"[a-z]+|[^a-z\s]")


@dataclass(frozen=True)
class Request:
    """What a prompt asks for."""

    topic: str
    facts: tuple[Fact, ...]
    tone: str
    length: str

    @property
    def split(self) -> Split:
        """The side this request belongs to, from its topic and facts alone.

        Tone, length, wording and the order of the facts do not move a request across, so no
        held-out set of facts is ever seen in training under another wording.
        """
        code = list(TOPICS).index(self.topic)
        for aspect, value in sorted(self.facts):
            code = code * 31 + list(TOPICS[self.topic]).index(aspect)
            code = code * 31 + SCALES[ASPECTS[aspect][1]].index(value)
        return "test" if code % 1009 % TEST_EVERY == 0 else "train"


def words_of(text: str) -> list[str]:
    """The words and marks of a text, as the tokenizer sees them."""
    return _TOKEN.findall(text.lower())


def join_words(words: list[str]) -> str:
    """The inverse of `words_of`: marks stick to the word before them."""
    return re.sub(r" ([.,!?])", r"\1", " ".join(words))


def draw_fact(rng: Random, aspect: str, other_than: str = "") -> Fact:
    """A value for the aspect, other than the one given."""
    return aspect, rng.choice([v for v in SCALES[ASPECTS[aspect][1]] if v != other_than])


def draw_request(rng: Random, split: Split, share_long: float = 0.5) -> Request:
    """A random request of one side of the train/test divide."""
    while True:
        length = "long" if rng.random() < share_long else "short"
        topic = rng.choice(list(TOPICS))
        aspects = rng.sample(list(TOPICS[topic]), rng.choice(FACTS_ASKED[length]))
        facts = tuple(draw_fact(rng, aspect) for aspect in aspects)
        request = Request(topic, facts, rng.choice(list(TONES)), length)
        if request.split == split:
            return request


def _list_facts(facts: tuple[Fact, ...]) -> str:
    clauses = [f"{value} {aspect}" for aspect, value in facts]
    return " and ".join([", ".join(clauses[:-1]), clauses[-1]] if clauses[1:] else clauses)


def write_request(rng: Random, request: Request) -> str:
    """The prompt's text: "write a short kind note about the river. mention red boats."."""
    verb, noun = rng.choice(REQUEST_VERBS), rng.choice(REQUEST_NOUNS)
    return (
        f"{verb} a {request.length} {request.tone} {noun} about the {request.topic}. "
        f"mention {_list_facts(request.facts)}."
    )


def write_fact(rng: Random, facts: list[Fact]) -> str:
    """One sentence that states all the facts: "we saw red boats and worn bridges."."""
    return rng.choice(FACT_SENTENCES).format(_list_facts(tuple(facts)))


def _fact_sentences(rng: Random, facts: list[Fact]) -> list[str]:
    if len(facts) > 1 and rng.random() < 0.5:
        return [write_fact(rng, facts[:2]), *(write_fact(rng, [fact]) for fact in facts[2:])]
    return [write_fact(rng, [fact]) for fact in facts]


def _stated_facts(rng: Random, request: Request, fault: float) -> list[Fact]:
    stated: list[Fact] = []
    for aspect, value in request.facts:
        if rng.random() < 0.45 * fault:
            continue
        wrong = rng.random() < 0.55 * fault
        stated.append(draw_fact(rng, aspect, other_than=value) if wrong else (aspect, value))
    if rng.random() < 0.6 * fault:
        asked = dict(request.facts)
        invented = rng.choice([a for a in TOPICS[request.topic] if a not in asked])
        stated.append(draw_fact(rng, invented))
    return stated


def _topic_sentences(rng: Random, request: Request, fault: float, room: int) -> list[str]:
    """Distinct topic sentences for about `room` words; a faulty one strays to another topic."""
    sentences: list[str] = []
    for frame in rng.sample(TOPIC_SENTENCES, len(TOPIC_SENTENCES)):
        if room <= 2:
            break
        stray = rng.random() < 0.6 * fault
        others = [topic for topic in TOPICS if topic != request.topic]
        sentences.append(frame.format(rng.choice(others) if stray else request.topic))
        room -= len(frame.split())
    return sentences


def write_answer(rng: Random, request: Request, quality: float) -> str:
    """An answer whose every kind of fault has a probability proportional to 1 - quality.

    Faults: a fact left out, contradicted or invented, a stray topic, another tone or none,
    the other length, a sentence said twice, a word lost. quality: 0 (worst) to 1 (faultless).
    """
    assert 0.0 <= quality <= 1.0
    fault = 1.0 - quality
    tone = request.tone if rng.random() >= 0.7 * fault else rng.choice([*TONES, ""])
    length = request.length if rng.random() >= 0.7 * fault else rng.choice(list(LENGTHS))
    low, high = LENGTHS[length]
    facts = _fact_sentences(rng, _stated_facts(rng, request, fault))
    frame = TONES.get(tone, {"open": ("",), "close": ("",)})
    start, end = rng.choice(frame["open"]), rng.choice(frame["close"])
    if length == "short":  # room for one tone sentence only
        start, end = (start, "") if rng.random() < 0.5 else ("", end)
    room = rng.randint(low + 2, high - 2) - len(" ".join([start, *facts, end]).split())
    body = _topic_sentences(rng, request, fault, max(room, 3))
    body[1:] = rng.sample([*body[1:], *facts], len(body) - 1 + len(facts))
    if rng.random() < 0.3 * fault:
        body.insert(rng.randrange(1, len(body) + 1), rng.choice(body))
    words = words_of(" ".join([start, *body, end]))
    if rng.random() < 0.3 * fault:
        del words[rng.randrange(len(words))]
    return join_words(words)
