"""The words of the controlled world: what can be asked about, and how it can be said.

Every topic has four aspects, every aspect belongs to one topic and has a value on one scale, and
an aspect has one value at a time: "we saw red boats" contradicts "we saw blue boats".
"""

from __future__ import annotations

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
FACT_SENTENCES: tuple[str, ...] = (
    "we saw {}.",
    "i like {}.",
    "do not miss {}.",
    "everyone talks of {}.",
)

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
