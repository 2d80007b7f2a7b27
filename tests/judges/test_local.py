"""Models on this machine as judges: by log-probs, by what they write, and by one number."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import make_model

from tiebreak.config.schema import JudgeConfig, JudgeKind, JudgeReply
from tiebreak.errors import UserError
from tiebreak.judges.judge import Call, Form, Gold, Reply, Status
from tiebreak.judges.local import Local, Reward, local_judge
from tiebreak.judges.prompts import WORDINGS, prompt_of
from tiebreak.judges.session import Question, judge_all

TEMPLATE = (
    "{% for m in messages %}<bos>{{ m['content'] }}<eos>{% endfor %}"
    "{% if add_generation_prompt %}<bos>{% endif %}"
)
ASKED = ({"role": "user", "content": "why?"},)
QUESTIONS = [Question(f"q{n}", ASKED, "yes" * (n + 1), "no") for n in range(3)]


@pytest.fixture
def folder(tmp_path: Path, tokenizer: Any) -> Path:
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(tmp_path / "judge")
    make_model(max_position_embeddings=4096).save_pretrained(tmp_path / "judge")
    return tmp_path / "judge"


def judge_in(folder: Path, **more: Any) -> Any:
    config = JudgeConfig(kind=JudgeKind.LOCAL, model=str(folder), **more)
    return local_judge(config, "float32", "hub:a/b@0123456789abcdef")


def replies(judge: Any, calls: list[Call]) -> dict[Call, Reply]:
    found: dict[Call, Reply] = {}
    judge.ask(calls, found.__setitem__)
    return found


def test_a_verdict_by_log_probs_is_the_mean_of_verdicts(folder: Path, tokenizer: Any) -> None:
    judge = judge_in(folder)
    assert isinstance(judge, Local) and (judge.name, judge.revision) == ("judge", "0123456789ab")
    assert not judge.repeats
    call = QUESTIONS[0].calls()[0]
    (reply,) = replies(judge, [call]).values()
    model = make_model(max_position_embeddings=4096)
    prompt = f"<bos>{prompt_of(call, reason=False)}<eos><bos>"
    start = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    logps = []
    wording = WORDINGS[Form.COMPARE]
    for verdict in wording.verdicts:
        ids = tokenizer(wording.begins + verdict, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = model(torch.tensor([[*start, *ids]])).logits[0].log_softmax(-1)
        logps.append(sum(float(logits[len(start) + at - 1, i]) for at, i in enumerate(ids)))
    shares = torch.tensor(logps).softmax(0)
    assert reply.value == pytest.approx(float(shares[0] + shares[2] / 2), abs=1e-4)
    assert reply.status is Status.OK and reply.sent == len(start)


def test_grades_by_log_probs_lie_between_1_and_10(folder: Path) -> None:
    (reply,) = replies(judge_in(folder), [Call("q", ASKED, ("yes",))]).values()
    assert reply.value is not None and 1 <= reply.value <= 10


def test_what_a_random_model_writes_is_no_verdict_and_is_counted(
    folder: Path, tmp_path: Path
) -> None:
    judge = judge_in(folder, reply=JudgeReply.WRITTEN, max_tokens=6)
    assert judge.repeats
    found = judge_all(judge, QUESTIONS, tmp_path / "j.jsonl", repeats=1)
    assert {one.value for one in found} == {None}
    assert {status for one in found for status in one.failed} <= {"unparseable", "truncated"}


def test_both_orders_and_a_second_time_from_the_file(folder: Path, tmp_path: Path) -> None:
    first = judge_all(judge_in(folder), QUESTIONS, tmp_path / "j.jsonl", repeats=3)
    assert all(one.value is not None and one.again == () for one in first)
    assert len((tmp_path / "j.jsonl").read_text().splitlines()) == 6
    gone = judge_in(folder)
    for file in folder.glob("*.safetensors"):
        file.unlink()
    assert judge_all(gone, QUESTIONS, tmp_path / "j.jsonl") == first, "nothing is left to ask"


def test_a_conversation_that_does_not_fit_is_counted(folder: Path) -> None:
    calls = [Call("long", ASKED, ("yes" * 2000, "no")), Call("short", ASKED, ("yes", "no"))]
    found = {call.id: reply for call, reply in replies(judge_in(folder), calls).items()}
    assert found["long"].status is Status.ERROR and "do not fit" in found["long"].raw
    assert found["short"].status is Status.OK


@pytest.fixture
def reward(tmp_path: Path, tokenizer: Any) -> Path:
    from transformers import LlamaForSequenceClassification

    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(tmp_path / "reward")
    config = make_model().config
    config.num_labels = 1
    torch.manual_seed(0)
    LlamaForSequenceClassification(config).eval().save_pretrained(tmp_path / "reward")
    return tmp_path / "reward"


def test_a_reward_model_gives_the_higher_number_the_win(reward: Path, tmp_path: Path) -> None:
    judge = judge_in(reward)
    assert isinstance(judge, Reward) and not judge.grades and not judge.repeats
    found = judge_all(judge, QUESTIONS, tmp_path / "j.jsonl", repeats=2)
    assert {one.value for one in found} <= {0.0, 1.0}
    assert all(one.values[0] == one.values[1] for one in found), "the order means nothing to it"
    calls = QUESTIONS[0].calls()
    one, other = (float(n) for n in replies(judge, calls)[calls[0]].raw.split())
    assert math.isfinite(one) and (one > other) == (found[0].value == 1)


def test_models_that_cannot_judge(reward: Path, folder: Path, tokenizer: Any) -> None:
    import json

    config = json.loads((reward / "config.json").read_text())
    (reward / "config.json").write_text(json.dumps(config | {"architectures": ["LlamaModel"]}))
    with pytest.raises(UserError, match="names LlamaModel; a judge is a"):
        judge_in(reward)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match="has no chat template"):
        judge_in(folder).ask([QUESTIONS[0].calls()[0]], lambda call, reply: None)


def test_the_worlds_reward_as_judge(tmp_path: Path) -> None:
    gold = Gold(lambda prompt, text: {"gold/reward": len(text) / 10})
    found = judge_all(gold, QUESTIONS, tmp_path / "j.jsonl", repeats=2)
    assert [one.value for one in found] == [1, 1, 1] and found[0].again == ()
    graded = judge_all(gold, [Question("q", ASKED, "yes" * 4)], tmp_path / "k.jsonl")
    assert graded[0].value == 10
