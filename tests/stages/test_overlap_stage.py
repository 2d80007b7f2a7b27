"""What the questions of a benchmark are, and with what."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.config.quick import quick
from tiebreak.harness.ask import question
from tiebreak.stages.evaluators.evaluator import ITEMS, write_rows
from tiebreak.stages.overlap import OVERLAP, overlap_stage, read_overlap
from tiebreak.stages.stage import Context, Stage, make
from tiebreak.store import Store


@dataclass
class Task:
    """As far as `question` asks of one."""

    named: Any = None
    text: Any = "Question: {question}\nAnswer:"

    @property
    def config(self) -> Any:
        return SimpleNamespace(doc_to_decontamination_query=self.named)

    def doc_to_text(self, doc: dict[str, Any]) -> Any:
        return self.text.format(**doc) if isinstance(self.text, str) else self.text


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (Task("passage"), "A long text."),
        (Task(), "Why?"),
        (Task("Question: {{question}}"), "Why?"),
        (Task(lambda doc: "x"), "Why?"),
        (Task(text="Q: {question} A:"), "Why?"),
        (Task(text="{passage}"), "A long text."),
        (Task(text=1), ""),
    ],
)
def test_the_question_by_itself(task: Task, expected: str) -> None:
    assert question(task, {"question": "Why?", "passage": "A long text.", "number": 3}) == expected


def test_questions_are_compared_with_rows_and_demonstrations(tmp_path: Path) -> None:
    run = quick("scenario=sft-then-align", "data.num_pairs=12", "data.num_demonstrations=12")
    store = Store(tmp_path)
    examples = [run.data.rows(side)[3] for side in ("train", "demonstrations")]
    answers = [str(example.responses[0]) for example in examples]
    strange = "these are eight words that nobody has written before us here"
    assert all(len(answer.split()) > 8 for answer in answers)

    def build(context: Context, work: Path, paths: Any) -> None:
        rows = [*answers, strange, "too short", None]
        write_rows(work / ITEMS, [{"id": str(n), "question": text} for n, text in enumerate(rows)])

    asked = Stage("quiz", {}, build)
    stage = overlap_stage(run, run.plan.start, run.plan.tokens, "quiz", asked)
    folder = make(stage, store, Context(run))
    assert read_overlap(folder) == {"questions": 3, "overlapping": 2, "short": 1}
    without = quick("scenario=align-from-base", "data.num_pairs=12")
    stage = overlap_stage(without, without.plan.start, without.plan.tokens, "quiz", asked)
    assert set(stage.parents) == {"train", "asked"}
    folder = make(stage, store, Context(without))
    assert json.loads((folder / OVERLAP).read_text())["overlapping"] == 1
