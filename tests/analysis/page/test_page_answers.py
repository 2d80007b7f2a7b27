"""What the models wrote, packed for the page: all of it, each text once, nothing mixed up."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.analysis.conftest import measured
from tests.analysis.tables.conftest import put_items
from tiebreak_analysis.page import answers as packing
from tiebreak_analysis.page.answers import answered, answers, cut, longest_within
from tiebreak_analysis.page.groups import groups_of
from tiebreak_analysis.records.runs import load

WriteRun = Callable[..., str]
Texts = Sequence[tuple[str, str, str | None, str]]
"""id, prompt, before (None: no start model), after."""


def put_texts(runs_dir: Path, run_id: str, rows: Texts) -> None:
    lines = [
        {"id": name, "prompt": prompt, "after": after}
        | ({} if before is None else {"before": before})
        for name, prompt, before, after in rows
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (measured(runs_dir / run_id) / "generations.jsonl").write_text(text)


def packed(runs_dir: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    runs = load(runs_dir)
    told, texts = answers(runs, answered(groups_of(runs.records, [])))
    return told, json.loads(gzip.decompress(base64.b64decode(texts)))


def read(whole: Mapping[str, Any], key: str) -> list[tuple[str, str, str | None, str]]:
    """One run's rows, as the page puts them together again."""
    asked, before, after, _ = whole["runs"][key]
    rows = []
    for at, prompt in enumerate(whole["columns"][asked]):
        name, text, texts = whole["prompts"][prompt]
        start = None if before is None else texts[whole["columns"][before][at]]
        rows.append((name, text, start, texts[whole["columns"][after][at]]))
    return rows


def numbers(whole: Mapping[str, Any], key: str, measure: str) -> list[list[float | None] | None]:
    columns = whole["runs"][key][3][measure]
    return [None if at is None else whole["columns"][at] for at in columns]


def some(tag: str, count: int = 40) -> list[tuple[str, str, str | None, str]]:
    return [(f"p{at:02}", f"prompt {at}", f"start {at}", f"{tag} {at % 7}") for at in range(count)]


def test_every_answer_of_every_run_comes_back(runs_dir: Path, write_run: WriteRun) -> None:
    rows = {write_run(method, seed): some(f"{method} {seed}")
            for method in ("dpo", "kto") for seed in (1, 2, 3)}  # fmt: skip
    for run_id, own in rows.items():
        put_texts(runs_dir, run_id, own)
    told, whole = packed(runs_dir)
    assert told["answers"] == 240 and told["prompts"] == 40 and told["longest"] is None
    assert set(told["runs"]) == set(told["starts"]) == set(rows)
    assert {key: read(whole, key) for key in rows} == rows


def test_a_text_is_there_once_for_its_prompt(runs_dir: Path, write_run: WriteRun) -> None:
    for seed in (1, 2, 3):
        put_texts(
            runs_dir, write_run("dpo", seed), [("p", "?", "same", "same"), ("q", "?", "a", "b")]
        )
    _, whole = packed(runs_dir)
    assert whole["prompts"] == [["p", "?", ["same"]], ["q", "?", ["a", "b"]]]
    assert len(whole["columns"]) == 3, "the runs share the prompts asked, and both texts"


def test_prompts_of_one_id_are_told_apart(runs_dir: Path, write_run: WriteRun) -> None:
    one, other = write_run("dpo", data="a"), write_run("dpo", data="b")
    put_texts(runs_dir, one, [("p0", "first?", "x", "y")])
    put_texts(runs_dir, other, [("p0", "second?", "x", "z")])
    told, whole = packed(runs_dir)
    assert told["prompts"] == 2
    assert read(whole, one) == [("p0", "first?", "x", "y")]
    assert read(whole, other) == [("p0", "second?", "x", "z")]


def test_a_checkpoint_has_no_start_model(runs_dir: Path, write_run: WriteRun) -> None:
    run, given = write_run("dpo"), write_run("zephyr", scenario="checkpoint", start_metrics={})
    put_texts(runs_dir, run, [("p0", "?", "", "own")])
    put_texts(runs_dir, given, [("p0", "?", None, "own")])
    told, whole = packed(runs_dir)
    assert told["starts"] == [run] and set(told["runs"]) == {run, given}
    assert read(whole, run) == [("p0", "?", "", "own")], "an empty answer is one"
    assert read(whole, given) == [("p0", "?", None, "own")]


def test_runs_that_have_not_finished_have_none(runs_dir: Path, write_run: WriteRun) -> None:
    write_run("dpo", status="running")
    runs = load(runs_dir)
    told, texts = answers(runs, answered(groups_of(runs.records, [])))
    assert texts == "" and told["runs"] == [] and told["answers"] == 0


