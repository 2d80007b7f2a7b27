"""The controlled world: a small language with a known reward (see docs/world.md)."""

from __future__ import annotations

from tiebreak.data.world import grammar
from tiebreak.data.world.gold import WEIGHTS, Gold, gold
from tiebreak.data.world.grammar import build_tokenizer
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
        "topics": len(grammar.TOPICS),
        "aspects": len(grammar.ASPECTS),
        "values": sum(map(len, grammar.SCALES.values())),
        "vocabulary": len(grammar.SPECIAL_TOKENS) + len(grammar.vocabulary()),
        "weights": dict(WEIGHTS),
    }
