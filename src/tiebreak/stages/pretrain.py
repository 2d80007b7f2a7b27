"""pretrain and instruct: the controlled world's model, made here once and shared by every run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiebreak.config.schema import Pretraining, Run
from tiebreak.stages.stage import Paths, Stage
from tiebreak.stages.start import checkpoint_recipe


def pretrain_stage(run: Run) -> Stage:
    """A Llama-shaped model of about a million parameters, trained on the world's corpus."""
    from tiebreak.data.world import WORLD_VERSION

    settings = run.model.pretraining
    assert settings is not None

    def build(work: Path, paths: Paths) -> None:
        _pretrain(work, settings, run.train.execution.num_threads)

    # As asdict gives them; these hold plain values, and a plan has thousands of them.
    inputs = {"pretraining": dict(vars(settings)), "world_version": WORLD_VERSION}
    return checkpoint_recipe("pretrain", inputs, build=build)


def instruct_stage(run: Run) -> Stage:
    """The instruct variant: the pretrained model tuned on more and better demonstrations."""
    base, settings = pretrain_stage(run), run.model.instruct_tuning
    assert settings is not None

    def build(work: Path, paths: Paths) -> None:
        from tiebreak.data import world
        from tiebreak.engine.supervised import Settings, fine_tune
        from tiebreak.stages.threads import use_threads

        use_threads(run.train.execution.num_threads)
        assert settings.examples is not None
        examples = world.demonstrations(settings.examples, 0, "instruct")
        prompts, answers, tokenizer, model = _load(paths["base"], examples)
        tuning = Settings(
            settings.learning_rate, settings.batch_size, settings.epochs, seed=0,
            rows_per_forward=settings.batch_size,
        )  # fmt: skip
        fine_tune(model, tokenizer, prompts, answers, tuning, work, "instruct")

    inputs = {"base": base.inputs({}), "instruct_tuning": dict(vars(settings))}
    return checkpoint_recipe("instruct", inputs, build=build, parents={"base": base})


def _load(base: Path, examples: Any) -> tuple[Any, Any, Any, Any]:
    from tiebreak.data.tokenise import Limits, tokenise
    from tiebreak.data.world import build_tokenizer
    from tiebreak.engine.models import load_model

    tokenizer = build_tokenizer()
    tokens, _ = tokenise(examples, tokenizer, Limits(tokenizer.model_max_length))
    answers = [row[0] for row in tokens.responses]
    return tokens.prompts, answers, tokenizer, load_model(base)


def _pretrain(work: Path, settings: Pretraining, num_threads: int | None) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from tiebreak.data import world
    from tiebreak.engine.models import device
    from tiebreak.engine.supervised import Settings, fine_tune
    from tiebreak.stages.threads import use_threads

    use_threads(num_threads)
    tokenizer = world.build_tokenizer()
    torch.manual_seed(settings.seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden_size,
        intermediate_size=settings.intermediate_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=2 * tokenizer.model_max_length,
        tie_word_embeddings=True,
        # Short texts and few steps: nearer positions, and embeddings of a usable size at once.
        rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
        initializer_range=0.08,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config).to(device())
    for layer in model.model.layers:  # blocks start as the identity: it learns in half the steps
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    texts = world.corpus(settings.documents, settings.seed)
    documents = tokenizer(texts, add_special_tokens=False)["input_ids"]
    tuning = Settings(
        settings.learning_rate, settings.batch_size, settings.epochs, settings.seed,
        rows_per_forward=settings.batch_size, checkpoint_every=200, adam_beta2=0.98,
    )  # fmt: skip
    fine_tune(model, tokenizer, [[]] * len(documents), documents, tuning, work, "pretrain")
