"""What the judged evaluators share: who judges, answers to questions, wins over other answers.

A judge's identity (its weights or its name at an endpoint, the prompts, how it is asked) is part of
what names an evaluator's items, so that two judges never share a column.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any

from tiebreak import store
from tiebreak.config.schema import JudgeConfig, JudgeKind, JudgeReply, ModelConfig, RunConfig
from tiebreak.data.examples import Message
from tiebreak.data.sources import Data
from tiebreak.errors import UserError
from tiebreak.judges import prompts
from tiebreak.judges.judge import Gold, Judge
from tiebreak.judges.questions import Asked, content_of, read_questions
from tiebreak.judges.session import JUDGEMENTS, Judged, Question, judge_all
from tiebreak.stages.checkpoint import given
from tiebreak.stages.evaluators.answers import written
from tiebreak.stages.evaluators.evaluator import Row, RunSize, Subject, Work
from tiebreak.store import stamps

ORDERS, AGAIN = 2, "again"
TEMPLATE_TOKENS = 300  # of a judge's prompt beside the conversation and the answers
ANSWER_CHARACTERS = 3.5  # of a token
Calls = Callable[[RunConfig, bool], tuple[float, float]]
"""(calls, tokens sent) of a run's policy, or of its start model."""


def identity(run: RunConfig) -> dict[str, Any]:
    """What names the judge and how it is asked, as plain JSON. UserError: there is none, or a
    setting is missing."""
    judge = run.evaluation.judge
    about: dict[str, Any] = {"kind": str(judge.kind)}
    written = True
    if judge.kind is JudgeKind.NONE:
        asked = ", ".join(name for name in run.evaluation.evaluators if name in NAMES)
        raise UserError(
            f"evaluation.evaluators={asked} needs a judge; give evaluation.judge.kind=endpoint, "
            "local or gold (docs/judges.md)"
        )
    if judge.kind is JudgeKind.ENDPOINT:
        from tiebreak.judges.endpoint import checked_url

        checked_url(judge)
        pinned = {"revision": judge.revision} if judge.revision else {"endpoint": judge.endpoint}
        about |= {"model": judge.model, **pinned}
    if judge.kind is JudgeKind.LOCAL:
        about |= {
            **_weights(judge),
            "reply": str(judge.reply),
            "precision": str(run.train.precision),
        }
        written = judge.reply is JudgeReply.WRITTEN
    if judge.kind is JudgeKind.GOLD:
        the_judge(run)
        return about
    if written:
        about |= {"temperature": judge.temperature, "max_tokens": judge.max_tokens,
                  "repeats": judge.repeats}  # fmt: skip
        about |= {"sessions": judge.sessions} if judge.sessions != 1 else {}
    return about | {"prompts": prompts.version()}


def _weights(judge: JudgeConfig) -> dict[str, Any]:
    if not judge.model:
        raise UserError(
            "evaluation.judge.kind=local needs evaluation.judge.model; give the folder or the Hub "
            "id of a generative or a reward model"
        )
    found = given(judge.model, ModelConfig(name="judge", revision=judge.revision))
    return {"weights": found.settings, "tokenizer": found.tokenizer_settings}


def the_judge(run: RunConfig) -> Judge:
    """The judge of a run. UserError: a setting is missing or wrong, or there is no key."""
    config = run.evaluation.judge
    if config.kind is JudgeKind.GOLD:
        if type(run.data).gold is Data.gold:
            raise UserError(
                f"evaluation.judge.kind=gold: data={run.data.name} knows no true reward; use "
                "data=world, or another judge"
            )
        return Gold(run.data.gold)
    if config.kind is JudgeKind.ENDPOINT:
        from tiebreak.judges.endpoint import Endpoint

        return Endpoint.of(config)
    from tiebreak.judges.local import local_judge

    content = str(_weights(config)["weights"]["checkpoint"])
    return local_judge(config, str(run.train.precision), content)


def judge_id(run: RunConfig) -> str:
    """8 hex digits of the judge's identity."""
    return store.key("judge", identity(run))[:8]


def judge_settings(run: RunConfig) -> dict[str, Any]:
    """What a result says of its judge: the settings, with id, name and revision; nothing where
    there is none."""
    if run.evaluation.judge.kind is JudgeKind.NONE:
        return {}
    judge, settings = the_judge(run), run.resolved["evaluation"]["judge"]
    about = {"id": judge_id(run), "name": judge.name, "revision": judge.revision or None}
    return {"judge": settings | about}


NAMES = ("head_to_head", "mt_bench", "mt_bench_pairwise", "alpaca_eval", "arena_hard")


def asked_of(run: RunConfig, name: str, turns: int | None = None) -> list[Asked]:
    """The questions of a benchmark that is given by a file. UserError: none is given."""
    return read_questions(_file(run, name), turns)


