"""`tiebreak data`: the data of a run as the model will see it, before anything is trained."""

from __future__ import annotations

from tiebreak.config.schema import Run


def show_data(run: Run, num_rows: int) -> None:
    """Rows, counts by reason and lint findings of both sides. Raises what a run would raise."""
    from rich.console import Console

    from tiebreak.data.check import drop_untrainable, refuse_if_many
    from tiebreak.data.lint import lint, refuse
    from tiebreak.data.tokenise import Limits, tokenise
    from tiebreak.data.view import show
    from tiebreak.launch.run import quiet_libraries
    from tiebreak.stages.start import start_checkpoint
    from tiebreak.stages.tokens import read_preferences

    quiet_libraries()
    tokenizer = start_checkpoint(run).tokenizer({})
    train, test = read_preferences(run)
    console = Console()
    for side, examples, rows in (("train", train, num_rows), ("test", test, 0)):
        kept, before = drop_untrainable(examples)
        limits = Limits(run.data.max_length, run.data.max_prompt_length)
        tokens, report = tokenise(kept, tokenizer, limits)
        findings, dropped = lint(tokens, tokenizer, report), before.then(report.dropped)
        console.rule(f"{run.data.name}: {side}, {len(tokens)} rows")
        show(tokens, tokenizer, report, findings, rows, console, dropped)
        refuse_if_many(dropped, run.data.max_dropped_share)
        refuse(findings)
