"""Rows as people lay them out. `PREFERENCES` and `DEMONSTRATIONS` are the tables of forms: a form
is known by its columns, which are renamed to ours. What stands beside them and a model should see
(system, history, tools, documents) is used; what is not read is noted."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tiebreak.data.examples import NO_PREFERENCE, Example, Message
from tiebreak.data.messages import Prompt, checked_text, messages_of, parted, plain_json, read_json
from tiebreak.errors import UserError

Row = dict[str, Any]


@dataclass(frozen=True)
class Form:
    """name: in words. columns: every row has them, not null. ours: their name -> our name. better:
    a column's value -> which of two answers it prefers (0, 1, or None: neither); it is of the last
    column, and the answers are the two before it. fits: what else must hold."""

    name: str
    columns: str
    ours: Mapping[str, str] = field(default_factory=dict)
    better: Mapping[str, int | None] | None = None
    fits: Callable[[Row], bool] = lambda row: True

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(self.columns.split())

    @functools.cached_property
    def own(self) -> frozenset[str]:
        return frozenset(self.names)


def _is_list(row: Row) -> bool:
    return isinstance(read_json(row["chosen"]), list)


def _is_whole(row: Row) -> bool:
    """Whether the chosen answer comes with the turns before it."""
    return _is_list(row) and len(read_json(row["chosen"])) > 1


def _is_transcript(row: Row) -> bool:
    both = (row["chosen"], row["rejected"])
    return all(isinstance(text, str) and _SPEAKER.match(text) for text in both)


_SPEAKER = re.compile(r"\s*Human:|\n\n(Human|Assistant):")
TRANSCRIPTS = "HH transcripts"

PREFERENCES = (
    Form("ranked lists", "prompt responses scores"),
    Form("posts with two comments (SHP)", "history human_ref_A human_ref_B labels",
         {"history": "prompt"}, {"1": 0, "0": 1}),
    Form("two responses with a preference (HelpSteer3)",
         "context response1 response2 overall_preference", {"context": "prompt"},
         {"-3": 0, "-2": 0, "-1": 0, "0": None, "1": 1, "2": 1, "3": 1}),
    Form("two responses, the better one named (PKU-SafeRLHF)",
         "prompt response_0 response_1 better_response_id", {}, {"0": 0, "1": 1}),
    Form("pairs", "prompt chosen rejected"),
    Form("pairs of whole conversations", "chosen rejected", fits=_is_whole),
    Form(TRANSCRIPTS, "chosen rejected", fits=_is_transcript),
    Form("pairs after a trajectory (UltraInteract)", "trajectory chosen rejected",
         {"trajectory": "prompt"}),
    Form("ShareGPT pairs", "conversations chosen rejected", {"conversations": "prompt"}),
    Form("Alpaca pairs", "instruction chosen rejected", {"instruction": "prompt"}),
    Form("pairs with a question (Orca)", "question chosen rejected", {"question": "prompt"}),
    Form("pairs with an input", "input chosen rejected", {"input": "prompt"}),
    Form("pairs of whole conversations", "chosen rejected", fits=_is_list),
    Form("labelled answers", "prompt completion label"),
    Form("labelled answers", "prompt completion kto_tag", {"kto_tag": "label"}),
    Form("labelled conversations", "messages label"),
    Form("labelled conversations", "messages kto_tag", {"kto_tag": "label"}),
    Form("labelled ShareGPT conversations", "conversations label", {"conversations": "messages"}),
    Form("labelled ShareGPT conversations", "conversations kto_tag",
         {"conversations": "messages", "kto_tag": "label"}),
    Form("labelled Alpaca answers", "instruction output kto_tag",
         {"instruction": "prompt", "output": "completion", "kto_tag": "label"}),
)  # fmt: skip
DEMONSTRATIONS = (
    Form("conversations", "messages", fits=lambda row: not {"completion", "response"} & {*row}),
    Form("prompts with completions", "prompt completion"),
    Form("prompts with responses", "prompt response", {"response": "completion"}),
    Form("ShareGPT conversations", "conversations", {"conversations": "messages"}),
    Form("Alpaca demonstrations", "instruction output",
         {"instruction": "prompt", "output": "completion"}),
    Form("questions with responses (OpenOrca)", "question response",
         {"question": "prompt", "response": "completion"}),
    Form("questions with answers", "question answer",
         {"question": "prompt", "answer": "completion"}),
)  # fmt: skip
SYSTEM = ("system", "system_prompt", "system_message")
TOOLS = ("tools", "functions")
BESIDE = ("history", "documents", "chat_template_kwargs")
CATEGORY = ("category", "subset", "domain")
PARTS, NO_ANSWER = "parts-before-its-end", "ends-in-no-answer"
# Names that say of a column that a model should see it, that it tells of the row alone, and that it
# says how good an answer is.
_MEANT = re.compile(
    "system|persona|history|context|instruct|input|tool|function|document|knowledge|passage|"
    "image|audio|video|background", re.I)  # fmt: skip
_ABOUT = re.compile(
    r"(^|[_-])(id|ids?x|index|hash|url|source|dataset|model|category|type|task|tags?|lang\w*|"
    r"domain|date|time\w*|licen[sc]e|split|version|author|name|title)$|respon|generat|output|"
    "chosen|rejected|ration|reason|feedback|critique|comment|annotat|explan", re.I)  # fmt: skip
GOOD = re.compile("score|rating|reward|quality|margin|utility", re.I)


def preference(given: Row, id: str) -> Example:
    """A pair, a ranked list, or a single answer with its label. given: null counts as absent."""
    row = {name: value for name, value in given.items() if value is not None}
    if {"chosen", "rejected"} & {*row} and {"completion", "label"} & {*row}:
        raise UserError(
            "both a pair (chosen, rejected) and a labelled answer (completion, label); "
            "keep one of the two"
        )
    form = _form_of(row, PREFERENCES, "prompt, chosen, rejected, or prompt, completion, label")
    ours, unfit = _renamed(form, row)
    label, order, scores = None, [0], None
    if form.name == "ranked lists":
        answers, scores = _ranked(ours)
        order = sorted(range(len(scores)), key=lambda i: -scores[i])
        scores = tuple(float(scores[i]) for i in order)
    elif "chosen" in ours:
        answers, order = [("chosen", ours["chosen"]), ("rejected", ours["rejected"])], [0, 1]
    else:
        name = "messages" if "messages" in ours else "completion"
        answers, label = [(name, ours[name])], _label(ours["label"])
    prompt: Prompt
    if unfit in (PARTS, NO_ANSWER):
        prompt, responses = ours["prompt"], [ours["chosen"], ours["rejected"]]
    else:
        prompt, responses = parted(ours.get("prompt"), answers)
    more = {"label": label, "scores": scores, "unfit": unfit}
    return _example(form, row, prompt, id=id, responses=tuple(responses[i] for i in order), **more)


def demonstration(given: Row, id: str) -> Example:
    """`messages` that end in an assistant turn, or a prompt and its answer."""
    row = {name: value for name, value in given.items() if value is not None}
    if "completion" in row and "response" in row:
        raise UserError("both 'completion' and 'response'; keep one of the two")
    form = _form_of(row, DEMONSTRATIONS, "messages, or prompt with completion or response")
    ours, _ = _renamed(form, row)
    name = "messages" if "messages" in ours else "completion"
    prompt, responses = parted(ours.get("prompt"), [(name, ours[name])])
    return _example(form, row, prompt, id=id, responses=tuple(responses))


def _form_of(row: Row, forms: Iterable[Form], wanted: str) -> Form:
    """The first form that fits; else UserError with what the nearest one misses."""
    for form in forms:
        if row.keys() >= form.own and form.fits(row):
            return form
    found = ", ".join(sorted(row)) or "none"

    def nearness(form: Form) -> float:
        here = len(row.keys() & form.own) / len(form.own)
        return here if here < 1 else 0.0

    near = max(forms, key=nearness)
    if not nearness(near):
        raise UserError(f"no known field (fields found: {found}); a row has {wanted}")
    missing = next(name for name in near.names if name not in row)
    raise UserError(
        f"no field {missing!r} (fields found: {found}); a row has {', '.join(near.names)}; other "
        f"names can be given as data.columns={{NAME: {missing}}}"
    )


def _renamed(form: Form, row: Row) -> tuple[Row, str | None]:
    """(the row under our names, why it cannot be used)."""
    ours = {form.ours.get(name, name): row[name] for name in form.names}
    if form.columns.startswith("instruction") and str(row.get("input", "")).strip():
        ours["prompt"] = (
            f"{checked_text(ours['prompt'], 'instruction')}\n{checked_text(row['input'], 'input')}"
        )
    if form.name == TRANSCRIPTS:
        return _transcripts(row)
    if form.better is None:
        return ours, None
    *_, one, two, column = form.names
    value = row[column]
    value = int(value) if isinstance(value, float) and value.is_integer() else value
    if str(value) not in form.better:
        raise UserError(f"{column!r} is {value!r}; give one of {', '.join(form.better)}")
    first = form.better[str(value)]
    ours["chosen"], ours["rejected"] = (row[two], row[one]) if first else (row[one], row[two])
    return ours, NO_PREFERENCE if first is None else None


def _transcripts(row: Row) -> tuple[Row, str | None]:
    """Two dialogues in one text each, "Human: ... Assistant: ...": the turns that both share are
    the prompt, the last turns the answers."""
    chosen, rejected = (_dialogue(checked_text(row[name], name)) for name in ("chosen", "rejected"))
    ours = {
        "prompt": chosen[:-1],
        "chosen": chosen[-1]["content"],
        "rejected": rejected[-1]["content"],
    }
    if chosen[-1]["role"] != "assistant" or rejected[-1]["role"] != "assistant":
        return ours, NO_ANSWER
    return ours, PARTS if chosen[:-1] != rejected[:-1] else None


def _dialogue(text: str) -> list[Message]:
    _, *parts = re.split(r"(?:^|\n\n)(Human|Assistant):", text.strip())
    speakers = {"Human": "user", "Assistant": "assistant"}
    return [
        {"role": speakers[who], "content": said.strip()}
        for who, said in zip(parts[::2], parts[1::2], strict=True)
    ]


def _ranked(row: Row) -> tuple[list[tuple[str, Any]], list[float]]:
    """k answers to one prompt, and a score each."""
    answers, scores = read_json(row["responses"]), read_json(row["scores"])
    if not isinstance(answers, list) or not isinstance(scores, list):
        raise UserError("'responses' and 'scores' must both be lists, one score each")
    if len(answers) != len(scores) or len(answers) < 2:
        raise UserError(
            f"{len(answers)} responses with {len(scores)} scores; give two or more, one score each"
        )
    if not all(type(one) in (int, float) and math.isfinite(one) for one in scores):
        raise UserError("'scores' holds something other than finite numbers; repair it")
    return [(f"responses[{i}]", answer) for i, answer in enumerate(answers)], scores


def _label(value: object) -> bool:
    """true or 1: desirable; as text too, which a CSV file has."""
    words = {"true": True, "1": True, "false": False, "0": False}
    found = words.get(str(value).lower()) if isinstance(value, bool | int | str) else None
    if found is None:
        raise UserError(f"'label' is {value!r}; give true (desirable) or false (undesirable)")
    return found


def _example(form: Form, row: Row, prompt: Prompt, **fields: Any) -> Example:
    """The example with what stands beside its columns, and notes of what was not read. A row with a
    system column (be its text empty), history, tools or documents is a conversation."""
    own = {*form.names, "id"}
    if form.columns.startswith("instruction"):
        own.add("input")
    used = {name for name in (*SYSTEM, *TOOLS, *BESIDE) if name in row} - own
    if used:
        system, history = _system(row, used), _history(row, used)
        fields["tools"], more = _tools(row, used), _template_kwargs(row, used)
        if system is not None or fields["tools"] or more or history:
            fields["template_kwargs"], prompt = more, _after(prompt, system, history)
    notes = tuple(_notes(row, own | used, prompt))
    category = next((str(row[name]) for name in CATEGORY if row.get(name) not in (None, "")), None)
    return Example(prompt=prompt, form=form.name, notes=notes, category=category, **fields)


def _after(prompt: Prompt, system: str | None, history: list[Message]) -> list[Message]:
    """The prompt as messages, after a system turn and earlier turns."""
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    lead = [turn for turn in turns[:1] if turn["role"] in ("system", "developer")]
    if lead and system and lead[0]["content"] != system:
        raise UserError("both a system column and a system turn in the prompt; keep one")
    first = [{"role": "system", "content": system}] if system and not lead else lead
    return [*first, *history, *turns[len(lead) :]]


def _system(row: Row, used: set[str]) -> str | None:
    """The text of a system column; None without one."""
    texts = {name: checked_text(row[name], name) for name in SYSTEM if name in used}
    said = [name for name, text in texts.items() if text.strip()]
    if len({texts[name] for name in said}) > 1:
        raise UserError(f"both {said[0]!r} and {said[1]!r}; keep one of the two")
    return texts[said[0]] if said else "" if texts else None


def _tools(row: Row, used: set[str]) -> list | None:
    """The functions that a model may call, as JSON schemas."""
    name = next((name for name in TOOLS if name in used), None)
    value = read_json(row[name]) if name else None
    if name is None or value in ("", []):
        return None
    tools = [read_json(one) for one in value] if isinstance(value, list) else value
    if not isinstance(tools, list) or not all(isinstance(one, dict) for one in tools):
        raise UserError(f"{name!r} is no list of objects (JSON schemas); repair it or leave it out")
    return plain_json(tools, name)


def _template_kwargs(row: Row, used: set[str]) -> dict | None:
    """What the chat template is given besides: `chat_template_kwargs`, and `documents`."""
    more = read_json(row.get("chat_template_kwargs", {})) or {}
    if not isinstance(more, dict):
        raise UserError("'chat_template_kwargs' is no object; write {\"NAME\": VALUE}")
    documents = read_json(row.get("documents", []))
    if documents and isinstance(documents, list) and all(isinstance(d, dict) for d in documents):
        more = {**more, "documents": documents}
    else:
        used.discard("documents")
    return plain_json(more, "chat_template_kwargs") or None


def _history(row: Row, used: set[str]) -> list[Message]:
    """Earlier turns: messages, or a question and an answer each."""
    value = read_json(row["history"]) if "history" in used else []
    if not isinstance(value, list):
        used.discard("history")
        return []
    if all(isinstance(one, list) and len(one) == 2 for one in value):
        value = [
            {"role": role, "content": checked_text(said, f"history[{i}]")}
            for i, pair in enumerate(value)
            for role, said in zip(("user", "assistant"), pair, strict=True)
        ]
    return messages_of(value, "history")


def _notes(row: Row, used: set[str], prompt: Prompt) -> Iterator[tuple[str, str]]:
    """(code, column) of what a model should perhaps see and will not, and of scores that contradict
    the label."""
    if row.keys() <= used:
        return
    read = [row[name] for name in used if name in row]
    said = [turn["content"] for turn in prompt if isinstance(turn, dict)]
    for name, value in row.items():
        if name in used or value in ("", [], {}) or value in read or value in said:
            continue
        good, meant, about = _looks(name)
        talk = isinstance(value, list) and isinstance(value[0], dict) and "role" in value[0]
        text = isinstance(value, str) and " " in value.strip()
        if good and _against(name, value, row):
            yield "scores-against-labels", name
        elif not good and (meant or ((talk or text) and not about)):
            yield "columns-unread", name


@functools.cache
def _looks(name: str) -> tuple[bool, bool, bool]:
    return GOOD.search(name) is not None, _MEANT.search(name) is not None, (
        _ABOUT.search(name) is not None)  # fmt: skip


def _against(name: str, value: Any, row: Row) -> bool:
    """Whether a score of the chosen answer is below that of the rejected one."""
    if "chosen" not in row:
        return False
    if isinstance(value, list):
        return len(value) == 2 and _number(value[0]) < _number(value[1])
    if "margin" in name.lower():
        return _number(value) < 0
    other = name.replace("chosen", "rejected")
    return other != name and other in row and _number(value) < _number(row[other])


def _number(value: Any) -> float:
    """NaN, which is less than nothing and no less, where it is no number."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
