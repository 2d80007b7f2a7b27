"""Ask a model the questions of one benchmark: rows of scores, question by question."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import random
import re
from collections.abc import Generator, Mapping, Sequence
from typing import Any
from unittest import mock

from tiebreak.harness.prepare import prepared
from tiebreak.harness.tasks import Benchmark

Row = dict[str, Any]
_AROUND = re.compile(r"\A\s*(question|q)\s*:\s*|\s*(answer|a)\s*:\s*\Z", re.IGNORECASE)


def ask(
    lm: Any, benchmark: Benchmark, *, questions: int | None, chat_template: bool, mirror: str | None
) -> list[Row]:
    """A row per question: id, subject (of a group of tasks), its text, scores by metric, log-probs
    of the choices or the text that was written, and the right answer. UserError: the data cannot be
    read, or the task has no numbers by question."""
    from lm_eval.evaluator import evaluate

    with quietly():
        template = template_of(lm) if chat_template else None
        tasks, chosen = prepared(benchmark, questions, mirror, template)
        found = evaluate(
            lm, {"tasks": tasks, "groups": {}, "group_map": {}}, bootstrap_iters=0,
            log_samples=True, apply_chat_template=chat_template,
            fewshot_as_multiturn=chat_template,
        )  # fmt: skip
    assert found is not None
    several = len(chosen) > 1
    return [
        row
        for name, samples in found["samples"].items()
        for row in _rows(samples, chosen[name], name if several else None, tasks[name])
    ]


def template_of(lm: Any) -> str:
    """All that the text depends on which a chat template writes."""
    tokenizer = lm.tokenizer
    said = [tokenizer.chat_template, tokenizer.special_tokens_map, lm.chat_template_args]
    return json.dumps(said, sort_keys=True, default=str)


def _rows(
    samples: Sequence[Mapping[str, Any]], numbers: Sequence[int], subject: str | None, task: Any
) -> list[Row]:
    """One row per question, whatever filters its answer went through. numbers: of the questions in
    the whole task."""
    rows: dict[int, Row] = {}
    weights = _weights(samples)
    for sample in samples:
        number = numbers[sample["doc_id"]]
        if number not in rows:
            rows[number] = _row(sample, subject, number)
            rows[number]["question"] = question(task, sample["doc"])
        row = rows[number]
        ending = "" if sample["filter"] == "none" else f"-{sample['filter']}"
        for metric in sample["metrics"]:
            value, name = sample[metric], f"{metric}{ending}"
            if isinstance(value, bool | int | float):
                row["scores"][name] = float(value)
            elif name in weights:
                row["scores"][name] = sum(value) * weights[name]
    return list(rows.values())


def _weights(samples: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Of metrics that judge several parts of a question (each instruction of a prompt), for which
    lm-eval takes the mean of all parts: questions over parts, so that the mean of a question's
    parts times this, over questions, is lm-eval's number."""
    parts: dict[str, list[int]] = {}
    for sample in samples:
        ending = "" if sample["filter"] == "none" else f"-{sample['filter']}"
        for metric in sample["metrics"]:
            value = sample[metric]
            if isinstance(value, list) and value and all(isinstance(v, bool) for v in value):
                parts.setdefault(f"{metric}{ending}", []).append(len(value))
    return {name: len(lengths) / sum(lengths) for name, lengths in parts.items()}


def _row(sample: Mapping[str, Any], subject: str | None, number: int) -> Row:
    row: Row = {"id": str(number) if subject is None else f"{subject}/{number}", "scores": {}}
    row |= {} if subject is None else {"subject": subject}
    row["prompt_hash"], row["target"] = sample["prompt_hash"], str(sample["target"])
    answers = [answer for (answer, *_) in sample["resps"]]
    if all(isinstance(answer, list | tuple) for answer in answers):
        row["logp"] = [float(answer[0]) for answer in answers]
    else:
        row["answer"] = str(answers[0])
    return row


def question(task: Any, doc: Mapping[str, Any]) -> str:
    """The question by itself, without examples and without the words before and after it: the field
    that the task names for this, else its text. Empty where neither is text."""
    named = task.config.doc_to_decontamination_query
    text = doc.get(named) if isinstance(named, str) else None
    text = text if isinstance(text, str) else task.doc_to_text(doc)
    return _AROUND.sub("", text) if isinstance(text, str) else ""


@contextlib.contextmanager
def quietly() -> Generator[None]:
    """lm-eval says nothing, draws no bars, and leaves what it sets as it was. A template of a
    task, which it compiles for every question, is compiled once."""
    import lm_eval.api.model
    import lm_eval.api.task
    import lm_eval.models.huggingface
    import lm_eval.utils

    logger, state = logging.getLogger("lm_eval"), random.getstate()
    level = logger.level
    logger.setLevel(logging.ERROR)
    with contextlib.ExitStack() as stack:
        for module in (lm_eval.api.model, lm_eval.api.task, lm_eval.models.huggingface):
            stack.enter_context(mock.patch.object(module, "tqdm", _no_bar))
        compiled = functools.lru_cache(maxsize=256)(lm_eval.utils.env.from_string)
        stack.enter_context(mock.patch.object(lm_eval.utils.env, "from_string", compiled))
        try:
            yield
        finally:
            logger.setLevel(level)
            random.setstate(state)


def _no_bar(*given: Any, **how: Any) -> Any:
    from tqdm import tqdm

    return tqdm(*given, **{**how, "disable": True})
