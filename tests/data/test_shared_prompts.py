"""Prompts of the test data leave the training rows, and only then do the test data count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from tiebreak.config.compose import configure
from tiebreak.data.examples import drop_untrainable
from tiebreak.data.sources.files import FileData
from tiebreak.errors import UserError


def write(path: Path, *prompts: str) -> Path:
    rows = [{"prompt": prompt, "chosen": "a", "rejected": "b"} for prompt in prompts]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def train(tmp_path: Path) -> Path:
    return write(tmp_path / "train.jsonl", *(f"p{i}" for i in range(40)))


def source(train: Any, test: Any, *more: str) -> FileData:
    words = [f"data={train}", f"data.test={test}", *more]
    return cast(FileData, configure(["model=org/name", "scenario=align-from-base", *words]).data)


def test_they_are_left_out_of_training_and_of_validation(train: Path, tmp_path: Path) -> None:
    data = source(train, write(tmp_path / "a.jsonl", "p3", "new"), "data.validation_share=0.5")
    sides = {side: drop_untrainable(data.rows(side)) for side in data.sides()}
    assert [one.prompt for one in sides["test"][0]] == ["p3", "new"]
    both = [*sides["train"][0], *sides["validation"][0]]
    assert len(both) == 39 and "p3" not in [one.prompt for one in both]
    places = [d.places.get("prompt-in-test", ()) for _, d in sides.values()]
    assert [place for row in places for place in row] == [f"{train}:4"]


def test_more_than_the_limit_are_an_error_whose_remedy_works(train: Path, tmp_path: Path) -> None:
    test = write(tmp_path / "a.jsonl", *(f"p{i}" for i in range(3)))
    with pytest.raises(UserError, match=r"3 of 40 training rows \(7.5%\)"):
        source(train, test).rows("train")
    raised = source(train, test, "data.max_shared_prompts=0.1").rows("train")
    assert len(drop_untrainable(raised)[0]) == 37


def test_test_data_count_for_training_where_they_take_prompts_away(
    train: Path, tmp_path: Path
) -> None:
    def key(*prompts: str) -> dict[str, Any]:
        return source(train, write(tmp_path / f"{len(prompts)}.jsonl", *prompts)).content("train")

    assert key("new") == key("new", "newer") and "shared" not in key("new")
    assert key("p3") == key("p3", "new") != key("new")
    assert key("p4") != key("p3")


def test_of_a_hub_data_set_another_test_split_than_the_usual_counts() -> None:
    commit = "a" * 40

    def shared(train: str, test: str, of: str = "org/name", most: float = 0.1) -> Any:
        data = source("org/name", of, f"data.train_split={train}", f"data.test_split={test}",
                      f"data.revision={commit}", f"data.max_shared_prompts={most}")  # fmt: skip
        return data.content("train").get("shared")

    assert shared("train", "test") is None and shared("train_prefs", "test_prefs") is None
    assert shared("train", "eval") == f"hub:org/name@{commit}:eval"
    assert shared("train", "eval", most=0) is None  # none is left out: one is an error
    assert shared("train", "test", "org/other") == f"hub:org/other@{commit}:test"


def test_columns_are_a_key_of_the_config(train: Path, tmp_path: Path) -> None:
    train.write_text(train.read_text().replace('"prompt"', '"frage"'))
    test = write(tmp_path / "a.jsonl", "new")
    test.write_text(test.read_text().replace('"prompt"', '"frage"'))
    data = source(train, test, "data.columns={frage: prompt}")
    assert data.columns == {"frage": "prompt"}
    assert data.rows("test")[0].prompt == "new"
    with pytest.raises(UserError, match="data.columns=5"):
        source(train, test, "data.columns=5")
    with pytest.raises(UserError, match="frage: 5 is no name"):
        source(train, test, "data.columns={frage: 5}")


def test_a_file_may_stand_beside_a_hub_data_set_with_a_revision(train: Path) -> None:
    words = ["data.subset=first", f"data.revision={'a' * 40}"]
    data = source("org/name", train, *words)
    assert data.content("train")["train"] == f"hub:org/name@{'a' * 40}:first:train"
    assert len(data.content("test")["test"]) == 64
    with pytest.raises(UserError, match="data.subset.*='first' has no meaning for the file"):
        source(train, train, words[0]).content("train")