def _file(run: RunConfig, name: str) -> str:
    source = getattr(run.evaluation, name)
    if source is None:
        raise UserError(
            f"evaluation.evaluators has {name}, whose questions are a file: give "
            f"evaluation.{name}=FILE (docs/judges.md)"
        )
    return source


def question_stamps(run: RunConfig) -> Hashable:
    """What tells that a file of questions or answers, or a local judge's, was changed."""
    evaluation = run.evaluation
    given_files = (evaluation.mt_bench, evaluation.mt_bench_baseline, evaluation.alpaca_eval,
                   evaluation.alpaca_eval_baseline, evaluation.arena_hard,
                   evaluation.arena_hard_baseline)  # fmt: skip
    found = [Path(name) for name in given_files if name and Path(name).is_file()]
    judge = evaluation.judge
    if judge.kind is JudgeKind.LOCAL and judge.model and Path(judge.model).is_dir():
        found += [file for file in Path(judge.model).iterdir() if file.is_file()]
    return stamps(found)


def files_of_questions(run: RunConfig, name: str) -> dict[str, Any]:
    """What determines the questions, for a key."""
    return {"questions": content_of(_file(run, name))}


def files_and_judge(run: RunConfig, name: str) -> dict[str, Any]:
    """The same, with the judge."""
    return {**files_of_questions(run, name), "judge": identity(run)}


def baseline_of(run: RunConfig, name: str) -> str | None:
    """The file of answers to compare with; None: the start model's."""
    return getattr(run.evaluation, f"{name}_baseline")


def answered(
    subject: Subject, names: Sequence[str], conversations: Sequence[Sequence[Message]], what: str
) -> list[list[int]]:
    """Token ids of the model's answer to each conversation, the end token included. names: of the
    conversations, different ones."""
    from tiebreak.data.tokens import encode_prompts

    template = dict(subject.run.model.chat_template_kwargs)
    asked = [list(turns) for turns in conversations]
    prompts_ids = encode_prompts(asked, subject.tokenizer, None, [template] * len(asked))
    return written(subject, names, prompts_ids, what)


def single_answers(subject: Subject, name: str) -> list[Row]:
    """A row per question of one turn: id, category, prompt, response, tokens."""
    asked = subject.share.take(asked_of(subject.run, name, turns=1))
    said = [[{"role": "user", "content": one.turns[0]}] for one in asked]
    found = answered(subject, [one.id for one in asked], said, f"{name} answers")
    return [
        {"id": one.id, "category": one.category, "prompt": one.turns[0], "tokens": len(ids),
         "response": subject.tokenizer.decode(ids, skip_special_tokens=True)}
        for one, ids in zip(asked, found, strict=True)
    ]  # fmt: skip


