"""A benchmark is read and its requests are written once, however many models are asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.model import LM
from lm_eval.api.task import Task

from tests.harness.made import make_mirror, winogrande, write
from tiebreak.harness import prepare
from tiebreak.harness.ask import ask
from tiebreak.harness.tasks import Benchmark


class Guess(LM):
    """Scores a text by its letters; its template is a line that may be another."""

    tokenizer_name = "guess"

    def __init__(self, letter: str, template: str = "") -> None:
        super().__init__()
        self.letter, self.chat_template_args, self.tokenizer = letter, {}, self
        self.chat_template, self.special_tokens_map = template, {}

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> Any:
        return [(float(sum(one.count(self.letter) for one in request.args)), False)
                for request in requests]  # fmt: skip

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        return [f"#### {one.args[0].count(self.letter)}" for one in requests]

    def apply_chat_template(self, history: list[dict[str, str]], **how: Any) -> str:
        return self.chat_template + history[-1]["content"]

    loglikelihood_rolling = loglikelihood


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    return make_mirror(tmp_path / "mirror")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """How often data are read and requests written."""
    counts = {"read": 0, "written": 0}
    read, written = prepare.mirrored, Task.build_all_requests

    def reading(*given: Any) -> Any:
        counts["read"] += 1
        return read(*given)

    def writing(*given: Any, **more: Any) -> Any:
        counts["written"] += 1
        return written(*given, **more)

    monkeypatch.setattr(prepare, "mirrored", reading)
    monkeypatch.setattr(Task, "build_all_requests", writing)
    prepare._prepared.cache_clear()
    yield counts
    prepare._prepared.cache_clear()


def asked(letter: str, mirror: Path, task: str, shots: int = 2, **how: Any) -> Any:
    given = {"questions": None, "chat_template": False, "mirror": str(mirror)} | how
    template = given.pop("template", "")
    return ask(Guess(letter, template), Benchmark(task, shots), **given)


@pytest.mark.parametrize("task", ["winogrande", "mmlu_anatomy", "gsm8k"])
def test_a_second_model_finds_all_but_its_answers(
    task: str, mirror: Path, counted: dict[str, int]
) -> None:
    first, second = (asked(letter, mirror, task) for letter in "an")
    assert counted == {"read": 1, "written": 1} and first != second
    assert asked("a", mirror, task) == first, "nothing of a model is left behind"
    prepare._prepared.cache_clear()
    assert asked("n", mirror, task) == second, "as if it were asked first"
    assert counted == {"read": 2, "written": 2}


def test_what_changes_the_questions_is_made_anew(mirror: Path, counted: dict[str, int]) -> None:
    asked("a", mirror, "winogrande")
    asked("a", mirror, "winogrande", shots=1)
    some = asked("a", mirror, "winogrande", questions=5)
    asked("a", mirror, "winogrande", chat_template=True)
    asked("a", mirror, "winogrande", chat_template=True, template="say: ")
    assert counted == {"read": 5, "written": 5} and len(some) == 5
    rows = winogrande(11)
    write(mirror, "allenai/winogrande", {"winogrande_xl": {"train": rows, "validation": rows}})
    assert len(asked("a", mirror, "winogrande")) == 11
    assert counted == {"read": 6, "written": 6}


def test_each_question_keeps_its_number(mirror: Path, counted: dict[str, int]) -> None:
    whole = {row["id"]: row["question"] for row in asked("a", mirror, "winogrande", shots=0)}
    some = asked("a", mirror, "winogrande", shots=0, questions=5)
    assert {row["id"]: row["question"] for row in some}.items() < whole.items()
    assert [row["id"] for row in some] != [str(n) for n in range(5)]
