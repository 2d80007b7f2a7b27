from __future__ import annotations

from dataclasses import replace

import pytest

from tiebreak.data.examples import Example
from tiebreak.data.lint import Finding, lint, refuse
from tiebreak.data.tokens import Limits, tokenise
from tiebreak.errors import UserError

TURN = [{"role": "user", "content": "hi"}]
TALK = [*TURN, {"role": "assistant", "content": "yo"}, *TURN]


def codes(findings) -> set[tuple[str, str]]:
    return {(finding.severity, finding.code) for finding in findings}


def linted(examples, tokenizer, max_length=100, train=()):
    tokens, report = tokenise(examples, tokenizer, Limits(max_length))
    return lint(tokens, tokenizer, report, examples, train)


def pair(prompt, chosen="yes", rejected="no") -> Example:
    return Example("1", prompt, (chosen, rejected), where="rows.jsonl:1")


def test_clean_rows_have_no_findings(chatml, make_tokenizer):
    # ChatML's BOS opens every turn; that is one BOS per turn, not a doubled one.
    assert linted([pair(TURN), pair(TALK)], chatml) == []
    assert linted([pair("hi")], make_tokenizer(bos="<s>", adds_bos=True)) == []
    assert linted([pair("hi")], make_tokenizer(bos="<s>")) == []


def test_a_doubled_bos_is_an_error(make_tokenizer):
    twice = "{{ bos_token }}{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"
    for tokenizer, row in [
        (make_tokenizer(twice, bos="<s>"), pair(TURN)),
        (make_tokenizer(bos="<s>", adds_bos=True), pair("<s><s>hi")),
        (make_tokenizer(bos="<s>", adds_bos=True), pair("hi <s>again")),
    ]:
        assert codes(linted([row], tokenizer)) == {("error", "bos-doubled")}


def test_chatml_with_two_markers_in_a_row_is_an_error(chatml):
    chatml.chat_template = "<|im_start|>" + chatml.chat_template
    assert ("error", "bos-doubled") in codes(linted([pair(TURN)], chatml))


def test_bos_missing_or_in_the_answer(make_tokenizer):
    tokenizer = make_tokenizer(bos="<s>", adds_bos=True)
    tokens, report = tokenise([pair("hi")], tokenizer, Limits(100))
    bare = replace(tokens, prompts=[ids[1:] for ids in tokens.prompts])
    assert codes(lint(bare, tokenizer, report)) == {("error", "bos-missing")}
    assert codes(linted([pair("hi", chosen="a<s>b")], tokenizer)) == {("error", "bos-in-response")}


def test_an_uncut_answer_without_its_end_is_an_error(chatml):
    tokens, report = tokenise([pair(TURN)], chatml, Limits(100))
    open_ended = replace(tokens, responses=[(tokens.responses[0][0][:-1], tokens.responses[0][1])])
    assert ("error", "end-missing") in codes(lint(open_ended, chatml, report))


def test_truncation_is_counted_per_side_and_an_error_above_the_share(make_tokenizer):
    tokenizer = make_tokenizer()
    rows = [pair("hi", chosen="y" * 20), *[pair("hi")] * 3]
    tokens, report = tokenise(rows, tokenizer, Limits(12))
    (finding,) = lint(tokens, tokenizer, report)
    assert (finding.severity, finding.code) == ("warn", "truncated")
    assert "chosen: 1 of 4 cut to 12 tokens, 1 lost their end token (25.0%)" in finding.message
    tokens, report = tokenise(rows[:1] * 3 + rows[1:2], tokenizer, Limits(12))
    (finding,) = lint(tokens, tokenizer, report)
    assert finding.severity == "error" and "(75.0%)" in finding.message


def test_sides_that_only_differed_after_the_cut(make_tokenizer):
    row = pair("hi", chosen="same" * 5 + "a", rejected="same" * 5 + "b")
    found = codes(linted([row, *[pair("hi")] * 2], make_tokenizer(), max_length=12))
    assert ("warn", "sides-alike") in found


def test_a_template_that_rewrites_the_prompt_is_an_error_a_single_row_is_not(chatml):
    broken = pair(TURN, chosen="\n\nyes")
    assert codes(linted([broken, pair(TURN)], chatml)) == {("error", "prompt-not-a-prefix")}
    many = [broken, *[pair(TURN)] * 99]
    assert codes(linted(many, chatml)) == {("warn", "prompt-not-a-prefix")}


def test_another_template_than_the_rows_were_made_with(chatml):
    tokens, report = tokenise([pair(TURN)], chatml, Limits(100))
    chatml.chat_template += " "
    assert ("error", "template-changed") in codes(lint(tokens, chatml, report))


