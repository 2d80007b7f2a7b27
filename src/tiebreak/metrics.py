"""The one table of metrics: unit, reduction, better end, how it is printed and where its items are.
Everything that names a metric reads this table: the trainer, tables, figures, the page, the
commands and `docs/metrics.md`. A new evaluation metric is a row here and a number in its
evaluator."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Direction(StrEnum):
    """Which end of a metric is the better one. Tables mark and test only metrics that have one."""

    UP = "up"
    DOWN = "down"
    NONE = "none"


class Shown(StrEnum):
    """How far a metric comes forward without being asked for by name."""

    TABLES = "tables"
    """A column of every table that names no metrics; printed after a run too."""
    RUNS = "runs"
    """Printed after a run."""
    ON_REQUEST = "on request"


def above(one: Any, other: Any) -> Any:
    """1 where `one` is higher than `other`, 0.5 where they are equal, 0 where it is lower."""
    return 1.0 * (one > other) + 0.5 * (one == other)


def above_per_token(one: Any, other: Any, length: Any, other_length: Any) -> Any:
    return above(one / length, other / other_length)


@dataclass(frozen=True)
class Metric:
    """One metric. `items` and `formula` say how it is made for one test item, where one can."""

    name: str
    unit: str
    reduction: str
    sentence: str
    direction: Direction = Direction.NONE
    decimals: int = 3
    """Digits after the point in a table."""
    printed_unit: str = ""
    """The unit in a table's heading. `%`: values are shares and are printed times 100."""
    shown: Shown = Shown.ON_REQUEST
    evaluator: str | None = None
    """Which evaluator measures it; None: it is measured while the run trains."""
    items: tuple[str, ...] = ()
    """Columns of the evaluator's per-item file. `{when}` stands for before (the start model) and
    after; a metric without it has no value for the start model. Empty: there are no items."""
    formula: Callable[..., Any] = lambda value: value
    """Takes these columns as numbers or arrays and gives the metric of each item."""
    gaps: bool = False
    """Whether an item may have no value in one run and one in another, as a question that a judge
    could not judge. Runs are then compared on the items that all of them have."""

    def item_columns(self, when: str) -> tuple[str, ...]:
        """The columns for `when`, "before" or "after"; empty where it cannot be made from items."""
        if when == "before" and not any("{when}" in column for column in self.items):
            return ()
        return tuple(column.format(when=when) for column in self.items)


_RESPONSES = "mean over responses of the optimiser batch"
_PAIRS = "mean over pairs of the optimiser batch"
_STEP = "one value per optimiser step"
_PROMPTS, _HELD_OUT = "mean over evaluation prompts", "mean over held-out pairs"
_UP = Direction.UP

TRAINING: tuple[Metric, ...] = (
    Metric("loss", "method's own", _PAIRS, "The loss that was differentiated; KTO: over "
           "responses."),
    Metric("reward/chosen", "method's own", _RESPONSES, "Implicit reward of chosen responses."),
    Metric("reward/rejected", "method's own", _RESPONSES, "Implicit reward of rejected ones."),
    Metric("reward/margin", "method's own", _PAIRS, "Reward of chosen minus rejected."),
    Metric("reward/accuracy", "share", _PAIRS, "Pairs whose chosen reward is higher; ties half."),
    Metric("drift/chosen", "nats", _RESPONSES, "Policy minus reference log-prob, chosen."),
    Metric("drift/rejected", "nats", _RESPONSES, "Policy minus reference log-prob, rejected."),
    Metric("drift/margin", "nats", _PAIRS, "Drift of chosen minus drift of rejected."),
    Metric("drift/chosen_per_token", "nats/token", _RESPONSES, "Drift over length, chosen."),
    Metric("drift/rejected_per_token", "nats/token", _RESPONSES, "Drift over length, rejected."),
    Metric("displaced/share", "share", _RESPONSES, "Chosen responses whose drift is negative."),
    Metric("logp/chosen", "nats", _RESPONSES, "Log-prob of chosen responses under the policy."),
    Metric("logp/rejected", "nats", _RESPONSES, "Log-prob of rejected responses."),
    Metric("length/chosen", "tokens", _RESPONSES, "Tokens of chosen responses, with the EOS."),
    Metric("length/rejected", "tokens", _RESPONSES, "Tokens of rejected responses."),
    Metric("entropy", "nats", "mean over scored positions", "Entropy of the policy's next token."),
    Metric("kl/mismatched", "nats", _RESPONSES, "Drift of mismatched responses; at 0 KTO clamps."),
    Metric("grad/norm", "1", _STEP, "Norm of the gradient before clipping."),
    Metric("learning_rate", "1", _STEP, "Learning rate of the step."),
    Metric("positions/unique_token", "1", "over the optimiser batch", "Positions through the "
           "network for each token of a prompt or a response, padding included."),
)  # fmt: skip

