"""A model looked at during its training: the stage's own numbers, and no trace left behind."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import make_data, make_model, make_trainer

from tests.config.quick import quick
from tests.end_to_end.rows import pairs, write
from tiebreak.compose import Run, compose
from tiebreak.data import world
from tiebreak.data.tokens import Tokens
from tiebreak.engine.models import load_model, load_policy, trainable
from tiebreak.engine.scoring import install
from tiebreak.methods import METHODS
from tiebreak.run.trials import validate
from tiebreak.stages.evaluators import EVALUATORS
from tiebreak.stages.evaluators.evaluator import ITEMS, read_rows
from tiebreak.stages.stage import Context, make
from tiebreak.store import Store

FEW = (
    "scenario=align-from-base train.precision=float32 train.execution.num_threads=1 "
    "evaluation.num_prompts=10 evaluation.batch_size=4 evaluation.max_new_tokens=8"
).split()
WORLD = ("data.num_pairs=24", "data.num_test_pairs=12")
VALIDATION = "evaluation.split=validation"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Store]:
    """A checkpoint of random weights that knows the world's words, and a store."""
    folder = tmp_path_factory.mktemp("given")
    tokenizer = world.build_tokenizer()
    make_model(vocab_size=len(tokenizer)).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return folder / "model", Store(folder / "artefacts")


def run_of(given: tuple[Path, Store], *overrides: str, data: Sequence[str] = WORLD) -> Run:
    return compose([f"model={given[0]}", *FEW, *data, *overrides])


def looked_at(given: tuple[Path, Store], run: Run) -> Callable[[Any], dict[str, float]]:
    """`validate` with what the run has in the store."""
    tokens = make(run.plan.held_out, given[1], Context(run))
    return lambda model: validate(run, tokens, model)


def staged(given: tuple[Path, Store], run: Run) -> dict[str, float]:
    """The numbers of the evaluators' stages for the start model."""
    found = {}
    for name, measured in run.plan.evaluations.items():
        folder = make(measured.start, given[1], Context(run))
        found |= EVALUATORS[name].metrics(read_rows(folder / ITEMS))
    return found


@pytest.mark.parametrize("split", ["test", "validation"])
def test_the_numbers_are_those_of_the_stage(given: tuple[Path, Store], split: str) -> None:
    run = run_of(given, f"evaluation.split={split}")
    expected = staged(given, run)
    assert {"gold/reward", "gold/tone", "length/generated", "accuracy/likelihood"} < set(expected)
    model = load_model(given[0]).train()
    model.model.layers[0].self_attn.attention_dropout = 0.5
    assert looked_at(given, run)(model) == expected
    install(model)
    assert looked_at(given, run)(model) == expected, "again, and as a trainer has it"


def test_rows_of_a_file(given: tuple[Path, Store], tmp_path: Path) -> None:
    """Only what a file can tell: no gold; and the numbers of the stage again."""
    data = write(tmp_path / "pairs.jsonl", pairs(40))
    rows = (f"data={data}", "data.validation_share=0.2", "data.max_length=128")
    run = run_of(given, VALIDATION, data=rows)
    found = looked_at(given, run)(load_model(given[0]))
    assert found == staged(given, run)
    assert set(found) == {
        "length/generated", "accuracy/likelihood", "accuracy/likelihood_per_token",
    }  # fmt: skip


def test_each_split_has_its_own_rows(given: tuple[Path, Store]) -> None:
    runs = [run_of(given), run_of(given, VALIDATION)]
    lines = [[make(run.plan.evaluations[name].start, given[1], Context(run)) / ITEMS
              for name in ("generations", "pairs")] for run in runs]  # fmt: skip
    for test, validation in zip(*lines, strict=True):
        assert len(test.read_text().splitlines()) == len(validation.read_text().splitlines())
        assert not set(test.read_text().splitlines()) & set(validation.read_text().splitlines())


