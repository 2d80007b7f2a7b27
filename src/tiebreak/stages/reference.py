"""reference: the start model's log-prob of every training token, stored once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiebreak.config.schema import RunConfig
from tiebreak.config.typed import settings_of
from tiebreak.stages.checkpoint import Checkpoint
from tiebreak.stages.stage import Context, Paths, Stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiebreak.data.tokens import Tokens
    from tiebreak.engine.rows import Branches

TABLE = "logps.safetensors"
# What scoring does not read of the group `train`.
OF_TRAINING = frozenset(
    "name learning_rate batch_size epochs max_steps schedule warmup_share optimiser "
    "weight_decay max_grad_norm adapter lora reference drift sft execution".split()
)


@dataclass(frozen=True)
class References:
    """The two tables a start model can leave for the training rows.

    responses: log-probs of every chosen and rejected response; mismatched: of every row's response
    to another prompt.
    """

    responses: Stage
    mismatched: Stage

    @classmethod
    def of(cls, run: RunConfig, start: Checkpoint, tokens: Stage) -> References:
        settings = {**settings_of(run.train, OF_TRAINING), **start.settings}
        parents = {**start.parents, "tokens": tokens}

        def stage(mismatched: bool) -> Stage:
            def build(context: Context, work: Path, paths: Paths) -> None:
                _build(work, context.run, start, paths, mismatched)

            what = "mismatched responses" if mismatched else "responses"
            return Stage("reference", settings, build, parents, what=what)

        return cls(stage(False), stage(True))


def branches(tokens: Tokens, mismatched: bool) -> Sequence[Branches]:
    """What the pass scores, row by row."""
    from tiebreak.engine.scorer import TrainingData

    data = TrainingData(tokens, partners=partners(tokens) if mismatched else None)
    row_branches = data.mismatched_branches if mismatched else data.branches
    return [row_branches(row) for row in range(len(tokens))]


def partners(tokens: Tokens) -> list[tuple[int, int]]:
    """(other row, branch) of each row's mismatched response."""
    from tiebreak.engine.batches import mismatch

    return mismatch(tokens.prompts, [len(r) for r in tokens.responses])


def _build(work: Path, run: RunConfig, start: Checkpoint, paths: Paths, mismatched: bool) -> None:
    from tiebreak.data.tokens import Tokens
    from tiebreak.engine.models import load_start
    from tiebreak.engine.reference import ReferenceTable

    rows = branches(Tokens.load(paths["tokens"]), mismatched)
    model = load_start(start.place(paths), start.commit)
    ReferenceTable.of(score(run, model, rows, "reference")).save(work / TABLE)


def score(run: RunConfig, model: Any, rows: Sequence[Any], what: str) -> list[list[Any]]:
    """Log-prob of every token (tensors (tokens,), nats) of every response."""
    from tiebreak.engine.models import autocast
    from tiebreak.engine.probe import probe
    from tiebreak.engine.progress import progress
    from tiebreak.engine.reference import score_all
    from tiebreak.engine.scoring import install

    execution = run.train.execution
    install(model, execution.head_chunk)
    layout = probe(model, rows).layout
    with progress(what, len(rows)) as advance, autocast(run.train.precision):
        return score_all(
            model, rows, pad_id=0, budget=execution.positions_per_cut,
            overhead=execution.cut_overhead, layout=layout, progress=advance,
        )  # fmt: skip
