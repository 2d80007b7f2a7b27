"""Updates are those of `transformers.Trainer`: groups, moments, warm-up and schedule."""

from __future__ import annotations

import pytest
import torch
from tiny import make_model
from transformers import Trainer, TrainingArguments

from tiebreak.engine.optimiser import SCHEDULES, Recipe, make_optimiser, make_schedule

STEPS = 13


def theirs(model, folder, **changes):
    """Trainer's optimiser and schedule."""
    arguments = TrainingArguments(
        output_dir=str(folder), use_cpu=True, report_to=[], learning_rate=3e-4, **changes
    )
    trainer = Trainer(model=model, args=arguments)
    trainer.create_optimizer_and_scheduler(STEPS)
    return trainer.optimizer, trainer.lr_scheduler


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_learning_rates(tmp_path, schedule, share):
    model = make_model()
    name = "constant_with_warmup" if schedule == "constant" else schedule
    optimiser, expected = theirs(model, tmp_path, lr_scheduler_type=name, warmup_steps=share)
    recipe = Recipe(3e-4, 0, schedule, share)
    found = make_schedule(make_optimiser(model, recipe), recipe, STEPS)
    for _ in range(STEPS + 1):
        assert found.get_last_lr()[0] == expected.get_last_lr()[0]
        optimiser.step()
        expected.step()
        found.optimizer.step()
        found.step()


def test_groups_and_updates(tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    def gpt2():
        torch.manual_seed(0)
        return GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=20))

    for make in (make_model, gpt2):  # RMSNorm by name; LayerNorm, biases, tied embeddings
        models = [make(), make()]
        models[0].get_input_embeddings().requires_grad_(False)
        models[1].get_input_embeddings().requires_grad_(False)
        want, _ = theirs(models[0], tmp_path, weight_decay=0.5, adam_beta2=0.98)
        have = make_optimiser(models[1], Recipe(3e-4, 0, weight_decay=0.5, adam_beta2=0.98))
        names = [{id(p): n for n, p in model.named_parameters()} for model in models]
        groups = [[[of[id(p)] for p in group["params"]] for group in optimiser.param_groups]
                  for of, optimiser in zip(names, (want, have), strict=True)]  # fmt: skip
        assert groups[0] == groups[1] and all(groups[1])
        for optimiser, model in ((want, models[0]), (have, models[1])):
            for _ in range(2):
                for parameter in model.parameters():
                    parameter.grad = parameter.detach().sin()
                optimiser.step()
        for (name, a), b in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
            assert torch.equal(a, b), name


def test_rmsprop_is_that_of_the_trainer(tmp_path):
    models = [make_model(), make_model()]
    want, _ = theirs(models[0], tmp_path, optim="rmsprop")
    have = make_optimiser(models[1], Recipe(3e-4, 0, optimiser="rmsprop"))
    for optimiser, model in ((want, models[0]), (have, models[1])):
        for _ in range(3):
            for parameter in model.parameters():
                parameter.grad = parameter.detach().sin()
            optimiser.step()
    start = dict(make_model().named_parameters())
    for (name, a), b in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        assert torch.equal(a, b) and not torch.equal(a, start[name]), name
