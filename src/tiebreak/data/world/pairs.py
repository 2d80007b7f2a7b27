"""Data of the controlled world: preference pairs, demonstrations, prompts, and the corpus. The
corpus is what the base model is pretrained on: prose, and questions with mediocre answers."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from random import Random
from typing import Literal

from tiebreak.data.examples import Example, Message, prompt_key
from tiebreak.data.world import grammar
from tiebreak.data.world.gold import gold
from tiebreak.errors import UserError, nearest

WORLD_VERSION = 1  # raise it when the same arguments would give other bytes; it enters every hash

# Answer quality is drawn evenly from a range; (low, high, share of long requests).
QUALITY = {"pairs": (0.2, 1.0, 0.5), "sft": (0.6, 0.85, 0.5), "instruct": (0.7, 0.95, 0.6)}


def _tone_words() -> tuple[str, ...]:
    """The words that occur in tone sentences and nowhere else."""
    said = grammar.words_of(
        " ".join(t for tone in grammar.TONES.values() for pair in tone.values() for t in pair)
    )
    elsewhere = grammar.words_of(" ".join(grammar.TOPIC_SENTENCES + grammar.FACT_SENTENCES))
    common = {*elsewhere, *grammar.REQUEST_WORDS}
    return tuple(sorted({word for word in said if word.isalpha()} - common))


# Words that mean something, by what may stand in their place.
_KINDS = (*grammar.SCALES.values(), tuple(grammar.TOPICS), tuple(grammar.ASPECTS), _tone_words())


@dataclass(frozen=True)
class Knobs:
    """How preference pairs are made.

    label_noise: probability that a training label is flipped. length_bias: gold reward a labeller
    adds per token. edit_distance: 1 for two independent answers, less for a rejected answer that is
    the other one with about this share of its words changed. temperature: gold reward per unit of
    Bradley-Terry log-odds."""

    num_pairs: int = 2000
    label_noise: float = 0.0
    length_bias: float = 0.0
    edit_distance: float = 1.0
    temperature: float = 0.1

    def __post_init__(self) -> None:
        finite, warm = math.isfinite(self.length_bias), 0 < self.temperature < math.inf
        for key, good, remedy in (
            ("num_pairs", self.num_pairs >= 1, "ask for at least one pair"),
            ("label_noise", 0 <= self.label_noise <= 1, "use 0 to 1"),
            ("length_bias", finite, "use a finite number, 0 for none"),
            ("edit_distance", 0 < self.edit_distance <= 1, "use more than 0 and at most 1"),
            ("temperature", warm, "use a finite number above 0"),
        ):
            if not good:
                raise UserError(f"knobs.{key}: {getattr(self, key)!r} is not possible; {remedy}")


def make_rng(*parts: str | int) -> Random:
    """A generator fixed by its name, the same in every process."""
    return Random("/".join(map(str, ("world", WORLD_VERSION, *parts))))


def _user(prompt: str) -> list[Message]:
    return [{"role": "user", "content": prompt}]


def change_words(rng: Random, text: str, share: float) -> str:
    """The text with about `share` of its words replaced, at least one. Words that carry meaning
    (values, topics, aspects, tone) go first and are replaced by another of their kind, so a small
    share leaves fluent text that says something else."""
    words = grammar.words_of(text)
    places = [i for i, word in enumerate(words) if word.isalpha()]
    kinds = {i: [kind for kind in _KINDS if words[i] in kind] for i in places}
    rng.shuffle(places)
    places.sort(key=lambda i: not kinds[i])
    any_word = tuple(word for word in grammar.vocabulary() if word.isalpha())
    for i in places[: max(1, round(share * len(places)))]:
        options = kinds[i][0] if kinds[i] else any_word
        words[i] = rng.choice([word for word in options if word != words[i]])
    return grammar.join_words(words)


def _draw_two(
    rng: Random, knobs: Knobs, side: grammar.Split, taken: Collection[object]
) -> tuple[str, str, str]:
    """A prompt that is not among those taken, and two different answers to it."""
    low, high, share_long = QUALITY["pairs"]
    while True:
        request = grammar.draw_request(rng, side, share_long)
        prompt = grammar.write_request(rng, request)
        if prompt_key(prompt) in taken:
            continue
        first = grammar.write_answer(rng, request, rng.uniform(low, high))
        if knobs.edit_distance < 1:
            second = change_words(rng, first, knobs.edit_distance)
        else:
            second = grammar.write_answer(rng, request, rng.uniform(low, high))
        tied = _worth(prompt, first) == _worth(prompt, second)
        if first != second and not (tied and side == "test"):  # a test label needs a winner
            return prompt, first, second


def _worth(prompt: str, response: str, length_bias: float = 0.0) -> float:
    return gold(prompt, response).reward + length_bias * len(grammar.words_of(response))


def _prefers_first(rng: Random, knobs: Knobs, prompt: str, first: str, second: str) -> bool:
    """A Bradley-Terry labeller with the knobs' faults: P = sigmoid(difference / temperature)."""
    worth_first, worth_second = (_worth(prompt, r, knobs.length_bias) for r in (first, second))
    log_odds = (worth_first - worth_second) / knobs.temperature
    log_odds = max(-500.0, min(500.0, log_odds))  # exp stays finite
    prefers = rng.random() < 1 / (1 + math.exp(-log_odds))
    return prefers != (rng.random() < knobs.label_noise)


