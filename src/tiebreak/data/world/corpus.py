"""What the world's base model is pretrained on: prose, and questions with mediocre answers."""

from __future__ import annotations

from random import Random

from tiebreak.data.world.grammar import (
    draw_fact,
    draw_request,
    write_answer,
    write_fact,
    write_request,
)
from tiebreak.data.world.lexicon import ASPECTS, TOPIC_SENTENCES, TOPICS
from tiebreak.data.world.pairs import make_rng
from tiebreak.data.world.tokenizer import render

PROSE_SHARE = 0.25
ANSWER_QUALITY = (0.2, 0.8)


def _prose(rng: Random) -> str:
    """A text about an outing: where it led, and what was seen, told three times over.

    It never contradicts itself. Saying things again teaches the base model to look back at what
    was said, which answering needs and which few answers would teach too slowly.
    """
    topics = rng.sample(list(TOPICS), 2)
    facts = [draw_fact(rng, a) for a in rng.sample(list(ASPECTS), rng.randint(2, 5))]
    sentences = [frame.format(rng.choice(topics)) for frame in rng.sample(TOPIC_SENTENCES, 3)]
    tellings = [write_fact(rng, rng.sample(facts, len(facts))) for _ in range(3)]
    return " ".join(text for pair in zip(sentences, tellings, strict=True) for text in pair)


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
