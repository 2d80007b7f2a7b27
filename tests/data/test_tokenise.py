from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tokenizers.processors import TemplateProcessing

from tests.data.conftest import CHATML
from tiebreak.data.examples import Example
from tiebreak.data.tokens import Limits, Tokens, encode_prompts, tokenise
from tiebreak.errors import UserError

TURN = [{"role": "user", "content": "hi"}]
LIMITS = Limits(100)


def pair(prompt, chosen="yes", rejected="no", id="1") -> Example:
    return Example(id, prompt, (chosen, rejected), where=f"rows.jsonl:{id}")


def test_plain_rows_are_prompt_then_answer_and_eos(make_tokenizer):
    tokenizer = make_tokenizer()
    tokens, report = tokenise([pair("hi ")], tokenizer, LIMITS)
    assert tokenizer.decode(tokens.prompts[0]) == "hi "
    chosen, rejected = tokens.responses[0]
    assert tokenizer.decode(chosen) == "yes</s>" and tokenizer.decode(rejected) == "no</s>"
    assert chosen.count(tokenizer.eos_token_id) == 1
    assert report.sides == ("chosen", "rejected") and report.end_ids == (tokenizer.eos_token_id,)


def plain(tokenizer, prompt, answer, joined=True):
    tokens, report = tokenise([pair(prompt, answer, "b")], tokenizer, LIMITS, joined)
    return tokens.prompts[0], tokens.responses[0][0], report


def test_plain_rows_are_the_ids_of_one_text(metaspace):
    prompt, answer, report = plain(metaspace, "8+8=", "16")
    assert [*prompt, *answer] == [*metaspace("8+8=16")["input_ids"], metaspace.eos_token_id]
    assert prompt == metaspace("8+8=")["input_ids"] == encode_prompts(["8+8="], metaspace)[0]
    assert metaspace.convert_ids_to_tokens(answer) == ["1", "6", "</s>"]
    assert report.merged == ()
    _, apart, _ = plain(metaspace, "8+8=", "16", joined=False)
    assert metaspace.convert_ids_to_tokens(apart) == ["\u25811", "6", "</s>"]
    _, spaced, _ = plain(metaspace, "a", " b")
    assert metaspace.convert_ids_to_tokens(spaced) == ["\u2581b", "</s>"]


def test_a_prompt_keeps_its_ids_where_a_token_would_lie_across_its_end(metaspace):
    """As one text "a b" ends in one token of space and word; generation starts behind the space."""
    prompt, answer, report = plain(metaspace, "a ", "b")
    assert metaspace.convert_ids_to_tokens(prompt) == ["<s>", "\u2581a", "\u2581"]
    assert metaspace.convert_ids_to_tokens(answer) == ["b", "</s>"]
    assert report.merged == ("1",)


def test_plain_rows_get_what_the_tokenizer_puts_before_a_text(make_tokenizer):
    tokenizer = make_tokenizer(CHATML, special=("[gMASK]", "<sop>"))
    marks = [(m, tokenizer.convert_tokens_to_ids(m)) for m in ("[gMASK]", "<sop>")]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="[gMASK] <sop> $A", special_tokens=marks
    )
    for prompt in ("hi ->", "[gMASK]<sop>hi ->"):  # nor are they doubled
        ids, answer, _ = plain(tokenizer, prompt, " yes")
        assert tokenizer.decode(ids) == "[gMASK]<sop>hi ->"
        assert tokenizer.decode(answer) == " yes</s>"
    assert encode_prompts([TURN], tokenizer)[0][0] not in dict(marks).values()


def test_a_tokenizer_that_closes_every_text_closes_the_answer_alone(make_tokenizer):
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", tokenizer.eos_token_id)]
    )
    prompt, answer, _ = plain(tokenizer, "hi", " yes")
    assert (tokenizer.decode(prompt), tokenizer.decode(answer)) == ("hi", " yes</s>")


