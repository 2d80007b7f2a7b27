"""pair_set: the log-probs of the two answers of every row of a set that was not trained on."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

from tiebreak.config.schema import RunConfig
from tiebreak.data.pair_sets import clean, pair_sets
from tiebreak.stages.evaluators import pairs
from tiebreak.stages.evaluators.answers import scored
from tiebreak.stages.evaluators.evaluator import Evaluator, Row, RunSize, Subject, Work, summed
from tiebreak.stages.tokens import pairs_of, read_categories
from tiebreak.track.record_format import items_file


@functools.cache
def pair_set(name: str) -> Evaluator:
    """The evaluator of the pair set of that name."""
    return Evaluator(
        name,
        functools.partial(_items, name),
        functools.partial(_metrics, name),
        functools.partial(_compared, name),
        functools.partial(_files, name),
        asks=functools.partial(_asks, name),
        own_rows=True,
        cost=functools.partial(_cost, name),
        divides=lambda run: True,
    )


def _asks(name: str, run: RunConfig) -> dict[str, Any]:
    return pair_sets(run.evaluation.pair_sets)[name].content(run.data)


def _items(name: str, subject: Subject) -> list[Row]:
    """A row per pair: log-prob (nats) and length of either answer, and its category. Of a ranked
    list the best and the worst answer count."""
    from tiebreak.data.tokens import Tokens
    from tiebreak.engine.scorer import TrainingData

    tokens = Tokens.load(subject.tokens)
    data = TrainingData(tokens)
    take = subject.share.take
    ids, branches = (
        take(tokens.ids),
        [pairs.ends(data.branches(row)) for row in take(range(len(tokens)))],
    )
    logps = summed(scored(subject, ids, branches, name, lambda: subject.model))
    categories = take(read_categories(subject.tokens))
    said = zip(ids, take(tokens.responses), categories, logps, strict=True)
    return [
        {"id": id, "label": None, "category": category, "logp": logp,
         "lengths": [len(responses[0]), len(responses[-1])]}
        for id, responses, category, logp in said
    ]  # fmt: skip


def _parts(name: str, rows: Sequence[Row]) -> Iterator[tuple[str, list[int]]]:
    """What the metrics of all pairs, then of each category begin with, and the numbers of its
    rows."""
    yield name, list(range(len(rows)))
    categories = [clean(row["category"] or "") for row in rows]
    for category in sorted({*categories} - {""}):
        yield f"{name}/{category}", [at for at, own in enumerate(categories) if own == category]


def _metrics(name: str, rows: Sequence[Row]) -> dict[str, float]:
    return {
        f"{part}/{metric.removeprefix('accuracy/')}": value
        for part, numbers in _parts(name, rows)
        for metric, value in pairs.metrics([rows[at] for at in numbers]).items()
    }


def _compared(
    name: str, start: Sequence[Row], policy: Sequence[Row], run: RunConfig
) -> dict[str, float]:
    """The share of pairs whose better answer gained more log-prob over the start model."""
    return {
        f"{part}/drift": pairs.compared(
            [start[at] for at in numbers], [policy[at] for at in numbers], run
        )["accuracy/drift"]
        for part, numbers in _parts(name, policy)
    }


def _files(name: str, start: Sequence[Row], policy: Sequence[Row]) -> dict[str, Any]:
    """For each category a column with 1 where a pair is of it: `metrics.pair_set_metric`."""
    columns = pairs.pair_columns(start, policy)
    del columns["edit_distance"]
    (_, every), *parts = _parts(name, policy)
    if parts:
        columns["category"] = [row["category"] for row in policy]
    for part, numbers in parts:
        inside = set(numbers)
        columns[f"category/{part.partition('/')[2]}"] = [1.0 if at in inside else None
                                                         for at in every]  # fmt: skip
    return {items_file(name): columns}


def _cost(name: str, size: RunSize, of_policy: bool) -> Work:
    """A forward pass over a prompt with two responses."""
    lengths = size.rows(pairs_of(name))
    return Work(scored=lengths.rows * (lengths.prompt + 2 * lengths.response - 1),
                disk=200 * lengths.rows)  # fmt: skip
