"""Overlap of questions with training texts, against plain lists of words."""

from __future__ import annotations

import random

import pytest

from tiebreak.data import overlap as module
from tiebreak.data.overlap import LONGEST, SHORTEST, numbered, words

TEXT = "the quick brown fox jumps over the lazy dog near the old river bank today"


def overlap(questions: list[str], texts: list[str]) -> dict[str, int]:
    return module.overlap(questions, numbered(texts))


def by_hand(questions: list[str], texts: list[str]) -> dict[str, int]:
    trained = [" ".join(["", *words(text), ""]) for text in texts]

    def runs(question: str) -> list[str]:
        said = words(question)
        size = min(len(said), LONGEST)
        return [" ".join(["", *said[i : i + size], ""]) for i in range(len(said) - size + 1)]

    judged = [question for question in questions if len(words(question)) >= SHORTEST]
    found = sum(any(run in text for run in runs(q) for text in trained) for q in judged)
    return {"questions": len(judged), "overlapping": found, "short": len(questions) - len(judged)}


def test_marks_and_case_do_not_count() -> None:
    asked = ["The QUICK, brown fox\njumps over the lazy dog_near the old."]
    assert overlap(asked, [f"Well: {TEXT}!"]) == {"questions": 1, "overlapping": 1, "short": 0}


def test_a_long_question_needs_13_words_in_a_row_and_a_short_one_all_of_its_own() -> None:
    said = TEXT.split()
    twelve, thirteen = " ".join(said[:12]), " ".join(said[:13])
    assert overlap([f"unlike {twelve} unlike"], [TEXT])["overlapping"] == 0
    assert overlap([f"unlike {thirteen} unlike"], [TEXT])["overlapping"] == 1
    assert overlap([twelve, " ".join(said[:8])], [TEXT])["overlapping"] == 2
    assert overlap([f"{' '.join(said[:8])} unlike"], [TEXT])["overlapping"] == 0
    assert overlap([" ".join(said[:7])], [TEXT]) == {"questions": 0, "overlapping": 0, "short": 1}


def test_a_run_does_not_go_from_one_text_into_the_next() -> None:
    said = TEXT.split()
    assert overlap([TEXT], [" ".join(said[:7]), " ".join(said[7:])])["overlapping"] == 0


@pytest.mark.parametrize("at_once", [1, 40, 1 << 20])
def test_the_counts_are_those_of_plain_lists(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    draw = random.Random(0)
    texts = [" ".join(draw.choices("abcde", k=draw.randint(0, 60))) for _ in range(30)]
    cut = [" ".join(draw.choices("abcde", k=draw.randint(3, 20))) for _ in range(100)]
    cut += [" ".join(text.split()[5 : 5 + draw.randint(8, 25)]) for text in texts]
    expected = by_hand(cut, texts)
    assert 10 < expected["overlapping"] < expected["questions"] and expected["short"]
    assert overlap(cut, texts) == expected


def test_nothing_to_compare() -> None:
    assert overlap([], [TEXT]) == {"questions": 0, "overlapping": 0, "short": 0}
    assert overlap([TEXT], []) == {"questions": 1, "overlapping": 0, "short": 0}
