from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tiebreak.data import read
from tiebreak.errors import UserError

USER = {"role": "user", "content": "Name a sea."}
SYSTEM = {"role": "system", "content": "Be brief."}
GOOD = {"role": "assistant", "content": "The Baltic."}
BAD = {"role": "assistant", "content": "No."}


def jsonl(folder: Path, *rows: object, name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


PAIRS = {
    "plain": {"prompt": "Name a sea.", "chosen": "The Baltic.", "rejected": "No."},
    "messages and text": {"prompt": [USER], "chosen": "The Baltic.", "rejected": "No."},
    "messages and turn": {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
    "text and turn": {"prompt": "Name a sea.", "chosen": [GOOD], "rejected": [BAD]},
    "whole conversations": {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
    "UltraFeedback": {
        "prompt": "Name a sea.",
        "chosen": [USER, GOOD],
        "rejected": [USER, BAD],
        "score_chosen": 8.0,
    },
    "all three whole": {"prompt": [USER], "chosen": [USER, GOOD], "rejected": [USER, BAD]},
}


@pytest.mark.parametrize("form", PAIRS)
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_every_form_of_a_pair_reads_to_the_same_example(tmp_path, form, kind):
    if kind == "jsonl":
        path = jsonl(tmp_path, PAIRS[form])
    else:
        path = tmp_path / "rows.parquet"
        pq.write_table(pa.Table.from_pylist([PAIRS[form]]), path)
    (example,) = read.read_preferences(path)
    assert example.responses == ("The Baltic.", "No.")
    assert example.prompt == ("Name a sea." if form == "plain" else [USER])
    assert (example.id, example.label, example.where) == ("1", None, f"{path}:1")


def test_the_implicit_prompt_leaves_the_last_turn_out_even_when_both_are_equal(tmp_path):
    path = jsonl(tmp_path, {"chosen": [SYSTEM, USER, GOOD], "rejected": [SYSTEM, USER, GOOD]})
    (example,) = read.read_preferences(path)
    assert example.prompt == [SYSTEM, USER]
    assert example.responses == ("The Baltic.", "The Baltic.")


def test_labelled_answers(tmp_path):
    path = jsonl(
        tmp_path,
        {"id": "a", "prompt": "p", "completion": "c", "label": True},
        {"id": 7, "prompt": [USER], "completion": [BAD], "label": False},
    )
    first, second = read.read_preferences(path)
    assert (first.id, first.prompt, first.responses, first.label) == ("a", "p", ("c",), True)
    assert (second.id, second.prompt, second.responses) == ("7", [USER], ("No.",))
    assert second.label is False


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [USER, GOOD]},
        {"prompt": [USER], "completion": "The Baltic."},
        {"prompt": "Name a sea.", "response": [GOOD]},
        {"prompt": "Name a sea.", "messages": [USER, GOOD]},
    ],
)
def test_demonstrations(tmp_path, row):
    (example,) = read.read_demonstrations(jsonl(tmp_path, row))
    assert (example.prompt, example.responses, example.label) == ([USER], ("The Baltic.",), None)


def test_only_the_last_assistant_turn_is_the_answer(tmp_path):
    path = jsonl(tmp_path, {"messages": [SYSTEM, USER, BAD, USER, GOOD]})
    (example,) = read.read_demonstrations(path)
    assert example.prompt == [SYSTEM, USER, BAD, USER]
    assert example.responses == ("The Baltic.",)