def test_an_eos_already_written_is_not_doubled(make_tokenizer):
    tokenizer = make_tokenizer()
    tokens, _ = tokenise([pair("hi", chosen="yes</s>")], tokenizer, LIMITS)
    assert tokenizer.decode(tokens.responses[0][0]) == "yes</s>"


BOS_IN_TEMPLATE = "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"


@pytest.mark.parametrize("adds_bos", [True, False])
@pytest.mark.parametrize("template", [BOS_IN_TEMPLATE, BOS_IN_TEMPLATE[15:]])
def test_one_bos_where_the_template_or_the_tokenizer_has_one(make_tokenizer, adds_bos, template):
    tokenizer = make_tokenizer(template, bos="<s>", adds_bos=adds_bos)
    rows = [pair(TURN), pair("hi"), pair("<s>hi")]
    tokens, _ = tokenise(rows, tokenizer, LIMITS)
    expected = [int(adds_bos or "bos_token" in template), int(adds_bos), 1]
    assert [ids.count(tokenizer.bos_token_id) for ids in tokens.prompts] == expected
    assert [ids[0] == tokenizer.bos_token_id for ids in tokens.prompts] == [n > 0 for n in expected]


def test_chatml_keeps_the_end_of_turn_and_drops_the_new_line_after_it(chatml):
    tokens, _ = tokenise([pair(TURN, chosen="yes \n")], chatml, LIMITS)
    prompt = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert chatml.decode(tokens.prompts[0]) == prompt
    assert chatml.decode(tokens.responses[0][0]) == "yes \n<|im_end|>"
    assert chatml.decode(tokens.responses[0][1]) == "no<|im_end|>"
    assert tokens.prompts == encode_prompts([TURN], chatml)


def test_an_end_of_turn_that_is_not_eos_ends_the_answer(make_tokenizer):
    template = "{% for m in messages %}<T>{{ m.content }}<E>\n{% endfor %}"
    template += "{% if add_generation_prompt %}<T>{% endif %}"
    tokenizer = make_tokenizer(template, special=("<T>", "<E>"))
    tokens, report = tokenise([pair(TURN)], tokenizer, LIMITS)
    assert tokenizer.decode(tokens.responses[0][0]) == "yes<E>"
    end = tokenizer.convert_tokens_to_ids("<E>")
    assert report.end_ids == tuple(sorted((tokenizer.eos_token_id, end)))


