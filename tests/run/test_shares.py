"""Processes that compute shares of an evaluation together: who does what, how they end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.config.quick import quick
from tiebreak.errors import UserError
from tiebreak.kept_answers import KeptAnswers, Share
from tiebreak.run import task
from tiebreak.run.shares import Beside
from tiebreak.stages.stage import Context, Stage

WORKER = """
import json, os, signal, sys
for line in sys.stdin:
    what = json.loads(line)["trial"]
    {do}
    print(json.dumps({answer}), flush=True)
"""
Answering = Callable[..., None]


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Answering:
    """Every other process does this with what it is told, and answers that."""

    def by(do: str = "pass", answer: str = "{}") -> None:
        code = WORKER.format(do=do, answer=answer)
        monkeypatch.setattr(task, "command", lambda what: [sys.executable, "-c", code])

    return by


def built(number: int, tmp_path: Path, name: str = "pairs", *more: str) -> list[Share]:
    """The shares that the first process computes itself."""
    run = quick(f"train.execution.num_processes={number}", *more)
    own: list[Share] = []

    def build(context: Context, work: Path, paths: Any) -> None:
        own.append(context.share)

    with Beside(run) as beside:
        stage = beside.divided(name, 0, Stage(name, {}, build))
        stage.build(Context(run), tmp_path, {})
    return own


def test_each_has_a_share_and_the_first_puts_them_together(
    answering: Answering, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    answering(f"print(what['rank'], what['of'], os.environ['CUDA_VISIBLE_DEVICES'], "
              f"file=open({str(told)!r}, 'a'))")  # fmt: skip
    assert built(3, tmp_path) == [Share(0, 3), Share()]
    assert sorted(told.read_text().splitlines()) == ["1 3 1", "2 3 2"]


def test_one_process_starts_no_other(answering: Answering, tmp_path: Path) -> None:
    answering("raise AssertionError")
    assert built(1, tmp_path) == [Share()]


def test_answers_that_depend_on_one_another_are_not_divided(
    answering: Answering, tmp_path: Path
) -> None:
    answering("raise AssertionError")
    stream, item = "evaluation.sampling=stream", "evaluation.sampling=item"
    assert built(2, tmp_path, "generations", stream) == [Share()]
    words = '["g.py","{model}","{requests}","{answers}"]'
    program = (f"evaluation.generator.command={words}", "evaluation.generator.version=1")
    assert built(2, tmp_path, "generations", item, *program) == [Share()]
    answering()
    greedy = "evaluation.temperature=0"
    assert built(2, tmp_path, "generations", item) == [Share(0, 2), Share()]
    assert built(2, tmp_path, "generations", stream, greedy) == [Share(0, 2), Share()]


@pytest.mark.parametrize(
    ("do", "answer", "error"),
    [
        ("pass", '{"error": "the file is gone; look for it"}', r"^the file is gone; look for it$"),
        ("os.kill(os.getpid(), 9)", "{}",
         r"^process 2 of 2 of pairs was killed by signal 9 \(out of memory\?\); the same command"),
        ("sys.exit(1)", "{}", "^process 2 of 2 of pairs failed; what it said is above; the same"),
        ("pass", '{"stopped": True}', "^process 2 of 2 of pairs was told to stop"),
    ],
)  # fmt: skip
def test_a_process_that_fails_ends_the_evaluation(
    do: str, answer: str, error: str, answering: Answering, tmp_path: Path
) -> None:
    answering(do, answer)
    with pytest.raises(UserError, match=error):
        built(2, tmp_path)


def test_shares_are_everything_once() -> None:
    for number in (0, 1, 5, 12):
        items = list(range(number))
        for of in (1, 2, 3, 7):
            shares = [Share(rank, of) for rank in range(of)]
            assert sorted(i for share in shares for i in share.take(items)) == items
            assert [i for share in shares for i in share.block(number)] == items


def test_kept_answers_of_several_processes_are_read_together(tmp_path: Path) -> None:
    first, other = (KeptAnswers(tmp_path, Share(rank, 2)) for rank in range(2))
    first.add({"a": [1], "b": "x\u2028y"})
    other.add({"c": 0.1})
    with (tmp_path / "answers-1.jsonl").open("a") as file:
        file.write('{"request": "d", "ans')  # the kill came while it wrote
    whole = KeptAnswers(tmp_path)
    assert [whole.get(name) for name in "abcd"] == [[1], "x\u2028y", 0.1, None]
    whole.add({"d": 4})
    assert KeptAnswers(tmp_path, Share(1, 3)).get("d") == 4