PAIR = PAIRS["plain"]
WRONG = {
    "missing field": ([PAIR, {"prompt": "p", "chosen": "c"}], ":2: no field 'rejected'"),
    "fields found": ([{"question": "p", "chosen": "c"}], "fields found: chosen, question"),
    "no form": ([{"text": "p"}], "prompt, completion, label"),
    "number": ([{**PAIR, "chosen": 3}], "'chosen' is a int"),
    "null": ([{**PAIR, "rejected": None}], "no field 'rejected'"),
    "text and list": ([{**PAIR, "chosen": [GOOD]}], "both as text or both as messages"),
    "mixed": ([PAIR, {"prompt": "p", "completion": "c", "label": True}], "separate files"),
    "both kinds": ([{**PAIR, "label": True}], "keep one of the two"),
    "label": ([{"prompt": "p", "completion": "c", "label": 2}], "'label' is 2"),
    "role": ([{**PAIR, "prompt": [{"role": "human", "content": "x"}]}], "role 'human'"),
    "no role": ([{**PAIR, "prompt": [{"who": "human", "value": "x"}]}], "fields value, who"),
    "speaker": ([{**PAIR, "prompt": [{"from": "cat", "value": "x"}]}], "is from 'cat'; use one"),
    "ends wrongly": ([{**PAIR, "prompt": [USER, GOOD]}], "must end in a user turn"),
    "answer is a user": ([{"chosen": [USER], "rejected": [USER]}], "must end in the assistant's"),
    "part early": (
        [{"chosen": [USER, GOOD], "rejected": [SYSTEM, USER, BAD]}],
        "part before their last turn",
    ),
    "disagree": (
        [{"prompt": "Another?", "chosen": [USER, GOOD], "rejected": [USER, BAD]}],
        "none of the turns",
    ),
    "explicit disagree": (
        [{"prompt": [USER], "chosen": [SYSTEM, USER, GOOD], "rejected": [USER, BAD]}],
        "not those of 'prompt'",
    ),
    "surrogate": ([{**PAIR, "chosen": "\ud800"}], "not valid Unicode"),
    "array": ([["a"]], ":1: a list, not an object"),
    "id": ([{**PAIR, "id": [1]}], "'id' is a list"),
    "no rows": ([], "no rows"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_with_its_place(tmp_path, case):
    rows, message = WRONG[case]
    with pytest.raises(UserError) as caught:
        read.read_preferences(jsonl(tmp_path, *rows))
    assert message in str(caught.value)
    assert "rows.jsonl" in str(caught.value)


def test_a_malformed_line_is_named_and_blank_lines_count(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(PAIR) + "\n\n{'prompt': 1}\n")
    with pytest.raises(UserError, match=r"rows\.jsonl:3: not JSON"):
        read.read_preferences(path)
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "p", "chosen": "\xff"}\n')
    with pytest.raises(UserError, match=r"rows\.jsonl:1: not UTF-8"):
        read.read_preferences(path)


def test_a_parquet_error_names_the_row(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist([PAIR, {"prompt": "p", "chosen": "c"}]), path)
    with pytest.raises(UserError, match=r"rows\.parquet:2: no field 'rejected'"):
        read.read_preferences(path)
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(UserError, match="not a readable Parquet file"):
        read.read_preferences(path)


def test_a_missing_file_suggests_its_neighbour(tmp_path):
    jsonl(tmp_path, PAIR, name="train.jsonl")
    with pytest.raises(UserError, match=r"no such file \(nearest: 'train\.jsonl'\)"):
        read.read_preferences(str(tmp_path / "tarin.jsonl"))
    with pytest.raises(UserError, match=r"name the file \(it holds train\.jsonl\)"):
        read.read_preferences(str(tmp_path))
    with pytest.raises(UserError, match="does not exist"):
        read.fingerprint(str(tmp_path / "none" / "a" / "train.jsonl"))
    (tmp_path / "train.xlsx").write_text("a\n")
    with pytest.raises(UserError, match=r"a file of unknown kind \('\.xlsx'\); give \.jsonl"):
        read.read_preferences(tmp_path / "train.xlsx")


def test_a_revision_says_nothing_about_a_file(tmp_path):
    with pytest.raises(UserError, match="data.revision='main' has no meaning"):
        read.read_preferences(jsonl(tmp_path, PAIR), revision="main")


def test_repeated_ids_stay_unique(tmp_path):
    rows = [{**PAIR, "id": id} for id in ["a", "a", "a#2", "a"]]
    ids = [example.id for example in read.read_preferences(jsonl(tmp_path, *rows))]
    assert ids == ["a", "a#3", "a#2", "a#4"]


def test_the_fingerprint_is_of_the_bytes_and_needs_no_torch(tmp_path):
    path = jsonl(tmp_path, PAIR)
    assert read.fingerprint(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    code = (
        "import sys; from tiebreak.data import examples, read, view, lint, tokens\n"
        "import tiebreak.fetch\n"
        f"read.fingerprint({str(path)!r}); read.read_preferences({str(path)!r})\n"
        "assert not {'torch', 'transformers', 'datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
