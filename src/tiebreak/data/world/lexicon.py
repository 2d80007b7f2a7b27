"""The words of the controlled world: what can be asked about, and how it can be said.

Every topic has four aspects, every aspect belongs to one topic and has a value on one scale, and
an aspect has one value at a time: "we saw the cold water" contradicts "we saw the hot water".
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
    "river": {"water": "warmth", "boat": "colour", "shore": "mood", "bridge": "repair"},
    "garden": {"gate": "repair", "rose": "colour", "pond": "size", "path": "ground"},
    "market": {"crowd": "mood", "melon": "taste", "cheese": "price", "stall": "size"},
    "school": {"bell": "mood", "desk": "repair", "yard": "size", "slide": "colour"},
    "bakery": {"bread": "warmth", "cake": "taste", "oven": "size", "counter": "ground"},
    "harbour": {"ship": "size", "lamp": "colour", "crane": "repair", "ferry": "price"},
    "library": {"shelf": "ground", "hall": "mood", "carpet": "colour", "card": "price"},
    "museum": {"ticket": "price", "statue": "size", "guide": "mood", "vase": "repair"},
    "farm": {"barn": "colour", "goat": "size", "field": "ground", "milk": "warmth"},
    "station": {"platform": "ground", "clock": "repair", "tea": "warmth", "fare": "price"},
    "inn": {"soup": "taste", "plate": "colour", "stove": "repair", "floor": "ground"},
    "park": {"lawn": "ground", "swing": "repair", "lake": "warmth", "kiosk": "size"},
    "castle": {"tower": "size", "flag": "colour", "cellar": "warmth", "court": "mood"},
    "beach": {"sand": "warmth", "shell": "colour", "wave": "size", "cafe": "price"},
    "theatre": {"seat": "price", "curtain": "colour", "stage": "size", "play": "mood"},
    "orchard": {"apple": "taste", "ladder": "repair", "basket": "price", "grass": "ground"},
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

# A fact sentence states one fact or two: "i like the cold water and the worn bridge."
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

LENGTHS: dict[str, tuple[int, int]] = {"short": (9, 20), "long": (22, 34)}  # words, inclusive

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
