"""What the world's base model is pretrained on: prose, and questions with mediocre answers."""

from __future__ import annotations

from random import Random

from tiebreak.data.world.grammar import (
    draw_fact,
    draw_request,
    write_answer,
    write_facts,
    write_request,
)
from tiebreak.data.world.lexicon import TOPIC_SENTENCES, TOPICS
from tiebreak.data.world.pairs import make_rng
from tiebreak.data.world.tokenizer import render

PROSE_SHARE = 0.25
ANSWER_QUALITY = (0.2, 0.9)


def _prose(rng: Random) -> str:
    """A text about one topic that says each of its facts twice, and never contradicts itself.

    It teaches the base model to look back at what was said, which answering needs.
    """
    topic = rng.choice(list(TOPICS))
    aspects = rng.sample(list(TOPICS[topic]), rng.randint(2, 4))
    facts = [draw_fact(rng, aspect) for aspect in aspects]
    sentences = [frame.format(topic) for frame in rng.sample(TOPIC_SENTENCES, 4)]
    halves: list[str] = []
    for half in (sentences[:2], sentences[2:]):
        half += write_facts(rng, rng.sample(facts, len(facts)))
        halves += rng.sample(half, len(half))
    return " ".join(halves)


def corpus(num_documents: int, seed: int) -> list[str]:
    """Documents ready to tokenise: special tokens are written out, one BOS and one EOS each.

    One in four is prose; the rest are one question and one answer, as the chat template renders
    them. Only requests of the training side occur.
    """
    rng = make_rng("corpus", seed)
    documents: list[str] = []
    for _ in range(num_documents):
        if rng.random() < PROSE_SHARE:
            documents.append(f"<bos>{_prose(rng)}<eos>")
            continue
        request = draw_request(rng, "train")
        answer = write_answer(rng, request, rng.uniform(*ANSWER_QUALITY))
        documents.append(render(write_request(rng, request), answer))
    return documents
