"""What the commands print."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from tiebreak.compose import Run
from tiebreak.home import artefacts_dir, runs_dir
from tiebreak.metrics import Shown, shown
from tiebreak.run.execute import Outcome
from tiebreak.store import Store
from tiebreak.sweep.tasks import Standing, State, SweepResult, describe, wall_seconds
from tiebreak.track.record import is_done, is_live, read_result
from tiebreak.track.record_format import TRACE

TRACE_LINES = 3  # of a failed run's error.txt


def plan_lines(run: Run) -> Iterator[str]:
    """The run and its stages, parents first: cached, or would run."""
    done = is_done(runs_dir() / run.run_id, run.evaluation_id, run.evaluators)
    yield f"{describe(run)}, {'finished' if done else 'not finished'}"
    for stage, stored in run.plan.standing(Store(artefacts_dir())):
        state = "cached" if stored else "would run"
        yield f"  {state:<10} {stage.name:<12} {stage.what:<21} {stage.key}"


def outcome_lines(outcome: Outcome) -> Iterator[str]:
    """The main metrics, before and after; what was done; where the record is."""
    result = read_result(outcome.folder, outcome.evaluation_id)
    before = result["start"]["metrics"]
    for name in shown(result["metrics"], Shown.TABLES, Shown.RUNS):
        start = f"{before[name]:10.4f}" if name in before else " " * 10
        yield f"  {name:<22} {start} -> {result['metrics'][name]:10.4f}"
    reused = sum(outcome.artefacts.values())
    stages = f"stages: {len(outcome.artefacts) - reused} built, {reused} reused"
    yield f"{'this run is done' if outcome.already else stages}; record: {outcome.folder}"


def describe_report(report: SweepResult) -> Iterator[str]:
    """What a sweep did, stage by stage."""
    more = {"pruned": report.pruned, "stopped": report.stopped,
            "not begun": report.left if report.interrupted else 0}  # fmt: skip
    told = "".join(f", {count} {what}" for what, count in more.items() if count)
    yield (
        f"{report.total} runs: {report.done} done now, {report.skipped} finished before, "
        f"{len(report.failed)} failed{told}"
    )
    stages = report.stages()
    built = sum(b for b, _ in stages.values())
    reused = sum(r for _, r in stages.values())
    yield f"stages: {built} built, {reused} reused from the store"
    for stage, (made, found) in stages.items():
        yield f"  {stage:<12}{made:>4} built {found:>4} reused"
    for run, error in report.failed:
        yield f"failed: {describe(run)}: {error}"
        trace = runs_dir() / run.run_id / TRACE
        if trace.is_file():
            yield from (f"  {line}" for line in trace.read_text().splitlines()[-TRACE_LINES:])
            yield f"  all of it: {trace}"
    yield f"records: {runs_dir()}"


def status_lines(name: str, standings: Sequence[Standing], unchosen: int = 0) -> Iterator[str]:
    """Where a study stands: counts, what runs now, what failed, and the time left. unchosen: runs
    of a search whose settings depend on runs before them."""
    counts = Counter(one.state for one in standings)
    told = [f"{counts[state]} {state}" for state in State if counts[state]]
    told += [f"{unchosen} to be chosen"] if unchosen else []
    yield f"{name}: {len(standings) + unchosen} runs: {', '.join(told)}"
    for one in standings:
        if one.state is State.RUNNING:
            where = f" at step {one.step} of {one.steps}" if one.step is not None else ""
            yield f"  running  {describe(one.run)}{where}"
        if one.state is State.FAILED:
            yield f"  failed   {describe(one.run)}: {one.error}"
    if counts[State.FAILED]:
        yield f"do the failed ones again with: tiebreak retry {name}"
    yield from _time_left(standings, counts[State.RUNNING])


def _time_left(standings: Sequence[Standing], workers: int) -> Iterator[str]:
    """From the median of the finished runs' wall time; nothing to say before the first."""
    open_states = (State.WAITING, State.STOPPED, State.RUNNING, State.UNMEASURED)
    left = sum(one.state in open_states for one in standings)
    if not left or not workers:
        return
    done = (runs_dir() / one.run.run_id for one in standings if one.state is State.DONE)
    if took := sorted(seconds for one in done if (seconds := wall_seconds(one)) is not None):
        minutes = took[len(took) // 2] * left / workers / 60
        yield f"about {minutes:.0f} minutes left, at a median run's time and {workers} at once"


def with_liveness(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows that say "running" although no process holds their record become "stopped"."""
    for row in rows:
        if row["status"] == "running" and not is_live(runs_dir() / row["run_id"]):
            row["status"], row["error"] = "stopped", "its process is gone; the same command goes on"
    return rows


def runs_lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    """One line per record."""
    if not rows:
        yield "no runs yet; start one with: tiebreak run"
    for row in rows:
        where = f" at step {row['step']} of {row['steps']}" if row.get("step") else ""
        metrics = row["metrics"]
        best = shown(metrics, Shown.TABLES, Shown.RUNS)[:1]
        main = "".join(f"  {name} {metrics[name]:.4f}" for name in best)
        yield (
            f"{row['run_id']}  {row['status']:<9} {row['scenario'] or '?':<20} "
            f"{row['method'] or '?':<8} {row['data'] or '?':<14} seed {row['seed']}{where}{main}"
        )
        if row.get("error"):
            yield f"              {row['error']}"


def show_data(run: Run, num_rows: int) -> None:
    """Print the data of a run as the model will see it: rows, counts by reason and lint findings of
    each side. Raises what a run would raise."""
    from rich.console import Console

    from tiebreak.data.view import show
    from tiebreak.engine.progress import quiet_libraries
    from tiebreak.stages.tokens import encode, refuse_unfit

    quiet_libraries()
    tokenizer, console = run.plan.start.tokenizer(), Console()
    train: list[Any] = []
    for side in run.data.sides():
        rows = num_rows if side == "train" else 0
        examples = run.data.rows(side)
        found = encode(run, examples, tokenizer, train)
        train = train or (examples if run.data.compares_sides else [])
        console.rule(f"{run.data.name}: {side}, {len(found.tokens)} rows")
        for form, count in Counter(one.form for one in examples if one.form).items():
            console.print(f"read as {form}: {count} rows")
        show(found.tokens, tokenizer, found.report, found.findings, rows, console, found.dropped)
        refuse_unfit(run, found)
