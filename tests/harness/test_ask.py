"""Benchmarks by shared prefixes: lm-eval's own numbers, and a killed one goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lm_eval.models.huggingface import HFLM
from tiny import make_model

from tests.harness.made import make_mirror
from tiebreak.engine.prefixes import PrefixScorer, TextScore
from tiebreak.harness.ask import ask, quietly
from tiebreak.harness.model import PrefixLM
from tiebreak.harness.prepare import chosen_questions
from tiebreak.harness.tasks import Benchmark
from tiebreak.kept_answers import KeptAnswers, Share

TASKS = {"winogrande": 3, "mmlu_anatomy": 5, "gsm8k": 1}


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_mirror(tmp_path_factory.mktemp("mirror"))


@pytest.fixture(scope="module")
def model() -> Any:
    return make_model(max_position_embeddings=2048)


def rows(lm: Any, task: str, mirror: Path, **more: Any) -> list[dict[str, Any]]:
    how = {"questions": None, "chat_template": False, "mirror": str(mirror)} | more
    return ask(lm, Benchmark(task, TASKS[task]), **how)


def ours(model: Any, tokenizer: Any, kept: Path, budget: int = 100) -> PrefixLM:
    with quietly():
        lm = PrefixLM(model, tokenizer, 4, KeptAnswers(kept), budget=budget)
    lm._max_length = 1024
    return lm


@pytest.mark.parametrize("task", TASKS)
def test_the_numbers_are_those_of_lm_evals_own_class(
    task: str, model: Any, tokenizer: Any, mirror: Path, tmp_path: Path
) -> None:
    with quietly():
        theirs = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=3, max_length=1024)
    lm = ours(model, tokenizer, tmp_path / "kept")
    found, expected = rows(lm, task, mirror), rows(theirs, task, mirror)
    assert len(found) == (12 if task == "winogrande" else 6) and lm.how == "prefixes"
    assert_alike(found, expected)
    if task == "gsm8k":
        assert set(found[0]["scores"]) == {
            "exact_match-strict-match", "exact_match-flexible-extract"
        }  # fmt: skip


def assert_alike(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Equal but for rounding: a text may be computed beside others."""
    for one, other in zip(found, expected, strict=True):
        assert {**one, "logp": None} == {**other, "logp": None}
        assert one.get("logp", []) == pytest.approx(other.get("logp", []), abs=1e-3)


class Killed(Exception):
    pass


def test_a_killed_benchmark_goes_on(
    model: Any, tokenizer: Any, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ours(model, tokenizer, tmp_path / "whole")
    expected = rows(whole, "winogrande", mirror)
    asked: list[int] = []
    forward = PrefixScorer._forward

    def killed(self: PrefixScorer, pack: Any, *rest: Any) -> Any:
        if len(asked) == 3:
            raise Killed
        asked.extend([1])
        return forward(self, pack, *rest)

    monkeypatch.setattr(PrefixScorer, "_forward", killed)
    with pytest.raises(Killed):
        rows(ours(model, tokenizer, tmp_path / "kept"), "winogrande", mirror)
    monkeypatch.setattr(PrefixScorer, "_forward", forward)
    file = tmp_path / "kept" / "answers.jsonl"
    before = len(file.read_text().split())
    with file.open("a") as torn:
        torn.write('{"request": "cut o')  # the kill came while it wrote
    again = ours(model, tokenizer, tmp_path / "kept")
    assert_alike(rows(again, "winogrande", mirror), expected)
    assert before and 0 < again.positions < whole.positions
    third = ours(model, tokenizer, tmp_path / "kept")
    assert_alike(rows(third, "winogrande", mirror), expected)
    assert third.positions == 0


@pytest.mark.parametrize("task", ["winogrande", "gsm8k"])
def test_two_processes_ask_everything_once(
    task: str, model: Any, tokenizer: Any, mirror: Path, tmp_path: Path
) -> None:
    alone = KeptAnswers(tmp_path / "alone")
    with quietly():
        lms = [PrefixLM(model, tokenizer, 4, KeptAnswers(tmp_path / "both", Share(rank, 2)))
               for rank in range(2)]  # fmt: skip
    for lm in lms:
        lm._max_length = 1024
        rows(lm, task, mirror)
    asked = [len(lm._kept._known) for lm in lms]
    whole = ours(model, tokenizer, tmp_path / "both")
    expected = rows(ours(model, tokenizer, tmp_path / "alone"), task, mirror)
    assert_alike(rows(whole, task, mirror), expected)
    assert whole.positions == 0 and min(asked) > 0
    assert sum(asked) == len(KeptAnswers(tmp_path / "alone")._known) and alone.share.whole


def test_where_prefixes_do_not_give_the_models_numbers_lm_evals_way_is_taken(
    model: Any, tokenizer: Any, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    expected = rows(ours(model, tokenizer, tmp_path / "right"), "winogrande", mirror)
    assert capsys.readouterr().err == ""
    scores = PrefixScorer._scores
    monkeypatch.setattr(
        PrefixScorer, "_scores",
        lambda *given: [TextScore(one.logp - 0.5, one.greedy) for one in scores(*given)],
    )  # fmt: skip
    lm = ours(model, tokenizer, tmp_path / "wrong")
    found = rows(lm, "winogrande", mirror)
    assert "nats per token off" in lm.how
    assert capsys.readouterr().err.startswith("benchmark: lm-eval's own way is taken: scores by")
    assert_alike(found, expected)


def test_a_part_of_the_questions_has_every_subject() -> None:
    sizes = {"a": 100, "b": 50, "c": 10}
    some = chosen_questions(sizes, 32)
    assert {name: len(numbers) for name, numbers in some.items()} == {"a": 20, "b": 10, "c": 2}
    assert some == chosen_questions(sizes, 32) and some["a"] != list(range(20))
    assert sum(map(len, chosen_questions(sizes, 33).values())) == 33
    assert chosen_questions({"a": 3}, 5) == {"a": [0, 1, 2]}


def test_fewer_questions_are_the_same_questions(
    model: Any, tokenizer: Any, mirror: Path, tmp_path: Path
) -> None:
    lm = ours(model, tokenizer, tmp_path / "kept")
    some = rows(lm, "winogrande", mirror, questions=5)
    assert len(some) == 5 and len({row["id"] for row in some}) == 5


def test_a_template_sees_one_date_and_the_studys_arguments(
    model: Any, tokenizer: Any, tmp_path: Path
) -> None:
    tokenizer.chat_template = (
        "{{ strftime_now('%Y') }} {{ tone }}:{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    with quietly():
        lm = PrefixLM(model, tokenizer, 4, KeptAnswers(None), template={"tone": "kind"})
    turns = [{"role": "user", "content": "hi"}]
    assert lm.apply_chat_template(turns) == "2024 kind:hi"


def test_requests_that_are_cut_are_counted(
    model: Any, tokenizer: Any, mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lm = ours(model, tokenizer, tmp_path / "kept")
    lm._max_length = 120
    rows(lm, "winogrande", mirror)
    said = "24 of 24 requests are longer than the model's 120 tokens and are cut on the left"
    assert said in capsys.readouterr().err
