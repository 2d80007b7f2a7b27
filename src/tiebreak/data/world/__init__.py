"""The controlled world: a small language with a known reward (see docs/world.md)."""

from __future__ import annotations

from tiebreak.data.world.gold import WEIGHTS, Gold, gold
from tiebreak.data.world.grammar import (
    ASPECTS,
    SCALES,
    SPECIAL_TOKENS,
    TOPICS,
    build_tokenizer,
    vocabulary,
)
from tiebreak.data.world.pairs import (
    WORLD_VERSION,
    Knobs,
    corpus,
    demonstrations,
    preference_pairs,
    prompts,
)

__all__ = [
    "WEIGHTS", "WORLD_VERSION", "Gold", "Knobs", "build_tokenizer", "corpus", "demonstrations",
    "describe", "gold", "preference_pairs", "prompts",
]  # fmt: skip


def describe() -> dict[str, object]:
    """The world in numbers: its version, sizes and the weights of the gold reward."""
    return {
        "version": WORLD_VERSION,
        "topics": len(TOPICS),
        "aspects": len(ASPECTS),
        "values": sum(map(len, SCALES.values())),
        "vocabulary": len(SPECIAL_TOKENS) + len(vocabulary()),
        "weights": dict(WEIGHTS),
    }
