"""Checkpoints: nothing pickled, complete or absent, and the same result after a resume."""

from __future__ import annotations

import errno
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import make_data, make_model, make_tokens, make_trainer

from tiebreak.engine import checkpoints
from tiebreak.engine.checkpoints import COMPLETE, last_checkpoint
from tiebreak.errors import UserError
from tiebreak.methods import METHODS


def run(folder: Path, rows: list, model=None, method="dpo", **changes):
    chosen = METHODS[method]()
    data = make_data(make_tokens(12), make_model(), chosen)
    settings = {"checkpoint_every": 1, "epochs": 2, "batch_size": 4} | changes
    trainer = make_trainer(
        folder, chosen, model or make_model(), data,
        on_step=lambda step, row, speed: rows.append((step, row)), **settings,
    )  # fmt: skip
    trainer.resume()
    trainer.train()
    return trainer


def fill_disk(monkeypatch, at_call: int) -> None:
    """From the given call on, no file of tensors can be written."""
    plain, calls = checkpoints.save_file, iter(range(1, 10**6))

    def full(*args, **kwargs):
        if next(calls) >= at_call:
            raise OSError(errno.ENOSPC, "No space left on device")
        return plain(*args, **kwargs)

    monkeypatch.setattr(checkpoints, "save_file", full)


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_no_file_is_a_pickle(tmp_path, kind):
    make = lora if kind == "lora" else make_model
    run(tmp_path, [], model=make())
    names = [p.name for p in tmp_path.rglob("*") if p.is_file()]
    assert any("model.safetensors" in n for n in names) and "optimizer.safetensors" in names
    assert not [n for n in names if n.endswith((".bin", ".pt", ".pth", ".pkl", ".ckpt"))]
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or path.suffix in {".safetensors", ".json", ".md"}, path


def test_one_complete_checkpoint_is_kept_and_its_marker_lists_every_file(tmp_path):
    run(tmp_path, [])
    (folder,) = tmp_path.glob("checkpoint-*")
    assert folder.name == "checkpoint-6" and last_checkpoint(tmp_path) == folder
    sizes = json.loads((folder / COMPLETE).read_text())["files"]
    files = {p.name: p.stat().st_size for p in folder.iterdir() if p.name != COMPLETE}
    assert sizes == files


@pytest.mark.parametrize("case", ["dpo", "kto", "dpo with LoRA", "dpo by rmsprop"])
def test_a_resumed_run_is_bit_equal(tmp_path, case):
    method, make = case[:3], lora if "LoRA" in case else make_model
    by = {"optimiser": "rmsprop"} if "rmsprop" in case else {}
    whole, before, after = [], [], []
    uninterrupted = run(tmp_path / "a", whole, method=method, model=make(), **by)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", Stopping(before, at=4), method=method, model=make(), **by)
    resume = last_checkpoint(tmp_path / "b")
    assert resume is not None and resume.name == "checkpoint-3"
    resumed = run(tmp_path / "b", after, method=method, model=make(), **by)
    assert before[:3] + after == whole, "every number of every step, to the last bit"
    assert [step for step, _ in after] == [4, 5, 6]
    for name, value in uninterrupted.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value)


class Stopping(list):
    """A list that is interrupted instead of taking the row of one step."""

    def __init__(self, rows: list, at: int) -> None:
        self.rows, self.at = rows, at

    def append(self, entry) -> None:
        if entry[0] == self.at:
            raise KeyboardInterrupt
        self.rows.append(entry)


def lora():
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    return get_peft_model(
        make_model(), LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    )


PARTS = ["weights", "optimizer", "scheduler", "random states"]


@pytest.mark.parametrize("at_call", [5, 6, 7, 8], ids=PARTS)
def test_a_full_disk_names_the_good_checkpoint_and_the_run_goes_on_from_it(
    tmp_path, monkeypatch, at_call
):
    whole, before, after = [], [], []
    run(tmp_path / "a", whole)
    with monkeypatch.context() as patch:
        fill_disk(patch, at_call)  # four tensor files per checkpoint: the second one fails
        with pytest.raises(UserError, match="checkpoint-2 could not be written .No space left"):
            run(tmp_path / "b", before)
    good = last_checkpoint(tmp_path / "b")
    assert good is not None and good.name == "checkpoint-1"
    assert [p.name for p in (tmp_path / "b").glob("checkpoint-*")] == ["checkpoint-1"]
    run(tmp_path / "b", after)
    assert before[:1] + after == whole


