"""What an evaluator is: something measured on a model, row by row, as an artefact of its own.

An evaluator is one file of this folder with an `EVALUATOR`. It is asked of the start model and of
the policy; each answer is an artefact under a key of its own, so that adding an evaluator to a
finished study makes that evaluator alone, and the start model is measured once for all methods.
docs/extending.md adds one step by step.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tiebreak import store
from tiebreak.config.schema import EvaluationConfig, RunConfig
from tiebreak.config.typed import settings_of
from tiebreak.data.sources import Lengths
from tiebreak.kept_answers import KeptAnswers, Share
from tiebreak.stages.checkpoint import Checkpoint
from tiebreak.stages.generator import Weights
from tiebreak.stages.reference import OF_TRAINING
from tiebreak.stages.stage import Context, Paths, Stage

Row = dict[str, Any]
ITEMS = "items.jsonl"
HOW = "how.json"
KEPT = "kept"  # the folder of what is known of the items while they are made
# Settings of the group `evaluation` that belong to answers a model writes, and to nothing else.
OF_ANSWERS = frozenset({"num_prompts", "max_new_tokens", "temperature", "batch_size", "seed"})
# The same, in a form of its own: see `of_answers`.
DRAWN = frozenset({"sampling", "generator"})
# Those that belong to benchmarks, and to nothing else.
OF_BENCHMARKS = frozenset({"benchmarks", "questions", "chat_template", "mirror"})
# Those that belong to pair sets, and to nothing else.
OF_PAIR_SETS = frozenset({"pair_sets", "max_shared_prompts"})
# Who judges, and files of questions: an evaluator that reads them says so in `more`.
OF_JUDGES = frozenset(
    "judge mt_bench mt_bench_baseline alpaca_eval alpaca_eval_baseline arena_hard "
    "arena_hard_baseline".split()
)
# A label; what else is measured; which rows, that the key of their token ids tells.
_NEVER = (
    frozenset({"name", "evaluators", "split"}) | OF_BENCHMARKS | OF_PAIR_SETS | OF_JUDGES | DRAWN
)


def of_answers(evaluation: EvaluationConfig) -> dict[str, Any]:
    """What answers depend on beside the settings of `OF_ANSWERS`. Greedy ones draw nothing; a
    program has numbers of its own, and its version stands for it."""
    if evaluation.generator.command:
        return {"generator": evaluation.generator.version}
    return {"sampling": str(evaluation.sampling)} if evaluation.samples_by_item else {}


@dataclass
class Subject:
    """A model under evaluation, with the rows it is measured on.

    model: the causal LM, loaded when it is first read. start: the start model in the same way,
    while the model is a policy; else None. tokens: folder of the held-out rows, or of those that
    the evaluator has of its own, as token ids.
    items: rows of the evaluators that this one needs, by name; items_start: the same of the start
    model, where the evaluator compares with it and the model is a policy. work: the folder of the
    artefact that is being made, in which what a killed build left is found. weights: where the
    model is. share: of the items, that this process computes and keeps. how: what the record is to
    say of how the items were computed, beside what names them; the evaluator fills it.
    """

    run: RunConfig
    tokens: Path
    tokenizer: Any
    load: Callable[[], Any]
    load_start: Callable[[], Any] | None = None
    items: Mapping[str, list[Row]] = field(default_factory=dict)
    items_start: Mapping[str, list[Row]] = field(default_factory=dict)
    work: Path | None = None
    weights: Weights | None = None
    share: Share = Share()
    how: dict[str, Any] = field(default_factory=dict)
    _model: Any = None

    @property
    def model(self) -> Any:
        if self._model is None:
            self._model = self.load()
        return self._model

    def take_start(self) -> Any:
        """The start model in the place of the model: one at a time in memory."""
        assert self.load_start is not None
        self._model = None
        return self.load_start()

    def kept(self, what: str = "") -> KeptAnswers:
        """What is known already of a part of the items, and stays until the artefact is whole."""
        folder = None if self.work is None else self.work / KEPT / _slug(what)
        return KeptAnswers(folder, self.share)


class RunSize(Protocol):
    """What is known of a run before it is done; a method raises LookupError where it is not."""

    @property
    def run(self) -> RunConfig: ...
    def held_out(self) -> Lengths:
        """The rows that are measured on."""
        ...

    def rows(self, side: str) -> Lengths:
        """Those of a side of the data, or of a pair set (`stages.tokens.pairs_of`)."""
        ...

    def prompts(self) -> float:
        """Number of prompts that are answered."""
        ...


@dataclass(frozen=True)
class Work:
    """What an evaluator takes on one model.

    written  positions that are written token by token, their prompts included
    scored   positions of forward passes
    disk     bytes of its artefact
    judged, judge_written  positions of forward passes of a judge on this machine, and those that
             it writes token by token, its prompts included
    """

    written: float = 0.0
    scored: float = 0.0
    disk: float = 0.0
    judged: float = 0.0
    judge_written: float = 0.0


@dataclass(frozen=True)
class Evaluator:
    """One file of this folder.

    items(subject)           one row per question, as plain JSON
    metrics(items)           what can be said of one model by itself: name -> value
    compared(start, policy, run)  what needs the rows of both models: name -> value
    files(start, policy)     files of the record, by name: columns of a .parquet, rows of a .jsonl
    alone(policy)            the same for a model that has no start model; None: `files` without
                             what is of the start model
    needs                    evaluators whose items it reads
    ignores                  settings of the group `evaluation` that do not change its items
    reads_model              whether it runs the model, or only reads what others left
    applies(run)             whether this run can be asked for it
    asks(run)                what its items depend on beside the model, in place of the group
                             `evaluation` and the held-out rows
    own_rows                 whether it reads rows of its own as token ids, that `asks` names
    cost(size, of_policy)    what it takes on a policy, or on a start model; None: nobody knows
    scratch                  folders of its artefact that go when it is complete
    version                  raised when the same settings start to give other items
    more(run)                what else its items depend on: plain JSON, beside the group's settings
    against_start            whether the policy's items depend on what `needs` left of the start
    divides(run)             whether several processes may compute its items: `items` of a subject
                             with a share computes that and keeps it, and finds it when it is asked
                             for all
    calls(run, of_policy)    about (calls, tokens sent) to a judge, for a policy or a start model;
                             None: to none
    """

    name: str
    items: Callable[[Subject], list[Row]]
    metrics: Callable[[Sequence[Row]], dict[str, float]]
    compared: Callable[[Sequence[Row], Sequence[Row], RunConfig], dict[str, float]] = (
        lambda start, policy, run: {}
    )
    files: Callable[[Sequence[Row], Sequence[Row]], Mapping[str, Any]] = lambda start, policy: {}
    alone: Callable[[Sequence[Row]], Mapping[str, Any]] | None = None
    needs: tuple[str, ...] = ()
    ignores: frozenset[str] = frozenset()
    reads_model: bool = True
    applies: Callable[[RunConfig], bool] = lambda run: True
    asks: Callable[[RunConfig], Mapping[str, Any]] | None = None
    own_rows: bool = False
    cost: Callable[[RunSize, bool], Work] | None = None
    scratch: tuple[str, ...] = (KEPT,)
    version: int = 1
    more: Callable[[RunConfig], Mapping[str, Any]] = lambda run: {}
    against_start: bool = False
    divides: Callable[[RunConfig], bool] = lambda run: False
    calls: Callable[[RunConfig, bool], tuple[float, float]] | None = None

    def settings(self, run: RunConfig, start: Checkpoint) -> dict[str, Any]:
        """What its items depend on beside the model and the rows."""
        settings = self._asked(run)
        if self.reads_model:
            settings |= settings_of(run.train, OF_TRAINING)
            settings["tokenizer"] = dict(start.tokenizer_settings)
        return settings

    def definition(self, run: RunConfig, needed: Mapping[str, str]) -> str:
        """8 hex digits that are the same for every model measured in the same way. A table never
        mixes two of them in a column."""
        content: dict[str, Any] = {"settings": self._asked(run), "needs": dict(needed)}
        if self.asks is None:
            content["rows"] = run.data.content(str(run.evaluation.split))
        content |= {"version": self.version} if self.version != 1 else {}
        return store.key(self.name, content)[:8]

    def record_files(self, start: Sequence[Row] | None, policy: Sequence[Row]) -> Mapping[str, Any]:
        """The files of the record; start None: of a model without a start model."""
        if start is not None:
            return self.files(start, policy)
        if self.alone is not None:
            return self.alone(policy)
        return without_start(self.files(policy, policy))

    def _asked(self, run: RunConfig) -> dict[str, Any]:
        if self.asks is not None:
            return dict(self.asks(run))
        answers = {} if self.ignores >= OF_ANSWERS else of_answers(run.evaluation)
        return {**settings_of(run.evaluation, _NEVER | self.ignores), **answers, **self.more(run)}

    def stage(
        self, run: RunConfig, start: Checkpoint, rows: Stage, needed: Mapping[str, Stage]
    ) -> Stage:
        """Its items for the start model. rows: held-out rows, or its own, as token ids."""

        def build(context: Context, work: Path, paths: Paths) -> None:
            subject = _subject(context, self, start, paths, work)
            rows = self.items(subject)
            if context.share.whole:
                write_rows(work / ITEMS, rows)
                if subject.how:
                    (work / HOW).write_text(json.dumps(subject.how, sort_keys=True) + "\n")

        parents, settings = dict(needed), self.settings(run, start)
        if self.reads_model:
            parents |= start.parents
            parents |= {"tokens": rows} if self.asks is None or self.own_rows else {}
            settings |= start.settings
        return Stage(
            self.name, store.Settings(settings), build, parents, self.version, self.scratch,
            what="start model",
        )  # fmt: skip

    def of_policy(self, start: Stage, policy: Stage, needed: Mapping[str, Stage]) -> Stage:
        """The same for the policy, given the stage for the start model."""
        parents = {**start.parents, **needed} | ({"policy": policy} if self.reads_model else {})
        if self.against_start:
            parents |= {_of_start(need): start.parents[need] for need in self.needs}
        return Stage(
            start.name, start.settings, start.build, parents, start.version, start.scratch,
            what="policy",
        )  # fmt: skip


def _slug(what: str) -> str:
    return re.sub(r"\W+", "-", what)


def _of_start(need: str) -> str:
    return f"{need} of the start model"


def _subject(
    context: Context, evaluator: Evaluator, start: Checkpoint, paths: Paths, work: Path
) -> Subject:
    from tiebreak.engine.models import load_policy, load_start

    run = context.run
    items, before = (
        {need: read_rows(paths[role(need)] / ITEMS) for need in evaluator.needs
         if role(need) in paths}
        for role in (str, _of_start)
    )  # fmt: skip
    about: dict[str, Any] = {
        "items": items, "items_start": before, "work": work, "share": context.share,
    }  # fmt: skip
    if not evaluator.reads_model:
        return Subject(run, Path(), None, lambda: None, **about)
    place = start.place(paths)

    def load_this_start() -> Any:
        return load_start(place, start.commit)

    tokens = paths.get("tokens", Path())
    about["weights"] = Weights(place, start.commit, paths.get("policy"))
    if "policy" not in paths:
        return Subject(run, tokens, start.tokenizer(), load_this_start, **about)
    return Subject(
        run, tokens, start.tokenizer(),
        lambda: load_policy(place, paths["policy"], start.commit), load_this_start, **about,
    )  # fmt: skip


def without_start(files: Mapping[str, Any], *compared: str) -> dict[str, Any]:
    """Files of the record without the columns of a start model, and those that compare with it."""

    def stays(name: str) -> bool:
        return name.rpartition("/")[2] != "before" and name not in compared

    def kept(row: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in row.items() if stays(name)}

    return {
        name: kept(content) if isinstance(content, Mapping) else [kept(row) for row in content]
        for name, content in files.items()
    }


def summed(scored: list[list[Any]]) -> list[list[float]]:
    """Log-prob (nats) of every response, summed in double precision."""
    return [[float(t.double().sum()) for t in row] for row in scored]


def mean(values: Sequence[float]) -> float:
    assert values, "an evaluation has at least one row"
    return sum(values) / len(values)


def how_of(folder: Path) -> dict[str, Any]:
    """What an evaluator's artefact says of how its items were computed; empty: nothing."""
    path = folder / HOW
    return json.loads(path.read_text()) if path.is_file() else {}


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    path.write_text("".join(json.dumps(row, sort_keys=True) + "\n" for row in rows))


def read_rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()]
