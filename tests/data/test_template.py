"""What a chat template is given, what of it is found again, and whose fault a failure is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tokenizers.pre_tokenizers import ByteLevel

from tests.data.conftest import CHATML
from tiebreak.data.encode import special_ids
from tiebreak.data.examples import Example
from tiebreak.data.lint import lint
from tiebreak.data.template import DATE, left_out, named, read_template, render
from tiebreak.data.tokens import Limits, encode_prompts, tokenise
from tiebreak.errors import UserError

TURN = [{"role": "user", "content": "hi"}]
CALL = {"type": "function", "id": "c1", "function": {"name": "find", "arguments": {"at": "here"}}}
TOOL = {"type": "function", "function": {"name": "find", "description": "Finds it."}}
TOOLS = (
    "{% if tools %}{{ tools | tojson }}\n{% endif %}{% for d in documents or [] %}{{ d.text }}\n"
    "{% endfor %}{% for m in messages %}<{{ m.role }}>{{ m.reasoning_content or '' }}"
    "{{ m.content or '' }}{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}"
    "</s>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
LIMITS = Limits(1000)


def row(prompt=TURN, chosen="yes", rejected="no", **more) -> Example:
    return Example("r1", prompt, (chosen, rejected), where="rows.jsonl:1", **more)


def texts(example, tokenizer) -> list[str]:
    tokens, _ = tokenise([example], tokenizer, LIMITS)
    return [tokenizer.decode(ids) for ids in (tokens.prompts[0], *tokens.responses[0])]


def found(example, tokenizer) -> dict[str, str]:
    tokens, report = tokenise([example], tokenizer, LIMITS)
    return {f.code: f.message for f in lint(tokens, tokenizer, report, [example])}


def test_every_field_of_a_message_reaches_the_template(make_tokenizer):
    tokenizer = make_tokenizer(TOOLS)
    answers = [
        [{"role": "assistant", "content": "Look.", "tool_calls": [CALL]}],
        [{"role": "assistant", "content": "No.", "reasoning_content": "Why not?"}],
    ]
    past = [*TURN, {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "content": "4", "tool_call_id": "c1"}]  # fmt: skip
    documents = [{"title": "Qzx", "text": "A page."}]
    example = row(past, *answers, tools=[TOOL], template_kwargs={"documents": documents})
    prompt, chosen, rejected = texts(example, tokenizer)
    call = '{"name": "find", "arguments": {"at": "here"}}'
    assert chosen == f"Look.{call}</s>" and rejected == "Why not?No.</s>"
    assert prompt.startswith('[{"type": "function", "function": {"name": "find"')
    assert f"A page.\n<user>hi</s><assistant>{call}</s><tool>4</s><assistant>" in prompt
    whole = tokenizer.apply_chat_template(
        [*past, *answers[0]], tools=[TOOL], documents=documents, return_dict=False
    )
    assert whole == tokenizer(prompt + chosen)["input_ids"]
    assert found(row(past, *answers, tools=[TOOL]), tokenizer) == {}
    lost = found(example, tokenizer)  # the title alone is not written
    assert "1 rows hold text that" in lost["text-left-out"] and "documents.title" in str(lost)


def test_what_a_template_leaves_out_is_named_by_its_field(chatml):
    answer = [{"role": "assistant", "content": "Look.", "tool_calls": [CALL]}]
    message = found(row(chosen=answer, tools=[TOOL]), chatml)["text-left-out"]
    for part in ("chosen.tool_calls.function.name (1)", "tools.function.description (1)", "r1"):
        assert part in message
    strip = CHATML.replace("m['content']", "m['content'].split('</think>')[-1]")
    chatml.chat_template = strip
    for example in (
        row(chosen="<think>so</think>yes"),
        row([{"role": "system", "content": "x</think>y"}, *TURN]),
    ):
        assert "text-left-out" in found(example, chatml)
    assert found(row(chosen=" yes\n"), chatml) == {}


def test_text_is_found_however_json_writes_it():
    text = 'a "b"\nc é'
    for written in (text, r"a \"b\"\nc é", r"a \"b\"\nc \u00e9", '  a  "b" c é'):
        assert list(left_out({"content": text}, written, "x")) == []
    assert list(left_out({"arguments": '{"at": "here"}'}, "at=here", "x")) == []
    assert list(left_out({"name": "Ann", "role": "user"}, "hi", "x")) == [("x.name", "Ann")]


def test_arguments_of_the_template_and_those_it_does_not_read(make_tokenizer):
    tokenizer = make_tokenizer("{% if quiet %}(quiet){% endif %}" + CHATML)
    assert texts(row(template_kwargs={"quiet": True}), tokenizer)[0].startswith("(quiet)")
    assert (
        "quiett, which the chat"
        in found(row(template_kwargs={"quiett": 1}), tokenizer)["kwargs-unread"]
    )
    with pytest.raises(UserError, match="rows.jsonl:1: chat_template_kwargs has 'tokenize'"):
        tokenise([row(template_kwargs={"tokenize": True})], tokenizer, LIMITS)


def test_the_date_is_one_whatever_the_day(make_tokenizer, monkeypatch):
    from transformers.utils import chat_template_utils

    class Tomorrow:
        @staticmethod
        def now():
            raise AssertionError("the day of the run")

    tokenizer = make_tokenizer("{{ strftime_now('%d %b %Y') }}: " + CHATML)
    monkeypatch.setattr(chat_template_utils, "datetime", Tomorrow)
    for _ in range(2):
        tokens, report = tokenise([row()], tokenizer, LIMITS)
        assert tokenizer.decode(tokens.prompts[0]).startswith("26 Jul 2024: ")
        assert encode_prompts([TURN], tokenizer) == tokens.prompts and report.use.dated
        chat_template_utils._compile_jinja_template.cache_clear()
    assert f"{DATE:%d %b %Y}" == "26 Jul 2024"
    tokenizer.chat_template = "{{ [1, 2] | random }}"
    with pytest.raises(UserError, match="draws at random"):
        tokenise([row()], tokenizer, LIMITS)


@pytest.mark.parametrize(
    ("template", "prompt", "message"),
    [
        ("{{ messages[0].content + 1 }}", TURN, "model.chat_template fails .*TypeError"),
        ("{{ nothing.at.all }}", TURN, "model.chat_template fails .*UndefinedError"),
        ("{{ 1 // 0 }}", TURN, "model.chat_template fails .*ZeroDivisionError"),
        ("{% break %}", TURN, "model.chat_template fails .*SyntaxError"),
        ("{% for m in %}", TURN, "model.chat_template fails .*TemplateSyntaxError"),
        ("{{ raise_exception('never') }}", TURN, r"model.chat_template fails .*\(never\)"),
        (
            "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}",
            [{"role": "system", "content": "x"}, *TURN],
            r"refuses this conversation \(no system\); repair the row",
        ),
        (
            "{% for m in messages %}{{ m.content + m.get('name', '') }}{% endfor %}",
            [{"role": "user", "content": "x", "name": 3}],
            r"refuses this conversation \(TypeError.*repair the row",
        ),
    ],
)
def test_a_failure_is_laid_to_the_row_or_to_the_template(template, prompt, message, make_tokenizer):
    with pytest.raises(UserError, match=f"rows.jsonl:1: .*{message}") as caught:
        tokenise([row(prompt)], make_tokenizer(template), LIMITS)
    assert "\n" not in str(caught.value) and "one of chatml, " in str(caught.value)


SHIPPED = {
    "chatml": ("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n", "yes<|im_end|></s>"),
    "zephyr": ("<|user|>\nhi</s>\n<|assistant|>\n", "yes</s>"),
    "tulu": ("<|user|>\nhi\n<|assistant|>\n", "yes</s>"),
    "phi-3": ("<|user|>\nhi<|end|>\n<|assistant|>\n", "yes<|end|></s>"),
    "llama-3": (
        "<s><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "yes<|eot_id|></s>",
    ),
    "mistral": ("<s>[INST] hi [/INST]", " yes</s>"),
    "gemma": (
        "<s><start_of_turn>user\nhi<end_of_turn>\n<start_of_turn>model\n",
        "yes<end_of_turn></s>",
    ),
}


def whole_lines(tokenizer):
    """As Llama 3's tokenizer, which keeps two new lines together whatever follows."""
    tokenizer.backend_tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
    return tokenizer


