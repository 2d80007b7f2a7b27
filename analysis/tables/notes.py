"""The notes under a table: how to read it, and which runs are not in it or not like the others."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tiebreak.metrics import evaluation_metric
from tiebreak.track.record_format import CHECKPOINT
from tiebreak_analysis.published import PublishedFigure, Reference, within_spread
from tiebreak_analysis.records.runs import Record, Runs
from tiebreak_analysis.statistics import MIN_SEEDS, RECOMMENDED_SEEDS
from tiebreak_analysis.tables.items import OF_SUBJECT
from tiebreak_analysis.tables.joint import joint_notes
from tiebreak_analysis.tables.judges import judge_notes
from tiebreak_analysis.tables.labels import material
from tiebreak_analysis.tables.rows import Planned
from tiebreak_analysis.tables.table import (
    DECIDES,
    LEVEL,
    SHORT,
    Cell,
    Column,
    Row,
    Section,
    counted,
)

MANY = 6  # run ids beyond this are counted; the sidecar has them all
UNFINISHED = ("failed", "running", "stopped", "pruned")
PERCENT = f"{100 * LEVEL:.12g} %"
Slot = tuple[Row, Column, Cell | None, PublishedFigure | None]


def notes_of(
    runs: Runs,
    chosen: Sequence[Record],
    finished: Sequence[Record],
    planned: Sequence[Planned] | None,
    sections: Sequence[Section],
    footnotes: Mapping[str, str],
    letters: Mapping[Reference, str],
) -> Iterator[str]:
    """The notes, plain text, in the order they are printed.

    `chosen`: the runs asked for, whatever became of them. `planned` None: every run there is.
    """
    rows = [row for section in sections for row in section.rows]
    slots = [(row, *slot) for s in sections for row in s.rows for slot in s.slots(row)]
    yield _intervals(slots)
    yield from _counts(rows)
    yield from _checkpoints(rows)
    yield from _tests(sections)
    yield from _few_seeds(rows, any(section.models.number for section in sections))
    yield from _models(sections)
    yield from _benchmarks(sections)
    yield from _signal(sections)
    shown = dict.fromkeys(row.method or "" for row in rows if row.trained)
    yield from (f"{method}: {footnotes[method]}" for method in shown if method in footnotes)
    yield from _overlaps(sections, finished)
    yield from judge_notes(runs, finished, sections)
    yield from joint_notes(sections)
    yield from _published(slots, letters)
    yield from _unfinished(runs, chosen, planned)
    yield from _unplaced(planned or (), finished)
    yield from _set_apart(sections)
    yield from _odd_starts(finished)
    yield from _torn_groups(sections)


def _intervals(slots: Sequence[Slot]) -> str:
    """Which of the two kinds of interval a column has: a reader may not assume the wider one."""
    by_seed, by_item, fixed = set(), set(), False
    for row, column, cell, _ in slots:
        if cell is not None and row.method is not None and row.trained:
            (by_item if cell.num_items else by_seed).add(column.key)
        elif cell is not None and row.trained:
            fixed |= row.n == 1 and cell.num_items > 1
    over = "seeds (Student t)" if any(row.trained for row, *_ in slots) else "test items"
    if by_item:
        alone = ", ".join(sorted(key.replace("gain:", "gain in ") for key in by_seed))
        over = "seeds and test items" + (f", over seeds alone: {alone}" if alone else "")
    start = "; of a single start model over items" if fixed else ""
    return (
        f"±: half width of the {PERCENT} interval of the mean over {over}{start}; "
        "-: no interval, n = 1; empty: not measured"
    )


def _counts(rows: Sequence[Row]) -> Iterator[str]:
    yield (
        "n: seeds of a method, distinct models of a start model; "
        "gain: a run's value minus that of its own start model"
    )
    if any(row.planned is not None and row.n < row.planned for row in rows):
        yield "n of m: only so many of the runs asked for are finished; missing: none of them"
    if any(cell is not None and cell.interval.n < row.n for row in rows for cell in row.cells):
        yield "(n=...) in a cell: only so many of the row's runs have that metric"


def _checkpoints(rows: Sequence[Row]) -> Iterator[str]:
    if not all(row.trained for row in rows):
        yield (
            f"{CHECKPOINT}: a model that was not trained here, measured by the same evaluators; "
            "its interval is over test items alone and says nothing of training such a model "
            "again, so it takes no part in the tests between methods, only in those between models"
        )


def _tests(sections: Sequence[Section]) -> Iterator[str]:
    """One note for what bold and the dagger mean, and one for what a tie does not mean."""
    cells = [cell for s in sections for row in s.rows for cell in row.cells if cell is not None]
    if not any(cell.best for cell in cells):
        return
    tests = ", ".join(str(s.num_tests) for s in sections if s.num_tests)
    each = "the section" if len(sections) == 1 else "each section"
    downwards = any(column.sign < 0 for s in sections for column in s.columns)
    best = "best mean (the lowest where less is better)" if downwards else "highest mean"
    yield (
        f"bold: {best} among the methods of a scenario; †: not distinguishable from it at "
        f"the {PERCENT} level, paired on seeds and items, Holm's correction over all "
        f"pairs of {each} ({tests})"
    )
    tied = [cell.behind.num_seeds for cell in cells if cell.tied and cell.behind is not None]
    if tied:
        fewest = min(tied)
        yield (
            f"† is no proof of equality: with {fewest} seeds only large differences can be shown"
            + (f"; {RECOMMENDED_SEEDS} are recommended" if fewest < RECOMMENDED_SEEDS else "")
        )


def _few_seeds(rows: Sequence[Row], models: bool) -> Iterator[str]:
    having = [r for r in rows if r.method is not None and r.trained and not r.missing]
    few = sum(row.n < MIN_SEEDS for row in having)
    if few:
        yield (
            f"too few seeds (fewer than {MIN_SEEDS}) in {few} of "
            f"{counted(len(having), 'method row')}: "
            "they cannot tell methods apart, and none of them is marked"
            + (" best or tied" if models else "")
        )


def _models(sections: Sequence[Section]) -> Iterator[str]:
    """What can be said of a row with one seed or two: of its models, over their questions."""
    cells = [cell for s in sections for row in s.rows for cell in row.cells if cell is not None]
    if any(cell.models is not None and cell.interval.low is None for cell in cells):
        yield (
            f"(±) in brackets: one seed; the {PERCENT} interval of this one model over questions "
            "alone, which says nothing of training again"
        )
    if many := sum(section.models.untested for section in sections):
        yield f"{many} pairs of single models are too many to test over their questions"
    tests = ", ".join(str(s.models.number) for s in sections if s.models.number)
    if tests:
        each = "the section" if len(sections) == 1 else "each section"
        yield (
            "‡: this model and the best one it is compared with differ on these questions; nothing "
            "is said of training again, nor of the methods. Compared are rows with fewer than "
            f"{MIN_SEEDS} seeds and the start model of one scenario{_with_checkpoints(sections)}: "
            f"{PERCENT} level, paired on questions (McNemar's exact test where answers are 0 or 1, "
            f"a test by signs otherwise), Holm's correction over all such pairs of {each} ({tests})"
        )


def _with_checkpoints(sections: Sequence[Section]) -> str:
    given = any(not row.trained for section in sections for row in section.rows)
    return ", every checkpoint with each of these and with the others" if given else ""


def _benchmarks(sections: Sequence[Section]) -> Iterator[str]:
    for section in sections:
        if section.averaged:
            where = f" ({section.title})" if len(sections) > 1 else ""
            yield (
                f"average{where}: the mean of {len(section.averaged)} benchmarks that every row "
                f"has, each counted once however many questions it has: "
                f"{', '.join(section.averaged)}"
            )
    drawn = {
        column.metric: cell.num_items
        for section in sections
        for row in section.rows
        for column, cell, _ in section.slots(row)
        if cell is not None and cell.num_items and cell.sample.items[0].startswith(OF_SUBJECT)
    }
    if drawn:
        each = ", ".join(f"{metric} ({number})" for metric, number in sorted(drawn.items()))
        yield f"questions of one subject count together, a subject as one item: {each}"


def _signal(sections: Sequence[Section]) -> Iterator[str]:
    if not any(value is not None for section in sections for value in section.signal):
        return
    yield (
        "signal-to-noise: spread between methods (standard deviation of the rows' means in a "
        "scenario) over the standard error of a row's mean; equal methods give about 1. With one "
        "seed the error is over questions alone"
    )
    weak = {
        column.key.replace("gain:", "gain in "): None
        for section in sections
        for at, column in enumerate(section.columns)
        if section.undecided(at)
    }
    if weak:
        yield f"cannot decide (signal-to-noise below {DECIDES:g}, no two rows told apart): " + (
            ", ".join(weak)
        )


def _overlaps(sections: Sequence[Section], finished: Sequence[Record]) -> Iterator[str]:
    """What the questions of the columns share with training data (docs/evaluation.md)."""
    columns = [column for section in sections for column in section.columns]
    measured = dict.fromkeys(str(evaluation_metric(column.metric).evaluator) for column in columns)
    told = []
    for name in measured:
        counts = [found for r in finished if (found := r.overlap.get(name, {})).get("questions")]
        shares = sorted({100 * found["overlapping"] / found["questions"] for found in counts})
        if shares:
            ends = dict.fromkeys(f"{share:.1f}" for share in (shares[0], shares[-1]))
            told.append(f"{name}: {' to '.join(ends)} % of questions")
    if told:
        yield f"overlap of training data with {', '.join(told)} (docs/evaluation.md)"


def _published(slots: Sequence[Slot], letters: Mapping[Reference, str]) -> Iterator[str]:
    for (source, marks), letter in letters.items():
        yield f"published {letter}: {source}" + (f" ({', '.join(marks)})" if marks else "")
    near = ", ".join(
        f"{row.label} in {row.scenario} ({column.metric}, ±{figure.spread:g})"
        for row, column, cell, figure in slots
        if cell is not None and figure is not None
        if within_spread(cell.interval.mean * column.scale, figure, column.unit)
    )
    if near:
        yield f"within the known spread of replications of the published figure: {near}"


def _unfinished(
    runs: Runs, chosen: Sequence[Record], planned: Sequence[Planned] | None
) -> Iterator[str]:
    wanted = None if planned is None else {run.run_id for run in planned}
    counts = {s: sum(r.status == s for r in chosen) for s in UNFINISHED}
    skipped = [(p, why) for p, why in runs.skipped if wanted is None or p.name in wanted]
    if wanted is not None:
        known = {r.run_id for r in runs.records} | {path.name for path, _ in runs.skipped}
        counts["not started"] = len(wanted - known)
    if missing := ", ".join(f"{count} {what}" for what, count in counts.items() if count):
        yield f"{missing}: not in the table"
    if skipped:
        reasons = "; ".join(f"{path.name} ({why})" for path, why in skipped)
        yield f"{counted(len(skipped), 'unreadable record')} skipped: {reasons}"


def _unplaced(planned: Sequence[Planned], finished: Sequence[Record]) -> Iterator[str]:
    """Runs planned for a model or data of which no run is finished: they are in no section."""
    done = {record.group_id for record in finished}
    using = {material(record.settings) for record in finished}
    ways = {record.evaluation for record in finished}
    lost = {
        f"{run.method} in {run.scenario} ({run.model}, {run.data})"
        for run in planned
        if run.group_id not in done and run.material not in using
        if run.scenario != CHECKPOINT or run.evaluation not in ways
    }
    if lost:
        yield f"missing whole, nothing finished to put it beside: {_some(sorted(lost))}"


def _set_apart(sections: Sequence[Section]) -> Iterator[str]:
    """Runs by reason: what is wrong with one is often wrong with many."""
    odd = {run_id: why for section in sections for run_id, why in section.odd_items.items()}
    reasons = "; ".join(f"{_some(ids)} ({why})" for why, ids in _by_reason(sorted(odd.items())))
    if reasons:
        yield f"not used item by item, so their rows are judged over seeds alone: {reasons}"
    old = "; ".join(
        f"{evaluator}: {_some(sorted(run_ids))}"
        for section in sections
        for evaluator, run_ids in section.outdated.items()
    )
    if old:
        yield (
            "measured by an older version of an evaluator than the newest run of the section, so "
            f"not measured for its columns: {old}"
        )
    for why, ids in _by_reason(item for section in sections for item in section.stale.items()):
        yield f"stale, made by other code than most runs of the section: {_some(ids)}: {why}"


def _by_reason(reasons: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """(reason, run ids), sorted, from (run id, reason)."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for run_id, why in reasons:
        by_reason[why].append(run_id)
    return sorted(by_reason.items())


