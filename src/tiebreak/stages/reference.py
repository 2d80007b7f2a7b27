"""reference: the start model's per-token log-probs, once per (weights, token ids, precision)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiebreak.config.schema import Run
from tiebreak.engine.precision import resolve_precision
from tiebreak.stages.stage import Paths, Stage
from tiebreak.stages.start import Checkpoint
from tiebreak.store import weights_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiebreak.data.tokens import Tokens
    from tiebreak.engine.rows import Branches

TABLE = "logps.safetensors"


def reference_stage(run: Run, start: Checkpoint, tokens: Stage, mismatched: bool) -> Stage:
    """Log-probs of every chosen and rejected response; or of every row's mismatched response.

    Keyed by content, so that no setting of a run can serve stale numbers and none forces a pass
    that was made before.
    """

    def inputs(paths: Paths) -> dict[str, Any]:
        report = json.loads((paths["tokens"] / "report.json").read_text())
        return {
            # A given checkpoint's identity is its content already.
            "weights": weights_hash(paths["start"]) if start.stage else start.identity,
            "tokens": report["train"]["content"],
            "precision": resolve_precision(run.train.precision),
            "rows": "mismatched" if mismatched else "responses",
        }

    def build(work: Path, paths: Paths) -> None:
        _build(work, run, start, paths, mismatched)

    parents = {**start.parents(), "tokens": tokens}
    what = "mismatched responses" if mismatched else "responses"
    return Stage("reference", inputs, build, parents, by_content=True, what=what)


def branches(tokens: Tokens, mismatched: bool) -> Sequence[Branches]:
    """What the pass scores, row by row."""
    from tiebreak.engine.scorer import TrainingData

    if not mismatched:
        data = TrainingData(tokens)
        return [data.branches(row) for row in range(len(tokens))]
    data = TrainingData(tokens, partners=partners(tokens))
    return [data.mismatched_branches(row) for row in range(len(tokens))]


def partners(tokens: Tokens) -> list[tuple[int, int]]:
    """(other row, branch) of each row's mismatched response."""
    from tiebreak.engine.batches import mismatch

    return mismatch(tokens.prompts, [len(r) for r in tokens.responses])


def _build(work: Path, run: Run, start: Checkpoint, paths: Paths, mismatched: bool) -> None:
    from tiebreak.data.tokens import Tokens
    from tiebreak.engine.models import autocast, load_start
    from tiebreak.engine.progress import progress
    from tiebreak.engine.reference import ReferenceTable, score_all
    from tiebreak.engine.scoring import install
    from tiebreak.stages.threads import use_threads

    execution = run.train.execution
    use_threads(execution.num_threads)
    tokens = Tokens.load(paths["tokens"] / "train")
    model = load_start(start.place(paths), start.revision)
    install(model, execution.head_chunk)
    rows = branches(tokens, mismatched)
    with progress("reference", len(rows)) as advance:
        with autocast(resolve_precision(run.train.precision)):
            logps = score_all(
                model,
                rows,
                pad_id=0,
                budget=execution.positions_per_cut,
                overhead=execution.cut_overhead,
                progress=advance,
            )
    ReferenceTable.of(logps).save(work / TABLE)
