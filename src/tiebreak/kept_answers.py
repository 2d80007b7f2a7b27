"""Answers by request, in JSONL files to which each is added when it is known: a file of its own for
every process of one build (benchmarks by `harness.model`, answers and log-probs by
`stages.evaluators.answers`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiebreak.journal import Journal, whole_rows


@dataclass(frozen=True)
class Share:
    """What one of several processes computes of a list of items: every `of`-th, from `rank` on."""

    rank: int = 0
    of: int = 1

    @property
    def whole(self) -> bool:
        return self.of == 1

    def take(self, items: Sequence[Any]) -> Sequence[Any]:
        """The items of this share."""
        return items[self.rank :: self.of]

    def block(self, number: int) -> range:
        """The places of this share in a list of so many items of which neighbours belong
        together: a run of neighbours."""
        return range(self.rank * number // self.of, (self.rank + 1) * number // self.of)


class KeptAnswers:
    """What was answered before, by this process or another, killed or not: it is not asked again.

    folder: of the files; None: in memory alone. share: of the process that writes. Answers are
    plain JSON, and read back as they were written.
    """

    def __init__(self, folder: Path | None, share: Share = Share()) -> None:
        self.share = share
        self._known: dict[str, Any] = {}
        self._journal = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            own = "answers.jsonl" if share.rank == 0 else f"answers-{share.rank}.jsonl"
            self._journal = Journal(folder / own)
            for file in sorted(folder.glob("answers*.jsonl")):
                self._known |= {row["request"]: row["answer"] for row in whole_rows(file)}

    def get(self, request: str) -> Any:
        """The answer, None where there is none yet."""
        return self._known.get(request)

    def add(self, answers: Mapping[str, Any]) -> None:
        if self._journal is not None:
            rows = ({"request": name, "answer": answer} for name, answer in answers.items())
            self._journal.add(*rows)
        self._known |= answers
