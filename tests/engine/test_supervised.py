"""SFT and pretraining: TRL's loss, what is scored, what is left behind, and going on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from closeness import assert_near
from tiny import make_model, make_tokens

from tiebreak.engine import supervised
from tiebreak.engine.optimiser import Recipe
from tiebreak.engine.supervised import Settings, fine_tune

PROMPTS = make_tokens(11).prompts
ANSWERS = [row[0] for row in make_tokens(11).responses]
STEPS = 9  # 3 of each pass: 4, 4 and 3 rows


def settings(budget: int = 60, **changes: Any) -> Settings:
    values = {"learning_rate": 1e-2, "seed": 5, "warmup_share": 0.1, "checkpoint_every": 2}
    return Settings(Recipe(**(values | changes)), 4, 3, budget, 10)


def logged(work: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (work / "log.jsonl").read_text().splitlines()]


def mean_nll(model: Any, prompts: Any, answers: Any) -> float:
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


def trl(folder: Path, tokenizer: Any, prompts: Any, answers: Any) -> tuple[list[dict], Any]:
    """What SFTTrainer logs, and its model: the same rows, two at a time."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = [{"input_ids": [*p, *a], "labels": [-100] * len(p) + [*a]}
            for p, a in zip(prompts, answers, strict=True)]  # fmt: skip
    arguments = SFTConfig(
        output_dir=str(folder), learning_rate=1e-2, lr_scheduler_type="cosine", warmup_steps=0.1,
        adam_beta2=0.98, num_train_epochs=3, per_device_train_batch_size=2, seed=5, data_seed=5,
        gradient_accumulation_steps=2, logging_steps=1, report_to=[], save_strategy="no",
        bf16=False, use_cpu=True, disable_tqdm=True, max_length=None, remove_unused_columns=False,
        dataloader_pin_memory=False, dataset_kwargs={"skip_prepare_dataset": True},
        activation_checkpointing=False,
    )  # fmt: skip
    trainer = SFTTrainer(
        make_model(), args=arguments, train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )  # fmt: skip
    trainer.train()
    return [row for row in trainer.state.log_history if "loss" in row], trainer.model


@pytest.mark.parametrize("prompted", [True, False], ids=["sft", "pretraining"])
def test_losses_and_weights_are_those_of_trl(tmp_path, tokenizer, prompted):
    """Order of rows, mean over the tokens of a batch, schedule, optimiser: over three passes."""
    prompts, answers = PROMPTS, ANSWERS
    if not prompted:
        answers = [[*p, *a] for p, a in zip(prompts, answers, strict=True)]
        prompts = [[] for _ in answers]
    theirs, expected = trl(tmp_path / "trl", tokenizer, prompts, answers)
    model, ours = make_model(), tmp_path / "ours"
    ours.mkdir()
    wanted = settings(schedule="cosine", adam_beta2=0.98)
    fine_tune(model, tokenizer, prompts, answers, wanted, ours)
    assert len(theirs) == STEPS
    for mine, their in zip(logged(ours), theirs, strict=True):
        assert mine["loss"] == pytest.approx(their["loss"], rel=1e-6)
        assert mine["grad/norm"] == pytest.approx(their["grad_norm"], rel=1e-5)
        assert mine["learning_rate"] == their["learning_rate"]
    for (name, value), want in zip(model.named_parameters(), expected.parameters(), strict=True):
        assert_near(value, want, what=name)


def test_the_cut_does_not_matter(tmp_path, tokenizer):
    rows = []
    for budget in (1, 10**6):
        work = tmp_path / str(budget)
        work.mkdir()
        fine_tune(make_model(), tokenizer, PROMPTS, ANSWERS, settings(budget), work)
        rows.append([row["loss"] for row in logged(work)])
    assert rows[0] == pytest.approx(rows[1], rel=1e-5)


def test_the_loss_is_that_of_the_answers_alone(tmp_path, tokenizer):
    still = settings(learning_rate=1e-9, schedule="constant", warmup_share=0.0)
    fine_tune(make_model(), tokenizer, PROMPTS[:4], ANSWERS[:4], still, tmp_path)
    expected = mean_nll(make_model(), PROMPTS[:4], ANSWERS[:4])
    assert_near(logged(tmp_path)[0]["loss"], expected)


def test_what_is_left_behind(tmp_path, tokenizer):
    """Weights and tokenizer, a log without times, and no pickle."""
    model = make_model()
    before = mean_nll(model, PROMPTS, ANSWERS)
    fine_tune(model, tokenizer, PROMPTS, ANSWERS, settings(), tmp_path)
    assert mean_nll(model.eval(), PROMPTS, ANSWERS) < before
    names = {p.name for p in tmp_path.rglob("*") if p.is_file()}
    assert {"model.safetensors", "tokenizer.json", "log.jsonl", "complete.json"} <= names
    assert not [n for n in names if n.endswith((".bin", ".pt", ".pth", ".pkl"))]
    assert not [name for name in logged(tmp_path)[0] if "second" in name or "/s" in name]


def test_killed_it_goes_on_with_the_same_bytes(tmp_path, tokenizer, monkeypatch, capsys):
    """With dropout, whose draws must come back too; killed as step 6 is logged."""
    done = {}
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        if name == "killed":
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(supervised.Trainer, "_write", at(6, supervised.Trainer._write))
                fine_tune(dropping(), tokenizer, PROMPTS, ANSWERS, settings(), tmp_path / name)
            assert len(logged(tmp_path / name)) == 5
        model = dropping()
        fine_tune(model, tokenizer, PROMPTS, ANSWERS, settings(), tmp_path / name)
        done[name] = model.state_dict()
    assert "sft: resumed from checkpoint-4" in capsys.readouterr().err
    for file in ("log.jsonl", "model.safetensors"):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "killed" / file).read_bytes()
    assert all(torch.equal(value, done["killed"][name]) for name, value in done["whole"].items())


def dropping() -> Any:
    model = make_model()
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.3
    return model


def at(step: int, plain: Any) -> Any:
    def write(self: Any, now: int, *rest: Any) -> None:
        if now == step:
            raise KeyboardInterrupt
        plain(self, now, *rest)

    return write


TRAINS = """
import sys
from pathlib import Path
from tiny import make_data, make_model, make_tokens, make_trainer
from tiebreak.data.world import build_tokenizer
from tiebreak.engine.optimiser import Recipe
from tiebreak.engine.supervised import Settings, fine_tune
from tiebreak.methods import METHODS
from tiebreak.stages import align, start
work, method, tokens = Path(sys.argv[1]), METHODS["dpo"](), make_tokens(4)
make_trainer(work / "align", method, make_model(), make_data(tokens, make_model(), method)).train()
answers, settings = [row[0] for row in tokens.responses], Settings(Recipe(0.1, 0), 4, 1, 60)
fine_tune(make_model(), build_tokenizer(), tokens.prompts, answers, settings, work)
print({"trl", "datasets", "transformers.trainer"} & set(sys.modules))
"""


def test_training_imports_neither_trl_nor_the_trainer_of_transformers(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", TRAINS, str(tmp_path)], capture_output=True, text=True,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert done.stdout.strip() == "set()", done.stdout + done.stderr
