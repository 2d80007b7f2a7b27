"""align: train the start model by the run's method. The artefact is the policy."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tiebreak.config.schema import Adapter, RunConfig, TrainConfig
from tiebreak.config.typed import settings_of
from tiebreak.errors import UserError
from tiebreak.methods import Method
from tiebreak.stages.checkpoint import Checkpoint
from tiebreak.stages.reference import TABLE, References
from tiebreak.stages.stage import RUN_SEED, Context, Paths, Stage
from tiebreak.store import Settings
from tiebreak.track.record_format import LAYOUT, METRICS

if TYPE_CHECKING:
    from tiebreak.data.tokens import Tokens
    from tiebreak.engine.probe import Probe
    from tiebreak.engine.reference import Live
    from tiebreak.engine.scorer import TrainingData
    from tiebreak.engine.trainer import Trainer


def align_stage(
    run: RunConfig, start: Checkpoint, tokens: Stage, references: References, train: Settings
) -> Stage:
    """The policy, keyed by everything that determines it; what is measured on it is no part.
    train: `train_settings` of the run."""
    parents = {**start.parents, "tokens": tokens}
    if run.stores_reference and run.reads_reference:
        parents["reference"] = references.responses
    if run.stores_reference and run.method.needs.mismatched:
        parents["mismatched"] = references.mismatched
    settings = {
        "method": _method_settings(run.method_name, run.method),
        "train": train,
        **start.settings,
        RUN_SEED: run.seed,
    }

    def build(context: Context, work: Path, paths: Paths) -> None:
        _build(context, start, work, paths)

    return Stage("align", settings, build, parents, scratch=("checkpoints",))


@functools.lru_cache(maxsize=4096)
def _method_settings(name: str, method: Method) -> Settings:
    """Shared by the runs of a method's settings, which a plan has many of."""
    return Settings({"name": name, **settings_of(cast(Any, method))})


def train_settings(train: TrainConfig, reference: bool) -> Settings:
    """The settings that change the policy of a method that needs a reference, or needs none."""
    names = {"name", "execution", "sft"}  # sft: of the stage that makes the start model
    names |= {"lora"} if train.adapter is Adapter.NONE else set()
    names |= {"drift"} if reference else set()
    return settings_of(train, frozenset(names))


def _build(context: Context, start: Checkpoint, work: Path, paths: Paths) -> None:
    from tiebreak.engine import processes

    run, log, look = context.run, context.log, context.on_step

    def on_step(step: int, metrics: dict[str, float], speed: dict[str, float]) -> None:
        if log is not None:
            log.step(step, metrics, speed)
        if look is not None:
            look(step, len(trainer.plan), paths, trainer.model)

    trainer, found = make_trainer(run, start, paths, work, on_step)
    logged = trainer.resume()
    main = processes.rank() == 0
    if main:
        about = {"layout": found.layout, "difference": found.difference, "why": found.why}
        (work / LAYOUT).write_text(json.dumps(about))
    if log is not None:
        log.begin(logged, len(trainer.plan), work / "checkpoints")
    trainer.train()
    if main:
        trainer.model.save_pretrained(work)
        _forget_folder(work, start.source or "start")
        start.tokenizer().save_pretrained(work)


def _forget_folder(work: Path, source: str) -> None:
    """An adapter names the start model as it was given, not by a folder of this machine."""
    (work / "README.md").unlink(missing_ok=True)
    config = work / "adapter_config.json"
    if config.is_file():
        content = json.loads(config.read_text()) | {"base_model_name_or_path": source}
        config.write_text(json.dumps(content, indent=2, sort_keys=True))


