"""The language of the controlled world: its words, its probabilistic grammar, its tokenizer. Every
topic has four aspects, every aspect belongs to one topic and has a value on one scale, and an
aspect has one value at a time: "we saw red boats" contradicts "we saw blue boats". The grammar
writes requests, and answers whose faults become rarer with quality."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Split = Literal["train", "test"]
Fact = tuple[str, str]  # (aspect, value): ("boats", "red")

TEST_EVERY = 5  # one fifth of all requests is kept for testing
FACTS_ASKED = {"short": (1, 2), "long": (2, 3)}

_TOKEN = re.compile(r"[a-z]+|[^a-z\s]")

SCALES: dict[str, tuple[str, ...]] = {
    "colour": ("red", "blue", "green", "yellow"),
    "ground": ("clean", "dusty", "wet", "dry"),
    "mood": ("quiet", "calm", "busy", "loud"),
    "price": ("free", "cheap", "fair", "costly"),
    "repair": ("broken", "worn", "sturdy", "new"),
    "size": ("tiny", "small", "large", "huge"),
    "taste": ("sweet", "sour", "salty", "bitter"),
    "warmth": ("cold", "cool", "warm", "hot"),
}

TOPICS: dict[str, dict[str, str]] = {  # topic -> aspect -> scale
    "river": {"boats": "colour", "bridges": "repair", "shores": "mood", "pools": "warmth"},
    "garden": {"roses": "colour", "gates": "repair", "ponds": "size", "paths": "ground"},
    "market": {"melons": "taste", "crowds": "mood", "stalls": "size", "toys": "price"},
    "school": {"desks": "repair", "lessons": "mood", "books": "price", "rooms": "warmth"},
    "bakery": {"cakes": "taste", "ovens": "size", "rolls": "warmth", "counters": "ground"},
    "harbour": {"ships": "size", "lamps": "colour", "cranes": "repair", "ferries": "price"},
    "museum": {"tickets": "price", "statues": "size", "guides": "mood", "vases": "repair"},
    "farm": {"barns": "colour", "goats": "size", "fields": "ground", "pears": "taste"},
    "station": {"platforms": "ground", "clocks": "repair", "drinks": "warmth", "fares": "price"},
    "inn": {"soups": "taste", "plates": "colour", "beds": "warmth", "floors": "ground"},
    "castle": {"towers": "size", "flags": "colour", "guards": "mood", "cellars": "warmth"},
    "orchard": {"apples": "taste", "ladders": "repair", "lanes": "ground", "bees": "mood"},
}

ASPECTS: dict[str, tuple[str, str]] = {  # aspect -> (topic, scale)
    aspect: (topic, scale) for topic, aspects in TOPICS.items() for aspect, scale in aspects.items()
}

# A topic sentence names the topic and states nothing that could be false.
TOPIC_SENTENCES: tuple[str, ...] = (
    "many people visit the {}.",
    "i went to the {} today.",
    "the {} is worth a visit.",
    "we often walk to the {}.",
    "you should see the {}.",
    "the {} is near the town.",
    "i know the {} well.",
    "it is easy to reach the {}.",
)

# A fact sentence states one fact or two: "i like red boats and worn bridges."
FACT_SENTENCES = ("we saw {}.", "i like {}.", "do not miss {}.", "everyone talks of {}.")

TONES: dict[str, dict[str, tuple[str, ...]]] = {
    "kind": {
        "open": ("hello my dear friend!", "i hope you are well!"),
        "close": ("take good care!", "with much love!"),
    },
    "formal": {
        "open": ("dear sir or madam.", "i write with respect."),
        "close": ("yours faithfully.", "please accept my regards."),
    },
    "plain": {
        "open": ("here is the text.", "these are the facts."),
        "close": ("that is all.", "nothing more to say."),
    },
}

LENGTHS: dict[str, tuple[int, int]] = {"short": (8, 17), "long": (20, 31)}  # words, inclusive

REQUEST_VERBS: tuple[str, ...] = ("write", "send", "prepare")
REQUEST_NOUNS: tuple[str, ...] = ("note", "letter", "message")
REQUEST_WORDS: tuple[str, ...] = ("a", "about", "the", "mention", "and")
PUNCTUATION: tuple[str, ...] = (".", ",", "!", "?")


def vocabulary() -> list[str]:
    """Every word and mark the world can write, sorted; special tokens are the tokenizer's."""
    texts = [sentence.format("") for sentence in TOPIC_SENTENCES + FACT_SENTENCES]
    texts += [text for tone in TONES.values() for place in tone.values() for text in place]
    words = {word.strip(".,!?") for text in texts for word in text.split()}
    words.update(*SCALES.values(), TOPICS, ASPECTS, TONES, LENGTHS)
    words.update(REQUEST_VERBS, REQUEST_NOUNS, REQUEST_WORDS, PUNCTUATION)
    return sorted(words - {""})


@dataclass(frozen=True)
class Request:
    """What a prompt asks for."""

    topic: str
    facts: tuple[Fact, ...]
    tone: str
    length: str

    @property
    def split(self) -> Split:
        """The side this request belongs to, from its topic and facts alone. Tone, length, wording
        and the order of the facts do not move a request across, so no held-out set of facts is ever
        seen in training under another wording."""
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


def _list_facts(facts: Sequence[Fact]) -> str:
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
    return rng.choice(FACT_SENTENCES).format(_list_facts(facts))


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
    """An answer whose every kind of fault has a probability proportional to 1 - quality. Faults: a
    fact left out, contradicted or invented, a stray topic, another tone or none, the other length,
    a sentence said twice, a word lost. quality: 0 (worst) to 1 (faultless)."""
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


SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>", "<unk>", "<user>", "<assistant>")
MAX_LENGTH = 128  # tokens; the longest prompt with its answer stays well below

CHAT_TEMPLATE = (
    "<bos>{% for message in messages %}"
    "{% if message['role'] == 'user' %}<user>{{ message['content'] }}"
    "{% elif message['role'] == 'assistant' %}<assistant>{{ message['content'] }}<eos>"
    "{% else %}{{ raise_exception('the controlled world knows the roles user and assistant') }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def render(prompt: str, answer: str) -> str:
    """One question and its answer as the chat template renders them."""
    return f"<bos><user>{prompt}<assistant>{answer}<eos>"


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token per word or mark; special tokens come from the template, never from encoding.
    Decoding gives text with marks stuck to words ("i like red boats."), which encodes back to the
    same tokens and which `gold` reads."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    ids = {token: i for i, token in enumerate([*SPECIAL_TOKENS, *vocabulary()])}
    backend = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="<unk>",
        additional_special_tokens=["<user>", "<assistant>"], chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_LENGTH, padding_side="left", clean_up_tokenization_spaces=False,
    )  # fmt: skip
