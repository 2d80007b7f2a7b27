"""align: train the start model by the run's method. The artefact is the policy."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tiebreak.config.identity import train_content
from tiebreak.config.schema import Adapter, Reference, Run, Schedule
from tiebreak.engine.precision import resolve_precision
from tiebreak.errors import UserError
from tiebreak.stages import tokens as token_stage
from tiebreak.stages.reference import TABLE, reference_stage
from tiebreak.stages.stage import Paths, Stage
from tiebreak.stages.start import Checkpoint, checkpoint_recipe, start_checkpoint

if TYPE_CHECKING:
    from tiebreak.data.tokens import Tokens
    from tiebreak.engine.reference import Live
    from tiebreak.engine.scorer import TrainingData
    from tiebreak.engine.trainer import PreferenceTrainer

METRICS = "metrics.jsonl"
SCHEDULES = {Schedule.LINEAR: "linear", Schedule.COSINE: "cosine",
             Schedule.CONSTANT: "constant_with_warmup"}  # fmt: skip


class Log(Protocol):
    """Where training reports: the record, or nowhere."""

    def begin(self, resumed_at: int, steps: int, checkpoints: Path) -> None: ...
    def step(self, step: int, metrics: Mapping[str, float], speed: Mapping[str, float]) -> None: ...


# Called after each update with (step, steps, folders of the parents, model); may raise Pruned.
Look = Callable[[int, int, Paths, Any], None]


@dataclass(frozen=True)
class Line:
    """The stages of one run, named."""

    start: Checkpoint
    tokens: Stage
    align: Stage

    @classmethod
    def of(cls, run: Run, log: Log | None = None, look: Look | None = None) -> Line:
        start = start_checkpoint(run)
        tokens = token_stage.preferences(run, start)
        return cls(start, tokens, align_stage(run, start, tokens, log, look))


def wants_reference(run: Run) -> bool:
    """Whether log-probs of the start model are read during training."""
    return run.method.needs.reference or run.train.drift


def align_stage(
    run: Run, start: Checkpoint, tokens: Stage, log: Log | None, look: Look | None = None
) -> Stage:
    """Keyed by everything that determines the policy; evaluation is not part of it."""
    parents = {**start.parents(), "tokens": tokens}
    stored = run.train.reference is Reference.STORE and not run.method.needs.live
    if stored and wants_reference(run):
        parents["reference"] = reference_stage(run, start, tokens, mismatched=False)
    if stored and run.method.needs.mismatched:
        parents["mismatched"] = reference_stage(run, start, tokens, mismatched=True)
    inputs = {
        "start": start.identity,
        "tokens": tokens.inputs({}),
        **settings(run),
        "seed": run.seed,
    }

    def build(work: Path, paths: Paths) -> None:
        _build(work, run, start, paths, log, look)

    return checkpoint_recipe("align", inputs, build=build, parents=parents)


def settings(run: Run) -> dict[str, Any]:
    """What determines the policy beside its start, the data and the seed."""
    train = {k: v for k, v in train_content(run).items() if k != "sft"}
    return {
        "method": {"name": run.method_name, **asdict(run.method)},
        "train": train | {"precision": resolve_precision(run.train.precision)},
    }


def _build(
    work: Path, run: Run, start: Checkpoint, paths: Paths, log: Log | None, look: Look | None
) -> None:
    from tiebreak.engine.checkpoints import last_checkpoint, step_of, train
    from tiebreak.engine.progress import quiet_trainer
    from tiebreak.stages.threads import use_threads

    use_threads(run.train.execution.num_threads)
    kept = work / METRICS
    main = int(os.environ.get("RANK", "0")) == 0
    resume = last_checkpoint(work / "checkpoints", clean=main)
    rows = _rows_until(kept, step_of(resume) if resume else 0)
    if main:
        kept.write_text("".join(rows))

    def on_step(step: int, metrics: dict[str, float], speed: dict[str, float]) -> None:
        with kept.open("a") as stream:
            stream.write(json.dumps({"step": step, **metrics}, sort_keys=True) + "\n")
        if log is not None:
            log.step(step, metrics, speed)
        if look is not None:
            look(step, len(trainer.plan), paths, trainer.accelerator.unwrap_model(trainer.model))

    trainer = make_trainer(run, start, paths, work / "checkpoints", on_step)
    quiet_trainer(trainer, f"align, {run.method_name}")
    if log is not None:
        log.begin(len(rows), len(trainer.plan), work / "checkpoints")
    train(trainer, resume)
    if trainer.args.should_save:
        trainer.accelerator.unwrap_model(trainer.model).save_pretrained(work)
        start.tokenizer(paths).save_pretrained(work)


def make_trainer(
    run: Run, start: Checkpoint, paths: Paths, folder: Path, on_step: Callable
) -> PreferenceTrainer:
    from transformers import TrainingArguments, set_seed

    from tiebreak.data.tokens import Tokens
    from tiebreak.engine.arguments import common_arguments, one_device
    from tiebreak.engine.batches import plan_batches
    from tiebreak.engine.models import load_start, trainable
    from tiebreak.engine.scorer import Scorer
    from tiebreak.engine.trainer import PreferenceTrainer

    train, execution = run.train, run.train.execution
    set_seed(run.seed)
    model = trainable(load_start(start.place(paths), start.revision), train)
    model.train()
    live = live_reference(run, start, paths)
    data = training_data(run, Tokens.load(paths["tokens"] / "train"), paths, live)
    precision = resolve_precision(train.precision)
    plan = plan_batches(len(data.tokens), train.batch_size, train.epochs, run.seed, train.max_steps)
    arguments = TrainingArguments(
        **common_arguments(folder, precision, run.seed, execution.checkpoint_every),
        learning_rate=train.learning_rate,
        lr_scheduler_type=SCHEDULES[train.schedule],
        warmup_steps=train.warmup_share,
        weight_decay=train.weight_decay,
        max_grad_norm=train.max_grad_norm,
        num_train_epochs=1,
        per_device_train_batch_size=1,
        activation_checkpointing=execution.gradient_checkpointing,
        logging_steps=1,
    )
    scorer = Scorer(data, 0, execution.positions_per_cut, execution.cut_overhead)
    return PreferenceTrainer(
        model, run.method, scorer, plan, one_device(arguments),
        on_step=on_step, precision=precision, head_chunk=execution.head_chunk,
    )  # fmt: skip


def live_reference(run: Run, start: Checkpoint, paths: Paths) -> Live | None:
    """The reference as a model, where tables are not asked for or not enough."""
    stored = run.train.reference is Reference.STORE and not run.method.needs.live
    if stored or not wants_reference(run):
        return None
    from tiebreak.engine.models import load_start
    from tiebreak.engine.reference import Live
    from tiebreak.engine.scoring import install

    if run.train.adapter is Adapter.LORA:
        return Live()
    copy = load_start(start.place(paths), start.revision).requires_grad_(False)
    install(copy, run.train.execution.head_chunk)
    return Live(copy)


def training_data(run: Run, tokens: Tokens, paths: Paths, live: Live | None = None) -> TrainingData:
    """The tokens with what the method needs beside them, from the parents' folders."""
    from tiebreak.engine.reference import ReferenceTable
    from tiebreak.engine.scorer import TrainingData
    from tiebreak.stages.reference import partners

    needs = run.method.needs

    def table(role: str) -> ReferenceTable | None:
        return ReferenceTable.load(paths[role] / TABLE) if role in paths else None

    return TrainingData(
        tokens,
        reference=table("reference"),
        partners=partners(tokens) if needs.mismatched else None,
        mismatched=table("mismatched"),
        live=live,
    )


def check_kind(run: Run, tokens: Path) -> None:
    """UserError when the method cannot be trained on rows of this kind."""
    found = json.loads((tokens / "train" / "tokens.json").read_text())
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


def _rows_until(path: Path, step: int) -> list[str]:
    """Whole lines of a metrics file up to `step`."""
    if not path.is_file():
        return []
    lines = path.read_text().splitlines(keepends=True)[:step]
    return [line for line in lines if line.endswith("\n")]
