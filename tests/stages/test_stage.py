"""The graph of stages: built once, parents first, keyed by settings or by content."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tiebreak.errors import UserError
from tiebreak.stages.align import _rows_until
from tiebreak.stages.stage import Paths, Stage, ensure, recipe, walk
from tiebreak.store import Artefact, Store

Make = Callable[..., Stage]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "artefacts")


@pytest.fixture
def built() -> list[str]:
    return []


@pytest.fixture
def make(built: list[str]) -> Make:
    def stage(name: str, inputs: dict, **rest: object) -> Stage:
        def build(work: Path, paths: Paths) -> None:
            built.append(name)
            read = "".join((p / "text").read_text() for p in paths.values())
            (work / "text").write_text(f"{name}{inputs.get('says', '')}({read})")

        return recipe(name, inputs, build=build, **rest)  # type: ignore[arg-type]

    return stage


def test_parents_are_built_first_and_once(make: Make, store: Store, built: list[str]) -> None:
    base = make("base", {"n": 1})
    left, right = (
        make("left", {"n": 1}, parents={"b": base}),
        make("right", {}, parents={"b": base}),
    )
    top = make("top", {}, parents={"l": left, "r": right})
    heard: list[Artefact] = []
    done = ensure(top, store, heard.append)
    assert built == ["base", "left", "right", "top"]
    assert (done.path / "text").read_text() == "top(left(base())right(base()))"
    assert [(a.stage, a.reused) for a in heard] == [
        ("base", False), ("left", False), ("base", True), ("right", False), ("top", False),
    ]  # fmt: skip
    again = ensure(top, store)
    assert again.reused and built == ["base", "left", "right", "top"]


def test_a_cached_stage_needs_no_parents(make: Make, store: Store, built: list[str]) -> None:
    base = make("base", {})
    top = make("top", {}, parents={"b": base})
    path = ensure(base, store).path
    ensure(top, store)
    for file in path.iterdir():
        os.chmod(file, 0o644)
        file.unlink()
    path.rmdir()
    assert ensure(top, store).reused and built == ["base", "top"]
    assert [(s.name, cached) for s, _, cached in walk([top], store)] == [("top", True)]


def by_content(parent: Stage, built: list[str]) -> Stage:
    def inputs(paths: Paths) -> dict[str, str]:
        return {"read": (paths["b"] / "text").read_text()}

    def build(work: Path, paths: Paths) -> None:
        built.append("reader")
        (work / "out").write_text("")

    return Stage("reader", inputs, build, {"b": parent}, by_content=True)


def test_a_stage_keyed_by_content_is_shared_by_equal_parents(
    make: Make, store: Store, built: list[str]
) -> None:
    """Two recipes that give the same bytes: what reads them is made once."""
    one, two = make("base", {"n": 1, "says": "x"}), make("base", {"n": 2, "says": "x"})
    other = make("base", {"n": 3, "says": "y"})
    assert by_content(one, built).key(store) is None, "not known before the parent is there"
    keys = {ensure(by_content(parent, built), store).key for parent in (one, two)}
    assert len(keys) == 1 and built.count("reader") == 1
    assert ensure(by_content(other, built), store).key not in keys


def test_a_plan_names_what_it_cannot_know_yet(make: Make, store: Store, built: list[str]) -> None:
    base = make("base", {})
    plan = [
        (s.name, key is None, cached) for s, key, cached in walk([by_content(base, built)], store)
    ]
    assert plan == [("base", False, False), ("reader", True, False)]
    assert built == []


def test_a_failed_build_leaves_its_work_and_publishes_nothing(store: Store) -> None:
    tries: list[bool] = []

    def build(work: Path, paths: Paths) -> None:
        tries.append((work / "half").exists())
        (work / "half").write_text("")
        if len(tries) == 1:
            raise UserError("no")

    stage = recipe("s", {}, build=build)
    with pytest.raises(UserError, match="no"):
        ensure(stage, store)
    key = stage.key(store)
    assert key is not None and not store.has("s", key)
    assert not ensure(stage, store).reused and tries == [False, True]


@pytest.mark.parametrize(
    ("text", "step", "kept"),
    [
        ('{"step": 1}\n{"step": 2}\n{"step": 3}\n', 2, 2),
        ('{"step": 1}\n{"step": 2}\n{"st', 3, 2),  # torn by a kill
        ('{"step": 1}\n', 0, 0),
        ("", 0, 0),
    ],
)
def test_a_log_is_cut_back_to_its_checkpoint(
    text: str, step: int, kept: int, tmp_path: Path
) -> None:
    path = tmp_path / "metrics.jsonl"
    assert _rows_until(path, step) == []
    path.write_text(text)
    assert len(_rows_until(path, step)) == kept