def test_an_adapter_in_training(given: tuple[Path, Store], tmp_path: Path) -> None:
    run = run_of(given, VALIDATION, "train.adapter=lora", "train.lora.rank=4")
    model = trainable(load_model(given[0]), run.train).train()
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_" in name:
            weight.data = 0.3 * torch.randn(weight.shape, generator=generator)
    model.save_pretrained(tmp_path / "before")
    look = looked_at(given, run)
    found = look(model)
    assert found == look(load_policy(given[0], tmp_path / "before"))
    assert found != look(load_model(given[0]))
    assert model.training and "generation_config" not in vars(model)
    model.save_pretrained(tmp_path / "after")
    for file in (tmp_path / "before").iterdir():
        assert file.read_bytes() == (tmp_path / "after" / file.name).read_bytes()


def state() -> list[bytes]:
    arrays = np.random.get_state(legacy=True)
    return [bytes(torch.get_rng_state().numpy()), repr(random.getstate()).encode(),
            repr(arrays).encode()]  # fmt: skip


def test_no_trace_of_it(given: tuple[Path, Store], tmp_path: Path) -> None:
    look = looked_at(given, run_of(given, VALIDATION))
    model = load_model(given[0]).train()
    model.model.layers[0].eval()  # a part that was frozen stays so
    modes = [module.training for module in model.modules()]
    install(model)
    model(torch.tensor([[1, 2, 3]]), labels=torch.tensor([[1, 2, 3]])).loss.backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    model.save_pretrained(tmp_path / "before")
    torch.manual_seed(7)  # where no validation leaves it
    states = state()
    look(model)
    assert state() == states
    assert [module.training for module in model.modules()] == modes
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        assert torch.equal(parameter.grad, gradient) and parameter.requires_grad
    model.save_pretrained(tmp_path / "after")
    for name in ("generation_config.json", "config.json", "model.safetensors"):
        assert (tmp_path / "after" / name).read_bytes() == (tmp_path / "before" / name).read_bytes()


def test_a_failure_leaves_no_trace_either(given: tuple[Path, Store]) -> None:
    look = looked_at(given, run_of(given, VALIDATION))
    model, states = load_model(given[0]).train(), state()
    config = model.generation_config
    model.lm_head.weight.data.fill_(float("nan"))
    with pytest.raises(RuntimeError, match="probability"):
        look(model)
    assert state() == states and model.training and model.generation_config is config


@pytest.mark.parametrize(
    ("adapter", "precision", "activations"),
    [("none", "float32", False), ("none", "bfloat16", False), ("none", "float32", True),
     ("lora", "bfloat16", False), ("lora", "float32", True)],
)  # fmt: skip
def test_training_does_not_notice(
    given: tuple[Path, Store], tmp_path: Path, adapter: str, precision: str, activations: bool
) -> None:
    """With chance in the training itself: one draw more or less, and all numbers would differ."""
    run = run_of(given, VALIDATION, f"train.adapter={adapter}", f"train.precision={precision}")
    look, seen = looked_at(given, run), []
    tokens = Tokens.load(make(run.plan.tokens, given[1], Context(run)))
    logs, weights = [], []
    for watched in (False, True):
        steps: list[Any] = []
        torch.manual_seed(0)
        model = trainable(load_model(given[0]), run.train)
        method = METHODS["cpo"](nll="response")
        data = make_data(tokens, load_model(given[0]), method)

        def on_step(
            step: int, row: Any, speed: Any, model: Any = model if watched else None,
            steps: list[Any] = steps,
        ) -> None:  # fmt: skip
            seen.extend([look(model)] if model is not None else [])
            steps.append((row, random.random(), np.random.random(), torch.rand(1).item()))

        trainer = make_trainer(
            tmp_path / str(watched), method, model, data, batch_size=8, epochs=1, budget=400,
            precision=precision, on_step=on_step, gradient_checkpointing=activations,
        )  # fmt: skip
        trainer.train()
        logs.append(steps)
        weights.append({name: p.detach().clone() for name, p in trainer.model.named_parameters()})
    assert len(seen) == len(logs[0]) == 3 and seen[0] != seen[-1]
    assert logs[0] == logs[1]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_the_default_run_looks_at_test_rows() -> None:
    assert quick().evaluation.split == "test"
