"""What a table says of the judges behind its columns: how many questions they could judge, what
they lean to, how repeatable they are, what they are worth against people, and the win rates that
people would have given.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tiebreak.track.record_format import CHECK, CHECK_FORMAT, JUDGES
from tiebreak_analysis.records.runs import Record, Runs
from tiebreak_analysis.tables.table import SHORT, Cell, Section
from tiebreak_analysis.win_rates import Calibration, Repeatability, corrected, win_rate

QUESTIONS, JUDGED, WIN_RATE = "questions", "judged", "win_rate"
NEVER = "never checked against people (tiebreak judge check)"


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
        said += [_against_people(check) for check in checks] or [NEVER]
        yield "; ".join(said)
        for section in sections:
            if checks and section.evaluation in {record.evaluation for record in records}:
                yield from _corrections(section, checks[-1], records)


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


def _corrections(
    section: Section, check: Mapping[str, Any], records: Sequence[Record]
) -> Iterator[str]:
    """The rates that people would have given, about these models: over questions, not seeds."""
    calibration = Calibration(**check["calibration"])
    by_run = {record.run_id: record for record in records}
    for at, column in enumerate(section.columns):
        evaluator, _, what = column.metric.rpartition("/")
        if what != WIN_RATE or column.gain:
            continue
        told = []
        for row in section.rows:
            cell, of = row.cells[at], [by_run[run] for run in row.run_ids if run in by_run]
            if cell is None or row.method is None or cell.num_items < 2 or not of:
                continue
            told.append(
                f"{row.scenario} {row.label} {_corrected(cell, calibration, evaluator, of)}"
            )
        if told:
            yield (
                f"{column.metric} corrected for the judge's mistakes, with the 95 % interval over "
                f"questions, checked pairs and sessions of the judge, about these models: "
                f"{', '.join(told)}"
            )


def _corrected(
    cell: Cell, calibration: Calibration, evaluator: str, records: Sequence[Record]
) -> str:
    rate = win_rate(cell.sample.values.mean(axis=0))
    found = corrected(rate, calibration, _again(evaluator, records))
    value = "-" if found.value is None else f"{100 * found.value:.0f}"
    return f"{value} [{100 * found.low:.0f}, {100 * found.high:.0f}]"


def _again(evaluator: str, records: Sequence[Record]) -> Repeatability | None:
    """Of all runs of a row together: one session of the judge each."""
    flips, shifts, counts = (_values(records, f"{evaluator}/{what}") for what in
                             ("repeat_flips", "repeat_shift", "repeated"))  # fmt: skip
    if not counts:
        return None
    flip, shift = _mean(flips), _mean([shift**2 for shift in shifts])
    return Repeatability(int(sum(counts)), flip, shift**0.5, (shift + flip / min(counts)) / 2)
