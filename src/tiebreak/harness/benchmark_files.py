"""What a plain JSONL file of each benchmark becomes: rows as lm-eval's stock tasks read them.

A `Form` says which data set a benchmark is, which columns a task of lm-eval 0.4.13 reads, and how a
plain row becomes them, so that the task writes the plain row's own text again. Column types are
pyarrow's names; a list of one type is a list, a dict a struct.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from tiebreak.data.messages import checked_text
from tiebreak.errors import UserError, nearest

Row = dict[str, Any]
TEXT, WHOLE = "string", "int64"
TEXTS = [TEXT]
TRAIN, VALIDATION, TEST = "train", "validation", "test"


@dataclass(frozen=True)
class Form:
    """path, config: the data set; config None: each row's `subject`. columns: name -> type. row:
    what makes them of a plain row. evaluated: the split the stock task is evaluated on. shots: the
    split it takes few-shot examples from, which must be there for it to load. own_left_out: whether
    lm-eval then leaves the question itself out of its shots, where both are the same rows. endings:
    of a file's name -> split. joined: a second file, joined by question. cut: whether the task
    changes a plain row's text by itself."""

    path: str
    config: str | None
    columns: Mapping[str, Any]
    row: Callable[[Row], Row]
    evaluated: str
    shots: str
    own_left_out: bool = False
    endings: Mapping[str, str] = field(
        default_factory=lambda: {"_train": TRAIN, "_val": VALIDATION, "_test": TEST}
    )
    joined: str | None = None
    cut: Callable[[Row], bool] | None = None


def value(row: Row, name: str) -> Any:
    """A column of the row; UserError when there is none."""
    if name not in row:
        raise UserError(f"no column {name!r}{nearest(name, row)}; there are {', '.join(row)}")
    return row[name]


def text(row: Row, name: str) -> str:
    """A column that holds text with something in it."""
    found = checked_text(value(row, name), name, "text")
    if not found.strip():
        raise UserError(f"{name!r} is empty; leave the row out")
    return found


def texts(row: Row, name: str) -> list[str]:
    """A column that holds a list of such texts."""
    found = value(row, name)
    if not isinstance(found, list) or not found:
        raise UserError(f"{name!r} is {found!r:.40}; give a list of texts")
    return [text({name: one}, name) for one in found]


def _choices(row: Row, number: int | None = None) -> tuple[list[str], int]:
    """(choices, index of the right one). number: how many there must be."""
    choices, gold = texts(row, "choices"), value(row, "gold")
    if len(choices) != (number or max(2, len(choices))):
        raise UserError(f"'choices' has {len(choices)} texts; this benchmark has {number or 2}")
    if gold is None or gold in (-1, ""):
        raise UserError(f"'gold' is {gold!r}: no label; give a split that has labels")
    if not isinstance(gold, int) or isinstance(gold, bool):
        raise UserError(f"'gold' is {gold!r:.40}; give the index of the right choice, from 0")
    if not 0 <= gold < len(choices):
        raise UserError(f"'gold' is {gold}; there are {len(choices)} choices, counted from 0")
    return choices, gold


def _lettered(question: str) -> Callable[[Row], Row]:
    """Choices with letters, as in ARC; question: what the data set calls it."""

    def row(plain: Row) -> Row:
        choices, gold = _choices(plain)
        letters = list(string.ascii_uppercase[: len(choices)])
        if len(letters) < len(choices):
            raise UserError(f"'choices' has {len(choices)} texts; at most 26 have a letter")
        query = text(plain, "query")
        listed = {"text": choices, "label": letters}
        return {question: query, "choices": listed, "answerKey": letters[gold]}

    return row


def _hellaswag(plain: Row) -> Row:
    """The task joins label and context, makes ctx_b a sentence and halves double spaces, so all of
    the context stands in ctx_a, and what it would halve is doubled."""
    label, colon, context = text(plain, "query").partition(": ")
    if not colon:
        raise UserError("'query' has no ': '; HellaSwag's begin with an activity and a colon")
    choices, gold = _choices(plain, 4)
    parts = {"activity_label": _doubled(label), "ctx_a": _doubled(context), "ctx_b": ""}
    return {**parts, "endings": [_doubled(one) for one in choices], "label": str(gold)}


def _doubled(words: str) -> str:
    return re.sub("  +", lambda spaces: spaces[0] * 2, words)


def _hellaswag_cut(plain: Row) -> bool:
    """The task cuts [brackets] out, and white space at the ends off."""
    said = [plain["query"], *plain["choices"]]
    return any(re.search(r"\[.*?\]| \[title\]", one) or one != one.strip() for one in said)


