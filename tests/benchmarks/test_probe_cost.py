"""The count against a run whose tokens are known, and that the claim can fail."""

from __future__ import annotations

import json

import pytest

from benchmarks import probe as benchmark


@pytest.fixture
def words(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path / "unused"))
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    data = tmp_path / "pairs.jsonl"
    rows = [
        {
            "prompt": f"{'a' * (n % 3)}x{n}",
            "chosen": "b" * (9 - n % 4),
            "rejected": "c" * (1 + n % 5),
        }
        for n in range(60)
    ]
    data.write_text("\n".join(json.dumps(row) for row in rows))
    return [str(data), "--tokenizer", str(tmp_path / "tokenizer"), "--pairs", "50",
            "--test-pairs", "10", "--max-length", "64", "--hidden-size", "16"]  # fmt: skip


def test_every_check_of_a_run_is_counted(words, capsys):
    status = benchmark.main([*words, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [check["rows"] for check in found["checks"]] == [50, 50, 10, 10]
    of_training = sum(check["positions"] for check in found["checks"][:2])
    assert of_training / found["positions"] == pytest.approx(found["positions/training"])
    assert 0 < found["seconds/held_out"] < 1 and 0 < found["seconds/training"] < 1
    assert status == int(found["positions/training"] > benchmark.LIMIT)


def test_a_check_that_costs_more_is_told(words, capsys, monkeypatch):
    monkeypatch.setattr(benchmark, "LIMIT", 0.0)
    assert benchmark.main(words) == 1
    assert "a run of 50 pairs: checks before reference and training" in capsys.readouterr().out