THROUGHPUT: tuple[Metric, ...] = (
    Metric("seconds", "s", _STEP, "From the start of the step to its log line. In a table: of the "
           "whole training.", decimals=1),
    Metric("pairs/s", "1/s", _STEP, "Rows of the data set per second, all ranks.",
           decimals=1),
    Metric("response_tokens/s", "1/s", _STEP, "Chosen and rejected tokens per second. In a table: "
           "over the whole training.", decimals=0),
    Metric("memory/peak", "MiB", _STEP, "Peak memory: of the device, else of the process. In a "
           "table: the highest of all steps.", decimals=0, printed_unit="MiB"),
)  # fmt: skip
"""No table calls a run best by these: they depend on the machine and on what else it did."""


def _gold(part: str, sentence: str, **how: Any) -> Metric:
    how = {"unit": "part's own", "evaluator": "gold", "items": (f"{part}/{{when}}",)} | how
    return Metric(f"gold/{part}", reduction=_PROMPTS, sentence=f"{sentence} (world data).", **how)


MT_BENCH_CATEGORIES = (
    "writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities",
)  # fmt: skip
ARENA_HARD_CATEGORIES = ("hard_prompt", "creative_writing")  # of v2
_QUESTIONS = "mean over judged questions"


def _judged(
    evaluator: str, of: str, against: str, ties: str = "ties half", *more: tuple[str, str]
) -> tuple[Metric, ...]:
    """What wins over other answers give. of: the answers; against: the other ones. more: names and
    sentences of what else is a column of the record."""

    def share(name: str, sentence: str, **how: Any) -> Metric:
        how = {"decimals": 1, "printed_unit": "%", "evaluator": evaluator, "gaps": True} | how
        return Metric(f"{evaluator}/{name}", "share", _QUESTIONS, sentence, **how)

    def count(name: str, sentence: str) -> Metric:
        return Metric(f"{evaluator}/{name}", "questions", "all questions", sentence, decimals=0,
                      evaluator=evaluator)  # fmt: skip

    return (
        share("win_rate", f"The judge prefers {of} to {against}, mean of both orders; {ties}.",
              direction=_UP, shown=Shown.TABLES, items=("win/{when}",)),
        share("win_rate_lc", "The same, had both answers been equally long.", direction=_UP,
              shown=Shown.TABLES, items=("lc/{when}",)),
        share("win_rate_sc", "The same, had both been alike in length and Markdown.",
              direction=_UP, items=("sc/{when}",)),
        *(share(name, sentence, direction=_UP, items=(f"{name}/{{when}}",))
          for name, sentence in more),
        count("questions", "Questions put to the judge."),
        count("judged", "Of these, with a verdict in both orders."),
        share("position_bias", "Preference for the answer that stands first, less a half."),
        share("order_flips", "Verdicts that change when the answers change places."),
        share("repeat_flips", "Verdicts that change when the judge is asked again."),
        share("repeat_shift", "Win rate when asked again, less the win rate before."),
        count("repeated", "Questions that were judged once more."),
    )  # fmt: skip


def _of_arena_hard() -> Iterable[tuple[str, str]]:
    for name in ARENA_HARD_CATEGORIES:
        yield name, f"Win rate of questions of the category {name}."
        yield f"{name}_sc", "The same, had both been alike in length and Markdown."


