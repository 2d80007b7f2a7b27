"""An endpoint as judge: replies of every kind, what is tried again, what ends the judging."""

from __future__ import annotations

import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.judges.server import KEY, Said, judging, longer
from tiebreak.config.schema import JudgeConfig, JudgeKind
from tiebreak.errors import UserError
from tiebreak.judges import endpoint
from tiebreak.judges.endpoint import Endpoint
from tiebreak.judges.judge import Form, Status
from tiebreak.judges.prompts import read_reply
from tiebreak.judges.session import Question, failures, judge_all


@pytest.fixture(autouse=True)
def _quick(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setattr(endpoint, "FIRST_PAUSE", 0.01)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def config(url: str, **more: Any) -> JudgeConfig:
    usual = {"kind": JudgeKind.ENDPOINT, "endpoint": url, "model": "scripted", "repeats": 0,
             "timeout": 5.0, "retries": 3, "concurrency": 4}  # fmt: skip
    return JudgeConfig(**{**usual, **more})


def questions(number: int = 6) -> list[Question]:
    """Every answer of its own is one character longer or shorter than the other."""
    asked = ({"role": "user", "content": "why?"},)
    return [
        Question(f"q{n}", asked, "x" * (10 + n + (1 if n % 3 else -1)), "y" * (10 + n))
        for n in range(number)
    ]


def of_second(prompt: str) -> bool:
    return f"\n{'x' * 12}\n" in prompt and f"\n{'y' * 11}\n" in prompt


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_both_orders_and_some_again(tmp_path: Path) -> None:
    with judging() as judge:
        found = judge_all(
            Endpoint.of(config(judge.url)), questions(), tmp_path / "j.jsonl", repeats=2
        )
    assert [one.value for one in found] == [0, 1, 1, 0, 1, 1]
    assert found[0].values == (0, 0) and sum(bool(one.again) for one in found) == 2
    assert len(judge.asked) == 2 * 6 + 2 * 2
    kept = rows(tmp_path / "j.jsonl")
    assert len(kept) == 16 and {row["judge"] for row in kept} == {"scripted"}
    assert set(kept[0]) == {
        "id", "order", "session", "asked", "judge", "revision", "status", "value", "raw", "tokens",
    }  # fmt: skip
    assert Counter(row["value"] for row in kept if row["session"] == 0) == {0.0: 6, 1.0: 6}


def test_a_judge_that_always_says_first_prefers_nobody(tmp_path: Path) -> None:
    with judging(lambda prompt, seen: {"content": '{"better": "A"}'}) as judge:
        found = judge_all(Endpoint.of(config(judge.url)), questions(), tmp_path / "j.jsonl")
    assert {one.value for one in found} == {0.5} and {one.values for one in found} == {(1, 0)}


REPLIES: dict[str, tuple[Said, Status]] = {
    "garbage": ({"content": "blue, obviously"}, Status.UNPARSEABLE),
    "empty": ({"content": None}, Status.UNPARSEABLE),
    "half JSON": ({"content": 'I think {"better": "A'}, Status.UNPARSEABLE),
    "another verdict": ({"content": '{"better": "C"}'}, Status.UNPARSEABLE),
    "cut off": ({"content": "Let me think about", "finish": "length"}, Status.TRUNCATED),
    "declines in words": ({"content": "I'm sorry, I cannot compare these."}, Status.REFUSED),
    "declines by field": ({"content": None, "refusal": "no"}, Status.REFUSED),
    "filtered": ({"content": "", "finish": "content_filter"}, Status.REFUSED),
    "half a body": ({"body": '{"choices": [{"mess'}, Status.UNPARSEABLE),
    "no choice": ({"body": '{"choices": []}'}, Status.UNPARSEABLE),
    "bad request": ({"status": 400, "body": "too long"}, Status.ERROR),
}


@pytest.mark.parametrize("what", REPLIES)
def test_a_reply_that_is_no_verdict_is_counted(what: str, tmp_path: Path) -> None:
    said, status = REPLIES[what]

    def script(prompt: str, seen: int) -> Said:
        return said if of_second(prompt) else longer(prompt, seen)

    with judging(script) as judge:
        found = judge_all(Endpoint.of(config(judge.url)), questions(), tmp_path / "j.jsonl")
    assert [one.value for one in found] == [0, None, 1, 0, 1, 1]
    assert failures(found) == {str(status): 2} and found[1].failed == (str(status),) * 2
    kept = rows(tmp_path / "j.jsonl")
    assert len(kept) == 12 and sum(row["status"] != "ok" for row in kept) == 2


def test_a_verdict_in_one_order_alone_is_none(tmp_path: Path) -> None:
    def script(prompt: str, seen: int) -> Said:
        return {"content": "?"} if prompt.index("xxx") > prompt.index("yyy") else longer(prompt, 0)

    with judging(script) as judge:
        found = judge_all(Endpoint.of(config(judge.url)), questions(), tmp_path / "j.jsonl")
    assert {one.value for one in found} == {None} and found[1].values == (1, None)


@pytest.mark.parametrize("said", [{"status": 429}, {"status": 503}, {"status": 429, "headers":
                                  {"retry-after": "0.05"}}, {"wait": 2.0}])  # fmt: skip
def test_what_passes_is_tried_again(said: Said, tmp_path: Path) -> None:
    with judging(lambda prompt, seen: longer(prompt, 0) if seen else said) as judge:
        asked = Endpoint.of(config(judge.url, timeout=1.0 if "wait" in said else 5.0))
        found = judge_all(asked, questions(), tmp_path / "j.jsonl")
    assert [one.value for one in found] == [0, 1, 1, 0, 1, 1]
    assert len(judge.asked) == 24 and len(rows(tmp_path / "j.jsonl")) == 12


def test_one_that_never_answers_is_counted_as_timed_out(tmp_path: Path) -> None:
    def script(prompt: str, seen: int) -> Said:
        return {"wait": 2.5} if of_second(prompt) else longer(prompt, seen)

    with judging(script) as judge:
        found = judge_all(
            Endpoint.of(config(judge.url, timeout=1.0, retries=1)), questions(), tmp_path / "j"
        )
    assert failures(found) == {"timed-out": 2}


def test_a_judge_that_is_down_ends_it_and_what_was_judged_is_kept(tmp_path: Path) -> None:
    healthy = threading.Event()
    healthy.set()

    def script(prompt: str, seen: int) -> Said:
        if judge.answered >= 5:
            healthy.clear()
        return longer(prompt, seen) if healthy.is_set() else {"status": 500}

    file = tmp_path / "j.jsonl"
    with judging(script) as judge:
        asked = config(judge.url, retries=1, concurrency=1)
        with pytest.raises(UserError, match=r"gives no answer: status 500.*5 of 12 judgements are"):
            judge_all(Endpoint.of(asked), questions(), file)
        assert len(rows(file)) == 5
        healthy.set()
        judge.script, before = longer, len(judge.asked)
        found = judge_all(Endpoint.of(asked), questions(), file)
        assert len(judge.asked) - before == 7, "nothing is judged twice"
    assert [one.value for one in found] == [0, 1, 1, 0, 1, 1]
    nobody = Endpoint.of(config(judge.url, retries=0))
    with pytest.raises(UserError, match="gives no answer: ConnectError"):
        judge_all(nobody, questions(1), tmp_path / "other.jsonl")
    assert rows(tmp_path / "other.jsonl") == []


def test_a_cap_ends_it_and_what_was_judged_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "j.jsonl"
    with judging() as judge:
        capped = config(judge.url, max_total_tokens=1200, max_tokens=20, concurrency=1)
        with pytest.raises(UserError, match=r"max_total_tokens=1200 is reached; (\d) of 12"):
            judge_all(Endpoint.of(capped), questions(), file)
        done = len(rows(file))
        assert 0 < done < 12
        with pytest.raises(UserError, match=f"is reached; {done} of 12"):
            judge_all(Endpoint.of(capped), questions(), file)
        assert len(judge.asked) == done, "what was spent before counts"
        dear = config(judge.url, price_sent=1000.0, price_written=2000.0, max_cost=1.0,
                      concurrency=1)  # fmt: skip
        with pytest.raises(UserError, match="max_cost=1 is reached"):
            judge_all(Endpoint.of(dear), questions(), tmp_path / "k.jsonl")
        judge_all(Endpoint.of(config(judge.url)), questions(), file)
        assert len(rows(file)) == 12


def test_a_torn_line_is_asked_again_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "j.jsonl"
    with judging() as judge:
        asked = Endpoint.of(config(judge.url))
        judge_all(asked, questions(), file)
        text = file.read_text()
        file.write_text(text[:-20])
        judge.asked.clear()
        judge_all(asked, questions(), file)
        assert len(judge.asked) == 1
        judge.asked.clear()
        changed = [*questions()[1:], Question("q0", questions()[0].prompt, "other", "answers")]
        judge_all(asked, changed, file)
        assert len(judge.asked) == 2, "another answer to the same question"
    assert len(rows(file)) == 14


@pytest.mark.parametrize(("code", "words"), [(401, "refused the key in OPENAI_API_KEY"),
                         (404, "no such model"), (402, "credit")])  # fmt: skip
def test_a_wrong_key_ends_it_at_once(code: int, words: str, tmp_path: Path) -> None:
    with judging(lambda prompt, seen: {"status": code, "body": f"you sent {KEY}"}) as judge:
        with pytest.raises(UserError, match=words) as error:
            judge_all(Endpoint.of(config(judge.url)), questions(), tmp_path / "j.jsonl")
    assert len(judge.asked) <= 4 and KEY not in str(error.value)


def test_the_key_goes_into_one_header_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with judging(key=KEY) as judge:
        asked = Endpoint.of(config(judge.url))
        assert KEY not in repr(asked) and asked.key == KEY
        judge_all(asked, questions(), tmp_path / "j.jsonl")
        judge.script = lambda prompt, seen: {"status": 400, "body": f"bad key {KEY}"}
        with pytest.raises(UserError, match=r"\(key\)") as error:
            judge_all(asked, questions(), tmp_path / "k.jsonl")
        assert KEY not in str(error.value)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-another")
        with pytest.raises(UserError, match="refused the key"):
            judge_all(Endpoint.of(config(judge.url)), questions(), tmp_path / "l.jsonl")
    assert KEY not in "".join(path.read_text() for path in tmp_path.iterdir())
    plain = Endpoint.of(config("http://judge.example/v1"))
    assert plain.key is None, "it is sent over https, or to this machine"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"endpoint": None}, "needs evaluation.judge.endpoint"),
        ({"model": None}, "needs evaluation.judge.model"),
        ({"endpoint": "judge.example/v1"}, "is no base URL"),
        ({"endpoint": "https://me:secret@judge.example/v1"}, "holds a name, a password"),
        ({"endpoint": "https://judge.example/v1", "key_variable": "NO_SUCH_KEY"}, "NO_SUCH_KEY"),
    ],
)
def test_settings_that_cannot_work(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        Endpoint.of(config("http://127.0.0.1:1/v1", **changes))
    assert "secret" not in str(error.value)


def test_a_server_that_calls_the_limit_by_its_newer_name(tmp_path: Path) -> None:
    said = "use max_completion_tokens instead"

    def script(prompt: str, seen: int) -> Said:
        old = "max_tokens" in judge.bodies[-1]
        return {"status": 400, "body": said} if old else longer(prompt, 0)

    with judging(script) as judge:
        asked = Endpoint.of(config(judge.url, concurrency=1))
        (found,) = judge_all(asked, questions(1), tmp_path / "j.jsonl")
    assert found.value == 0 and len(judge.bodies) == 3
    assert judge.bodies[-1]["max_completion_tokens"] == 512


@pytest.mark.parametrize(
    ("text", "form", "value"),
    [
        ('First {"better": "B"}, no: {"better": "A"}', Form.COMPARE, 1.0),
        ('```json\n{"better": "Tie"}\n```', Form.CONVERSATIONS, 0.5),
        ('{"grade": 7}', Form.GRADE, 7.0),
        ('{"grade": 6.5}', Form.GRADE, 6.5),
        ('{"grade": 11}', Form.GRADE, None),
        ('{"grade": true}', Form.GRADE, None),
        ('{"grade": "7"}', Form.GRADE, None),
        ("A", Form.COMPARE, None),
        ('{"better": "A"}', Form.GRADE, None),
        ('{"better": "A>B"}', Form.COMPARE, None),
        ('{"better": "A"}', Form.FIVE, None),
        ('{"verdict": "A"}', Form.FIVE, None),
    ],
)
def test_a_verdict_is_the_last_object_with_the_key(
    text: str, form: Form, value: float | None
) -> None:
    assert read_reply(text, form).value == value


@pytest.mark.parametrize(
    ("verdict", "means"),
    [("A>>B", (1, 3)), ("A>B", (1, 1)), ("A=B", (0.5, 1)), ("B>A", (0, 1)), ("B>>A", (0, 3)),
     ("B<<A", (1, 3)), ("b < a", (1, 1)), ("B=A", (0.5, 1)), ("A<B", (0, 1)), ("A<<B", (0, 3))],
)  # fmt: skip
def test_five_verdicts_and_how_much_each_counts(verdict: str, means: tuple[float, float]) -> None:
    found = read_reply(json.dumps({"verdict": verdict}), Form.FIVE)
    assert (found.value, found.weight) == means
