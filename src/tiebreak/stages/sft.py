"""sft: supervised fine-tuning of the base model, once per (model, data, seed)."""

from __future__ import annotations

from pathlib import Path

from tiebreak.config.schema import Run
from tiebreak.engine.precision import resolve_precision
from tiebreak.stages import tokens
from tiebreak.stages.stage import Paths, Stage
from tiebreak.stages.start import Checkpoint, checkpoint_recipe


def sft_stage(run: Run, base: Checkpoint) -> Stage:
    """Trains all weights on the demonstrations; the result is a full model."""
    rows = tokens.demonstrations(run, base)

    def build(work: Path, paths: Paths) -> None:
        from tiebreak.data.tokens import Tokens
        from tiebreak.engine.models import load_start
        from tiebreak.engine.supervised import Settings, fine_tune
        from tiebreak.stages.threads import use_threads

        use_threads(run.train.execution.num_threads)
        data = Tokens.load(paths["tokens"] / "train")
        sft, execution = run.train.sft, run.train.execution
        settings = Settings(
            sft.learning_rate,
            sft.batch_size,
            sft.epochs,
            run.seed,
            schedule="cosine",  # the Zephyr and SimPO recipes
            precision=resolve_precision(run.train.precision),
            checkpoint_every=execution.checkpoint_every,
            rows_per_forward=max(1, execution.positions_per_cut // run.data.max_length),
            gradient_checkpointing=execution.gradient_checkpointing,
        )
        keep = slice(0, sft.examples)
        answers = [row[0] for row in data.responses[keep]]
        model = load_start(base.place(paths), base.revision)
        fine_tune(model, base.tokenizer(paths), data.prompts[keep], answers, settings, work)

    inputs = {
        "base": base.identity,
        "tokens": rows.inputs({}),
        "sft": run.resolved["train"]["sft"],
        "precision": resolve_precision(run.train.precision),
        "seed": run.seed,
    }
    parents = {**base.parents(), "tokens": rows}
    return checkpoint_recipe("sft", inputs, build=build, parents=parents)