def _of_pairwise() -> Iterable[tuple[str, str]]:
    yield "turn_1", "Win rate of the first answer."
    yield "turn_2", "Win rate of the second answer."
    yield from ((name, f"Win rate of questions on {name}.") for name in MT_BENCH_CATEGORIES)


def _graded() -> tuple[Metric, ...]:
    def grade(name: str, sentence: str, **how: Any) -> Metric:
        how = {"direction": _UP, "decimals": 2, "evaluator": "mt_bench",
               "items": (f"{name}/{{when}}",), "gaps": True} | how  # fmt: skip
        return Metric(f"mt_bench/{name}", "grade, 1 to 10", _QUESTIONS, sentence, **how)

    none = {"direction": Direction.NONE, "items": ()}
    return (
        grade("score", "The judge's grade, mean of both turns.", shown=Shown.TABLES),
        grade("turn_1", "Grade of the first answer."),
        grade("turn_2", "Grade of the second answer."),
        *(grade(name, f"Grade of questions on {name}.") for name in MT_BENCH_CATEGORIES),
        grade("questions", "Questions put to the judge.", decimals=0, **none),
        grade("judged", "Of these, with a grade of both turns.", decimals=0, **none),
        grade("repeat_flips", "Share of grades that change when asked again.", **none),
        grade("repeat_shift", "Grade when asked again, less the grade before.", **none),
        grade("repeated", "Grades that were asked for once more.", decimals=0, **none),
        grade("tokens", "Tokens of an answer.", decimals=0,
              **none | {"evaluator": "mt_bench_answers"}),
    )  # fmt: skip


_SIDES = ("logp/chosen/{when}", "logp/rejected/{when}")
_LENGTHS = ("length/chosen", "length/rejected")

EVALUATION: tuple[Metric, ...] = (
    _gold("reward", "Gold reward of the generated answer", unit="reward", direction=_UP,
          shown=Shown.TABLES),
    _gold("helpfulness", "Part of the gold reward", direction=_UP),
    _gold("faithfulness", "Part of the gold reward", direction=_UP),
    _gold("tone", "Part of the gold reward", direction=_UP),
    _gold("repetition", "Part of the gold reward"),
    _gold("length", "Part of the gold reward"),
    Metric("win_rate/start", "share", _PROMPTS, "Gold reward above the start model's answer to the "
           "same prompt; ties half (world data).", _UP, 1, "%", Shown.TABLES, "gold", ("win",)),
    Metric("accuracy/likelihood", "share", _HELD_OUT, "Chosen has the higher log-prob; ties half.",
           _UP, shown=Shown.TABLES, evaluator="pairs", items=_SIDES, formula=above),
    Metric("accuracy/likelihood_per_token", "share", _HELD_OUT, "The same, per token.",
           evaluator="pairs", items=(*_SIDES, *_LENGTHS), formula=above_per_token),
    Metric("length/generated", "tokens", _PROMPTS, "Tokens of generated answers, with the EOS.",
           Direction.NONE, 1, "tokens", Shown.TABLES, "generations", ("tokens/{when}",)),
    Metric("kl/reference", "nats", _PROMPTS, "Log-prob of the policy's own samples under the "
           "policy minus under the start model; only at temperature 1.", Direction.NONE, 2, "nats",
           Shown.TABLES, "generations"),
    Metric("accuracy/drift", "share", _HELD_OUT, "Chosen has the higher drift; ties half.", _UP,
           shown=Shown.RUNS, evaluator="pairs", items=("drift/chosen", "drift/rejected"),
           formula=above),
    Metric("drift/chosen", "nats", _HELD_OUT, "Policy minus start model log-prob, chosen.",
           shown=Shown.RUNS, evaluator="pairs", items=("drift/chosen",)),
    Metric("drift/rejected", "nats", _HELD_OUT, "The same for the rejected response.",
           shown=Shown.RUNS, evaluator="pairs", items=("drift/rejected",)),
    Metric("displaced/share", "share", _HELD_OUT, "Chosen responses whose drift is negative.",
           shown=Shown.RUNS, evaluator="pairs", items=("drift/chosen",), 
           formula=lambda drift: 1.0 * (drift < 0)),
    *_judged("head_to_head", "the answer", "the start model's to the same prompt"),
    *_judged("alpaca_eval", "the answer", "the baseline's"),
    Metric("alpaca_eval/win_rate_lc_joint", "share", _QUESTIONS, "Length-controlled, with the "
           "instruction's difficulty; fitted to all models of a table together, in no result.json.",
           _UP, 1, "%", Shown.TABLES, "alpaca_eval", ("lc_joint/{when}",), gaps=True),
    *_judged("arena_hard", "the answer", "the baseline's",
             "ties half, much better or worse three times", *_of_arena_hard()),
    *_judged("mt_bench_pairwise", "the answers", "the baseline's", "ties half", *_of_pairwise()),
    *_graded(),
    *(Metric(f"{name}/tokens", "tokens", "mean over questions", "Tokens of an answer.", decimals=0,
             evaluator=f"{name}_answers") for name in ("alpaca_eval", "arena_hard")),
)  # fmt: skip

