"""A word-level tokenizer over the world's lexicon, with the world's chat template."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiebreak.data.world.lexicon import vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>", "<unk>", "<user>", "<assistant>")
MAX_LENGTH = 128  # tokens; the longest prompt with its answer stays well below

CHAT_TEMPLATE = (
    "<bos>{% for message in messages %}"
    "{% if message['role'] == 'user' %}<user>{{ message['content'] }}"
    "{% elif message['role'] == 'assistant' %}<assistant>{{ message['content'] }}<eos>"
    "{% else %}{{ raise_exception('the controlled world knows the roles user and assistant') }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def render(prompt: str, answer: str) -> str:
    """One question and its answer as the chat template renders them."""
    return f"<bos><user>{prompt}<assistant>{answer}<eos>"


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token per word or mark; special tokens come from the template, never from encoding.

    Decoding gives text with marks stuck to words ("i like red boats."), which encodes back
    to the same tokens and which `gold` reads.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    ids = {token: i for i, token in enumerate([*SPECIAL_TOKENS, *vocabulary()])}
    backend = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        additional_special_tokens=["<user>", "<assistant>"],
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_LENGTH,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