def conversation(
    turns: Sequence[str], answers: Sequence[str], turn: int
) -> tuple[dict[str, str], ...]:
    """What was said before the answer to this turn, the question of it last."""
    talk: list[dict[str, str]] = []
    for asked, answer in zip(turns[:turn], answers[:turn], strict=True):
        talk += [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    return (*talk, {"role": "user", "content": turns[turn]})


def put(subject: Subject, questions: Sequence[Question]) -> list[Judged]:
    """The questions put to the run's judge; its words stay in the artefact."""
    judge = the_judge(subject.run)
    print(price_words(subject.run, judge, questions), file=sys.stderr, flush=True)
    config = subject.run.evaluation.judge
    assert subject.work is not None, "a judge is asked while an artefact is made"
    file = subject.work / JUDGEMENTS
    return judge_all(judge, questions, file, config.repeats, config.sessions)


def again_key(session: int) -> str:
    """Where a row has what the first, second, ... further session gave."""
    return AGAIN if session == 1 else f"{AGAIN}_{session}"


def again_keys(row: Row) -> list[str]:
    return [key for key in row if re.fullmatch(rf"{AGAIN}(_\d+)?", key)]


def price_words(run: RunConfig, judge: Judge, questions: Sequence[Question]) -> str:
    """What is about to be asked, and what it costs at most; exact in calls, about in tokens."""
    calls = [call for question in questions for call in question.calls()]
    characters = sum(len(prompts.prompt_of(call)) for call in calls)
    again = repeated(run, len(questions)) if judge.repeats else 1.0
    sent = again * characters / ANSWER_CHARACTERS
    return _price(run.evaluation.judge, judge.name, again * len(calls), sent)


def repeated(run: RunConfig, questions: int) -> float:
    """Calls for each one, since some questions are judged once more."""
    judge = run.evaluation.judge
    if judge.kind is JudgeKind.LOCAL and judge.reply is JudgeReply.SCORED:
        return 1.0  # by log-probs it says the same each time
    return 1 + judge.sessions * min(judge.repeats, questions) / max(1, questions)


def _price(judge: JudgeConfig, name: str, calls: float, sent: float) -> str:
    words = f"judge {name}: {calls:.0f} calls, about {sent:,.0f} tokens sent"
    if judge.kind is not JudgeKind.ENDPOINT:
        return words
    from tiebreak.judges.spending import Spending

    spending = Spending(judge)
    most, before = spending.amount(sent, calls * judge.max_tokens), spending.so_far()
    words += f", at most {most.written:,.0f} written"
    if most.cost is None:
        words += "; price not known (evaluation.judge.price_sent and price_written)"
    else:
        one, other = judge.price_sent, judge.price_written
        words += f": at most {most.cost:.2f} ({one:g} and {other:g} per million)"
    if before.tokens:
        words += f"; spent in this home before: {before.cost or 0:.2f}, {before.tokens:,.0f} tokens"
    return words + "".join(
        f"; evaluation.judge.{cap}={value:g} ends it"
        for cap in ("max_cost", "max_total_tokens") if (value := getattr(judge, cap)) is not None
    )  # fmt: skip


def ready(run: RunConfig, to_come: Iterable[Callable[[], tuple[float, float]]]) -> str | None:
    """Before anything is computed: the price in words, of everything that is about to be asked of
    the run's judge; None: nothing is. UserError: it cannot be asked, or nobody has confirmed the
    price. to_come: (calls, tokens sent) of each evaluation that is about to ask."""
    told = [one() for one in to_come]
    calls, sent = (sum(part) for part in zip((0.0, 0.0), *told, strict=True))
    if not calls:
        return None
    judge, config = the_judge(run), run.evaluation.judge
    words = _price(config, judge.name, calls, sent)
    refuse_price(config, words)
    return words


def refuse_price(config: JudgeConfig, words: str) -> None:
    """UserError, with the price in words, where there is one that nobody has confirmed."""
    free = (config.price_sent, config.price_written) == (0, 0)
    if config.kind is JudgeKind.ENDPOINT and not free and not config.confirmed:
        raise UserError(f"{words}; confirm it with --yes, or with evaluation.judge.confirmed=true")


def calls_of_file(name: str, turns: int = 1, graded: bool = False) -> Calls:
    """(calls, tokens sent) for one model on a file of questions, answers at their longest. graded:
    one by one; else compared, and where that is with the start model's, nobody is asked about that
    one."""
    sides, orders = (1, 1) if graded else (2, ORDERS)

    def calls(run: RunConfig, of_policy: bool) -> tuple[float, float]:
        if not (of_policy or graded or baseline_of(run, name)):
            return 0.0, 0.0
        asked, longest, sent = asked_of(run, name), run.evaluation.max_new_tokens, 0.0
        for turn in range(turns):  # each with the turns before it, from the second on of each side
            said = sum(len(text) for one in asked for text in one.turns[: turn + 1])
            shown = said / ANSWER_CHARACTERS * (sides if turn else 1)
            sent += shown + len(asked) * (TEMPLATE_TOKENS + sides * (turn + 1) * longest)
        again = repeated(run, turns * len(asked) if graded else len(asked)) * orders
        return again * turns * len(asked), again * sent

    return calls


def cost_of_answers(name: str) -> Callable[[RunSize, bool], Work]:
    """What writing the answers to a file of questions takes: the whole conversation again for each
    turn."""

    def cost(size: RunSize, of_policy: bool) -> Work:
        asked, longest = asked_of(size.run, name), size.run.evaluation.max_new_tokens
        turns = [(turn, len(text)) for one in asked for turn, text in enumerate(one.turns)]
        written = sum(
            (turn + 1) * (characters / ANSWER_CHARACTERS + longest) for turn, characters in turns
        )
        return Work(written, disk=len(turns) * (200 + 5 * longest))

    return cost


def cost_of_judging(calls: Calls, name: str) -> Callable[[RunSize, bool], Work]:
    """Of a judge on this machine its passes; an endpoint's time is not known before it answers."""

    def cost(size: RunSize, of_policy: bool) -> Work:
        disk = 2500.0 * len(asked_of(size.run, name))
        return work_of_judge(size.run, *calls(size.run, of_policy), disk)

    return cost


def work_of_judge(run: RunConfig, calls: float, sent: float, disk: float) -> Work:
    """The positions that a local judge sees, and those that it writes."""
    config = run.evaluation.judge
    if config.kind is not JudgeKind.LOCAL:
        return Work(disk=disk)
    if config.reply is JudgeReply.WRITTEN:
        return Work(disk=disk, judge_written=sent + calls * config.max_tokens)
    return Work(disk=disk, judged=sent)