PANEL = {
    "displaced": "displaced/share",
    "chosen": "drift/chosen",
    "rejected": "drift/rejected",
    "chosen_per_token": "drift/chosen_per_token",
    "rejected_per_token": "drift/rejected_per_token",
    "margin": "drift/margin",
}
"""Measure of a displacement panel -> the metric that it is of the pairs in one bucket."""

_EVALUATION = {metric.name: metric for metric in EVALUATION}
GROUPS = {metric.name.partition("/")[0] for metric in (*TRAINING, *THROUGHPUT, *EVALUATION)}
"""What the names of these metrics begin with: no benchmark and no pair set is called so."""
# What lm-eval measures of each question that is a share; after it, the filter of the answer. At
# inst_level an item is the instructions followed times questions over instructions: lm-eval's mean.
_OF_BENCHMARKS = re.compile(r"(acc|acc_norm|exact_match|(?:prompt|inst)_level_\w+)(-[\w-]+)?")
# What a pair set's metric is called -> the metric of held-out pairs that is made in the same way.
_OF_PAIR_SETS = {name: f"accuracy/{name}" for name in ("likelihood", "likelihood_per_token",
                                                       "drift")}  # fmt: skip
# Benchmarks whose column is the choice by log-prob per character, as the studies report them.
_PER_CHARACTER = frozenset({"arc_easy", "arc_challenge", "hellaswag", "openbookqa"})
# Of a benchmark whose answers are written, the first of these is what studies report.
_OF_WORDS = ("exact_match-strict-match", "exact_match", "prompt_level_strict_acc")
_ALL = {metric.name: metric for metric in (*TRAINING, *THROUGHPUT, *EVALUATION)}
_ON_AXES = ("nats", "nats/token", "tokens", "share", "MiB")


def evaluation_metric(name: str) -> Metric:
    """What is known of a metric of `result.json`; a name in no table is printed as it is."""
    found = _EVALUATION.get(name) or benchmark_metric(name) or pair_set_metric(name)
    return found or Metric(name, "", "", "")


def benchmark_metric(name: str) -> Metric | None:
    """TASK/METRIC of a benchmark of lm-eval; None for any other name. Of a task that gives both
    acc and acc_norm one is a column of every table."""
    task, _, metric = name.partition("/")
    found = _OF_BENCHMARKS.fullmatch(metric)
    if found is None or task in GROUPS:
        return None
    other = {"acc": task in _PER_CHARACTER, "acc_norm": task not in _PER_CHARACTER}
    beside = other.get(found[1], found[1].startswith("inst_level"))
    sentence = f"lm-eval's {metric} of its task {task}."
    return Metric(
        name, "share", "mean over questions", sentence, _UP, 1, "%",
        Shown.RUNS if beside else Shown.TABLES, task, (f"{metric}/{{when}}",),
    )  # fmt: skip


