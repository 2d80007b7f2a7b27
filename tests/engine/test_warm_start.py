"""Start models that a worker keeps: fresh copies with the weights of the files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import make_model

from tiebreak.engine import models
from tiebreak.engine.scoring import install
from tiebreak.warm import Kept, kept

IDS = torch.tensor([[4, 5, 6, 7]])


@pytest.fixture
def room() -> Iterator[Kept]:
    kept.room = 2**24
    yield kept
    kept.room = 0
    kept._items.clear()


@pytest.fixture
def start(tmp_path: Path) -> Path:
    make_model(tie_word_embeddings=True).save_pretrained(tmp_path / "start")
    return tmp_path / "start"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The checkpoints that were read from files."""
    found: list[Any] = []
    load = models.load_model

    def counted(*place: Any) -> Any:
        found.append(place)
        return load(*place)

    monkeypatch.setattr(models, "load_model", counted)
    return found


def tensors(model: Any) -> dict[str, torch.Tensor]:
    return {**model.state_dict(), **dict(model.named_buffers())}


def test_a_copy_is_what_the_files_hold(start: Path, room: Kept, reads: list[Any]) -> None:
    first, again = models.load_start(start), models.load_start(start)
    assert len(reads) == 1
    for model in (first, again):
        wanted = models.load_model(start)
        assert tensors(model).keys() == tensors(wanted).keys()
        assert all(torch.equal(one, tensors(wanted)[name]) for name, one in tensors(model).items())
        assert torch.equal(model(IDS).logits, wanted(IDS).logits) and not model.training
        assert model.lm_head.weight is model.get_input_embeddings().weight
        assert all(p.requires_grad and p.device == models.device() for p in model.parameters())


def test_what_is_done_to_one_is_not_seen_in_the_next(start: Path, room: Kept) -> None:
    for _ in range(3):
        model = models.load_start(start)
        assert "_plain_forward" not in model.__dict__ and model.config.use_cache
        assert torch.equal(model(IDS).logits, models.load_model(start)(IDS).logits)
        install(model)
        model.config.use_cache = False
        model.requires_grad_(False).train()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()


def test_files_that_changed_are_read_again(start: Path, room: Kept, reads: list[Any]) -> None:
    models.load_start(start)
    make_model(seed=5, tie_word_embeddings=True).save_pretrained(start)
    found = models.load_start(start)
    assert len(reads) == 2
    assert torch.equal(found(IDS).logits, models.load_model(start)(IDS).logits)


def test_nothing_is_kept_without_room(start: Path, room: Kept, reads: list[Any]) -> None:
    for size in (0, 1000):
        room.room = size
        models.load_start(start)
    assert len(reads) == 2 and not room._items


def test_weights_that_were_drawn_are_drawn_again(
    start: Path, room: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an adapter made after them would begin elsewhere than in a process of its own."""
    load = models.load_model
    monkeypatch.setattr(models, "load_model", lambda *place: (load(*place), torch.rand(1))[0])
    models.load_start(start)
    assert not room._items


def test_a_model_of_the_hub_is_kept_by_its_commit_only() -> None:
    assert models._unchanging("org/name", None) is models._unchanging("org/name", "main") is None
    commits = [models._unchanging("org/name", letter * 40) for letter in "ab"]
    assert None not in commits and commits[0] != commits[1]
