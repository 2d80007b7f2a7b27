"""What a table says of the judges behind its columns: how many questions they could judge, what
they lean to, how repeatable they are, what they are worth against people, and the win rates that
people would have given.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tiebreak.track.record_format import CHECK, CHECK_FORMAT, JUDGES
from tiebreak_analysis.records.runs import Record, Runs
from tiebreak_analysis.tables.table import SHORT, Cell, Section
from tiebreak_analysis.win_rates import (
    Calibration,
    Repeatability,
    corrected,
    repeatability,
    win_rate,
)

QUESTIONS, JUDGED, WIN_RATE = "questions", "judged", "win_rate"
NEVER = "never checked against people (tiebreak judge check)"
AS_CHECKED = ("head_to_head", "alpaca_eval")
"""Evaluators whose questions are put as those of a check: what it found corrects their rates."""
ENOUGH = 4  # further sessions, below which an interval tells what to do about it


def judge_notes(
    runs: Runs, finished: Sequence[Record], sections: Sequence[Section]
) -> Iterator[str]:
    """A note for each judge whose verdicts stand in a column, and one for each column that a check
    against people can correct."""
    by_judge: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in finished:
        if any(name.endswith(f"/{JUDGED}") for name in record.metrics):
            judge = str(record.settings.get("evaluation.judge.id")), _name(record)
            by_judge[judge].append(record)
    for (judge, name), records in sorted(by_judge.items()):
        checks = _checks(runs.root, judge)
        said = [f"judge {name} ({judge[:SHORT]})", *_counts(records), *_leanings(records)]
        again = _repeatability(runs, judge)
        said += [_moves(again)] if again else []
        said += [_against_people(check) for check in checks] or [NEVER]
        yield "; ".join(said)
        for section in sections:
            if checks and section.evaluation in {record.evaluation for record in records}:
                yield from _corrections(section, checks[-1], again)


def _name(record: Record) -> str:
    name, revision = (record.settings.get(f"evaluation.judge.{key}") for key in
                      ("name", "revision"))  # fmt: skip
    return f"{name} {revision}" if revision else str(name)


def _checks(root: Path | str, judge: str) -> list[dict[str, Any]]:
    """The checks of one judge that lie beside the records, the one with most pairs last."""
    if not isinstance(root, Path):
        return []
    found = []
    for file in sorted((root.parent / JUDGES / judge).glob(f"*/{CHECK}")):
        content = json.loads(file.read_text())
        if content.get("format") == CHECK_FORMAT:
            found.append(content)
    return sorted(found, key=lambda check: check[JUDGED])


def _counts(records: Sequence[Record]) -> Iterator[str]:
    """`head_to_head: n = 650 to 655 of 805`: the fewest and the most questions of a model, start
    models included."""
    for evaluator in _evaluators(records):
        judged = f"{evaluator}/{JUDGED}"
        counts = _values(records, judged)
        counts += [record.start[judged] for record in records if judged in record.start]
        asked = max(_values(records, f"{evaluator}/{QUESTIONS}"))
        low, high = min(counts), max(counts)
        some = f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"
        told = f"{evaluator}: n = {some} of {asked:.0f}"
        if high < asked or low < high:
            told += " (the others failed; models are compared on those that all of them have)"
        yield told


def _leanings(records: Sequence[Record]) -> Iterator[str]:
    for evaluator in _evaluators(records):
        position = _values(records, f"{evaluator}/position_bias")
        if position:
            flips = _values(records, f"{evaluator}/order_flips")
            yield (
                f"{evaluator}: {100 * _mean(position):+.1f} points for the first answer, "
                f"{100 * _mean(flips):.0f} % of verdicts change with the order"
            )
        again = _values(records, f"{evaluator}/repeat_flips")
        if again:
            yield f"{evaluator}: asked again, {100 * _mean(again):.0f} % of verdicts change"


def _evaluators(records: Iterable[Record]) -> list[str]:
    return sorted({name.rpartition("/")[0] for record in records for name in record.metrics
                   if name.endswith(f"/{JUDGED}")})  # fmt: skip


def _values(records: Iterable[Record], metric: str) -> list[float]:
    return [record.metrics[metric] for record in records if metric in record.metrics]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _against_people(check: Mapping[str, Any]) -> str:
    kappa = "" if check["kappa"] is None else f", kappa {check['kappa']:.2f}"
    return (
        f"agrees with people in {100 * check['agreement']:.0f} % [{100 * check['low']:.0f}, "
        f"{100 * check['high']:.0f}] of {check[JUDGED]} pairs of {Path(check['data']).name}"
        f"{kappa}, "
        f"position {100 * check['position_bias']:+.1f} points, longer answers "
        f"{100 * check['length_bias']:+.0f} points more often than people"
    )


def _repeatability(runs: Runs, judge: str) -> Repeatability | None:
    """Of all models and comparisons of one judge together, each judged in sessions of its own; a
    start model that runs share counts once. None: nothing was judged again."""
    records = [r for r in runs.records
               if r.finished and str(r.settings.get("evaluation.judge.id")) == judge]  # fmt: skip
    found: dict[bytes, Repeatability] = {}
    for evaluator in _evaluators(records):
        keys = [record.key for record in records if f"{evaluator}/{WIN_RATE}" in record.metrics]
        frame = runs.items(keys, evaluator)
        for when in ("before", "after"):
            again = [name for name in frame if re.fullmatch(rf"again(_\d+)?/{when}", str(name))]
            for _, rows in frame.groupby("run_id") if again else ():
                of = rows[[f"win/{when}", *again]].dropna(axis=1, how="all").dropna()
                if of.shape[1] > 1 and len(of) and f"win/{when}" in of:
                    values = of.to_numpy(dtype=float).T
                    found.setdefault(values.tobytes(), repeatability(*values))
    return Repeatability.pooled(list(found.values())) if found else None


def _moves(again: Repeatability) -> str:
    """In words, what shifts of whole sessions amount to."""
    several = f"{again.sessions} further session{'' if again.sessions == 1 else 's'}"
    advice = "" if again.sessions >= ENOUGH else (
        f": too few to tell (more models, or evaluation.judge.sessions={ENOUGH})"
    )  # fmt: skip
    return (
        f"two sessions differ by {100 * again.variance**0.5:.1f} points (standard deviation, from "
        f"{several}{advice})"
    )


def _corrections(
    section: Section, check: Mapping[str, Any], again: Repeatability | None
) -> Iterator[str]:
    """The rates that people would have given, about these models: over questions, not seeds."""
    calibration = Calibration(**check["calibration"])
    over = "questions, checked pairs and sessions of the judge" if again else (
        "questions and checked pairs, the judge's sessions left out"
    )  # fmt: skip
    for at, column in enumerate(section.columns):
        evaluator, _, what = column.metric.rpartition("/")
        if what != WIN_RATE or column.gain or evaluator not in AS_CHECKED:
            continue
        told = [
            f"{row.scenario} {row.label} {_corrected(cell, calibration, again)}"
            for row in section.rows
            if (cell := row.cells[at]) is not None and row.method is not None and cell.num_items > 1
        ]
        if told:
            yield (
                f"{column.metric} corrected for the judge's mistakes, with the 95 % interval over "
                f"{over}, about these models: {', '.join(told)}"
            )


def _corrected(cell: Cell, calibration: Calibration, again: Repeatability | None) -> str:
    rate = win_rate(cell.sample.values.mean(axis=0))
    found = corrected(rate, calibration, again)
    value = "-" if found.value is None else f"{100 * found.value:.0f}"
    return f"{value} [{100 * found.low:.0f}, {100 * found.high:.0f}]"
