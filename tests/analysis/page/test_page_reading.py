"""Answers and questions in headless Chromium: what the filters find is what a reader would."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_browser import MISSING, Browser

from tests.analysis.conftest import measured
from tests.analysis.tables.benchmark_records import write_answers, write_checkpoint
from tests.analysis.tables.conftest import put_items
from tiebreak_analysis.page import write
from tiebreak_analysis.records.runs import load
from tiebreak_analysis.tables.comparison import comparison

pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

COUNT, BOOLQ = 45, "boolq/acc"
PROMPTS = [f"tell me of number {at}" for at in range(COUNT)]
TOPICS = ("kidney beans", "blue barns", "salty pears")
# What the second model of each test differs in, by prompt.
SAME = [at % 5 == 0 for at in range(COUNT)]
LENGTHS = {"dpo": [10 + at for at in range(COUNT)], "kto": [30] * COUNT}
JUDGED: dict[str, list[float | None]] = {
    "dpo": [(0.0, 0.5, 1.0, None)[at % 4] for at in range(COUNT)],
    "kto": [1.0] * 20 + [0.25] * 25,
}
RIGHT = {
    "dpo": np.arange(150) < 130,
    "kto": np.arange(150) % 3 == 0,
    "zephyr": np.arange(150) > 120,
}

TEXTS = "return [...document.querySelectorAll('{}')].map((one) => one.textContent)"
ROWS = TEXTS.format("#answers .prompt > p small")
COUNTED = "return document.querySelector('#answers .pages').textContent"
CHOOSE = """
const [section, at, text] = arguments;
const found = document.querySelectorAll(`#${section} select`)[at];
const option = [...found.options].find((one) => one.textContent === text);
if (!option) throw new Error(`${text} is none of ${found.textContent}`);
found.value = option.value;
found.dispatchEvent(new Event("change"));
"""
TYPE = """
const [section, text] = arguments;
const box = document.querySelector(`#${section} input`);
box.value = text;
box.dispatchEvent(new Event("input"));
"""
PRESS = """
const [section, text] = arguments;
const buttons = [...document.querySelectorAll(`#${section} button`)];
buttons.find((one) => one.textContent.startsWith(text)).click();
"""
# The controls of the answers, in their order, where both models have seeds to choose from.
LEFT, LEFT_SEED, RIGHT_ROW, RIGHT_SEED, WHERE, SHOW, VERDICT, ORDER = range(8)


def said(method: str, seed: int, at: int) -> str:
    return "alike in both" if SAME[at] else f"{method} {seed} likes {TOPICS[at % 3]}"


def put_run(runs_dir: Path, method: str, seed: int) -> None:
    before = {BOOLQ: np.arange(150) < 75}
    run = write_answers(runs_dir, method, seed, {BOOLQ: RIGHT[method]}, before)
    rows = [
        {"id": f"p{at}", "prompt": PROMPTS[at], "before": f"start {at}",
         "after": said(method, seed, at)}
        for at in range(COUNT)
    ]  # fmt: skip
    ids = {"id": [row["id"] for row in rows]}
    put_texts(runs_dir / run, rows)
    tokens = {"tokens/before": [5] * COUNT, "tokens/after": LENGTHS[method]}
    put_items(runs_dir / run, ids | tokens, "items/generations.parquet")
    put_items(runs_dir / run, ids | {"win/after": JUDGED[method]}, "items/head_to_head.parquet")


def put_texts(folder: Path, rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (measured(folder) / "generations.jsonl").write_text(text)


def put_given(runs_dir: Path) -> None:
    """A checkpoint, asked every second prompt."""
    run = write_checkpoint(runs_dir, "zephyr", {BOOLQ: RIGHT["zephyr"]})
    asked = range(0, COUNT, 2)
    put_texts(runs_dir / run, [{"id": f"p{at}", "prompt": PROMPTS[at], "after": f"zephyr {at}"}
                               for at in asked])  # fmt: skip
    items = {"id": [f"p{at}" for at in asked], "tokens/after": [7] * len(asked)}
    put_items(runs_dir / run, items, "items/generations.parquet")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    runs_dir = tmp_path_factory.mktemp("reading") / "runs"
    for method in ("dpo", "kto"):
        for seed in (1, 2):
            put_run(runs_dir, method, seed)
    put_given(runs_dir)
    runs = load(runs_dir)
    place = runs_dir.parent / "page.html"
    place.write_text(write("reading", runs, [comparison(runs)]), encoding="utf-8")
    return place.as_uri()


@pytest.fixture
def answers(browser: Browser, page: str) -> Iterator[Browser]:
    browser.open(page)
    browser.run("document.getElementById('answers').scrollIntoView()")
    browser.until("return document.querySelectorAll('#answers .prompt').length === 20")
    yield browser
    assert [line for line in browser.console() if "SEVERE" in line] == []
    browser.run("sessionStorage.clear()")


def found(browser: Browser) -> set[int]:
    """All prompts that are left, page by page."""
    told = browser.run(COUNTED)
    number = int(told.split(" of ")[0])
    rows: list[str] = browser.run(ROWS)
    while len(rows) < number:
        browser.run(PRESS, "answers", "later")
        browser.until(f"{ROWS}[0] !== '{rows[-20]}'")
        rows += browser.run(ROWS)
    assert len(rows) == len(set(rows)) == number
    return {int(row[1:]) for row in rows}


def settle(browser: Browser, of: str) -> set[int]:
    browser.until(
        f"return document.querySelector('#answers .pages').textContent.startsWith('{of} ')"
    )
    return found(browser)


def test_all_prompts_are_there_page_by_page(answers: Browser) -> None:
    assert found(answers) == set(range(COUNT))
    shown = answers.run("return document.getElementById('answers').textContent")
    assert "All 203 answers of 5 runs to 45 prompts" in shown


def test_words_in_prompts_and_answers(answers: Browser) -> None:
    answers.run(TYPE, "answers", "KIDNEY")
    kidney = {at for at in range(COUNT) if at % 3 == 0 and not SAME[at]}
    assert settle(answers, str(len(kidney))) == kidney
    answers.run(TYPE, "answers", "number 1")
    numbers = {at for at in range(COUNT) if str(at).startswith("1")}
    assert settle(answers, str(len(numbers))) == numbers
    answers.run(CHOOSE, "answers", WHERE, "answers")
    answers.until("return document.querySelectorAll('#answers .prompt').length === 0")
    assert answers.run(COUNTED).startswith("0 of 45 prompts")


def test_answers_that_differ(answers: Browser) -> None:
    answers.run(CHOOSE, "answers", SHOW, "answers that differ")
    differ = {at for at in range(COUNT) if not SAME[at]}
    assert settle(answers, str(len(differ))) == differ


def test_longer_and_shorter(answers: Browser) -> None:
    answers.run(CHOOSE, "answers", SHOW, "left is longer")
    longer = {at for at in range(COUNT) if LENGTHS["dpo"][at] > 30}
    assert settle(answers, str(len(longer))) == longer
    answers.run(CHOOSE, "answers", SHOW, "right is longer")
    shorter = {at for at in range(COUNT) if LENGTHS["dpo"][at] < 30}
    assert settle(answers, str(len(shorter))) == shorter


def test_verdicts_of_a_judge(answers: Browser) -> None:
    for word, value in (("won", 1.0), ("tied", 0.5), ("lost", 0.0), ("none", None)):
        answers.run(CHOOSE, "answers", VERDICT, f"judge's verdict, left: {word}")
        these = {at for at in range(COUNT) if JUDGED["dpo"][at] == value}
        assert settle(answers, str(len(these))) == these
    answers.run(CHOOSE, "answers", VERDICT, "any")
    answers.run(CHOOSE, "answers", SHOW, "judge's verdict: left above right")
    above = {at for at in range(COUNT) if (one := JUDGED["dpo"][at]) is not None
             and (other := JUDGED["kto"][at]) is not None and one > other}  # fmt: skip
    assert 0 < len(above) < COUNT and settle(answers, str(len(above))) == above
    text = answers.run("return document.getElementById('answers-body').textContent")
    assert "judge's verdict: won" in text and "judge's verdict: lost (0.25)" in text


def test_an_order_by_difference(answers: Browser) -> None:
    answers.run(CHOOSE, "answers", ORDER, "largest difference: tokens")
    by_difference = sorted(range(COUNT), key=lambda at: -abs(LENGTHS["dpo"][at] - 30))
    answers.until(f"{ROWS}[0] === 'p{by_difference[0]}'")
    assert [int(row[1:]) for row in answers.run(ROWS)] == by_difference[:20]


def test_another_seed_a_start_model_and_a_checkpoint(answers: Browser) -> None:
    first = "return document.querySelectorAll('#answers .prompt')[1].textContent"
    assert "dpo 1 likes" in answers.run(first) and "kto 1 likes" in answers.run(first)
    answers.run(CHOOSE, "answers", LEFT_SEED, "2")
    answers.until(f"return (() => {{ {first} }})().includes('dpo 2 likes')")
    answers.run(CHOOSE, "answers", LEFT, "align-from-base · kto")
    answers.until(f"return (() => {{ {first} }})().includes('kto 2 likes')")
    answers.run(CHOOSE, "answers", RIGHT_ROW, "checkpoint · zephyr")
    answers.until(f"return (() => {{ {first} }})().includes('Not asked of this model.')")
    answers.run(CHOOSE, "answers", RIGHT_ROW, "align-from-base · start model")
    answers.until(f"return (() => {{ {first} }})().split('start 1').length === 3")
    answers.run(PRESS, "answers", "start model's answers")
    answers.until(f"return (() => {{ {first} }})().split('start 1').length === 2")


def test_the_place_is_kept_over_a_reload(answers: Browser) -> None:
    answers.run(TYPE, "answers", "number")
    answers.run(PRESS, "answers", "later")
    answers.until(f"{ROWS}[0] === 'p20'")
    answers.run("location.reload()")
    answers.run("document.getElementById('answers').scrollIntoView()")
    answers.until(f"{ROWS}[0] === 'p20'")
    assert answers.run("return document.querySelector('#answers input').value") == "number"


def test_questions_that_one_gets_right_and_the_other_wrong(answers: Browser) -> None:
    counts = TEXTS.format("#questions .chips button")
    names = TEXTS.format("#questions li") + ".map(Number)"
    dpo, kto, zephyr = (RIGHT[name] for name in ("dpo", "kto", "zephyr"))

    def told(one: np.ndarray, other: np.ndarray) -> list[str]:
        sets = (one & ~other, other & ~one, one & other, ~one & ~other)
        heads = ("left alone right", "right alone right", "both right", "both wrong")
        return [f"{head}: {found.sum()}" for head, found in zip(heads, sets, strict=True)]

    assert answers.run(counts) == told(dpo, kto)
    assert answers.run(names) == np.flatnonzero(dpo & ~kto).tolist()
    answers.run(PRESS, "questions", "both wrong")
    assert answers.run(names) == np.flatnonzero(~dpo & ~kto).tolist()
    answers.run(CHOOSE, "questions", 3, "checkpoint · zephyr")
    assert answers.run(counts) == told(dpo, zephyr)
    answers.run(CHOOSE, "questions", 3, "align-from-base · start model")
    assert answers.run(counts) == told(dpo, np.arange(150) < 75)
    answers.run(TYPE, "questions", "14")
    left = [at for at in range(150) if "14" in str(at) and not dpo[at]]
    assert answers.run(names) == left
    answers.run(TYPE, "questions", "no such name")
    assert answers.run(names) == []


def test_a_hundred_questions_on_a_page(answers: Browser) -> None:
    pages = "return document.querySelector('#questions .pages').textContent"
    answers.run(CHOOSE, "questions", 3, "align-from-base · dpo")
    answers.run(PRESS, "questions", "both right")
    assert "page 1 of 2" in answers.run(pages)
    names = "return document.querySelectorAll('#questions li').length"
    assert answers.run(names) == 100
    answers.run(PRESS, "questions", "later")
    assert "page 2 of 2" in answers.run(pages) and answers.run(names) == 30
