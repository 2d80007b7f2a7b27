"""What `supervised.py` relies on in TRL: an upgrade that changes it must fail here."""

from __future__ import annotations

import inspect
import json

import pytest
import torch
from closeness import assert_near
from tiny import make_model, make_tokens
from trl import SFTConfig, SFTTrainer

from tiebreak.engine.checkpoints import SafeCheckpoints
from tiebreak.engine.supervised import Settings, fine_tune


def test_the_classes_and_the_arguments_given_to_them():
    import dataclasses

    from transformers import Trainer, TrainingArguments

    trainer, config = SFTTrainer, SFTConfig
    assert issubclass(trainer, Trainer) and issubclass(config, TrainingArguments)
    names = {f.name for f in dataclasses.fields(config)}
    assert {"max_length", "dataset_kwargs", "activation_checkpointing", "warmup_steps"} <= names
    parameters = inspect.signature(trainer.__init__).parameters
    assert {"model", "args", "train_dataset", "processing_class"} <= set(parameters)


def test_it_leaves_the_methods_of_safe_checkpoints_alone():
    """SFTTrainer's own `_save_checkpoint` may add to it, but must call the next in line."""
    trainer = SFTTrainer
    for name, function in vars(SafeCheckpoints).items():
        if inspect.isfunction(function) and name in vars(trainer):
            assert f"super().{name}(" in inspect.getsource(vars(trainer)[name]), name


def rows():
    tokens = make_tokens(6)
    return tokens.prompts, [row[0] for row in tokens.responses]


def mean_nll(model, prompts, answers) -> float:
    """Of the answer tokens of all rows, by plain forwards."""
    total, count = 0.0, 0
    for prompt, answer in zip(prompts, answers, strict=True):
        with torch.no_grad():
            log_p = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0].log_softmax(-1)
        log_p = log_p[len(prompt) - 1 : -1] if prompt else log_p[:-1]
        wanted = answer if prompt else answer[1:]
        total -= log_p.gather(1, torch.tensor(wanted)[:, None]).sum().item()
        count += len(wanted)
    return total / count


@pytest.mark.parametrize("empty_prompts", [False, True], ids=["sft", "pretraining"])
def test_given_token_ids_it_trains_on_the_answers_and_nothing_else(
    tmp_path, tokenizer, empty_prompts
):
    prompts, answers = rows()
    if empty_prompts:
        answers = [[*p, *a] for p, a in zip(prompts, answers, strict=True)]
        prompts = [[] for _ in answers]
    settings = Settings(learning_rate=1e-9, batch_size=6, epochs=1, seed=0, rows_per_forward=4)
    fine_tune(make_model(), tokenizer, prompts, answers, settings, tmp_path)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    expected = mean_nll(make_model(), prompts, answers)
    assert_near(log[-1]["train_loss"], expected)


def test_what_is_left_behind(tmp_path, tokenizer):
    """Weights and tokenizer, a log without times, and no pickle."""
    prompts, answers = rows()
    settings = Settings(learning_rate=1e-2, batch_size=3, epochs=2, seed=0, checkpoint_every=2)
    model = make_model()
    before = mean_nll(model, prompts, answers)
    fine_tune(model, tokenizer, prompts, answers, settings, tmp_path)
    assert mean_nll(model.eval(), prompts, answers) < before
    names = {p.name for p in tmp_path.rglob("*") if p.is_file()}
    assert {"model.safetensors", "tokenizer.json", "log.jsonl", "complete.json"} <= names
    assert not [n for n in names if n.endswith((".bin", ".pt", ".pth", ".pkl"))]
    assert "runtime" not in (tmp_path / "log.jsonl").read_text()
