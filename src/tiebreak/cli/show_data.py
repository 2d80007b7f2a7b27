"""`tiebreak data`: the data of a run as the model will see it, before anything is trained."""

from __future__ import annotations

from tiebreak.compose import Run


def show_data(run: Run, num_rows: int) -> None:
    """Rows, counts by reason and lint findings of each side. Raises what a run would raise."""
    from rich.console import Console

    from tiebreak.data.view import show
    from tiebreak.engine.progress import quiet_libraries
    from tiebreak.stages.tokens import encode, refuse_unfit

    quiet_libraries()
    tokenizer = run.plan.start.tokenizer()
    console = Console()
    for side in run.data.sides():
        examples = run.data.rows(side)
        rows = num_rows if side == "train" else 0
        found = encode(run, examples, tokenizer)
        console.rule(f"{run.data.name}: {side}, {len(found.tokens)} rows")
        show(found.tokens, tokenizer, found.report, found.findings, rows, console, found.dropped)
        refuse_unfit(run, found)
