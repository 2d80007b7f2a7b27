"""What endpoints were paid in a home, by all runs and checks together, and the caps on it.

`judges/spent.jsonl` below the home has two lines for each call: before it is sent, what it takes at
most; once it is answered, what it took. The last line of a call counts, so one whose process was
killed, or that was given up after a time-out, counts with its most: it was sent, and somebody may
be paid for it. The file is locked while a call is looked up and noted, so that the workers of a
sweep keep one cap together.
"""

from __future__ import annotations

import fcntl
import json
import uuid
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from tiebreak.config.schema import JudgeConfig
from tiebreak.errors import UserError
from tiebreak.home import artefacts_dir, home
from tiebreak.judges.judge import Reply, Status
from tiebreak.judges.session import JUDGEMENTS
from tiebreak.track.record_format import JUDGES

SPENT = "spent.jsonl"


@dataclass(frozen=True)
class Amount:
    """Tokens sent and written, and money; cost None: no price was given."""

    sent: float = 0
    written: float = 0
    cost: float | None = None

    @property
    def tokens(self) -> float:
        return self.sent + self.written


def check_prices(config: JudgeConfig) -> None:
    """UserError: there is a cap on money, and nothing that says what a token costs."""
    if config.max_cost is not None and None in (config.price_sent, config.price_written):
        raise UserError(
            f"evaluation.judge.max_cost={config.max_cost:g} needs evaluation.judge.price_sent and "
            "evaluation.judge.price_written, in money per million tokens"
        )


@dataclass
class Spending:
    """See the head of this file. Calls come from several threads, one at a time."""

    config: JudgeConfig
    file: Path = field(default_factory=lambda: home() / JUDGES / SPENT)
    _known: dict[str, Amount] = field(default_factory=dict)
    _read: int = 0  # bytes

    def amount(self, sent: float, written: float) -> Amount:
        """So many tokens at the prices given."""
        one, other = self.config.price_sent, self.config.price_written
        priced = one is not None and other is not None
        return Amount(sent, written, (sent * one + written * other) / 1e6 if priced else None)

    def so_far(self) -> Amount:
        """By everybody in this home, calls under way at their most."""
        if not self.file.is_file():
            return self.amount(*_before(str(self.config.model)))
        with self._locked():
            return self._total()

    def reserve(self, sent: float, written: float) -> str:
        """Note a call that takes at most so much; its name. UserError: it would pass a cap."""
        call = uuid.uuid4().hex
        with self._locked() as stream:
            more, before, config = self.amount(sent, written), self._total(), self.config
            if config.max_total_tokens is not None:
                if before.tokens + more.tokens > config.max_total_tokens:
                    raise _reached("max_total_tokens", config.max_total_tokens)
            if config.max_cost is not None:
                if (before.cost or 0.0) + (more.cost or 0.0) > config.max_cost:
                    raise _reached("max_cost", config.max_cost)
            self._note(stream, call, more)
        return call

    def settle(self, call: str, reply: Reply | None) -> None:
        """Note what a call took; None: it was never sent, or refused as a whole."""
        if reply is not None and reply.status is Status.TIMED_OUT:
            return
        took = Amount(cost=0.0) if reply is None else self.amount(reply.sent, reply.written)
        with self._locked() as stream:
            self._note(stream, call, took)

    def _total(self) -> Amount:
        found = self._known.values()
        return Amount(
            sum(one.sent for one in found), sum(one.written for one in found),
            sum(one.cost or 0.0 for one in found),
        )  # fmt: skip

    def _note(self, stream: BinaryIO, call: str, amount: Amount) -> None:
        row = {"call": call, "judge": self.config.model, "endpoint": self.config.endpoint,
               "sent": amount.sent, "written": amount.written, "cost": amount.cost}  # fmt: skip
        stream.write(json.dumps(row, sort_keys=True).encode() + b"\n")
        stream.flush()

    @contextmanager
    def _locked(self) -> Generator[BinaryIO]:
        """The file, at its end, with all that stands in it known."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with open(self.file, "a+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            if not stream.tell():
                before = _before(str(self.config.model))
                self._note(stream, "before", self.amount(*before))
            stream.seek(self._read)
            new = stream.read()
            self._know(new.splitlines())
            self._read += len(new)
            if not new.endswith(b"\n") and new:  # a full disk has torn the last line
                stream.write(b"\n")
            yield stream

    def _know(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            try:
                row: Mapping[str, Any] = json.loads(line)
            except ValueError:
                continue  # torn, see above: its call counts as it was noted before, if it was
            self._known[row["call"]] = Amount(row["sent"], row["written"], row["cost"])


def _reached(name: str, cap: float) -> UserError:
    return UserError(f"evaluation.judge.{name}={cap:g} is reached")


def _before(judge: str) -> tuple[float, float]:
    """Tokens (sent, written) of the judgements that were made before this file was."""
    sent = written = 0.0
    files = [*artefacts_dir().glob(f"*/*/{JUDGEMENTS}"),
             *(home() / JUDGES).glob(f"*/*/{JUDGEMENTS}")]  # fmt: skip
    for file in files:
        whole = file.read_bytes().rpartition(b"\n")[0]
        for row in map(json.loads, whole.splitlines()):
            if row["judge"] == judge:
                sent, written = sent + row["tokens"][0], written + row["tokens"][1]
    return sent, written
