"""Ask a model the questions of one benchmark: rows of scores, question by question."""

from __future__ import annotations

import contextlib
import logging
import random
import re
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from tiebreak.errors import UserError
from tiebreak.harness.mirror import CONTENTS, contents
from tiebreak.harness.needs import needs_of, ready_to_load
from tiebreak.harness.tasks import Benchmark, definition_of, folder_of, tasks_root

Row = dict[str, Any]
SEED = 1234  # lm-eval's own, of the few-shot examples
_AROUND = re.compile(r"\A\s*(question|q)\s*:\s*|\s*(answer|a)\s*:\s*\Z", re.IGNORECASE)


def ask(
    lm: Any, benchmark: Benchmark, *, questions: int | None, chat_template: bool, mirror: str | None
) -> list[Row]:
    """A row per question: id, subject (of a group of tasks), its text, scores by metric, log-probs
    of the choices or the text that was written, and the right answer. UserError: the data cannot be
    read, or the task has no numbers by question."""
    from lm_eval.evaluator import evaluate

    with quietly(), _from_mirror(mirror):
        loaded = load(benchmark, mirror)
        chosen = chosen_questions(
            {name: len(task.eval_docs) for name, task in loaded["tasks"].items()}, questions
        )
        loaded["tasks"] = {name: loaded["tasks"][name] for name in chosen}
        found = evaluate(
            lm, {"tasks": loaded["tasks"], "groups": {}, "group_map": {}}, samples=chosen,
            bootstrap_iters=0, log_samples=True, apply_chat_template=chat_template,
            fewshot_as_multiturn=chat_template,
        )  # fmt: skip
    assert found is not None
    several = len(chosen) > 1
    return [
        row
        for name, samples in found["samples"].items()
        for row in _rows(samples, name if several else None, loaded["tasks"][name])
    ]


def load(benchmark: Benchmark, mirror: str | None = None) -> Any:
    """lm-eval's tasks of a benchmark, with the shots asked for. UserError: no data for them."""
    import numpy as np
    from lm_eval.tasks import TaskManager

    random.seed(0)
    np.random.seed(SEED)
    ready_to_load(needs_of(definition_of(benchmark.task), tasks_root()))
    manager = TaskManager(include_path=str(folder_of(benchmark.task)), include_defaults=False)
    try:
        loaded: Any = manager.load([benchmark.task])
    except (OSError, ValueError, KeyError, ConnectionError) as error:
        said = str(error).partition("\n")[0]
        raise UserError(
            f"evaluation.benchmarks: the data of {benchmark.task} cannot be read "
            f"({type(error).__name__}: {said}); make a mirror of them (tiebreak mirror make) and "
            "give evaluation.mirror=FOLDER"
        ) from error
    for task in loaded["tasks"].values():
        own = task.get_config("num_fewshot")
        if benchmark.shots is not None and own != 0:  # 0 in a definition is never changed
            task.set_config(key="num_fewshot", value=benchmark.shots)
        elif own is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=SEED)
        if mirror is not None and task.get_config("num_fewshot"):
            _refuse_own_question(task, Path(mirror))
    return loaded


def _refuse_own_question(task: Any, mirror: Path) -> None:
    """UserError where the examples before a question may hold the question and its answer."""
    config = task.config
    own_examples = getattr(config.fewshot_config, "samples", None) is not None
    if own_examples or not (mirror / CONTENTS).is_file():
        return
    made = contents(mirror).get(config.dataset_path, {}).get(config.dataset_name or "default")
    if (
        made
        and made["shots from"] == made["evaluated"]
        and not made["own question left out of shots"]
    ):
        raise UserError(
            f"evaluation.benchmarks: {config.task} has no other rows for its examples in {mirror} "
            "than those that are asked, and a question may stand among its own examples; make the "
            f"mirror with the rows for examples, or give {config.task}@0"
        )


def chosen_questions(sizes: Mapping[str, int], most: int | None) -> dict[str, list[int]]:
    """Numbers of the questions of each task of a benchmark: all, or `most` of them drawn at random
    with the same share of each task, the same at every time."""
    total = sum(sizes.values())
    if most is None or most >= total:
        return {name: list(range(size)) for name, size in sizes.items()}
    exact = {name: most * size / total for name, size in sizes.items()}
    counts = {name: int(share) for name, share in exact.items()}
    rest = sorted(sizes, key=lambda name: (counts[name] - exact[name], name))
    for name in rest[: most - sum(counts.values())]:
        counts[name] += 1
    return {
        name: sorted(random.Random(f"{name} {SEED}").sample(range(sizes[name]), count))
        for name, count in counts.items()
        if count
    }


def _rows(samples: Sequence[Mapping[str, Any]], subject: str | None, task: Any) -> list[Row]:
    """One row per question, whatever filters its answer went through."""
    rows: dict[int, Row] = {}
    weights = _weights(samples)
    for sample in samples:
        number = sample["doc_id"]
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
def _from_mirror(mirror: str | None) -> Generator[None]:
    """Data sets that are in the mirror are read there, others where they would be."""
    import datasets

    plain = datasets.load_dataset

    def load_dataset(path: str, name: str | None = None, **more: Any) -> Any:
        folder = Path(mirror or "") / path
        return mirrored(folder, name) if mirror and folder.is_dir() else plain(path, name, **more)

    with mock.patch.object(datasets, "load_dataset", load_dataset):
        yield


def mirrored(folder: Path, config: str | None) -> Any:
    """The splits of one configuration in a mirror's folder, by its README.md. Not by the library's
    own loader, whose cache knows a folder by its name alone. OSError or ValueError: not there."""
    import datasets
    import pyarrow.parquet as pq
    import yaml

    _, about, _ = (folder / "README.md").read_text(encoding="utf-8").split("---", 2)
    known = {one["config_name"]: one["data_files"] for one in yaml.safe_load(about)["configs"]}
    name = config or "default"
    if name not in known:
        raise ValueError(f"{folder} has no configuration {name!r}")
    return datasets.DatasetDict({
        file["split"]: datasets.Dataset(pq.read_table(folder / file["path"]))
        for file in known[name]
    })  # fmt: skip


@contextlib.contextmanager
def quietly() -> Generator[None]:
    """lm-eval says nothing, draws no bars, and leaves what it sets as it was."""
    import lm_eval.api.model
    import lm_eval.api.task
    import lm_eval.models.huggingface

    logger, state = logging.getLogger("lm_eval"), random.getstate()
    level = logger.level
    logger.setLevel(logging.ERROR)
    with contextlib.ExitStack() as stack:
        for module in (lm_eval.api.model, lm_eval.api.task, lm_eval.models.huggingface):
            stack.enter_context(mock.patch.object(module, "tqdm", _no_bar))
        try:
            yield
        finally:
            logger.setLevel(level)
            random.setstate(state)


def _no_bar(*given: Any, **how: Any) -> Any:
    from tqdm import tqdm

    return tqdm(*given, **{**how, "disable": True})