def test_a_full_disk_at_the_first_checkpoint(tmp_path, monkeypatch):
    fill_disk(monkeypatch, 1)
    with pytest.raises(UserError, match="there is none before it"):
        run(tmp_path, [])
    assert not list(tmp_path.glob("checkpoint-*"))


def test_full_disk_as_safetensors_reports_it(tmp_path, monkeypatch):
    """safetensors raises its own error, not OSError, when the device is full."""
    from safetensors import SafetensorError

    def full(*args, **kwargs):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os 28)")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(UserError, match="No space left"):
        run(tmp_path, [])


def test_incomplete_checkpoints_are_ignored_and_removed(tmp_path):
    assert last_checkpoint(tmp_path) is None
    for step, complete in ((9, True), (10, True), (11, False)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "model.safetensors").touch()
        if complete:
            (folder / COMPLETE).touch()
    found = last_checkpoint(tmp_path)
    assert found is not None and found.name == "checkpoint-10", "by number, not by name"
    assert not (tmp_path / "checkpoint-11").exists()


def test_states_round_trip(tmp_path):
    """A tree with everything optimisers and schedules hold: int keys, None, tuples, tensors."""
    group = {"betas": (0.9, 0.999), "lr": 1e-3, "fused": None, "params": [0, 1]}
    tree = {"state": {0: {"step": torch.tensor(3.0), "m": torch.randn(2, 3)}}, "groups": [group]}
    checkpoints._save_tree(tree, tmp_path, "x")
    back = checkpoints._load_tree(tmp_path, "x")
    assert torch.equal(back["state"][0]["m"], tree["state"][0]["m"])
    assert back["state"][0]["step"].item() == 3.0
    assert back["groups"] == [{**group, "betas": [0.9, 0.999]}]


def test_random_states_round_trip(tmp_path):
    def draw():
        return random.random(), random.gauss(0, 1), np.random.rand(), torch.rand(1).item()

    random.gauss(0, 1)  # leaves half a pair behind, part of the state
    checkpoints._save_tree(checkpoints.random_state(), tmp_path, "random-0")
    expected = draw()
    draw()
    checkpoints.restore_random_state(checkpoints._load_tree(tmp_path, "random-0"))
    assert draw() == expected


def test_a_process_more_than_wrote_the_checkpoint_begins_with_its_seed(tmp_path):
    run(tmp_path, [])
    folder = last_checkpoint(tmp_path)
    assert folder is not None
    (folder / "random-0.json").unlink()
    torch.manual_seed(3)
    checkpoints.read(folder, {})
    assert torch.initial_seed() == 3


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_a_checkpoint_of_other_weights_is_refused_and_stays(tmp_path, kind):
    """As of an adapter by another name: what earlier versions wrote."""
    make = lora if kind == "lora" else make_model
    run(tmp_path, [], model=make())
    folder = last_checkpoint(tmp_path)
    assert folder is not None
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    with pytest.raises(UserError, match=r"does not hold .*remove it to begin this training again"):
        run(tmp_path, [], model=make())
    assert last_checkpoint(tmp_path) == folder


def test_weights_as_save_pretrained_leaves_them_are_read(tmp_path):
    """Checkpoints of earlier versions hold those."""
    whole, before, after = [], [], []
    run(tmp_path / "a", whole)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", Stopping(before, at=4))
    folder = last_checkpoint(tmp_path / "b")
    assert folder is not None
    model = make_model()
    model.load_state_dict(load_file(folder / "model.safetensors"))
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder)
    run(tmp_path / "b", after)
    assert before[:3] + after == whole


def test_the_log_is_cut_back_to_the_checkpoint(tmp_path):
    """Killed after step 4 of 6 was logged, and in the middle of a line."""
    rows = []
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Stopping(rows, at=4), checkpoint_every=2, log=tmp_path / "log")
    with (tmp_path / "log").open("a") as log:
        log.write('{"step": 5')
    run(tmp_path, rows, checkpoint_every=2, log=tmp_path / "log")
    steps = [json.loads(line)["step"] for line in (tmp_path / "log").read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert [step for step, _ in rows] == [1, 2, 3, 3, 4, 5, 6]