def _winogrande(plain: Row) -> Row:
    (first, second), gold = _choices(plain, 2)
    sentence = text(plain, "query")
    if "_" not in sentence:
        raise UserError("'query' has no '_', where the choices go")
    return {"sentence": sentence, "option1": first, "option2": second, "answer": str(gold + 1)}


def _piqa(plain: Row) -> Row:
    (first, second), gold = _choices(plain, 2)
    return {"goal": text(plain, "query"), "sol1": first, "sol2": second, "label": gold}


def _gsm8k(plain: Row) -> Row:
    answer = text(plain, "answer")
    if not re.search(r"#### \S", answer):
        raise UserError("'answer' has no '#### ' before the number: no label; give rows that do")
    return {"question": text(plain, "question"), "answer": answer}


def _truthfulqa(plain: Row) -> Row:
    choices, gold = _choices(plain)
    if gold:
        raise UserError(f"'gold' is {gold}; lm-eval takes the first choice for the true one: put "
                        "it first")  # fmt: skip
    true, false = texts(plain, "correct"), texts(plain, "incorrect")
    return {
        "question": text(plain, "query"),
        "mc1_targets": {"choices": choices, "labels": [1] + [0] * (len(choices) - 1)},
        "mc2_targets": {"choices": true + false, "labels": [1] * len(true) + [0] * len(false)},
    }


def _mmlu(plain: Row) -> Row:
    choices, gold = _choices(plain, 4)
    return {"question": text(plain, "query"), "choices": choices, "answer": gold}


def subject(plain: Row) -> str:
    """The subject, which names a configuration and thereby a folder."""
    found = text(plain, "subject")
    if not re.fullmatch("[a-z][a-z_]*", found):
        raise UserError(f"'subject' is {found!r:.60}; give a name such as abstract_algebra")
    return found


def _boolq(plain: Row) -> Row:
    """The file has the whole prompt; the task puts it together again."""
    choices, gold = _choices(plain, 2)
    if choices != ["no", "yes"]:
        raise UserError(f"'choices' is {choices!r:.60}; BoolQ's are ['no', 'yes'], in this order")
    passage, mark, asked = text(plain, "query").rpartition("\nQuestion: ")
    if not mark or not asked.endswith("?\nAnswer:"):
        raise UserError("'query' is not 'PASSAGE\\nQuestion: QUESTION?\\nAnswer:'")
    return {"passage": passage, "question": asked.removesuffix("?\nAnswer:"), "label": gold}


def _bigbench(plain: Row) -> Row:
    choices, gold = _choices(plain)
    if len(set(choices)) < len(choices):
        raise UserError("'choices' has a text twice; lm-eval finds the right one by its text")
    scores = [int(index == gold) for index in range(len(choices))]
    found = {"multiple_choice_targets": choices, "multiple_choice_scores": scores}
    return {"inputs": text(plain, "query"), "targets": [choices[gold]], **found}


def _bbh(plain: Row) -> Row:
    return {"input": text(plain, "question"), "target": text(plain, "answer")}


# The arguments that IFEval's instructions take.
_ARGUMENTS = {
    "capital_frequency": WHOLE, "capital_relation": TEXT, "end_phrase": TEXT, "first_word": TEXT,
    "forbidden_words": TEXTS, "frequency": WHOLE, "keyword": TEXT, "keywords": TEXTS,
    "language": TEXT, "let_frequency": WHOLE, "let_relation": TEXT, "letter": TEXT,
    "nth_paragraph": WHOLE, "num_bullets": WHOLE, "num_highlights": WHOLE, "num_paragraphs": WHOLE,
    "num_placeholders": WHOLE, "num_sections": WHOLE, "num_sentences": WHOLE, "num_words": WHOLE,
    "postscript_marker": TEXT, "prompt_to_repeat": TEXT, "relation": TEXT,
    "section_spliter": TEXT,
}  # fmt: skip


def _ifeval(plain: Row) -> Row:
    key, given = value(plain, "key"), value(plain, "kwargs")
    if not isinstance(key, int) or isinstance(key, bool):
        raise UserError(f"'key' is {key!r:.40}; give a whole number")
    ids = texts(plain, "instruction_id_list")
    if not isinstance(given, list) or len(given) != len(ids):
        raise UserError("'kwargs' wants a list: one object for each of instruction_id_list")
    arguments = [_arguments(one) for one in given]
    named = {"prompt": text(plain, "prompt"), "instruction_id_list": ids}
    return {"key": key, **named, "kwargs": arguments}