def test_plain_prompts_for_a_chat_model(chatml):
    assert codes(linted([pair("<|im_start|>hi")], chatml)) == {("warn", "plain-prompts")}


def test_answers_emptied_by_the_template(make_tokenizer):
    template = "{% for m in messages %}{{ m.content.split('/')[-1] }}</s>{% endfor %}"
    tokenizer = make_tokenizer(template)
    found = codes(linted([pair(TURN, chosen="a/"), pair(TURN)], tokenizer))
    assert found == {("warn", "emptied")}


def one(findings, code) -> str:
    """The message of the only finding."""
    (finding,) = findings
    assert (finding.severity, finding.code) == ("warn", code)
    return finding.message


def test_a_header_that_is_scored_with_every_answer(chatml, make_tokenizer):
    chatml.chat_template = chatml.chat_template.partition("{% if add")[0]
    found = [f for f in linted([pair(TURN)], chatml) if f.code != "bos-in-response"]  # it is both
    message = one(found, "header-scored")
    assert "'<|im_start|>assistant'" in message and "all 1 conversations" in message
    mistral = "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    mistral += "{% else %} {{ m.content }}</s>{% endif %}{% endfor %}"
    assert linted([pair(TURN)], make_tokenizer(mistral)) == []


@pytest.mark.parametrize(
    "text",
    [
        "<|im_start|>user\nhi<|im_end|>",
        "[INST] hi [/INST]",
        "<start_of_turn>user",
        "x\nHuman: hi",
        "### Instruction:\nhi",
        "<|eot_id|>",
    ],
)
def test_marks_of_a_template_inside_a_turn(text, make_tokenizer):
    tokenizer = make_tokenizer("{% for m in messages %}{{ m.content }}</s>{% endfor %}")
    asked = pair([{"role": "user", "content": text}])
    for row in (asked, pair(TURN, chosen=text), pair([*TALK[:2], *asked.prompt])):
        assert "inside a turn" in one(linted([row, pair(TURN)], tokenizer), "marks-inside")
    bare = make_tokenizer()
    for by_hand in (pair(text), pair(f"{text}.", chosen="yes<|im_end|>\n")):
        assert linted([by_hand], bare) == []
    assert "marks-inside" in dict(codes(linted([pair("x", chosen=f"{text} yes")], bare))).values()


def test_an_answer_that_repeats_its_prompt(make_tokenizer):
    asked = "Where is the office of team 4?"
    template = "{% for m in messages %}{{ m.content }}</s>{% endfor %}"
    turn = [{"role": "user", "content": asked}]
    for prompt, tokenizer in ((asked, make_tokenizer()), (turn, make_tokenizer(template))):
        found = linted([pair(prompt, chosen=f"{asked} Here.")], tokenizer)
        assert "1 rows have an answer that begins" in one(found, "prompt-repeated")
    assert linted([pair("hi", chosen="hi there")], make_tokenizer()) == []


def test_rows_of_one_label(make_tokenizer):
    good, bad = (Example(str(x), "hi", ("yes",), label=x) for x in (True, False))
    message = one(linted([good], make_tokenizer()), "one-label")
    assert "all 1 rows have the label true (first: True)" in message
    assert linted([good, bad], make_tokenizer()) == []


def test_prompts_that_training_rows_nearly_have(make_tokenizer):
    train = [replace(pair("What is 2+2?"), id="t")]
    held = [pair("what is  2+2 ?"), replace(pair("What is 2*2?"), id="2")]
    message = one(linted(held, make_tokenizer(), train=train), "near-duplicates")
    assert message.startswith("1 rows") and "(first: 1, as training row t)" in message


def test_text_without_a_token(metaspace):
    assert "1 rows hold text" in one(linted([pair("a=", "?", "1")], metaspace), "unknown-tokens")


def test_a_token_across_the_end_of_the_prompt(metaspace):
    assert "1 of 1 plain rows" in one(linted([pair("a ", "b", "1")], metaspace), "boundary-merged")


def test_all_errors_are_raised_as_one_and_warnings_pass():
    findings = [
        Finding("error", "bos-doubled", "two"),
        Finding("warn", "truncated", "some"),
        Finding("error", "end-missing", "none"),
    ]
    with pytest.raises(UserError) as caught:
        refuse(findings)
    assert "bos-doubled: two" in str(caught.value) and "end-missing: none" in str(caught.value)
    assert "truncated" not in str(caught.value)
    refuse(findings[1:2])
