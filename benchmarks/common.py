"""What both benchmarks read: pairs as the trainer would see them, and a training preset."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tiebreak.config.schema import TrainConfig
from tiebreak.config.typed import typed
from tiebreak.data.examples import Example
from tiebreak.data.tokens import Tokens
from tiebreak.errors import UserError
from tiebreak.home import shipped


@dataclass(frozen=True)
class PairSet:
    """Pairs that can be trained on, as text and as ids, row for row; and how many were left out."""

    examples: list[Example]
    tokens: Tokens
    dropped: dict[str, int]

    def take(self, rows: Sequence[int]) -> PairSet:
        old = self.tokens
        tokens = Tokens(
            [old.ids[i] for i in rows],
            [old.prompts[i] for i in rows],
            [old.responses[i] for i in rows],
            [old.labels[i] for i in rows],
        )
        return PairSet([self.examples[i] for i in rows], tokens, self.dropped)

    def unique_tokens(self) -> int:
        """Prompt once, and both responses, after truncation."""
        responses = sum(len(ids) for row in self.tokens.responses for ids in row)
        return sum(map(len, self.tokens.prompts)) + responses


def read_pairs(path: Path, tokenizer_source: str, max_length: int) -> PairSet:
    """Read, drop and tokenise as `tiebreak run` does."""
    # Set before transformers is imported: a benchmark asks nothing of the network.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from tiebreak.data.examples import drop_untrainable
    from tiebreak.data.read import read_preferences
    from tiebreak.data.tokens import Limits, tokenise
    from tiebreak.engine.models import load_tokenizer

    examples, untrainable = drop_untrainable(read_preferences(path))
    tokens, report = tokenise(examples, load_tokenizer(tokenizer_source), Limits(max_length))
    if not len(tokens) or any(label is not None for label in tokens.labels):
        raise UserError(f"{path}: no pair is left to measure; give a file of pairs")
    by_id = {example.id: example for example in examples}
    kept = [by_id[name] for name in tokens.ids]
    return PairSet(kept, tokens, untrainable.then(report.dropped).counts)


def preset(name: str) -> TrainConfig:
    """conf/train/NAME.yaml."""
    from omegaconf import OmegaConf

    values = OmegaConf.to_container(OmegaConf.load(shipped("conf") / "train" / f"{name}.yaml"))
    return typed(TrainConfig, values, "train")
