"""Which questions share a run of words with training data (apart: a plan loads no numpy for it).

A question overlaps when 13 words in a row of it stand in a training text, lower-cased, without
marks; of a question of 8 to 12 words all of them must. A shorter one is not judged: its words meet
by chance. 13 and 8 are the limits of GPT-3's contamination study (arXiv 2005.14165, appendix C).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Sequence

import numpy as np

LONGEST, SHORTEST = 13, 8
AT_ONCE = 1 << 20  # words of training text
_WORD = re.compile(r"[^\W_]+")
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
Words = np.ndarray[tuple[int], np.dtype[np.uint32]]
Hashes = np.ndarray[tuple[int], np.dtype[np.uint64]]


def words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def numbered(texts: Iterable[str]) -> Words:
    """The words of texts, each as a number, with a 0 after each text."""
    parts = [_numbers(words(text)) for text in texts]
    return np.concatenate(parts) if parts else _numbers([])


def _numbers(said: Sequence[str]) -> Words:
    return np.array([*(zlib.crc32(word.encode()) or 1 for word in said), 0], dtype=np.uint32)


def overlap(questions: Sequence[str], trained: Words) -> dict[str, int]:
    """questions: how many were judged; overlapping: of these; short: those too short for it.
    trained: training texts, `numbered`."""
    asked = [words(question) for question in questions]
    judged = [question for question in asked if len(question) >= SHORTEST]
    sizes = [min(len(question), LONGEST) for question in judged]
    own = [_runs(_numbers(q), size) for q, size in zip(judged, sizes, strict=True)]
    found = 0
    for size in sorted(set(sizes)):
        of_size = [runs for runs, its in zip(own, sizes, strict=True) if its == size]
        hits = set(_shared(np.sort(np.concatenate(of_size)), trained, size).tolist())
        found += sum(not hits.isdisjoint(runs.tolist()) for runs in of_size)
    return {"questions": len(judged), "overlapping": found, "short": len(asked) - len(judged)}


def _shared(wanted: Hashes, trained: Words, size: int) -> Hashes:
    """Those of the sorted hashes that a run of the training texts has."""
    seen = np.zeros(len(wanted), bool)
    for at in range(0, len(trained), AT_ONCE):
        there = _runs(trained[at : at + AT_ONCE + size - 1], size)
        places = np.minimum(np.searchsorted(wanted, there), len(wanted) - 1)
        seen[places[wanted[places] == there]] = True
    return wanted[seen]


def _runs(said: Words, size: int) -> Hashes:
    """A 64-bit hash of every run of `size` words in one text."""
    number = max(0, len(said) - size + 1)
    hashes, whole = np.zeros(number, np.uint64), np.ones(number, bool)
    for at in range(size):
        part = said[at : at + number]
        hashes = hashes * _FACTOR + part
        whole &= part != 0
    return hashes[whole]