@pytest.mark.parametrize("name", named())
def test_a_shipped_template_serves_a_base_model(name, make_tokenizer):
    """Its marks are text where the tokenizer has none, and the answer then goes on to EOS; where it
    has them, the first one ends the answer."""
    prompt, answer = SHIPPED[name]
    tokenizer = whole_lines(make_tokenizer(read_template(name), bos="<s>"))
    assert texts(row(), tokenizer)[:2] == [prompt, answer]
    assert found(row(), tokenizer) == {}
    mark = answer.removeprefix("yes").removesuffix("</s>").strip()
    if mark.startswith("<"):
        tokenizer = whole_lines(make_tokenizer(read_template(name), bos="<s>", special=(mark,)))
        assert texts(row(), tokenizer)[1] == f"yes{mark}"
    talk = [{"role": "system", "content": "Be brief."}, *TURN,
            {"role": "assistant", "content": "yo"}, *TURN]  # fmt: skip
    assert found(row(talk), tokenizer) == {}


def test_a_template_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"model.chat_template=chatl: no such file.*'chatml'"):
        read_template("chatl")
    (tmp_path / "a.jinja").write_bytes(b"\xff")
    with pytest.raises(UserError, match="not UTF-8"):
        read_template(str(tmp_path / "a.jinja"))


