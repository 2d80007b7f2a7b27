from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from tiebreak.data.examples import Dropped, Example
from tiebreak.data.lint import Finding
from tiebreak.data.tokens import Limits, tokenise
from tiebreak.data.view import show, visible

TURN = [{"role": "user", "content": "hi"}]


def shown(examples, tokenizer, findings=(), num_rows=1, color=False, dropped=None) -> str:
    tokens, report = tokenise(examples, tokenizer, Limits(60))
    system = "standard" if color else None
    console = Console(file=StringIO(), width=120, force_terminal=color, color_system=system)
    show(tokens, tokenizer, report, findings, num_rows, console, dropped)
    return console.file.getvalue()


def test_a_row_shows_its_marks_boundaries_and_counts(chatml):
    rows = [Example("a/1", TURN, ("yes", "no" * 40)), Example("b", "p" * 90, ("yes", "no"))]
    text = shown(rows, chatml, dropped=Dropped(3, {"empty-prompt": ("x",)}))
    assert "a/1" in text
    assert "<|im_start|>user⏎\nhi<|im_end|>⏎\n<|im_start|>assistant⏎\n" in text
    prompt = len("_user\nhi__") + len("_assistant\n")
    assert f"chosen, {prompt} + 4 tokens ┃ yes<|im_end|>" in text
    assert f"rejected, {prompt} + {60 - prompt} tokens, cut ┃ nono" in text
    for name, number in [("dropped: empty-prompt", 1), ("truncated: rejected", 1), ("read", 3)]:
        assert any(line.split(name)[-1].split()[0] == str(number)
                   for line in text.splitlines() if name in line)  # fmt: skip
    assert "lint: nothing found" in text


def test_a_space_at_the_start_of_an_answer_is_seen(metaspace):
    row = Example("a", "8+8=", ("16", " 16"))
    text = shown([row], metaspace)
    assert "chosen, 5 + 3 tokens ┃ 16</s>" in text and "rejected, 5 + 3 tokens ┃  16</s>" in text


def test_the_date_that_a_template_sees_is_shown(make_tokenizer):
    dated = make_tokenizer(
        "{{ strftime_now('%Y') }}{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    assert "always 26 Jul 2024" in shown([Example("a", TURN, ("yes", "no"))], dated)


def test_sides_have_their_colours(chatml):
    text = shown([Example("a", TURN, ("yes", "no"))], chatml, color=True)
    assert "\x1b[32myes" in text and "\x1b[31mno" in text
    assert "\x1b[1;7m<|im_end|>" in text and "\x1b[2muser" in text


def test_findings_and_labels_are_shown(chatml):
    finding = Finding("warn", "truncated", "chosen: \x1b[2J all of them [bold]")
    row = Example("a", "plain", ("yes",), label=False)
    text = shown([row], chatml, [finding])
    assert "warn truncated: chosen: \\x1b[2J all of them [bold]" in text
    assert "a undesirable" in text


@pytest.mark.parametrize("color", [True, False])
def test_control_characters_in_data_never_reach_the_terminal(chatml, color):
    evil = "a\x1b]0;title\x07b\u202ec\r\x9b2J[red]d[/red]"
    row = Example(evil, evil, (evil, "no"))
    text = shown([row], chatml, color=color)
    for mark in ("\x1b]", "\x07", "\u202e", "\r", "\x9b"):
        assert mark not in text
    assert "a\\x1b]0;title\\x07b\\u202ec\\r\\x9b2J[red]d[/red]" in text


def test_visible_keeps_text_and_marks_the_rest():
    assert visible("né 日本 🎉\n\tx") == "né 日本 🎉⏎\n\\tx"
    assert visible("a\u2028b\u00a0c\u200bd") == "a\\u2028b\\xa0c\\u200bd"
