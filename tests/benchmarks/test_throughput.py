"""Which commands are run, what is made of their answers, and both sides on a tiny model."""

from __future__ import annotations

import json

import pytest
import torch
from tiny import make_model

from benchmarks import throughput
from benchmarks.sides import Task, measure

WORDS = ["--model", "m", "--data", "d.jsonl", "--pairs", "32", "--lora"]


def answer(speed: float, memory: float = 100.0) -> dict[str, float]:
    return {"pairs_per_second": speed, "peak_memory_mib": memory}


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


@pytest.fixture
def children(monkeypatch):
    """Commands that were run; TRL's speed is its micro-batch, a reference made ahead adds 10."""
    commands: list[list[str]] = []

    def run(words: list[str]) -> dict[str, float]:
        commands.append(words)
        if option(words, "--side") == "ours":
            return answer(28.0, 50.0)
        speed = {1: 1.0, 2: 2.0, 4: 4.0, 8: 3.0}[int(option(words, "--trl-micro-batch"))]
        return answer(speed + 10.0 * (option(words, "--trl-reference") == "ahead"))

    monkeypatch.setattr(throughput, "measure_child", run)
    return commands


def test_trl_runs_at_its_fastest_setting_and_the_sides_alternate(children):
    found = throughput.compare(throughput.parse([*WORDS, "--repeats", "2"]))
    assert found["trl_setting"] == {"trl_micro_batch": 4, "trl_reference": "ahead"}
    assert found["ratio_pairs_per_second"] == 2.0
    assert found["ratio_peak_memory"] == 0.5
    assert [option(words, "--side") for words in children[6:]] == ["ours", "trl"] * 2
    assert [option(words, "--pairs") for words in children] == ["16"] * 6 + ["32"] * 4
    assert all("--lora" in words for words in children)


def test_a_fixed_setting_needs_no_pilot(children):
    fixed = ["--trl-micro-batch", "2", "--trl-reference", "live", "--repeats", "1"]
    found = throughput.compare(throughput.parse([*WORDS, *fixed]))
    assert found["trl_pilots"] == [] and len(children) == 2
    assert found["trl_setting"] == {"trl_micro_batch": 2, "trl_reference": "live"}


def test_micro_batches_divide_the_optimiser_batch(children):
    throughput.compare(throughput.parse([*WORDS, "--batch-size", "6", "--repeats", "1"]))
    sizes = [option(words, "--trl-micro-batch") for words in children[:2]]
    assert sizes == ["1", "2"]
    with pytest.raises(SystemExit):
        throughput.parse([*WORDS, "--batch-size", "6", "--trl-micro-batch", "4"])


def test_the_ratio_is_the_median_of_neighbours():
    ours, trl = [answer(s) for s in (2, 30, 4)], [answer(s) for s in (1, 10, 4)]
    assert throughput.ratio(ours, trl, "pairs_per_second") == 2.0


@pytest.fixture
def task(tmp_path, tokenizer):
    threads = torch.get_num_threads()
    tokenizer.save_pretrained(tmp_path / "model")
    make_model().save_pretrained(tmp_path / "model")
    rows = [{"prompt": "q" * n, "chosen": "a" * 5, "rejected": "b" * 9} for n in (3, 8, 4, 6, 5)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(json.dumps(row) for row in rows))

    def make(**changes) -> Task:
        values = {"pairs": 4, "lora": True, "max_length": 32, "batch_size": 2, "seed": 0}
        return Task(str(tmp_path / "model"), tmp_path / "pairs.jsonl", **(values | changes))

    yield make
    torch.set_num_threads(threads)  # a measurement takes all of them


@pytest.mark.filterwarnings("ignore")  # TRL's and peft's own
@pytest.mark.parametrize(
    ("side", "changes"),
    [("ours", {}), ("trl", {"micro_batch": 1}), ("trl", {"micro_batch": 2, "precompute": True})],
)
def test_each_side_trains_and_is_timed(task, tmp_path, side, changes):
    found = measure(side, task(**changes), tmp_path / "out")
    assert found["pairs"] == 4
    stored = side == "ours" or "precompute" in changes
    assert (found["reference_seconds"] > 0) == stored
    assert found["train_seconds"] > 0 and found["peak_memory_mib"] > 0
    total = found["reference_seconds"] + found["train_seconds"]
    assert found["pairs_per_second"] == pytest.approx(4 / total)


def test_both_sides_take_the_same_pairs(task):
    first, second = task().read(), task(micro_batch=2).read()
    assert first.tokens.ids == second.tokens.ids and len(first.tokens) == 4
    assert [e.id for e in first.examples] == first.tokens.ids