def reported(task: str, metrics: Sequence[str]) -> str | None:
    """Of metrics TASK/METRIC of one benchmark, the one that stands for it in an average: the only
    one; else the choice by log-prob, per character where studies report that; else the strict one
    of answers that are written. None: several, and none of these."""
    if len(metrics) == 1:
        return metrics[0]
    order = ("acc_norm" if task in _PER_CHARACTER else "acc", *_OF_WORDS)
    return next((name for one in order if (name := f"{task}/{one}") in metrics), None)


def pair_set_metric(name: str) -> Metric | None:
    """SET/METRIC or SET/CATEGORY/METRIC of a pair set; None for any other name. Of a category only
    the rows count in whose column for it there is a number."""
    set_name, *category, metric = name.split("/") if "/" in name else ("", "")
    if metric not in _OF_PAIR_SETS or set_name in GROUPS or len(category) > 1:
        return None
    like, per_token = _EVALUATION[_OF_PAIR_SETS[metric]], metric == "likelihood_per_token"
    shown = Shown.ON_REQUEST if category else Shown.RUNS if per_token else Shown.TABLES
    number = len(like.items)
    return Metric(
        name, "share", f"mean over pairs{' of the category' if category else ''}", like.sentence,
        _UP, 1, "%", shown, set_name, (*like.items, *(f"category/{one}" for one in category)),
        lambda *columns: like.formula(*columns[:number]),
    )  # fmt: skip


def table_metric(name: str) -> Metric:
    """What is known of a metric that can be a column: of `result.json`, or of throughput."""
    return {m.name: m for m in THROUGHPUT}.get(name) or evaluation_metric(name)


def shown(names: Iterable[str], *how: Shown) -> list[str]:
    """Those of these evaluation metrics that are shown in one of these ways, in their order."""
    known = {metric.name: place for place, metric in enumerate(EVALUATION)}
    order = sorted(names, key=lambda name: (known.get(name, len(known)), name))
    return [name for name in order if evaluation_metric(name).shown in how]


def axis_unit(name: str) -> str:
    """The unit to write beside a metric in a chart, where it adds to the name; else empty."""
    unit = _ALL[name].unit if name in _ALL else ""
    return unit if unit in _ON_AXES and not name.endswith("/share") else ""


def axis_label(name: str) -> str:
    """A metric as charts call it: `drift/chosen (nats)`."""
    unit = axis_unit(name)
    return f"{name} ({unit})" if unit else name


_PAGE: dict[str, Callable[[Metric], str]] = {
    "name": lambda metric: f"`{metric.name}`",
    "unit": lambda metric: metric.unit,
    "better": lambda metric: metric.direction,
    "evaluator": lambda metric: str(metric.evaluator),
    "over": lambda metric: metric.reduction,
    "what it is": lambda metric: metric.sentence,
}


def metrics_page() -> str:
    """`docs/metrics.md`: the tables, for people."""
    columns = ("name", "unit", "over", "what it is")
    training, throughput = _page_table(TRAINING, columns), _page_table(THROUGHPUT, columns)
    return (
        "# Metrics\n\n"
        "One definition for all methods. A training metric is a sum and a count, added up\n"
        "over the micro-batches of an optimiser step and over all processes, and divided\n"
        "once; so no value depends on how a batch was cut. A metric that does not apply is\n"
        "absent: no drift without reference log-probs, no margin on unpaired data. Made from\n"
        "the table in `tiebreak/metrics.py`, where a new metric is a new row.\n\n"
        f"## In `metrics.jsonl`, one object per optimiser step\n\n{training}\n"
        "## In `throughput.jsonl`\n\nTimes of this machine, on this day. A table shows them when "
        f"asked to (`--metrics seconds`) and\ncalls none of them best.\n\n{throughput}\n"
        f"## In `result.json`, after training\n\n{_page_table(EVALUATION, tuple(_PAGE))}"
    )


def _page_table(metrics: Iterable[Metric], columns: tuple[str, ...]) -> str:
    rows = ([_PAGE[column](metric) for column in columns] for metric in metrics)
    lines = [columns, ("---",) * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