def test_a_template_that_does_not_close_the_turn_gets_eos(make_tokenizer):
    tokenizer = make_tokenizer("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
    tokens, _ = tokenise([pair(TURN)], tokenizer, LIMITS)
    assert tokenizer.decode(tokens.responses[0][0]) == "assistant: yes</s>"


def test_prompt_and_cut_prompt_add_up_to_the_limit(make_tokenizer):
    tokenizer = make_tokenizer()
    rows = [pair("p" * 6, "c" * 4, "r" * 3), pair("p" * 9, "c", "r"), pair("p" * 10, id="3")]
    tokens, report = tokenise(rows, tokenizer, Limits(10))
    assert [len(ids) for ids in tokens.prompts] == [6, 9]
    assert [[len(ids) for ids in row] for row in tokens.responses] == [[4, 4], [1, 1]]
    # c*4 loses its EOS, r*3 with EOS just fits; one token of room cuts both of the second row.
    assert report.truncated == {"chosen": 2, "rejected": 1}
    assert report.dropped.places == {"prompt-too-long": ("rows.jsonl:3",)}
    assert tokenizer.eos_token_id not in tokens.responses[0][0]
    assert tokens.responses[0][1][-1] == tokenizer.eos_token_id
    _, report = tokenise(rows, tokenizer, Limits(10, max_prompt_length=6))
    assert report.dropped.counts == {"prompt-too-long": 2}


def test_impossible_limits_are_refused():
    with pytest.raises(UserError, match="leaves no room in data.max_length=10"):
        Limits(10, 10)
    with pytest.raises(UserError, match="max_length=1"):
        Limits(1)


def test_what_a_template_strips_empties_the_answer(make_tokenizer):
    template = "{% for m in messages %}{{ m.role }}:{{ m.content.split('</think>')[-1] }}</s>"
    template += "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
    tokenizer = make_tokenizer(template)
    rows = [pair(TURN, rejected="long thought</think>"), pair(TURN, id="2")]
    tokens, report = tokenise(rows, tokenizer, LIMITS)
    assert tokens.ids == ["2"]
    assert report.emptied == {"chosen": 0, "rejected": 1}
    assert report.dropped.places == {"response-emptied": ("rows.jsonl:1",)}


def test_an_end_token_inside_an_answer_drops_the_row(chatml):
    row = pair(TURN, chosen="stop<|im_end|>and go on")
    _, report = tokenise([row, pair(TURN)], chatml, LIMITS)
    assert report.dropped.counts == {"end-token-inside": 1}


def test_an_answer_that_changes_the_prompts_tokens_drops_the_row(chatml):
    # The prompt ends in a new line; with two more after it, two of the three become one token.
    _, report = tokenise([pair(TURN, chosen="\n\nyes"), pair(TURN)], chatml, LIMITS)
    assert report.dropped.counts == {"prompt-not-a-prefix": 1}


def test_labels_and_demonstrations(chatml):
    rows = [
        Example("a", TURN, ("yes",), label=True),
        Example("b", "plain", ("no",), label=False),
        Example("c", "plain", ("so",)),
    ]
    tokens, report = tokenise(rows, chatml, LIMITS)
    assert tokens.labels == [True, False, None] and tokens.ids == ["a", "b", "c"]
    assert [len(row) for row in tokens.responses] == [1, 1, 1]
    assert report.sides == ("response",) and report.num_conversations == 1


def test_a_tokenizer_that_cannot_is_refused(make_tokenizer):
    with pytest.raises(UserError, match=r"rows.jsonl:1: a conversation.*set model.chat_template"):
        tokenise([pair(TURN)], make_tokenizer(), LIMITS)
    with pytest.raises(UserError, match="no EOS token"):
        tokenise([pair("hi")], make_tokenizer(eos=None), LIMITS)
    picky = make_tokenizer("{{ raise_exception('no system turns') }}")
    with pytest.raises(UserError, match=r"rows.jsonl:1: .*no system turns"):
        tokenise([pair(TURN)], picky, LIMITS)


def test_saved_tokens_load_as_they_were(tmp_path, chatml):
    rows = [pair(TURN), pair("plain", id="é/2")]
    tokens, _ = tokenise(rows, chatml, LIMITS)
    for wanted in (tokens, Tokens([], [], [], [])):
        wanted.save(tmp_path / "t")
        assert Tokens.load(tmp_path / "t") == wanted
    path = tmp_path / "t" / "tokens.json"
    path.write_text(json.dumps({"format": 1}))
    with pytest.raises(UserError, match=r"tokens\.json: format 1, this version reads 2"):
        Tokens.load(tmp_path / "t")


def test_the_content_hash_is_of_the_ids_alone():
    tokens = Tokens(["a"], [[1, 2]], [([3], [4, 5])], [None])
    assert tokens.content_hash() == replace(tokens, ids=["b"], labels=[True]).content_hash()
    others = [
        replace(tokens, prompts=[[1]], responses=[([2, 3], [4, 5])]),
        replace(tokens, responses=[([3, 4], [5])]),
        replace(tokens, responses=[([3], [4, 6])]),
    ]
    assert len({tokens.content_hash(), *(other.content_hash() for other in others)}) == 4
    # A stored artefact is found by this value, so it must not drift between versions.
    known = "5eab1afecb476598"
    assert tokens.content_hash().startswith(known)