def preference_pairs(
    knobs: Knobs, seed: int, split: Literal["train", "validation", "test"] = "train"
) -> list[Example]:
    """Pairs of off-policy answers, (chosen, rejected). Training labels are Bradley-Terry draws on
    the gold reward, with the knobs' noise and bias. Test labels have neither noise nor bias nor
    chance: the chosen answer has the higher gold. Validation pairs are made like test pairs; none
    has the prompt of one of the test pairs."""
    _check_word("split", split, ("train", "validation", "test"))
    rng = make_rng("pairs", split, seed)
    side: grammar.Split = "train" if split == "train" else "test"
    tested = preference_pairs(knobs, seed, "test") if split == "validation" else []
    taken = {prompt_key(example.prompt) for example in tested}
    pairs: list[Example] = []
    for index in range(knobs.num_pairs):
        prompt, first, second = _draw_two(rng, knobs, side, taken)
        if side == "test":
            swap = _worth(prompt, first) < _worth(prompt, second)
        else:
            swap = not _prefers_first(rng, knobs, prompt, first, second)
        responses = (second, first) if swap else (first, second)
        pairs.append(Example(f"{split}-{seed}-{index:05d}", _user(prompt), responses))
    return pairs


def demonstrations(
    num: int, seed: int, quality: Literal["sft", "instruct"] = "sft"
) -> list[Example]:
    """Answers to imitate: decent for "sft"; better, and to more long requests, for "instruct"."""
    _check_word("quality", quality, ("sft", "instruct"))
    low, high, share_long = QUALITY[quality]
    rng = make_rng("demonstrations", quality, seed)
    examples: list[Example] = []
    for index in range(num):
        request = grammar.draw_request(rng, "train", share_long)
        prompt = grammar.write_request(rng, request)
        answer = grammar.write_answer(rng, request, rng.uniform(low, high))
        examples.append(Example(f"{quality}-{seed}-{index:05d}", _user(prompt), (answer,)))
    return examples


def prompts(num: int, seed: int, split: Literal["validation", "test"] = "test") -> list[Example]:
    """Evaluation prompts from the test side, all different, without responses. Those for validation
    are the `num` that follow the `num` for testing in one sequence."""
    _check_word("split", split, ("validation", "test"))
    first = num if split == "validation" else 0
    if (number := first + num) > 10_000:
        raise UserError(f"prompts: the test side has too few prompts for {number}; ask for 10000")
    rng = make_rng("prompts", seed)
    texts: dict[str, None] = {}
    while len(texts) < number:
        texts[grammar.write_request(rng, grammar.draw_request(rng, "test"))] = None
    drawn = [Example(f"prompt-{seed}-{i:05d}", _user(text), ()) for i, text in enumerate(texts)]
    return drawn[first:]


def _check_word(key: str, value: str, options: tuple[str, ...]) -> None:
    if value not in options:
        one_of = " or ".join(map(repr, options))
        raise UserError(f"{key}: {value!r} is not known{nearest(value, options)}; use {one_of}")


PROSE_SHARE = 0.25
ANSWER_QUALITY = (0.2, 0.8)


def _prose(rng: Random) -> str:
    """A text about an outing: where it led, and what was seen, told three times over. It never
    contradicts itself. Saying things again teaches the base model to look back at what was said,
    which answering needs and which few answers would teach too slowly."""
    topics = rng.sample(list(grammar.TOPICS), 2)
    aspects = rng.sample(list(grammar.ASPECTS), rng.randint(2, 5))
    facts = [grammar.draw_fact(rng, aspect) for aspect in aspects]
    frames = rng.sample(grammar.TOPIC_SENTENCES, 3)
    sentences = [frame.format(rng.choice(topics)) for frame in frames]
    tellings = [grammar.write_fact(rng, rng.sample(facts, len(facts))) for _ in range(3)]
    return " ".join(text for pair in zip(sentences, tellings, strict=True) for text in pair)


def corpus(num_documents: int, seed: int) -> list[str]:
    """Documents ready to tokenise: special tokens are written out, one BOS and one EOS each. One in
    four is prose; the rest are one question and one answer, as the chat template renders them. Only
    requests of the training side occur."""
    rng = make_rng("corpus", seed)
    documents: list[str] = []
    for _ in range(num_documents):
        if rng.random() < PROSE_SHARE:
            documents.append(f"<bos>{_prose(rng)}<eos>")
            continue
        request = grammar.draw_request(rng, "train")
        answer = grammar.write_answer(rng, request, rng.uniform(*ANSWER_QUALITY))
        documents.append(grammar.render(grammar.write_request(rng, request), answer))
    return documents
