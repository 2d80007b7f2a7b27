"""A benchmark's questions and requests, made ready once in a process.

Reading the data, choosing the questions and writing the requests takes longer than a small model's
answers do, and is the same for every model: the start model and each policy are asked the same
objects of lm-eval. What they depend on is the key.
"""

from __future__ import annotations

import contextlib
import functools
import json
import random
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from tiebreak.errors import UserError
from tiebreak.harness.mirror import CONTENTS, contents
from tiebreak.harness.needs import needs_of, ready_to_load
from tiebreak.harness.tasks import Benchmark, data_of, definition_of, folder_of, tasks_root

SEED = 1234  # lm-eval's own, of the few-shot examples
MOST = 32  # benchmarks; the text of the largest, MMLU with 5 examples, takes about 50 MB


class Prepared(NamedTuple):
    """lm-eval's tasks by name, each with the chosen questions alone, and the numbers that these
    have in the whole task."""

    tasks: dict[str, Any]
    chosen: dict[str, list[int]]


def prepared(
    benchmark: Benchmark, questions: int | None, mirror: str | None, template: str | None
) -> Prepared:
    """The benchmark, its requests written at the first use. questions: how many; None: all.
    template: what names the chat template that the requests are written by; None: by none.
    UserError: the data cannot be read, or a question may stand among its own examples."""
    data = json.dumps(data_of(benchmark.task, mirror), sort_keys=True)
    return _prepared(benchmark, questions, mirror, template, data)


@functools.lru_cache(maxsize=MOST)
def _prepared(
    benchmark: Benchmark, questions: int | None, mirror: str | None, template: str | None, data: str
) -> Prepared:
    """template, data: part of the key alone."""
    with _from_mirror(mirror):
        tasks = _load(benchmark, mirror)
    chosen = chosen_questions({name: len(one.task_docs) for name, one in tasks.items()}, questions)
    for name, numbers in chosen.items():
        _make_ready(tasks[name], numbers)
    return Prepared({name: tasks[name] for name in chosen}, chosen)


def _make_ready(task: Any, numbers: list[int]) -> None:
    """Let a task have these questions alone, processed once, and write its requests once."""
    docs = list(task.task_docs.select(numbers))
    setattr(task, "test_docs" if task.has_test_docs() else "validation_docs", lambda: docs)
    build, written = task.build_all_requests, False

    def build_once(**how: Any) -> None:
        nonlocal written
        if not written:
            build(**how)
            written = True
        for request in task.instances:
            request.resps, request.filtered_resps = [], {}

    task.build_all_requests = build_once


def _load(benchmark: Benchmark, mirror: str | None) -> dict[str, Any]:
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
    tasks: dict[str, Any] = loaded["tasks"]
    for task in tasks.values():
        own = task.get_config("num_fewshot")
        if benchmark.shots is not None and own != 0:  # 0 in a definition is never changed
            task.set_config(key="num_fewshot", value=benchmark.shots)
        elif own is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=SEED)
        if mirror is not None and task.get_config("num_fewshot"):
            _refuse_own_question(task, Path(mirror))
    return tasks


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

    known = _configs((folder / "README.md").read_text(encoding="utf-8"))
    name = config or "default"
    if name not in known:
        raise ValueError(f"{folder} has no configuration {name!r}")
    return datasets.DatasetDict({
        file["split"]: datasets.Dataset(pq.read_table(folder / file["path"]))
        for file in known[name]
    })  # fmt: skip


@functools.lru_cache(maxsize=4)
def _configs(readme: str) -> dict[str, Any]:
    """Configuration -> its files. MMLU's subjects ask one README 57 times."""
    import yaml

    _, about, _ = readme.split("---", 2)
    return {one["config_name"]: one["data_files"] for one in yaml.safe_load(about)["configs"]}
