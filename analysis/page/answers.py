"""What the models wrote: every answer of every run, for the page to unpack when it is looked at.

The texts lie prompt by prompt, answers to one prompt beside each other and each once: gzip finds
what was said in the last 32 kB, and models that began alike say alike.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tiebreak_analysis.page.groups import Group
from tiebreak_analysis.page.markup import zipped
from tiebreak_analysis.records.runs import Runs

if TYPE_CHECKING:
    import pandas as pd

MAX_CHARACTERS = 24_000_000  # of all texts together: about 12 MB in the page
MAX_RUNS = 200
DIGITS = 3
LENGTH, NUMBER, VERDICT = "length", "number", "verdict"


@dataclass(frozen=True)
class Measure:
    """A number that stands beside an answer and by which answers are compared."""

    name: str
    label: str
    kind: str
    """LENGTH, NUMBER (more is better), VERDICT (1: above the start model's answer; 0: below)."""
    evaluator: str
    before: str | None
    """Columns of the evaluator's items; None: the start model has no such number."""
    after: str


MEASURES = (
    Measure("tokens", "tokens", LENGTH, "generations", "tokens/before", "tokens/after"),
    Measure("reward", "reward", NUMBER, "gold", "reward/before", "reward/after"),
    Measure("gold", "gold verdict", VERDICT, "gold", None, "win"),
    Measure("judge", "judge's verdict", VERDICT, "head_to_head", None, "win/after"),
)
CHARACTERS = Measure("characters", "characters", LENGTH, "", None, "")
"""What length is where tokens were not counted in every run."""

Column = Sequence[int | float | None]


def answered(groups: Iterable[Group], most: int = MAX_RUNS) -> list[str]:
    """The keys of the finished runs, in the order of the groups, by seed. Of more than `most` as
    many seeds of every group as stay within it; one, however many groups there are."""
    finished = [[record.key for record in g.records if record.finished] for g in groups]
    seeds = max(map(len, finished), default=0)
    while seeds > 1 and sum(len(keys[:seeds]) for keys in finished) > most:
        seeds -= 1
    return [key for keys in finished for key in keys[:seeds]]


def answers(runs: Runs, keys: Sequence[str]) -> tuple[dict[str, Any], str]:
    """All answers of these runs: what the page says of them, and the texts, packed.

    The first: `runs` (keys that have answers), `starts` (those with a start model's beside them),
    `prompts` and `answers` (how many), `measures` ([name, label, kind]), `longest` (characters that
    a text was cut to; null: none was). The second is JSON, gzipped, in base64; empty where nothing
    was written. `prompts`: [id, prompt, its texts], `columns`: lists of numbers that several runs
    share, `runs`: key -> [prompts asked, start model's texts or null, own texts, measure -> [before
    or null, after]], all but the names being numbers of columns, and in those of texts, of texts.
    """
    given = {record.key for record in runs.records if not record.trained}
    written = {
        str(run): [tuple(row) for row in rows[["id", "prompt", "before", "after"]].to_numpy()]
        for run, rows in runs.generations(keys).groupby("run_id", sort=False)
    }
    keys = [key for key in keys if written.get(key)]
    packing = _Packing()
    for key in keys:
        packing.add(key, written[key], key not in given)
    longest = longest_within(
        [len(text) for _, prompt, texts in packing.prompts for text in (prompt, *texts)]
    )
    items = {name: _by_run(runs, keys, name) for name in {m.evaluator for m in MEASURES}}
    used = [m for m in MEASURES if packing.measure(m, items[m.evaluator], given)]
    if not any(measure.kind == LENGTH for measure in used):
        used.insert(0, CHARACTERS)
        packing.count_characters()
    told = {
        "runs": keys,
        "starts": [key for key in keys if key not in given],
        "prompts": len(packing.prompts),
        "answers": sum(len(written[key]) for key in keys),
        "measures": [[measure.name, measure.label, measure.kind] for measure in used],
        "longest": longest,
    }
    return told, zipped(packing.text(longest)) if keys else ""


def _by_run(runs: Runs, keys: Sequence[str], evaluator: str) -> dict[str, pd.DataFrame]:
    frame = runs.items(list(keys), evaluator)
    return {str(run): rows.set_index("id") for run, rows in frame.groupby("run_id", sort=False)}


def longest_within(lengths: Sequence[int], most: int = MAX_CHARACTERS) -> int | None:
    """To how many characters texts of these lengths are cut, so that all of them are at most so
    many together. None: to none."""
    if sum(lengths) <= most:
        return None
    ordered = np.sort(np.array(lengths, dtype=np.int64))
    shorter = np.concatenate([[0], np.cumsum(ordered)[:-1]])  # together, of those before each
    left = np.arange(len(ordered), 0, -1)  # how many are at least as long
    fits = shorter + left * ordered <= most
    at = int(fits.argmin())  # the first that does not fit whole
    return int((most - shorter[at]) // left[at])


def cut(text: str, longest: int | None) -> str:
    if longest is None or len(text) <= longest:
        return text
    return f"{text[:longest]} … [{len(text) - longest} more characters]"


@dataclass
class _Packing:
    """Texts by prompt, numbers by column, both once however many runs have them."""

    prompts: list[tuple[str, str, dict[str, int]]] = field(default_factory=list)
    _places: dict[tuple[str, str], int] = field(default_factory=dict)
    _columns: dict[tuple[int | float | None, ...], int] = field(default_factory=dict)
    _runs: dict[str, list[Any]] = field(default_factory=dict)
    _ids: dict[str, list[str]] = field(default_factory=dict)
    _lengths: dict[str, tuple[list[int] | None, list[int]]] = field(default_factory=dict)

    def add(self, key: str, rows: Sequence[tuple[str, ...]], started: bool) -> None:
        """One run's answers; a prompt is one by its id and its text, as data of one name differ."""
        asked, before, after = [], [], []
        for name, prompt, start, own in rows:
            at = self._places.setdefault((name, prompt), len(self.prompts))
            if at == len(self.prompts):
                self.prompts.append((name, prompt, {}))
            texts = self.prompts[at][2]
            asked.append(at)
            if started:
                before.append(texts.setdefault(start, len(texts)))
            after.append(texts.setdefault(own, len(texts)))
        texts_before = self._column(before) if started else None
        self._ids[key] = [name for name, *_ in rows]
        starts = [len(start) for _, _, start, _ in rows] if started else None
        self._lengths[key] = starts, [len(own) for *_, own in rows]
        self._runs[key] = [self._column(asked), texts_before, self._column(after), {}]

    def measure(
        self, measure: Measure, items: Mapping[str, pd.DataFrame], given: Container[str]
    ) -> bool:
        """Whether any run has the measure; of a length, whether all of them have it."""
        found: dict[str, list[int | None]] = {}
        for key, rows in items.items():
            if measure.after not in rows.columns:
                continue
            names = [measure.before if key not in given else None, measure.after]
            found[key] = [
                None
                if name is None or name not in rows.columns
                else self._column(map(_short, rows[name].reindex(self._ids[key]).tolist()))
                for name in names
            ]
        if not found or (measure.kind == LENGTH and len(found) < len(self._runs)):
            return False
        for key, columns in found.items():
            self._runs[key][3][measure.name] = columns
        return True

    def count_characters(self) -> None:
        for key, (*_, measures) in self._runs.items():
            measures[CHARACTERS.name] = [
                None if lengths is None else self._column(lengths) for lengths in self._lengths[key]
            ]

    def text(self, longest: int | None) -> str:
        prompts = [
            [name, cut(prompt, longest), [cut(text, longest) for text in texts]]
            for name, prompt, texts in self.prompts
        ]
        told = {"prompts": prompts, "columns": list(self._columns), "runs": self._runs}
        return json.dumps(told, allow_nan=False, ensure_ascii=False, separators=(",", ":"))

    def _column(self, values: Iterable[int | float | None]) -> int:
        return self._columns.setdefault(tuple(values), len(self._columns))


def _short(value: float | None) -> int | float | None:
    """A whole number as it is, another one to so many digits; None where there is no value."""
    if value is None or np.isnan(value):
        return None
    return int(value) if float(value).is_integer() else float(f"{value:.{DIGITS}g}")
