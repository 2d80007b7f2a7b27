"""The gold reward: what an answer is worth, read from the two texts and from nothing else."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache

from tiebreak.data.world import grammar
from tiebreak.data.world.grammar import ASPECTS, LENGTHS, TONES, TOPICS, Fact, Request, words_of
from tiebreak.errors import UserError

WEIGHTS = {
    "helpfulness": 0.3, "faithfulness": 0.4, "tone": 0.2, "length": 0.1, "repetition": -0.3,
}  # fmt: skip
LENGTH_SLACK = 10  # words outside the asked range at which the length part reaches zero
REPETITION_SPAN = 4  # words
INVENTED_COST = 0.5  # of a contradicted fact's cost

_REQUEST = re.compile(
    rf"(?:{'|'.join(grammar.REQUEST_VERBS)}) a (?P<length>{'|'.join(LENGTHS)}) "
    rf"(?P<tone>{'|'.join(TONES)}) (?:{'|'.join(grammar.REQUEST_NOUNS)}) "
    rf"about the (?P<topic>{'|'.join(TOPICS)}) \. "
    r"mention (?P<facts>[a-z ,]+) \."
)
_TONE_OF = {
    tuple(words_of(text)[:-1]): tone
    for tone, places in TONES.items()
    for texts in places.values()
    for text in texts
}
_FACT_STARTS = "|".join(text[:-4] for text in grammar.FACT_SENTENCES)
_FACT_SENTENCE = re.compile(rf"(?:{_FACT_STARTS}) (?P<facts>.+)")
_TOPIC_FRAMES = {tuple(words_of(text.replace("{}", "x"))[:-1]) for text in grammar.TOPIC_SENTENCES}


@dataclass(frozen=True)
class Gold:
    """The worth of one answer; see `WEIGHTS` for how the parts make the reward.
    reward: -0.7 to 1. helpfulness, tone, length: 0 to 1. faithfulness: -1 to 1.
    repetition: 0 to 1, a penalty."""

    reward: float
    helpfulness: float
    faithfulness: float
    tone: float
    repetition: float
    length: float


@dataclass
class Reading:
    """What an answer says, sentence by sentence; `broken` counts what is not the language."""

    topics: list[str] = field(default_factory=list)
    sentences: set[tuple[str, ...]] = field(default_factory=set)
    facts: list[Fact] = field(default_factory=list)
    tones: list[str] = field(default_factory=list)
    broken: int = 0


@cache
def read_request(prompt: str) -> Request:
    """The request a prompt's text makes. Raises `UserError` for a prompt of another language."""
    found = _REQUEST.fullmatch(" ".join(words_of(prompt)))
    facts = _read_facts(found["facts"]) if found else []
    if found is None or not facts:
        raise UserError(
            f"gold: the prompt {prompt[:80]!r} is not a request of the controlled world; "
            "score only prompts that tiebreak.data.world wrote"
        )
    return Request(found["topic"], tuple(facts), found["tone"], found["length"])


def _read_facts(words: str) -> list[Fact]:
    """The facts of "red boats and worn bridges"; none for anything else."""
    facts: list[Fact] = []
    for clause in re.split(r" (?:and|,) ", words):
        value, _, aspect = clause.partition(" ")
        if aspect not in ASPECTS or value not in grammar.SCALES[ASPECTS[aspect][1]]:
            return []
        facts.append((aspect, value))
    return facts


def read_response(response: str) -> Reading:
    """Parse an answer. Never fails: what does not parse is counted as broken."""
    reading = Reading()
    parts = re.split("[.!?]", " ".join(words_of(response)))
    *sentences, rest = (
        tuple(part.split()) for part in parts
    )  # the rest: words after the last stop
    reading.broken += bool(rest)
    for sentence in sentences:
        stated = _FACT_SENTENCE.fullmatch(" ".join(sentence))
        named = [word for word in sentence if word in TOPICS]
        frame = tuple("x" if word in TOPICS else word for word in sentence)
        if sentence in _TONE_OF:
            reading.tones.append(_TONE_OF[sentence])
        elif len(named) == 1 and frame in _TOPIC_FRAMES:
            if sentence not in reading.sentences:  # said twice is said once; repetition has it
                reading.topics += named
            reading.sentences.add(sentence)
        elif stated and (facts := _read_facts(stated["facts"])):
            reading.facts += [fact for fact in facts if fact not in reading.facts]
        else:
            reading.broken += 1
    return reading


def _helpfulness(request: Request, reading: Reading) -> float:
    subjects = [*reading.topics, *(ASPECTS[aspect][0] for aspect, _ in reading.facts)]
    on_topic = subjects.count(request.topic)
    share = on_topic / max(len(subjects) + reading.broken, 1)
    return share if request.topic in reading.topics else 0.5 * share


def _faithfulness(request: Request, reading: Reading) -> float:
    asked = dict(request.facts)
    stated = {aspect for aspect, value in reading.facts if asked.get(aspect) == value}
    wrong = {aspect for aspect, value in reading.facts if asked.get(aspect, value) != value}
    invented = {aspect for aspect, _ in reading.facts if aspect not in asked}
    score = len(stated - wrong) - len(wrong) - INVENTED_COST * len(invented)
    return max(-1.0, min(1.0, score / len(asked)))


def _tone(request: Request, reading: Reading) -> float:
    return reading.tones.count(request.tone) / max(len(reading.tones), 1)


def _repetition(words: list[str]) -> float:
    """The share of four-word spans that occurred before."""
    spans = [tuple(words[i : i + REPETITION_SPAN]) for i in range(len(words) - REPETITION_SPAN + 1)]
    return 1.0 - len(set(spans)) / len(spans) if spans else 0.0


def _length(request: Request, num_words: int) -> float:
    low, high = LENGTHS[request.length]
    outside = max(low - num_words, num_words - high, 0)
    return max(0.0, 1.0 - outside / LENGTH_SLACK) if num_words else 0.0


def gold(prompt: str, response: str) -> Gold:
    """The gold reward of a response and its parts; any response has one, the empty one 0. Raises
    `UserError` for a prompt that is not a request of the world."""
    request, reading = read_request(prompt), read_response(response)
    words = [word for word in words_of(response) if word.isalpha()]
    parts = {
        "helpfulness": _helpfulness(request, reading),
        "faithfulness": _faithfulness(request, reading),
        "tone": _tone(request, reading),
        "repetition": _repetition(words),
        "length": _length(request, len(words)),
    }
    return Gold(reward=sum(WEIGHTS[name] * part for name, part in parts.items()), **parts)
