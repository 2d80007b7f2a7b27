"""A benchmark as it is asked for: an lm-eval task, its examples, its data; lm-eval is not imported.

What names a benchmark (task, shots, questions, template, lm-eval's version, content of the data) is
known before anything is computed, so that a plan can say which benchmarks are there already.
"""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiebreak import store
from tiebreak.config.schema import EvaluationConfig
from tiebreak.errors import UserError, nearest
from tiebreak.harness.needs import refuse_missing
from tiebreak.store import files_hash

INSTALL = "install it: pip install 'tiebreak[eval]'"
_NAMED = re.compile(r"^[\"']?(?:task|group)[\"']?:\s*[\"']?([\w.+-]+)[\"']?\s*$", re.MULTILINE)
_DATA = re.compile(r"^[\"']?dataset_path[\"']?:\s*[\"']?([\w.-]+/[\w.-]+)", re.MULTILINE)
_SPEC = re.compile(r"([\w.+-]+)(?:@(\d+))?")
_ELSEWHERE = ("super_glue",)  # folders with tasks that do not begin with the folder's name


@dataclass(frozen=True)
class Benchmark:
    """One entry of `evaluation.benchmarks`, TASK or TASK@SHOTS. shots None: the task's own."""

    task: str
    shots: int | None

    @classmethod
    def read(cls, text: str) -> Benchmark:
        """UserError: it is written in another way."""
        found = _SPEC.fullmatch(text)
        if found is None:
            raise UserError(
                f"evaluation.benchmarks: {text!r} is not TASK or TASK@SHOTS; for example "
                "arc_challenge@25"
            )
        return cls(found[1], None if found[2] is None else int(found[2]))


def benchmarks_of(evaluation: EvaluationConfig) -> dict[str, Benchmark]:
    """By task. UserError: one is asked for twice."""
    found: dict[str, Benchmark] = {}
    for text in evaluation.benchmarks:
        one = Benchmark.read(text)
        if one.task in found:
            raise UserError(f"evaluation.benchmarks names {one.task} twice; give it once")
        found[one.task] = one
    return found


def identity(benchmark: Benchmark, evaluation: EvaluationConfig) -> dict[str, Any]:
    """What the answers depend on beside the model: plain JSON for a key. UserError: lm-eval or its
    task is not there, or what the task needs, or the data are not."""
    refuse_missing(benchmark.task, definition_of(benchmark.task), tasks_root())
    named: dict[str, Any] = {
        "task": benchmark.task,
        "lm_eval": lm_eval_version(),
        "data": data_of(benchmark.task, evaluation.mirror),
    }
    more = {"shots": benchmark.shots, "questions": evaluation.questions,
            "chat_template": evaluation.chat_template or None}  # fmt: skip
    return named | {name: value for name, value in more.items() if value is not None}


def lm_eval_version() -> str:
    """UserError: it is not installed."""
    from importlib import metadata

    try:
        return metadata.version("lm_eval")
    except metadata.PackageNotFoundError:
        raise UserError(f"evaluation.benchmarks needs lm-eval; {INSTALL}") from None


@functools.cache
def tasks_root() -> Path:
    """The folder of lm-eval's task definitions. UserError: it is not installed."""
    found = importlib.util.find_spec("lm_eval")
    if found is None or not found.submodule_search_locations:
        raise UserError(f"evaluation.benchmarks needs lm-eval; {INSTALL}")
    return Path(found.submodule_search_locations[0]) / "tasks"


@functools.lru_cache(maxsize=256)
def folder_of(task: str) -> Path:
    """The folder below `tasks_root()` with the definition of a task or group, and whatever it
    includes. UserError: there is none of that name."""
    root = tasks_root()
    near = [name for name in (task.split("_")[0], *_ELSEWHERE) if (root / name).is_dir()]
    for name in near:
        if task in _names(root / name):
            return root / name
    known = _names(root)
    if task not in known:
        raise UserError(
            f"evaluation.benchmarks: lm-eval {lm_eval_version()} has no task "
            f"{task!r}{nearest(task, known)}"
        )
    return root / Path(known[task]).relative_to(root).parts[0]


def definition_of(task: str) -> Path:
    """The file that defines a task or group. UserError: there is none of that name."""
    return Path(_names(folder_of(task))[task])


@functools.cache
def _names(folder: Path) -> Mapping[str, str]:
    """Task or group -> file that defines it, of every definition below a folder."""
    return {
        name: str(path)
        for path in sorted(folder.rglob("*.yaml"))
        for name in _NAMED.findall(path.read_text(encoding="utf-8", errors="replace"))
    }


@functools.cache
def data_paths(task: str) -> tuple[str, ...]:
    """The data sets, as ORG/NAME, that definitions in the task's folder read."""
    files = [p for p in folder_of(task).rglob("*") if p.name.endswith("yaml")]
    found = {path for file in files for path in _DATA.findall(file.read_text(encoding="utf-8"))}
    return tuple(sorted(found))


def data_of(task: str, mirror: str | None) -> dict[str, str]:
    """Data set -> what its content is: a hash of its files in the mirror, else a commit of the Hub.
    UserError: it is in neither place."""
    paths = data_paths(task)
    if mirror is None:
        from tiebreak.data.hub import resolve_commit

        try:
            return {path: f"hub:{resolve_commit(path)}" for path in paths}
        except UserError as error:
            raise UserError(
                f"evaluation.benchmarks: {task}: {error}; or give a mirror of its data (tiebreak "
                "mirror make) as evaluation.mirror=FOLDER"
            ) from error
    here = [path for path in paths if (Path(mirror) / path).is_dir()]
    if not here:
        raise UserError(
            f"evaluation.mirror={mirror} has no data for {task} (looked for {', '.join(paths)}); "
            "make it with tiebreak mirror make --from JSONL_FOLDER --to FOLDER"
        )
    from tiebreak.harness.mirror import CONTENTS, contents

    made = contents(Path(mirror)) if (Path(mirror) / CONTENTS).is_file() else {}
    return {path: _content(Path(mirror) / path, made.get(path)) for path in here}


def _content(folder: Path, made: Mapping[str, Any] | None) -> str:
    """Of a data set that `tiebreak mirror make` wrote the hash of its rows, else of its files."""
    if made is None:
        return files_hash(path for path in folder.rglob("*") if path.is_file())
    return store.key("data", {name: config["sha256"] for name, config in made.items()})