def _odd_starts(finished: Sequence[Record]) -> Iterator[str]:
    """Starts that contradict each other: one model measured twice, one seed with two models."""
    values: dict[tuple[str | None, ...], list[float]] = defaultdict(list)
    models: dict[tuple[str | int | None, ...], set[tuple[str | None, ...]]] = defaultdict(set)
    for r in (record for record in finished if record.trained):
        models[r.model, r.scenario, r.data_hash, r.seed].add(r.start_key)
        for name, value in r.start.items():
            key = r.evaluators.get(str(evaluation_metric(name).evaluator))
            values[*r.start_key, r.data_hash, r.evaluation, key, name].append(value)
    apart = {
        (model or "")[:SHORT]
        for (model, *_), measured in values.items()
        if not math.isclose(min(measured), max(measured), rel_tol=1e-6, abs_tol=1e-9)
    }
    if apart:
        yield (
            f"start model {', '.join(sorted(apart))}: runs measured it with different values; "
            "the first run's is shown"
        )
    several = sorted(f"{k[1]}, seed {k[3]}" for k, starts in models.items() if len(starts) > 1)
    if several:
        where = "; ".join(several)
        yield (
            f"more than one start model for a seed ({where}): "
            "the methods there did not all start from the same place"
        )


def _torn_groups(sections: Sequence[Section]) -> Iterator[str]:
    counts = Counter(
        group for s in sections for group in {row.group_id for row in s.rows if row.trained}
    )
    torn = sorted(group[:SHORT] for group, count in counts.items() if group and count > 1)
    if torn:
        yield (
            f"group {', '.join(torn)}: its runs differ in data or evaluation, "
            "so they stand in different sections"
        )


def _some(names: Sequence[str]) -> str:
    first = ", ".join(names[:MANY])
    return f"{first} and {len(names) - MANY} more" if len(names) > MANY else first
