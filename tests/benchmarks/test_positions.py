"""The count against positions added up by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from benchmarks.common import PairSet, preset
from benchmarks.positions import main, our_positions, trl_positions
from tiebreak.data.tokens import Tokens

# Prompts of 10 and 4; responses of (3, 5) and (6, 2).
TOKENS = Tokens(
    ["a", "b"],
    [[7] * 10, [7] * 4],
    [([8] * 3, [9] * 5), ([8] * 6, [9] * 2)],
    [None, None],
)


def test_unique_tokens_hold_the_prompt_once():
    assert PairSet([], TOKENS, {}).unique_tokens() == 18 + 12


@pytest.mark.parametrize(
    ("batch_size", "overhead", "expected"),
    [
        (1, 0, 17 + 11),  # each row alone, its last token left out
        (2, 0, 17 + 11),  # padding costs more than a micro-batch that is free
        (2, 100, 2 * 17),  # and less than a dear one
    ],
)
def test_ours_are_the_rows_the_cutter_lays_out(batch_size, overhead, expected):
    execution = replace(preset("lora").execution, cut_overhead=overhead)
    assert our_positions(TOKENS, batch_size, 0, execution) == expected


@pytest.mark.parametrize(
    ("batch_size", "overhead", "expected"),
    [
        (1, 0, (12 + 14) + (9 + 5)),  # each response with its prompt, its last token left out
        (2, 3, 2 * 14 + (9 + 5)),  # two positions of padding are less than a forward costs
        (2, 100, 4 * 14),
    ],
)
def test_separate_rows_share_forwards_of_near_lengths(batch_size, overhead, expected):
    execution = replace(preset("lora").execution, cut_overhead=overhead)
    assert our_positions(TOKENS, batch_size, 0, execution, "separate") == expected


@pytest.mark.parametrize(
    ("batch_size", "max_length", "expected"),
    [
        (1, 99, 2 * 15 + 2 * 10),  # both sides as long as the longer one
        (2, 99, 4 * 15),  # and as the longest of the micro-batch
        (2, 12, 4 * 12),
    ],
)
def test_trl_pads_both_sides_to_the_longest(batch_size, max_length, expected):
    assert trl_positions(TOKENS, batch_size, 0, max_length) == expected


def test_one_json_object(tmp_path, tokenizer, capsys):
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    data = tmp_path / "pairs.jsonl"
    rows = [
        {"prompt": "a" * n, "chosen": "b" * (40 - n), "rejected": "c" * (3 * n)}
        for n in range(1, 9)
    ]
    data.write_text("\n".join(json.dumps(row) for row in rows))
    words = [str(data), "--tokenizer", str(tmp_path / "tokenizer"), "--json"]
    assert main([*words, "--max-length", "64", "--batch-size", "4"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pairs"] == 8
    assert 0.9 < found["ours"] < found["ours_separate"] <= found["trl_best"] <= found["trl"]
    assert found["trl_best_micro_batch"] in (1, 2, 4)


def test_a_missing_file_is_named(tmp_path, capsys):
    assert main([str(tmp_path / "none.jsonl"), "--tokenizer", str(tmp_path)]) == 2
    assert "none.jsonl" in capsys.readouterr().err
