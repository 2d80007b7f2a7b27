"""Which questions share a run of words with training data (apart: a plan loads no numpy for it).

A question overlaps when 13 words in a row of it stand in a training text, lower-cased, without
marks; of a question of 8 to 12 words all of them must. A shorter one is not judged: its words meet
by chance. 13 and 8 are the limits of GPT-3's contamination study (arXiv 2005.14165, appendix C).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

LONGEST, SHORTEST = 13, 8
AT_ONCE = 1 << 20  # words of training text
_WORD = re.compile(r"[^\W_]+")
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
Ids = np.ndarray[tuple[int], np.dtype[np.uint64]]


def overlap(questions: Sequence[str], texts: Iterable[str]) -> dict[str, int]:
    """questions: how many were judged; overlapping: of these; short: those too short for it."""
    asked = [words(question) for question in questions]
    judged = [question for question in asked if len(question) >= SHORTEST]
    known: dict[str, int] = {}
    rows = [_ids([known.setdefault(word, len(known) + 1) for word in q]) for q in judged]
    sizes = [min(len(row), LONGEST) for row in rows]
    own = [_runs(row, size) for row, size in zip(rows, sizes, strict=True)]
    wanted = {size: np.unique(np.concatenate([runs for runs, of in zip(own, sizes, strict=True)
                                              if of == size])) for size in set(sizes)}  # fmt: skip
    seen = {size: np.zeros(len(runs), bool) for size, runs in wanted.items()}
    for block in _blocks(texts, known) if judged else ():
        for size, runs in wanted.items():
            seen[size] |= np.isin(runs, _runs(block, size))
    hits = {size: set(runs[seen[size]].tolist()) for size, runs in wanted.items()}
    found = sum(not hits[size].isdisjoint(runs.tolist())
                for runs, size in zip(own, sizes, strict=True))  # fmt: skip
    return {"questions": len(judged), "overlapping": found, "short": len(asked) - len(judged)}


def words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _blocks(texts: Iterable[str], known: dict[str, int]) -> Iterator[Ids]:
    """The words of texts as numbers; 0 for a word that no question has, and between two texts."""
    block: list[int] = []
    for text in texts:
        block += [known.get(word, 0) for word in words(text)]
        block.append(0)
        if len(block) > AT_ONCE:
            yield _ids(block)
            block = []
    yield _ids(block)


def _ids(values: Sequence[int]) -> Ids:
    return np.array(values, dtype=np.uint64)


def _runs(ids: Ids, size: int) -> Ids:
    """A 64-bit hash of every run of `size` words without a 0 in it."""
    number = len(ids) - size + 1
    if number < 1:
        return _ids([])
    hashes, whole = np.zeros(number, np.uint64), np.ones(number, bool)
    for at in range(size):
        part = ids[at : at + number]
        hashes = hashes * _FACTOR + part
        whole &= part != 0
    return hashes[whole]