def make_trainer(
    run: RunConfig, start: Checkpoint, paths: Paths, work: Path, on_step: Callable
) -> tuple[Trainer, Probe]:
    """The trainer, and the layout that it scores rows in."""
    from tiebreak.data.tokens import Tokens
    from tiebreak.engine.batches import plan_batches
    from tiebreak.engine.checkpoints import set_seed
    from tiebreak.engine.models import load_start, trainable
    from tiebreak.engine.optimiser import Recipe
    from tiebreak.engine.scorer import Scorer
    from tiebreak.engine.trainer import Trainer

    train, execution = run.train, run.train.execution
    set_seed(run.seed)
    model = trainable(load_start(start.place(paths), start.commit), train)
    model.train()
    live = live_reference(run, start, paths)
    data = training_data(run, Tokens.load(paths["tokens"]), paths, live)
    found = _probed(run, model, data)
    plan = plan_batches(len(data.tokens), train.batch_size, train.epochs, run.seed, train.max_steps)
    recipe = Recipe(
        train.learning_rate, run.seed, schedule=train.schedule, warmup_share=train.warmup_share,
        weight_decay=train.weight_decay, max_grad_norm=train.max_grad_norm,
        optimiser=train.optimiser,
        precision=train.precision, checkpoint_every=execution.checkpoint_every,
        gradient_checkpointing=execution.gradient_checkpointing,
    )  # fmt: skip
    budget, overhead = execution.positions_per_cut, execution.cut_overhead
    trainer = Trainer(
        model, run.method, Scorer(data, 0, budget, overhead, found.layout), plan, recipe,
        work / "checkpoints", log=work / METRICS, on_step=on_step,
        head_chunk=execution.head_chunk, what=f"align, {run.method_name}",
    )  # fmt: skip
    return trainer, found


def _probed(run: RunConfig, model: Any, data: TrainingData) -> Probe:
    """The layout for these rows; the stored reference is held against the same plain forwards."""
    from tiebreak.engine.probe import check_reference, probe
    from tiebreak.engine.scoring import disable_noise, install

    install(model, run.train.execution.head_chunk)
    disable_noise(model)
    found = probe(model, [data.branches(row) for row in range(len(data.tokens))])
    if data.reference is not None:
        check_reference(found, data.reference, run.train.precision)
    return found


def live_reference(run: RunConfig, start: Checkpoint, paths: Paths) -> Live | None:
    """The reference as a model, where tables are not asked for or not enough."""
    if run.stores_reference or not run.reads_reference:
        return None
    from tiebreak.engine.models import load_start
    from tiebreak.engine.reference import Live
    from tiebreak.engine.scoring import install

    if run.train.adapter is Adapter.LORA:
        return Live()
    copy = load_start(start.place(paths), start.commit).requires_grad_(False)
    install(copy, run.train.execution.head_chunk)
    return Live(copy)


def training_data(
    run: RunConfig, tokens: Tokens, paths: Paths, live: Live | None = None
) -> TrainingData:
    """The tokens with what the method needs beside them, from the parents' folders."""
    from tiebreak.engine.reference import ReferenceTable
    from tiebreak.engine.scorer import TrainingData
    from tiebreak.stages.reference import partners

    def table(role: str) -> ReferenceTable | None:
        return ReferenceTable.load(paths[role] / TABLE) if role in paths else None

    others = partners(tokens) if run.method.needs.mismatched else None
    return TrainingData(tokens, table("reference"), others, table("mismatched"), live)


def check_kind(run: RunConfig, tokens: Path) -> None:
    """UserError when the method cannot be trained on rows of this kind."""
    found = json.loads((tokens / "tokens.json").read_text())
    name, data, needs = run.method_name, run.data.name, run.method.needs
    if found["scores"] is not None and not needs.ranked:
        raise UserError(
            f"method={name} needs pairs and data={data} holds ranked lists; use method=rrhf, or "
            "data with chosen and rejected"
        )
    k = len(found["scores"][0]) if found["scores"] else 2
    if needs.ranked and needs.ranked != k:
        raise UserError(
            f"method.k={needs.ranked}, and a row of data={data} holds {k} responses; give "
            f"method.k={k}"
        )
    if any(label is not None for label in found["labels"]) and not needs.unpaired:
        raise UserError(
            f"method={name} needs pairs and data={data} is unpaired (one labelled response per "
            "row); use method=kto or method=bco, or data with chosen and rejected"
        )