def _arguments(given: object) -> Row:
    if not isinstance(given, dict):
        raise UserError(f"'kwargs' holds {given!r:.40}; give an object for each instruction")
    there = {name: one for name, one in given.items() if one is not None}
    for name, one in there.items():
        kind = _ARGUMENTS.get(name)
        if kind is None:
            hint = nearest(name, _ARGUMENTS)
            raise UserError(f"'kwargs' has {name!r}{hint}, which no instruction takes")
        if kind == TEXTS:
            texts(there, name)
        elif kind == TEXT:
            text(there, name)
        elif not isinstance(one, int) or isinstance(one, bool):
            raise UserError(f"'kwargs' has {name}={one!r:.40}; give a whole number")
    return there


_LETTERED = {"choices": {"text": TEXTS, "label": TEXTS}, "answerKey": TEXT}
_TARGETS = {"choices": TEXTS, "labels": [WHOLE]}
_ARC = {"question": TEXT, **_LETTERED}
_WHOLE_FILE = MappingProxyType({"": TEST})


def _bigbench_form(task: str) -> Form:
    return Form("hails/bigbench", f"{task}_zero_shot", {"inputs": TEXT, "targets": TEXTS,
                "multiple_choice_targets": TEXTS, "multiple_choice_scores": [WHOLE]}, _bigbench,
                "default", "default", endings={"": "default"})  # fmt: skip


def _bbh_form(task: str) -> Form:
    columns = {"input": TEXT, "target": TEXT}
    return Form("SaylorTwift/bbh", task, columns, _bbh, TEST, TEST, endings=_WHOLE_FILE)


# Where own_left_out is true, a stock task names neither a test split nor a split for its shots.
# lm-eval compares the two names, finds them equal and removes from the shots what equals the
# question.
FORMS: dict[str, Form] = {
    "arc_easy": Form("allenai/ai2_arc", "ARC-Easy", _ARC, _lettered("question"), TEST, TRAIN),
    "arc_challenge": Form(
        "allenai/ai2_arc", "ARC-Challenge", _ARC, _lettered("question"), TEST, TRAIN
    ),
    "hellaswag": Form(
        "Rowan/hellaswag", "default", {"activity_label": TEXT, "ctx_a": TEXT, "ctx_b": TEXT,
        "endings": TEXTS, "label": TEXT}, _hellaswag, VALIDATION, TRAIN, True, cut=_hellaswag_cut,
    ),
    "winogrande": Form(
        "allenai/winogrande", "winogrande_xl", {"sentence": TEXT, "option1": TEXT, "option2": TEXT,
        "answer": TEXT}, _winogrande, VALIDATION, TRAIN, True,
    ),
    "piqa": Form(
        "baber/piqa", "default", {"goal": TEXT, "sol1": TEXT, "sol2": TEXT, "label": WHOLE}, _piqa,
        VALIDATION, TRAIN, True,
    ),
    "gsm8k": Form(
        "openai/gsm8k", "main", {"question": TEXT, "answer": TEXT}, _gsm8k, TEST, TRAIN,
    ),
    "truthfulqa": Form(
        "truthfulqa/truthful_qa", "multiple_choice", {"question": TEXT, "mc1_targets": _TARGETS,
        "mc2_targets": _TARGETS}, _truthfulqa, VALIDATION, VALIDATION, True,
        endings={"_mc1": VALIDATION}, joined="truthfulqa_csv",
    ),
    "mmlu": Form(
        "cais/mmlu", None, {"question": TEXT, "choices": TEXTS, "answer": WHOLE}, _mmlu, TEST,
        "dev", endings={"_dev": "dev", "_val": VALIDATION, "_test": TEST},
    ),
    "openbookqa": Form(
        "allenai/openbookqa", "main", {"question_stem": TEXT, **_LETTERED},
        _lettered("question_stem"), TEST, TRAIN,
    ),
    "boolq": Form(
        "aps/super_glue", "boolq", {"passage": TEXT, "question": TEXT, "label": WHOLE}, _boolq,
        VALIDATION, TRAIN, True,
    ),
    "ifeval": Form(
        "google/IFEval", "default", {"key": WHOLE, "prompt": TEXT, "instruction_id_list": TEXTS,
        "kwargs": [_ARGUMENTS]}, _ifeval, TRAIN, TRAIN, endings={"": TRAIN},
    ),
    **{f"bigbench_{task}": _bigbench_form(task) for task in
       ("causal_judgment", "formal_fallacies_syllogisms_negation", "sports_understanding")},
    **{f"bbh_{task}": _bbh_form(task) for task in
       ("causal_judgement", "formal_fallacies", "sports_understanding")},
}  # fmt: skip

# Stem of a file's name -> (the benchmark, the split its rows are).
STEMS = {
    name + ending: (name, split)
    for name, form in FORMS.items()
    for ending, split in form.endings.items()
}
