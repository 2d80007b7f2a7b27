"""The controlled world as a source of data (docs/world.md has the knobs)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Literal, cast

from tiebreak.data.examples import Example
from tiebreak.data.sources.source import (
    DEMONSTRATIONS,
    TEST,
    TRAIN,
    VALIDATION,
    Data,
    Lengths,
    Sampler,
)
from tiebreak.data.world import pairs
from tiebreak.data.world.gold import gold
from tiebreak.errors import UserError

# Mean tokens at the default knobs: a prompt, a response.
PROMPT, RESPONSE = 19.0, 27.0
# Held-out labels have neither noise nor bias nor chance.
LABELS = frozenset({"label_noise", "length_bias", "temperature"})


@dataclass(frozen=True, kw_only=True)
class WorldData(Data):
    """Preference pairs labelled by a known reward."""

    seed: int
    num_pairs: int
    num_test_pairs: int
    num_demonstrations: int
    label_noise: float
    length_bias: float
    edit_distance: float
    temperature: float

    pairs_only: ClassVar[bool] = True
    most_prompts: ClassVar[int | None] = 10_000  # the validation prompts follow as many for testing

    def sides(self) -> tuple[str, ...]:
        return TRAIN, TEST, VALIDATION

    @property
    def can_demonstrate(self) -> bool:
        return True

    def ignored(self, side: str) -> frozenset[str]:
        if side == DEMONSTRATIONS:
            return LABELS | {"num_pairs", "num_test_pairs", "edit_distance"}
        if side == TRAIN:
            return frozenset({"num_test_pairs", "num_demonstrations"})
        return LABELS | {"num_pairs", "num_demonstrations"}

    def identity(self, side: str) -> dict[str, Any]:
        return {"world_version": pairs.WORLD_VERSION}

    def rows(self, side: str, sample: Sampler | None = None) -> list[Example]:
        if side == DEMONSTRATIONS:
            return pairs.demonstrations(self.num_demonstrations, self.seed, "sft")
        knobs = self._knobs()
        if side != TRAIN:
            knobs = replace(knobs, num_pairs=self.num_test_pairs)
        return pairs.preference_pairs(knobs, self.seed, cast(Literal["train", "test"], side))

    def prompts(self, side: str, number: int, seed: int) -> list[Example]:
        return pairs.prompts(number, seed, cast(Literal["validation", "test"], side))

    def gold(self, prompt: str, response: str) -> dict[str, float]:
        return {f"gold/{part}": value for part, value in asdict(gold(prompt, response)).items()}

    def expected(self, side: str) -> Lengths:
        if side == DEMONSTRATIONS:
            return Lengths(self.num_demonstrations, PROMPT, RESPONSE, 1)
        return Lengths(self.num_pairs if side == TRAIN else self.num_test_pairs, PROMPT, RESPONSE)

    def check(self) -> None:
        super().check()
        try:
            self._knobs()
        except UserError as error:  # the knobs are keys of the group `data`
            raise UserError(f"data.{str(error).removeprefix('knobs.')}") from error

    def _knobs(self) -> pairs.Knobs:
        return pairs.Knobs(**{f.name: getattr(self, f.name) for f in fields(pairs.Knobs)})


SOURCE = WorldData
