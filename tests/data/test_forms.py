"""Rows of public data sets in their own columns, and what stands beside a prompt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tiebreak.data.examples import Example, drop_untrainable
from tiebreak.data.lint import of_rows
from tiebreak.data.read import read_demonstrations, read_preferences
from tiebreak.errors import UserError


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str | None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


Q, GOOD, BAD = "Name a sea.", "The Baltic sea.", "No idea."
SYSTEM = {"role": "system", "content": "Be brief."}
HH = f"\n\nHuman: Hi.\n\nAssistant: Hello.\n\nHuman: {Q}\n\nAssistant: "
TURNS = [user("Hi."), assistant("Hello."), user(Q)]
CALL = {"type": "function", "function": {"name": "look", "arguments": {"at": 1}}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {}}}
BOTH = {"chosen": GOOD, "rejected": BAD}
WHOLE = {"chosen": [user(Q), assistant(GOOD)], "rejected": [user(Q), assistant(BAD)]}

# Name -> (a row in the public form, the form, the prompt). All give GOOD and BAD.
PUBLIC: dict[str, tuple[dict[str, Any], str, Any]] = {
    "UltraFeedback": (
        {"prompt": Q, "prompt_id": "0a1b", "messages": WHOLE["chosen"], "score_chosen": 8.5,
         "score_rejected": 2.0, **WHOLE}, "pairs", [user(Q)]),
    "HH": ({"chosen": HH + GOOD, "rejected": HH + BAD}, "HH transcripts", TURNS),
    "Tulu 3": ({"id": "t1", "source": "a mix of sets", "prompt": Q, **WHOLE}, "pairs", [user(Q)]),
    "Orca": ({"system": "Be brief.", "question": Q, **BOTH}, "pairs with a question (Orca)",
             [SYSTEM, user(Q)]),
    "Orca, no system": ({"system": "", "question": Q, **BOTH}, "pairs with a question (Orca)",
                        [user(Q)]),
    "SHP": (
        {"post_id": "qt3", "domain": "ask_train", "history": Q, "human_ref_A": BAD, "score_A": 3,
         "human_ref_B": GOOD, "score_B": 9, "labels": 0, "seconds_difference": 12.0},
        "posts with two comments (SHP)", Q),
    "HelpSteer3": (
        {"domain": "general", "language": "english", "context": [user(Q)], "response1": GOOD,
         "response2": BAD, "overall_preference": -2,
         "individual_preference": [{"score": -2, "reasoning": "It is right.", "feedback": ""}]},
        "two responses with a preference (HelpSteer3)", [user(Q)]),
    "PKU-SafeRLHF": (
        {"prompt": Q, "response_0": BAD, "response_1": GOOD, "is_response_0_safe": True,
         "better_response_id": 1, "safer_response_id": 0},
        "two responses, the better one named (PKU-SafeRLHF)", Q),
    "UltraInteract": (
        {"task": "Coding", "dataset": "codecontest", "id": "d1_5", "parent_id": "d1_4", **BOTH,
         "trajectory": [{"from": "user", "value": Q}]}, "pairs after a trajectory (UltraInteract)",
        [user(Q)]),
    "Capybara": (
        {"source": "Airoboros", "conversation": [{"input": Q, "output": GOOD}], **WHOLE,
         "original_response": "The Baltic sea, I think.", "generation_prompt": ["a b", "c d"],
         "rating_chosen": 5, "rating_rejected": 1, "chosen_model": "some model", "prompt": Q},
        "pairs", [user(Q)]),
    "argilla mix": ({"dataset": "argilla/some mix", **WHOLE, "chosen_rating": 5.0,
                     "rejected_rating": 4.0}, "pairs of whole conversations", [user(Q)]),
    "argilla Orca": ({"system": "Be brief.", "input": Q, **BOTH, "rating": [9.0, 5.0],
                      "generations": [GOOD, BAD]}, "pairs with an input", [SYSTEM, user(Q)]),
    "LLaMA-Factory": (
        {"conversations": [{"from": "human", "value": Q}], "chosen": {"from": "gpt", "value": GOOD},
         "rejected": {"from": "gpt", "value": BAD}}, "ShareGPT pairs", [user(Q)]),
    "Alpaca": ({"instruction": "Name one.", "input": Q, "history": [["Hi.", "Hello."]], **BOTH},
               "Alpaca pairs", [user("Hi."), assistant("Hello."), user(f"Name one.\n{Q}")]),
    "JSON text": ({"prompt": json.dumps([user(Q)]), "chosen": json.dumps([assistant(GOOD)]),
                   "rejected": json.dumps(assistant(BAD))}, "pairs", [user(Q)]),
}  # fmt: skip


def read(folder: Path, *rows: dict[str, Any], kind: str = "jsonl", **options: Any) -> list[Example]:
    path = folder / f"rows.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return read_preferences(path, **options)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("name", PUBLIC)
def test_public_data_sets_work_in_their_own_columns(tmp_path, name, kind):
    row, form, prompt = PUBLIC[name]
    (example,) = read(tmp_path, row, kind=kind)
    assert (example.prompt, example.responses) == (prompt, (GOOD, BAD))
    assert (example.form, example.unfit, example.notes) == (form, None, ())


KTO = {
    "kto-mix": ({"prompt": [user(Q)], "completion": [assistant(GOOD)], "label": True}, [user(Q)]),
    "CSV words": ({"prompt": Q, "completion": GOOD, "label": "True"}, Q),
    "number": ({"prompt": Q, "completion": GOOD, "label": 1}, Q),
    "LLaMA-Factory": ({"conversations": [{"from": "human", "value": Q},
                                         {"from": "gpt", "value": GOOD}], "kto_tag": True},
                      [user(Q)]),
    "ms-swift": ({"messages": [user(Q), assistant(GOOD)], "label": True}, [user(Q)]),
    "Capybara-KTO": ({"prompt": Q, "completion": [user(Q), assistant(GOOD)], "label": True,
                      "rating": 5, "model": "some model"}, [user(Q)]),
}  # fmt: skip


@pytest.mark.parametrize("name", KTO)
def test_labelled_answers_in_the_forms_there_are(tmp_path, name):
    row, prompt = KTO[name]
    (example,) = read(tmp_path, row)
    assert (example.prompt, example.responses, example.label) == (prompt, (GOOD,), True)


@pytest.mark.parametrize(
    "row",
    [
        {"conversations": [{"from": "human", "value": Q}, {"from": "gpt", "value": GOOD}]},
        {"instruction": Q, "input": "", "output": GOOD},
        {"system_prompt": "", "question": Q, "response": GOOD, "id": "flan.1"},
        {"question": Q, "answer": GOOD},
    ],
)
def test_demonstrations_in_the_forms_there_are(tmp_path, row):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row))
    (example,) = read_demonstrations(path)
    assert example.prompt in (Q, [user(Q)]) and example.responses == (GOOD,)


def test_a_row_without_a_preference_is_dropped_by_reason(tmp_path):
    tie = {"context": [user(Q)], "response1": GOOD, "response2": BAD, "overall_preference": 0}
    kept, dropped = drop_untrainable(read(tmp_path, tie, {**tie, "overall_preference": 3}))
    assert [one.responses for one in kept] == [(BAD, GOOD)]
    assert dropped.counts == {"no-preference": 1}
    with pytest.raises(UserError, match="'overall_preference' is 7; give one of -3, -2"):
        read(tmp_path, {**tie, "overall_preference": 7})


def test_a_transcript_that_is_no_pair_is_dropped_by_reason(tmp_path):
    rows = [
        {"chosen": HH + GOOD, "rejected": f"\n\nHuman: Hi.\n\nAssistant: {BAD}"},
        {"chosen": HH + GOOD, "rejected": HH + f"{BAD}\n\nHuman: Why?"},
        {"chosen": HH + GOOD, "rejected": HH + BAD},
    ]
    kept, dropped = drop_untrainable(read(tmp_path, *rows))
    assert len(kept) == 1
    assert dropped.counts == {"ends-in-no-answer": 1, "parts-before-its-end": 1}
    # A transcript as a prompt stays the plain text that it is.
    (plain,) = read(tmp_path, {"prompt": HH, "chosen": " yes", "rejected": " no"})
    assert plain.prompt == HH and plain.responses == (" yes", " no")


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_every_field_of_a_message_is_kept_and_tools_are_handed_on(tmp_path, kind):
    asked = [user(Q), assistant(None, tool_calls=[CALL]),
             {"role": "tool", "content": "4", "tool_call_id": "c1"}]  # fmt: skip
    row = {
        "prompt": asked, "chosen": [assistant("So.", reasoning_content="I think.")],
        "rejected": [assistant(BAD)], "tools": [TOOL] if kind == "jsonl" else json.dumps([TOOL]),
        "documents": [{"title": "a", "text": "b"}], "chat_template_kwargs": {"thinking": False},
    }  # fmt: skip
    (example,) = read(tmp_path, row, kind=kind)
    assert example.prompt == asked
    assert example.responses == ([assistant("So.", reasoning_content="I think.")], BAD)
    assert example.tools == [TOOL] and example.notes == ()
    assert example.template_kwargs == {"thinking": False, "documents": row["documents"]}


@pytest.mark.parametrize(
    "beside",
    [{"system": "Be brief."}, {"tools": [TOOL]}, {"history": [["Hi.", "Hello."]]},
     {"chat_template_kwargs": '{"thinking": true}'}],
)  # fmt: skip
def test_what_only_a_template_can_write_makes_a_conversation(tmp_path, beside):
    (example,) = read(tmp_path, {"prompt": Q, **BOTH, **beside})
    assert isinstance(example.prompt, list) and example.prompt[-1] == user(Q)
    (example,) = read(tmp_path, {"prompt": [SYSTEM, user(Q)], **BOTH, **beside})
    assert example.prompt[0] == SYSTEM and example.prompt[-1] == user(Q)


UNREAD = {
    "images": (["a.png"], "columns-unread"),
    "history": ("Hi. Hello.", "columns-unread"),
    "persona": ("pirate", "columns-unread"),
    "Hintergrund": ("a text in words", "columns-unread"),
    "margin": (-0.5, "scores-against-labels"),
    "scores": ([1.0, 2.0], "scores-against-labels"),
    "source": ("a name in words", None),
    "prompt_id": ("x y", None),
    "tokens": (12, None),
    "context": ("", None),
}


@pytest.mark.parametrize("name", UNREAD)
def test_columns_that_look_meant_are_named(tmp_path, name):
    value, code = UNREAD[name]
    examples = read(tmp_path, {"prompt": Q, **BOTH}, {"prompt": Q, **BOTH, name: value})
    found = of_rows(examples)
    assert [one.code for one in found] == ([code] if code else [])
    for one in found:
        assert f"'{name}' (1 rows), first: {tmp_path}/rows.jsonl:2" in one.message


@pytest.mark.parametrize(("one", "other"), [("score_chosen", "score_rejected"),
                                            ("chosen-rating", "rejected-rating")])  # fmt: skip
def test_scores_that_contradict_the_label_are_named_and_the_remedy_works(tmp_path, one, other):
    row = {"prompt": Q, **BOTH, one: 2.0, other: 8.5}
    assert [f.code for f in of_rows(read(tmp_path, row))] == ["scores-against-labels"]
    assert not of_rows(read(tmp_path, {**row, one: 9}))
    swap = {"chosen": "rejected", "rejected": "chosen"}
    (turned,) = read(tmp_path, {**row, "margin": -1}, columns=swap)
    assert turned.responses == (BAD, GOOD) and turned.notes == ()


def test_columns_are_called_as_the_config_says(tmp_path):
    row = {"frage": Q, "gut": GOOD, "schlecht": BAD}
    names = {"frage": "prompt", "gut": "chosen", "schlecht": "rejected"}
    assert read(tmp_path, row, columns=names)[0].responses == (GOOD, BAD)
    with pytest.raises(UserError, match=r"has no column 'frag' \(nearest: 'frage'\); it has"):
        read(tmp_path, {"prompt": Q, **BOTH, "frage": ""}, columns={"frag": "prompt"})
    with pytest.raises(UserError, match=r"rows.jsonl:1: .*'prompt' stands twice"):
        read(tmp_path, {"prompt": Q, "frage": Q, **BOTH}, columns={"frage": "prompt"})
    with pytest.raises(UserError, match=r"no field 'prompt'.*data.columns=\{NAME: prompt\}"):
        read(tmp_path, {"frage": Q, **BOTH})


IMAGE = {"type": "image_url", "image_url": {"url": "a.png"}}
WRONG = {
    "repr": ({"chosen": str([assistant(GOOD)]), "rejected": BAD}, "as Python prints them"),
    "repr of one": ({"prompt": str(user("it's")), **BOTH}, "as Python prints them"),
    "image": ({"prompt": [user([{"type": "text", "text": Q}, IMAGE])]},
              "prompt[0].content[1] is a part of type 'image_url'"),
    "audio": ({"prompt": [user([{"type": "input_audio"}])]}, "part of type 'input_audio'"),
    "no content": ({"prompt": [user(None)]}, "'prompt[0].content' is null; give text, or a list"),
    "content object": ({"prompt": [user({"a": 1})]}, "is an object; give text, or a list of parts"),
    "call": ({"prompt": [{"from": "function_call", "value": "{}"}]}, "'tool_calls'"),
    "deep": ({"chosen": [assistant("a", x=json.loads("[" * 200 + "]" * 200))],
              "rejected": [assistant("b")]}, "over 100 levels"),
    "tools": ({"tools": "look"}, "'tools' is no list of objects"),
    "two systems": ({"system": "Be brief.", "system_prompt": "Be long."}, "keep one of the two"),
    "system twice": ({"system": "Be long.", "prompt": [SYSTEM, user(Q)]}, "keep one"),
    "kwargs": ({"chat_template_kwargs": [1]}, "'chat_template_kwargs' is no object"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_refusals_fit_the_row(tmp_path, case):
    more, message = WRONG[case]
    with pytest.raises(UserError) as caught:
        read(tmp_path, {"prompt": Q, **BOTH, **more})
    assert "rows.jsonl:1: " in str(caught.value) and message in str(caught.value)


def test_parts_of_text_are_joined_and_answers_in_json_stay_answers(tmp_path):
    parts = [{"type": "text", "text": "Name "}, {"type": "text", "text": "a sea."}]
    answer = '[{"sea": "Baltic"}]'
    (one,) = read(tmp_path, {"prompt": [user(parts)], "chosen": answer, "rejected": "{'a': 1}"})
    assert one.prompt == [user(Q)] and one.responses == (answer, "{'a': 1}")
