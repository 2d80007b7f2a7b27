"""Pair sets as they are asked for: names, splits, categories, and what determines their rows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.config.quick import quick
from tiebreak.data.pair_sets import PairSet, pair_sets
from tiebreak.errors import UserError

PAIR = {"prompt": "p", "chosen": "a", "rejected": "b"}


def write(path: Path, *rows: dict[str, object]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize(
    ("text", "name", "source", "split"),
    [
        ("data/reward bench.jsonl.gz", "reward-bench", "data/reward bench.jsonl.gz", "test"),
        ("org/Reward.Bench-2", "Reward.Bench-2", "org/Reward.Bench-2", "test"),
        ("org/bench:filtered", "bench", "org/bench", "filtered"),
        ("parts/hh-*.parquet", "hh", "parts/hh-*.parquet", "test"),
        ("parts/*.parquet", "parts", "parts/*.parquet", "test"),
    ],
)
def test_a_set_is_named_by_its_file_or_hub_id(
    text: str, name: str, source: str, split: str
) -> None:
    assert PairSet.read(text) == PairSet(name, source, split)


@pytest.mark.parametrize("text", ["", ":test", "org/bench:", "/"])
def test_no_name_can_be_made(text: str) -> None:
    with pytest.raises(UserError, match=r"evaluation.pair_sets: .* is no FILE, ORG/NAME or"):
        pair_sets([text])


def test_two_of_one_name_are_refused() -> None:
    with pytest.raises(UserError, match=r"a/x.jsonl and b/x.csv are both called x; rename one"):
        pair_sets(["a/x.jsonl", "b/x.csv"])
    assert list(pair_sets(["a/x.jsonl", "b/y.csv"])) == ["x", "y"]


@pytest.mark.parametrize("column", ["category", "subset", "domain"])
def test_a_column_with_the_category_is_kept(column: str, tmp_path: Path) -> None:
    lines = [PAIR | {column: "Chat Hard"}, PAIR | {column: None}, PAIR | {column: 3}]
    data = quick().data
    (read,) = pair_sets([write(tmp_path / "x.jsonl", *lines)]).values()
    assert [row.category for row in read.rows(data)] == ["Chat Hard", None, "3"]
    pq.write_table(pa.Table.from_pylist(lines[:2]), tmp_path / "y.parquet")
    (read,) = pair_sets([str(tmp_path / "y.parquet")]).values()
    assert [row.category for row in read.rows(data)] == ["Chat Hard", None]


def test_labelled_answers_are_no_pairs(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", {"prompt": "p", "completion": "c", "label": True})
    with pytest.raises(UserError, match=r"x.jsonl:1: a single labelled answer, .*; give rows with"):
        PairSet.read(path).rows(quick().data)


def test_its_content_and_how_it_is_cut_determine_its_rows(tmp_path: Path) -> None:
    one, data = PairSet.read(write(tmp_path / "x.jsonl", PAIR)), quick().data
    content = one.content(data)
    assert set(content) == {"pairs", "max_length"}
    assert PairSet.read(write(tmp_path / "same.jsonl", PAIR)).content(data) == content
    assert one.content(replace(data, name="other", seed=9)) == content
    assert one.content(replace(data, max_length=7)) == content | {"max_length": 7}
    write(tmp_path / "x.jsonl", PAIR, PAIR | {"prompt": "q"})
    assert one.content(data)["pairs"] != content["pairs"]
    assert one.expected(64).rows == 2  # type: ignore[union-attr]
    with pytest.raises(UserError, match="no such file"):
        PairSet.read(str(tmp_path / "gone.jsonl")).content(data)


def test_plain_prompts_become_conversations_where_those_of_training_do(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", PAIR)
    run = quick(f"data={path}", "data.as_conversation=true", "scenario=align-from-base")
    (row,) = PairSet.read(path).rows(run.data)
    assert row.prompt == [{"role": "user", "content": "p"}]
    assert PairSet.read(path).content(run.data)["as_conversation"] is True