def test_an_answer_of_two_turns_is_refused(chatml):
    answer = [{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}]
    with pytest.raises(UserError, match="rows.jsonl:1: an answer of 2 turns"):
        tokenise([row(chosen=answer)], chatml, LIMITS)


END = "{% for m in messages %}<T>{{ m.content }}<E>\n{% if m.role == 'assistant' %}{{ tail }}"
END += "{% endif %}{% endfor %}{% if add_generation_prompt %}<T>{% endif %}"


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("tail", ["", "</s>"])
def test_the_first_mark_ends_the_answer(special, tail, make_tokenizer):
    """A special token before any other that is a mark; generation stops at either."""
    from tokenizers import AddedToken

    tokenizer = make_tokenizer(END.replace("{{ tail }}", tail), special=("<T>",))
    tokenizer.add_tokens([AddedToken("<E>", special=special)], special_tokens=special)
    tokenizer.add_tokens([AddedToken("</think>", special=False)])
    example = row(chosen="so</think>", rejected="no \n")
    tokens, report = tokenise([example], tokenizer, LIMITS)
    ended = "<E>" if special or not tail else "<E>\n</s>"
    shown = [tokenizer.decode(ids) for ids in tokens.responses[0]]
    assert shown == [f"so</think>{ended}", f"no \n{ended}"]
    end = tokenizer.convert_tokens_to_ids("<E>")
    assert set(report.end_ids) == {end, tokenizer.eos_token_id}
    assert (end in special_ids(tokenizer)) == special


def test_text_at_the_end_of_an_answer_is_no_mark(make_tokenizer):
    """Neither a token for a byte, though some tokenizers call it special, nor an added token where
    the template writes no mark."""
    from tokenizers import AddedToken

    template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    for own in (template, template.replace("}}", "}}</s>")):
        tokenizer = make_tokenizer(own, special=("<0xC3>", "<0xA9>"))
        tokenizer.add_tokens([AddedToken("</call>", special=False)])
        example = row(chosen="caf<0xC3><0xA9>", rejected="<call>x</call>")
        assert texts(example, tokenizer)[1:] == ["caf<0xC3><0xA9></s>", "<call>x</call></s>"]


def test_the_probe_follows_the_rows_own_arguments(make_tokenizer):
    """A template may end a turn otherwise where it is told so."""
    template = "{% for m in messages %}{{ m.content }}{{ '<E>' if short else '</s>' }}{% endfor %}"
    tokenizer = make_tokenizer(template, special=("<E>",))
    short = replace(row(), template_kwargs={"short": True})
    tokens, _ = tokenise([short], tokenizer, LIMITS)
    assert tokenizer.decode(tokens.responses[0][0]) == "yes<E>"
    text = render([*TURN], tokenizer, "here", {}, prompt=True)
    assert text == "hi</s>"
