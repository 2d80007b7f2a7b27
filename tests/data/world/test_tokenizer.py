from __future__ import annotations

import subprocess
import sys

import pytest

from tiebreak.data.world import build_tokenizer, corpus, demonstrations, gold
from tiebreak.data.world.grammar import MAX_LENGTH, render


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def test_the_corpus_encodes_without_unknowns_and_fits(tokenizer):
    for ids in tokenizer(corpus(300, 0))["input_ids"]:
        assert tokenizer.unk_token_id not in ids
        assert ids.count(tokenizer.bos_token_id) == ids.count(tokenizer.eos_token_id) == 1
        assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id
        assert len(ids) <= MAX_LENGTH


def test_the_template_renders_what_the_corpus_holds(tokenizer):
    (example,) = demonstrations(1, 0)
    answer = {"role": "assistant", "content": example.responses[0]}
    whole = tokenizer.apply_chat_template([*example.prompt, answer], tokenize=False)
    assert whole == render(example.prompt[0]["content"], example.responses[0])
    prompt = tokenizer.apply_chat_template(
        example.prompt, tokenize=False, add_generation_prompt=True
    )
    assert whole.startswith(prompt)
    assert (
        tokenizer(whole)["input_ids"][: len(tokenizer(prompt)["input_ids"])]
        == (tokenizer(prompt)["input_ids"])
    )


def test_a_system_turn_is_refused(tokenizer):
    with pytest.raises(Exception, match="knows the roles user and assistant"):
        tokenizer.apply_chat_template([{"role": "system", "content": "be kind"}], tokenize=False)


def test_decoding_gives_text_that_encodes_back_and_that_gold_reads(tokenizer):
    for example in demonstrations(100, 0):
        prompt, answer = example.prompt[0]["content"], example.responses[0]
        ids = tokenizer(answer)["input_ids"]
        decoded = tokenizer.decode([*ids, tokenizer.eos_token_id], skip_special_tokens=True)
        assert decoded == answer
        assert gold(prompt, decoded) == gold(prompt, answer)


def test_it_survives_saving(tokenizer, tmp_path):
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    text = "many boats, cold and red! zebra"
    assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert again.chat_template == tokenizer.chat_template
    assert again.decode(again(text)["input_ids"]) == "many boats, cold and red! <unk>"
    assert (again.pad_token, again.eos_token, again.bos_token) == ("<pad>", "<eos>", "<bos>")


def test_the_world_imports_no_torch():
    script = (
        "import sys, tiebreak.data.world as w; w.corpus(2, 0); w.prompts(2, 0);"
        "assert not {'torch', 'transformers', 'tokenizers'} & set(sys.modules)"
    )
    path = ":".join(p for p in sys.path if p)
    subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": path}, check=True)
