"""Forms of a call: two conversations side by side, five verdicts, further sessions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.judges.server import part_of
from tiebreak.judges.judge import Call, Form, Keep, Reply, Status
from tiebreak.judges.prompts import hash_of, prompt_of, version, version_of
from tiebreak.judges.session import Question, Session, judge_all

ASKED = ({"role": "user", "content": "why?"},)


def after(answer: str) -> tuple[dict[str, str], ...]:
    return (*ASKED, {"role": "assistant", "content": answer}, {"role": "user", "content": "sure?"})


class Scripted:
    """Says what `says` gives, and remembers what it was asked."""

    name, revision, repeats, grades = "scripted", "", True, True

    def __init__(self, says: dict[tuple[int, int], tuple[float, float]]) -> None:
        self.says, self.asked = says, list[Call]()

    def ask(self, calls: list[Call], keep: Keep) -> None:
        for call in calls:
            self.asked.append(call)
            value, weight = self.says[call.order, call.session]
            keep(call, Reply(Status.OK, value, weight=weight))


def test_what_was_asked_before_is_asked_in_the_same_words() -> None:
    """These hashes are in keys and in files of judgements."""
    assert version() == "a93fc06ae26a"
    assert hash_of(Call("q", ASKED, ("a", "b"))) == "beb9220a2005"
    assert len({version(), *(version_of(form) for form in Form)}) == 5


def test_two_conversations_change_places_with_their_answers() -> None:
    question = Question("q", after("mine"), "yes", "no", before_other=after("theirs"))
    first, second = question.calls()
    assert first.form is Form.CONVERSATIONS
    assert (first.answers, second.answers) == (("yes", "no"), ("no", "yes"))
    assert first.before == second.before[::-1] and first.conversation(0) == after("mine")
    text = prompt_of(second)
    assert "theirs" in str(part_of(text, "conversation with assistant A"))
    assert "mine" in str(part_of(text, "conversation with assistant B"))
    assert part_of(text, "answer A") == "no" and "[user]\nsure?" in text
    assert len({hash_of(call) for call in (*question.calls(), Call("q", (), ("yes", "no")))}) == 3


def test_five_verdicts_count_by_their_weights(tmp_path: Path) -> None:
    """Much better where it stood first, a little worse where it stood second."""
    judge, file = Scripted({(0, 0): (1, 3), (1, 0): (1, 1)}), tmp_path / "j.jsonl"
    question = Question("q", ASKED, "yes", "no", five=True)
    (found,) = judge_all(judge, [question], file)
    assert found.values == (1, 0) and found.weights == (3, 1)
    assert (found.value, found.weight) == (0.75, 2)
    assert [json.loads(line)["weight"] for line in file.read_text().splitlines()] == [3, 1]
    assert judge_all(Scripted({}), [question], file) == [found], "nothing is asked again"
    assert "A>>B" in prompt_of(judge.asked[0])
    assert hash_of(judge.asked[0]) != hash_of(Call("q", ASKED, ("yes", "no")))


def test_sessions_ask_the_same_questions_once_more_each(tmp_path: Path) -> None:
    says = {(order, session): (0.5 + session / 10 * (1 - 2 * order), 1.0)
            for order in (0, 1) for session in range(4)}  # fmt: skip
    judge = Scripted(says)
    questions = [Question(f"q{n}/{turn}", ASKED, "yes", "no", drawn=f"q{n}")
                 for n in range(5) for turn in (1, 2)]  # fmt: skip
    found = judge_all(judge, questions, tmp_path / "j.jsonl", repeats=2, sessions=3)
    again = [at for at, one in enumerate(found) if one.again]
    assert len(again) == 4 and again[0] + 1 == again[1], "both turns of two questions"
    one = found[again[0]]
    assert [one.later(n).value for n in (1, 2, 3)] == pytest.approx([0.6, 0.7, 0.8])
    assert one.later(4) == Session()
    assert all(found[at].later(1).value is None for at in range(10) if at not in again)
    assert len(judge.asked) == 20 + 3 * 8
