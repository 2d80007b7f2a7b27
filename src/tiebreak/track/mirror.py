"""The W&B mirror of a run, which rank 0 opens. It cannot break the run: what wandb, the network or
the disk raise is said once, in one line on stderr, and from there on the mirror does nothing.
docs/wandb.md says what is sent and what is left out.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tiebreak.errors import UserError, nearest
from tiebreak.track import record_format as record
from tiebreak.track import wandb_environment
from tiebreak.track.record import read_manifest, read_status
from tiebreak.track.wandb_environment import Loss

if TYPE_CHECKING:
    from tiebreak.config.schema import TrackerConfig

NAMES = ("wandb", "none")
INIT_SECONDS = 20
FINISH_SECONDS = 30  # for uploads still under way; `wandb sync` can bring the rest
FLUSH_SECONDS = 1  # wandb's own 15 is how much a killed run would lose
TAG_LENGTH = 64  # W&B refuses longer ones
SAMPLES = 32  # rows of generations.jsonl that are shown
SENT = (record.CONFIG, record.MANIFEST, record.THROUGHPUT)
MEASURED = (record.RESULT, record.PAIRS, record.PAIR_TOKENS, record.GENERATIONS,
            record.items_file("*"))  # fmt: skip
"""Names below the folder of each evaluation that has its result."""
Rows = Sequence[Sequence[Any]]


class Mirror(AbstractContextManager["Mirror"]):
    """An open W&B run, or nothing at all; the caller need not know which."""

    def __init__(self, run: Any | None, before: Mapping[str, str | None] | None = None):
        self._run, self._before = run, before or {}

    def log(self, step: int, row: Mapping[str, Any]) -> None:
        """One row. The x-axis is our own `step`: W&B's starts again when a run is resumed."""
        self._try(lambda run: run.log({**row, "step": step}))

    def generations(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """The first rows of `generations.jsonl` as a page of HTML. Not a `wandb.Table`: that is an
        artifact, and one that the server cannot take has been seen to end wandb's process, and with
        it the history."""
        page = generations(rows)
        self._try(lambda run: run.log({"generations": _html(page), "step": step}))

    def summary(self, result: Mapping[str, Any]) -> None:
        """The metrics of `result.json`, the start model's under `start/`."""
        start = {f"start/{name}": value for name, value in result["start"]["metrics"].items()}
        self._try(lambda run: run.summary.update({**result["metrics"], **start}))

    def record(self, folder: Path) -> None:
        """The files of the record in `folder` and how it ended; sent when the run is over."""
        self._try(lambda run: send_record(run, folder))

    def comparison(
        self, summary: Mapping[str, float | str], page: str, columns: Sequence[str], rows: Rows
    ) -> None:
        """What several runs say together: summary values, a page, and a table with a row per cell.
        The W&B table comes last: it is an artifact (see above)."""
        self._try(lambda run: _renew(run.summary, summary))
        self._try(lambda run: run.log({"table": _html(page)}))
        self._try(lambda run: run.log({"results": table(columns, rows)}))

    @property
    def where(self) -> str | None:
        """The address of the run, or the folder that `wandb sync` takes; None: nowhere."""
        if self._run is None:
            return None
        return self._run.url or str(Path(self._run.dir).parent)

    def finish(self, exit_code: int = 0) -> bool:
        """Close, waiting at most FINISH_SECONDS for uploads; whether all is where it should be. A
        second call does nothing."""
        whole = self._try(
            lambda run: run.finish(exit_code=exit_code),
            "not all of this run was uploaded; `wandb sync` can bring the rest",
        )
        self._run = None
        wandb_environment.restore(self._before)
        self._before = {}
        return whole

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.finish(exit_code=0 if kind is None else 1)

    def _try(
        self, action: Callable[[Any], object], loss: str = "this run is no longer mirrored"
    ) -> bool:
        """Whether it was done; what went wrong was said."""
        if self._run is None:
            return False
        try:
            action(self._run)
        except _errors() as error:
            self._run = None
            wandb_environment.say(f"{wandb_environment.short(error)}; {loss}")
            _forget_service()
            return False
        return True


def open_mirror(
    tracker: TrackerConfig,
    run_id: str,
    group_id: str,
    names: Mapping[str, str],
    config: Mapping[str, Any],
    folder: Path,
) -> Mirror:
    """The mirror of run `run_id`, whose files go below `folder`/wandb; nowhere else is written.
    Online if asked for or, with `mode="auto"`, if there is a key; where W&B cannot be reached, kept
    offline, for `wandb sync`. UserError only for a name that does not exist."""
    tags = [names[kind] for kind in ("method", "scenario", "data", "model")]
    about = {
        "id": run_id, "group": group_id, "job_type": names["method"],
        "name": " · ".join([*tags[:3], f"seed {config['seed']}"]),
        "tags": list(dict.fromkeys(tag[:TAG_LENGTH] for tag in tags)),
        "config": {"run_id": run_id, "group_id": group_id, **config},
    }  # fmt: skip
    return opened(tracker, about, folder)


def opened(tracker: TrackerConfig, about: Mapping[str, Any], folder: Path) -> Mirror:
    """As `open_mirror`, for a W&B run of any kind. about: what `wandb.init` is told of it."""
    if (name := tracker.name) not in NAMES:
        hint = nearest(name, NAMES)
        raise UserError(f"tracker.name={name!r} is none of {', '.join(NAMES)}{hint}")
    mode = wandb_environment.mode(tracker.mode)
    known = wandb_environment.known_loss()
    if tracker.name == "none" or mode == "disabled" or known is Loss.NOTHING:
        return Mirror(None)
    arguments: dict[str, Any] = {
        **about, "project": tracker.project, "entity": tracker.entity, "dir": str(folder),
        "resume": "allow", "reinit": "finish_previous",  # the default hands out the previous run
    }  # fmt: skip
    if wandb_environment.is_agents():
        arguments |= _of_agent(arguments)
    return _open(arguments, "online" if mode == "online" and known is None else "offline")


def _of_agent(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A W&B sweep has its own run id and project; our id goes into the name. Its parameters replace
    config keys of the same name, so `method` would lose what is below it: our groups are given as
    `method.name`, `method.beta`."""
    name, config = f"{arguments['name']} · {arguments['id']}", _dotted(arguments["config"])
    return {"id": None, "project": None, "entity": None, "name": name, "config": config}


def _dotted(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        more = isinstance(value, Mapping)
        flat |= _dotted(value, f"{above}{key}.") if more else {f"{above}{key}": value}
    return flat


def _open(arguments: dict[str, Any], mode: Literal["online", "offline"]) -> Mirror:
    try:
        _errors()
    except ImportError:
        wandb_environment.tell("wandb is not installed", Loss.NOTHING)
        return Mirror(None)
    before: dict[str, str | None] = {}
    try:
        before = wandb_environment.use_folder(Path(arguments["dir"]) / "wandb")
        return Mirror(_init(arguments, mode), before)
    except _errors() as error:
        wandb_environment.tell(wandb_environment.short(error), Loss.NOTHING)
        _forget_service()
        wandb_environment.restore(before)
        return Mirror(None)


def _init(arguments: dict[str, Any], mode: Literal["online", "offline"]) -> Any:
    import wandb

    if mode == "online" and not wandb_environment.has_key():  # wandb would ask for one, and wait
        wandb_environment.tell("no key (set WANDB_API_KEY)", Loss.OFFLINE)
        mode = "offline"
    wandb.setup(wandb.Settings(silent=True))
    try:
        run = wandb.init(**arguments, mode=mode, settings=_settings())
    except _errors() as error:
        if mode == "offline":
            raise
        _forget_service()  # it holds on to the run id
        wandb.setup(wandb.Settings(silent=True))
        run = wandb.init(**arguments, mode="offline", settings=_settings())
        wandb_environment.tell(wandb_environment.short(error), Loss.OFFLINE)
    run.define_metric("*", step_metric="step")
    run.summary.update({"status": "running"})  # W&B keeps what an attempt before this one said
    return run


def _settings() -> Any:
    """Short waits, nothing printed, and nothing about the machine, its user or its code."""
    import wandb

    return wandb.Settings(
        init_timeout=INIT_SECONDS, finish_timeout=FINISH_SECONDS, finish_timeout_raises=True,
        x_transaction_log_flush_interval=FLUSH_SECONDS, console="off", silent=True,
        host="", program="tiebreak", disable_git=True, disable_code=True, save_code=False,
        x_disable_meta=True, x_disable_machine_info=True, x_save_requirements=False,
        symlink=False,  # what was saved stays whole when the folder is moved or the record goes
    )  # fmt: skip


def _errors() -> tuple[type[Exception], ...]:
    """Everything that wandb lets out when its server, its process or its settings are wrong. A lost
    connection is an OSError; several of its own errors share no base class."""
    import wandb
    from pydantic import ValidationError
    from wandb.sdk import mailbox
    from wandb.sdk.lib import asyncio_manager
    from wandb.sdk.lib.service.service_token import WandbServiceConnectionError
    from wandb.sdk.mailbox.mailbox_handle import ServerResponseError

    return (
        OSError, wandb.Error, ValidationError, WandbServiceConnectionError, ServerResponseError,
        mailbox.HandleAbandonedError, mailbox.MailboxClosedError, asyncio_manager.RunCancelledError,
        asyncio_manager.AlreadyJoinedError, asyncio_manager.ForkedError,
    )  # fmt: skip


def _forget_service() -> None:
    """End wandb's process; the next run starts its own, and not on a connection that was lost."""
    import wandb

    with contextlib.suppress(*_errors()):
        wandb.teardown()


def send_record(run: Any, folder: Path) -> None:
    """Send SENT and MEASURED as far as the record in `folder` has them, so that W&B can be read
    back: hashes and evaluations into its config, the status (W&B's own says less) to its summary.
    Plain run files, not artifacts (see `Mirror.generations`). `metrics.jsonl` is not among them,
    for it is the history; nor is `status.json`, whose error may name a path of this machine."""
    try:
        manifest, status = read_manifest(folder), read_status(folder)
    except UserError as error:
        raise OSError(str(error)) from None
    evaluations = record.finished_evaluations(folder)
    told = {"hashes": manifest["hashes"], "evaluations": evaluations}
    run.config.update(told, allow_val_change=True)
    paths = [folder / name for name in SENT if (folder / name).is_file()]
    for evaluation in evaluations:
        for pattern in MEASURED:
            paths += sorted(record.evaluation_folder(folder, evaluation).glob(pattern))
    for path in paths:
        run.save(str(path), base_path=str(folder.parent), policy="now", glob=False)
    if status is not None:
        run.summary.update({"status": status["status"]})


def _renew(summary: Any, told: Mapping[str, float | str]) -> None:
    """`told` in place of what an earlier call left there; W&B keeps what it is not told to drop."""
    for name in [name for name in summary.keys() if not name.startswith("_")]:
        if name not in told and not isinstance(summary[name], Mapping):  # a page or a table
            del summary[name]
    summary.update(told)


def _html(page: str) -> Any:
    import wandb

    return wandb.Html(page, inject=False, data_is_not_path=True)


def table(columns: Sequence[str], rows: Rows) -> Any:
    """A W&B table whose columns hold numbers or nothing, or text or nothing."""
    import wandb

    data: list[Iterable[Any]] = [list(row) for row in rows]
    return wandb.Table(columns=list(columns), data=data)


def generations(rows: Sequence[Mapping[str, Any]]) -> str:
    """prompt, before, after of the first rows, escaped: text from a model is never markup."""
    columns = [c for c in ("prompt", "before", "after") if all(c in row for row in rows)]
    lines = ["<table border='1'><tr>" + "".join(f"<th>{c}</th>" for c in columns) + "</tr>"]
    for row in rows[:SAMPLES]:
        texts = [row[c] if isinstance(row[c], str) else json.dumps(row[c]) for c in columns]
        cells = "".join(f"<td><pre>{escape(text)}</pre></td>" for text in texts)
        lines.append(f"<tr>{cells}</tr>")
    return "\n".join([*lines, "</table>"])
