"""What a run asks of its data, whatever they are: a file, the controlled world, a model's samples.
A source is a frozen dataclass of settings, one file of this folder with a class `SOURCE`. Its
methods say which rows there are, what determines them, and how long they are before anybody has
read them. docs/extending.md adds one step by step."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from tiebreak.data.examples import Example

TRAIN, TEST, VALIDATION, DEMONSTRATIONS = "train", "test", "validation", "demonstrations"


@dataclass(frozen=True)
class Lengths:
    """Rows of one side, with mean tokens of a prompt and of a response, and responses a row."""

    rows: float
    prompt: float
    response: float
    responses: float = 2.0

    @property
    def tokens(self) -> float:
        return self.prompt + self.responses * self.response

    @property
    def positions(self) -> float:
        """Positions of a row in the network, where a prompt and its responses share it."""
        return self.tokens - 1

    @property
    def single(self) -> float:
        """Positions of a prompt with one response."""
        return self.prompt + self.response - 1


class Sampler(Protocol):
    """The start model as a writer of responses."""

    def __call__(
        self, prompts: Sequence[Any], *, max_new_tokens: int, temperature: float, seed: int
    ) -> list[str]:
        """One response (text) per prompt (text, or messages)."""
        ...


@dataclass(frozen=True, kw_only=True)
class Data:
    """The base of every source. Sides are "train", "test", "validation" and "demonstrations"."""

    name: str
    kind: str
    max_length: int
    max_prompt_length: int | None
    max_dropped_share: float

    has_rows: ClassVar[bool] = True
    samples: ClassVar[bool] = False  # whether the start model writes the rows
    pairs_only: ClassVar[bool] = False  # whether a row always has two responses
    most_prompts: ClassVar[int | None] = None  # that `prompts` can give for a side
    compares_sides: ClassVar[bool] = False  # whether held-out prompts are compared with training

    def sides(self) -> tuple[str, ...]:
        """The sides that have rows: "train", then those held out."""
        raise AssertionError("a source names its sides")

    @property
    def can_demonstrate(self) -> bool:
        """Whether there are demonstrations for supervised fine-tuning."""
        raise AssertionError("a source says whether it has demonstrations")

    @property
    def may_be_plain(self) -> bool:
        """Whether rows may be plain text, and not conversations."""
        return True

    @property
    def joined(self) -> bool:
        """Whether a plain prompt and its answer are encoded as one text."""
        return True

    def ignored(self, side: str) -> frozenset[str]:
        """Names of the settings that do not change the rows of a side."""
        raise AssertionError("a source names what each side does not depend on")

    def content(self, side: str) -> dict[str, Any]:
        """What determines the rows of a side, as plain JSON: every setting but those that `ignored`
        names, files by what is in them. A setting added later counts unless it is named there."""
        from tiebreak.config.typed import settings_of

        never = frozenset({"name", "max_dropped_share"})  # a label; a guard that changes no row
        return settings_of(self, never | self.ignored(side)) | self.identity(side)

    def identity(self, side: str) -> dict[str, Any]:
        """What takes the place of settings in `content`: hashes of files, the version of a rule."""
        return {}

    def stamps(self) -> Hashable:
        """Another value when a file that the source reads was changed."""
        return None

    def rows(self, side: str, sample: Sampler | None = None) -> list[Example]:
        """The rows of a side; no prompt is on two sides. sample: given where `samples` is set."""
        raise AssertionError("a source reads or makes its rows")

    def prompts(self, side: str, number: int, seed: int) -> list[Example] | None:
        """Prompts to be answered by a model under evaluation; None: those of the side's rows."""
        return None

    def gold(self, prompt: str, response: str) -> dict[str, float]:
        """The true reward of a response by its parts; empty where nobody knows it."""
        return {}

    def expected(self, side: str) -> Lengths | None:
        """Rows and lengths of a side that nobody has tokenised; None: not known."""
        return None

    def check(self) -> None:
        """Raise UserError for settings that cannot work."""
        from tiebreak.data.tokens import Limits

        Limits(self.max_length, self.max_prompt_length)
