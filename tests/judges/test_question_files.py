"""Files of questions and of answers: how they may look, and what is wrong with one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tiebreak.errors import UserError
from tiebreak.judges.questions import read_answers, read_questions


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_the_forms_of_the_usual_benchmarks(tmp_path: Path) -> None:
    mt = [{"id": 81, "category": "math", "turns": ["a", "b"], "reference": ["4", "5"]}]
    (one,) = read_questions(write(tmp_path / "mt.jsonl", mt), 2)
    assert (one.id, one.turns, one.category) == ("81", ("a", "b"), "math")
    assert (one.reference(0), one.reference(1), one.reference(2)) == ("4", "5", None)
    alpaca = [{"id": 0, "dataset": "koala", "instruction": "why?"}]
    (one,) = read_questions(write(tmp_path / "a.jsonl", alpaca))
    assert (one.id, one.turns, one.category) == ("0", ("why?",), "koala")
    arena = [{"uid": "x", "category": "hard", "prompt": "why?", "reference": None}]
    assert read_questions(write(tmp_path / "h.jsonl", arena))[0].id == "x"


def test_answers_by_id_or_by_the_text_of_the_question(tmp_path: Path) -> None:
    asked = read_questions(
        write(tmp_path / "q.jsonl", [{"id": n, "instruction": f"why {n}?"} for n in range(3)])
    )
    by_id = [{"id": n, "output": f"so {n}"} for n in (2, 0, 1, 7)]
    expected = [("so 0",), ("so 1",), ("so 2",)]
    assert read_answers(write(tmp_path / "a.jsonl", by_id), asked) == expected
    by_text = [
        {"instruction": f"why {n}?", "output": f"so {n}", "generator": "m"} for n in range(3)
    ]
    (tmp_path / "b.json").write_text(json.dumps(by_text))
    assert read_answers(str(tmp_path / "b.json"), asked) == expected


def test_answers_of_two_turns_and_as_other_projects_keep_them(tmp_path: Path) -> None:
    two = read_questions(write(tmp_path / "q.jsonl", [{"id": 81, "turns": ["a?", "b?"]}]))
    fastchat = {"question_id": 81, "model_id": "m", "choices": [{"index": 0, "turns": ["x", "y"]}]}
    for row in (fastchat, {"id": "81", "answer": ["x", "y"]}):
        assert read_answers(write(tmp_path / "a.jsonl", [row]), two) == [("x", "y")]
    (tmp_path / "p").mkdir()
    one = read_questions(write(tmp_path / "p" / "q.jsonl", [{"uid": "u", "prompt": "a?"}]))
    said = {"role": "assistant", "content": {"answer": ""}}
    for row in (
        {"uid": "u", "messages": [{"role": "user", "content": "a?"}, said]},
        {"question_id": "u", "choices": [{"turns": [{"content": "", "token_len": 0}]}]},
        {"uid": "u", "messages": [{"role": "assistant", "content": ""}]},
    ):
        assert read_answers(write(tmp_path / "a.jsonl", [row]), one) == [("",)]
    with pytest.raises(UserError, match="a.jsonl:1: 1 answers to question '81', which has 2 turns"):
        read_answers(write(tmp_path / "a.jsonl", [{"id": 81, "output": "x"}]), two)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            [{"id": 1, "text": "why?"}],
            r"q.jsonl:1: no prompt or instr.*has id, text",
        ),
        ([{"id": 1, "turns": ["a", "b"]}] * 2, r"q.jsonl:2: id '1' is there.*:1"),
        ([{"id": 1, "turns": ["a"]}], r"q.jsonl:1: 1 turns; each question must have 2"),
        ([], "holds no question"),
    ],
)
def test_a_question_that_is_none(rows: list[dict[str, Any]], words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        read_questions(write(tmp_path / "q.jsonl", rows), 2)


def test_answers_that_are_missing_or_there_twice(tmp_path: Path) -> None:
    asked = read_questions(write(tmp_path / "q.jsonl", [{"id": 1, "prompt": "a"}]))
    for rows, words in (
        ([{"id": 2, "output": "b"}], "has no answer to question '1'"),
        ([{"id": 1, "output": "b"}, {"id": 1, "output": "c"}], "a.jsonl:2: a second answer"),
        ([{"id": 1}], "a.jsonl:1: no output or answer or response"),
        ([{"id": 1, "choices": [{"turns": [3]}]}], "a.jsonl:1: no output or answer or response"),
    ):
        with pytest.raises(UserError, match=words):
            read_answers(write(tmp_path / "a.jsonl", rows), asked)