def test_of_very_many_runs_the_lowest_seeds(runs_dir: Path, write_run: WriteRun) -> None:
    ids = {(method, seed): write_run(method, seed)
           for method in ("dpo", "kto") for seed in (1, 2, 3)}  # fmt: skip
    write_run("dpo", 4, status="running")
    groups = groups_of(load(runs_dir).records, [])
    assert answered(groups) == [ids[m, s] for m in ("dpo", "kto") for s in (1, 2, 3)]
    assert answered(groups, 5) == [ids[m, s] for m in ("dpo", "kto") for s in (1, 2)]
    assert answered(groups, 1) == [ids["dpo", 1], ids["kto", 1]]


def test_numbers_stand_beside_the_answers(runs_dir: Path, write_run: WriteRun) -> None:
    key = write_run("dpo")
    put_texts(runs_dir, key, [("p0", "?", "a", "b"), ("p1", "?", "a", "b")])
    folder = runs_dir / key
    swapped = {"id": ["p1", "p0"]}
    put_items(folder, swapped | {"reward/before": [0.5, 0.12345], "reward/after": [1.0, 0.2],
                                 "win": [1.0, 0.5]})  # fmt: skip
    tokens = {"tokens/before": [7, 1234], "tokens/after": [9, 2]}
    put_items(folder, swapped | tokens, "items/generations.parquet")
    put_items(folder, swapped | {"win/after": [None, 0.75]}, "items/head_to_head.parquet")
    told, whole = packed(runs_dir)
    assert [name for name, *_ in told["measures"]] == ["tokens", "reward", "gold", "judge"]
    assert numbers(whole, key, "reward") == [[0.123, 0.5], [0.2, 1]]
    assert numbers(whole, key, "tokens") == [[1234, 7], [2, 9]]
    assert numbers(whole, key, "gold") == [None, [0.5, 1]]
    assert numbers(whole, key, "judge") == [None, [0.75, None]]


def test_characters_where_tokens_were_not_counted_everywhere(
    runs_dir: Path, write_run: WriteRun
) -> None:
    one, other = write_run("dpo"), write_run("kto")
    for key in (one, other):
        put_texts(runs_dir, key, [("p0", "?", "ab", "abc")])
    put_items(runs_dir / one, {"id": ["p0"], "tokens/before": [1], "tokens/after": [2]},
              "items/generations.parquet")  # fmt: skip
    told, whole = packed(runs_dir)
    assert told["measures"] == [["characters", "characters", "length"]]
    assert numbers(whole, one, "characters") == numbers(whole, other, "characters") == [[2], [3]]


@pytest.mark.parametrize("most", [5, 17, 30, 31, 60, 99])
def test_texts_are_cut_alike_and_no_more_than_it_takes(most: int) -> None:
    lengths = [1, 2, 30, 3, 40, 4, 20]
    longest = longest_within(lengths, most)
    assert longest is not None
    assert sum(min(one, longest) for one in lengths) <= most
    assert sum(min(one, longest + 1) for one in lengths) > most
    assert longest_within(lengths, 100) is None


def test_a_cut_says_how_much_is_gone(
    runs_dir: Path, write_run: WriteRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (
        cut("x" * 12, 10) == "x" * 10 + " … [2 more characters]" and cut("x" * 10, 10) == "x" * 10
    )
    monkeypatch.setattr(packing.longest_within, "__defaults__", (20,))
    put_texts(runs_dir, write_run("dpo"), [("p0", "?", "ab", "y" * 30)])
    told, whole = packed(runs_dir)
    assert told["longest"] == 17
    assert whole["prompts"] == [["p0", "?", ["ab", "y" * 17 + " … [13 more characters]"]]]


def test_the_same_bytes_and_small(runs_dir: Path, write_run: WriteRun) -> None:
    """36 runs that begin alike and differ in a few words."""
    topics = ["the farm is worth a visit", "many people go to the inn", "we saw blue barns there"]
    for at in range(36):
        rows = [
            (f"p{n:03}", f"tell me of {topics[n % 3]} ({n})", f"{topics[n % 3]}. it is {n} miles.",
             f"{topics[(n + at) % 3]}. it is {n + at} miles from here, as {topics[n % 3]}.")
            for n in range(120)
        ]  # fmt: skip
        put_texts(runs_dir, write_run(f"m{at}"), rows)
    runs = load(runs_dir)
    keys = answered(groups_of(runs.records, []))
    _, texts = answers(runs, keys)
    assert texts == answers(load(runs_dir), keys)[1]
    written = sum(
        len((measured(runs_dir / key) / "generations.jsonl").read_bytes()) for key in keys
    )
    assert len(texts) < written / 10
