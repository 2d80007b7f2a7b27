"""The start model of a run: a given checkpoint, or what pretrain, instruct and sft make of one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiebreak.config.schema import RunConfig, Start
from tiebreak.config.typed import settings_of
from tiebreak.data.sources.source import DEMONSTRATIONS
from tiebreak.stages.checkpoint import Checkpoint, given, given_base
from tiebreak.stages.stage import RUN_SEED, Context, Paths, Stage
from tiebreak.stages.tokens import tokens_stage

if TYPE_CHECKING:
    from tiebreak.engine.optimiser import Recipe
    from tiebreak.engine.supervised import Settings

SCRATCH = ("checkpoints",)
WARMUP = 0.1  # share of the steps
PRETRAIN_CHECKPOINTS = 200  # steps between two of them, where no setting says it
# What SFT does not read of the group `train`: the settings of align.
OF_ALIGN = frozenset(
    "name learning_rate batch_size epochs max_steps schedule warmup_share optimiser "
    "weight_decay max_grad_norm adapter lora reference drift execution".split()
)


def start_checkpoint(run: RunConfig) -> Checkpoint:
    """The model before the align stage."""
    if not run.trains_sft:
        return _checkpoint(run, run.scenario.start)
    base = _checkpoint(run, Start.BASE)
    return replace(base, stage=_sft_stage(run, base), settings={})


def _checkpoint(run: RunConfig, start: Start) -> Checkpoint:
    """The checkpoint that `model.START` names, or is made here."""
    source = run.model.source(start) or run.model.base
    assert source is not None, "config.checks has seen to it"
    if source != "here":
        of_base = start in (Start.BASE, Start.GIVEN)
        return (given_base if of_base else given)(source, run.model)
    from tiebreak.data.world import WORLD_VERSION

    stage = _instruct_stage(run) if start is Start.INSTRUCT else _pretrain_stage(run)
    return Checkpoint(stage, None, None, None, {}, {"world_version": WORLD_VERSION})


def _sft_stage(run: RunConfig, base: Checkpoint) -> Stage:
    """Supervised fine-tuning of all weights on the demonstrations; leaves a full model."""
    settings = {**settings_of(run.train, OF_ALIGN), **base.settings, RUN_SEED: run.seed}
    parents = {**base.parents, "tokens": tokens_stage(run, base, DEMONSTRATIONS)}
    return Stage("sft", settings, _build_sft, parents, scratch=SCRATCH)


def _build_sft(context: Context, work: Path, paths: Paths) -> None:
    from tiebreak.data.tokens import Tokens
    from tiebreak.engine.models import load_start
    from tiebreak.engine.optimiser import Recipe
    from tiebreak.engine.supervised import fine_tune

    run = context.run
    base = _checkpoint(run, Start.BASE)
    data = Tokens.load(paths["tokens"])
    sft, execution = run.train.sft, run.train.execution
    recipe = Recipe(
        sft.learning_rate, run.seed,
        schedule="cosine", warmup_share=WARMUP,  # the Zephyr and SimPO recipes
        precision=run.train.precision, checkpoint_every=execution.checkpoint_every,
        gradient_checkpointing=execution.gradient_checkpointing,
    )  # fmt: skip
    keep = slice(0, sft.examples)
    answers = [row[0] for row in data.responses[keep]]
    model = load_start(base.place(paths), base.commit)
    settings = _settings(run, recipe, sft.batch_size, sft.epochs)
    fine_tune(model, base.tokenizer(), data.prompts[keep], answers, settings, work)


def _settings(run: RunConfig, recipe: Recipe, batch_size: int, epochs: float) -> Settings:
    from tiebreak.engine.supervised import Settings

    execution = run.train.execution
    return Settings(
        recipe, batch_size, epochs, execution.positions_per_cut, execution.cut_overhead,
        execution.head_chunk,
    )  # fmt: skip


def _pretrain_stage(run: RunConfig) -> Stage:
    """A Llama-shaped model of about a million parameters, trained on the world's corpus."""
    from tiebreak.data.world import WORLD_VERSION

    assert run.model.pretraining is not None
    settings = {**settings_of(run.model.pretraining), "world_version": WORLD_VERSION}
    return Stage("pretrain", settings, _build_pretrain, scratch=SCRATCH)


def _build_pretrain(context: Context, work: Path, paths: Paths) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from tiebreak.data import world
    from tiebreak.engine.models import device
    from tiebreak.engine.optimiser import Recipe
    from tiebreak.engine.supervised import fine_tune

    recipe = context.run.model.pretraining
    assert recipe is not None
    tokenizer = world.build_tokenizer()
    torch.manual_seed(recipe.seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=recipe.hidden_size,
        intermediate_size=recipe.intermediate_size, num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads, num_key_value_heads=recipe.heads,
        max_position_embeddings=2 * tokenizer.model_max_length, tie_word_embeddings=True,
        # Short texts and few steps: nearer positions, and embeddings of a usable size at once.
        rope_parameters={"rope_type": "default", "rope_theta": 1000.0}, initializer_range=0.08,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = LlamaForCausalLM(config).to(device())
    for layer in model.model.layers:  # blocks start as the identity: it learns in half the steps
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    texts = world.corpus(recipe.documents, recipe.seed)
    documents = tokenizer(texts, add_special_tokens=False)["input_ids"]
    moves = Recipe(
        recipe.learning_rate, recipe.seed, warmup_share=WARMUP, adam_beta2=0.98,
        checkpoint_every=PRETRAIN_CHECKPOINTS,
    )  # fmt: skip
    settings = _settings(context.run, moves, recipe.batch_size, recipe.epochs)
    fine_tune(model, tokenizer, [[]] * len(documents), documents, settings, work, "pretrain")


def _instruct_stage(run: RunConfig) -> Stage:
    """The instruct variant: the pretrained model tuned on more and better demonstrations."""
    assert run.model.instruct_tuning is not None
    parents = {"base": _pretrain_stage(run)}
    settings = settings_of(run.model.instruct_tuning)
    return Stage("instruct", settings, _build_instruct, parents, scratch=SCRATCH)


def _build_instruct(context: Context, work: Path, paths: Paths) -> None:
    from tiebreak.data import world
    from tiebreak.data.tokens import Limits, tokenise
    from tiebreak.engine.models import load_model
    from tiebreak.engine.optimiser import Recipe
    from tiebreak.engine.supervised import fine_tune

    recipe = context.run.model.instruct_tuning
    assert recipe is not None and recipe.examples is not None
    examples = world.demonstrations(recipe.examples, 0, "instruct")
    tokenizer: Any = world.build_tokenizer()
    tokens, _ = tokenise(examples, tokenizer, Limits(tokenizer.model_max_length))
    answers = [row[0] for row in tokens.responses]
    moves = Recipe(recipe.learning_rate, seed=0, warmup_share=WARMUP)
    settings = _settings(context.run, moves, recipe.batch_size, recipe.epochs)
    model = load_model(paths["base"])
    fine_tune(model, tokenizer, tokens.prompts, answers, settings, work, "instruct")
