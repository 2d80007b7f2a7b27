"""The local engine: worker processes on this machine that stay warm between runs."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from tiebreak.compose import Run
from tiebreak.errors import UserError
from tiebreak.plan.estimate import workers_for
from tiebreak.run.execute import failed_elsewhere
from tiebreak.run.task import command, exit_words, payload, read_task
from tiebreak.sweep.tasks import Task, Tasks, Told, WorkerReply

SETTINGS = ()


def engine(
    workers: int | None, runs: Sequence[Run], folder: Path, settings: Mapping[str, Any]
) -> Pool:
    return Pool(workers_for(workers, runs))


class TaskWorker(Protocol):
    """Does one task at a time. Told to stop, it saves a checkpoint, and does no other task; closed,
    when nothing is in hand, it frees what it holds."""

    def do(self, task: Task) -> WorkerReply: ...
    def stop(self) -> None: ...
    def close(self) -> object: ...


class Pool:
    """Does tasks with a few workers until none is left, or `stop` was called."""

    def __init__(self, workers: int, make: Callable[[], TaskWorker] | None = None) -> None:
        self._free = threading.Condition()
        self._workers = [(make or Worker)() for _ in range(workers)]
        self._stopping = False
        self._in_hand = 0

    def run(self, tasks: Tasks, told: Told) -> None:
        """Do them; `told` is called with each task and reply, one at a time."""
        with ThreadPoolExecutor(len(self._workers)) as threads:
            done = [threads.submit(self._work, worker, tasks, told) for worker in self._workers]
            for one in done:
                one.result()

    def stop(self) -> None:
        """No new tasks; every worker saves a checkpoint and leaves."""
        with self._free:
            self._stopping = True
            self._free.notify_all()
        for worker in self._workers:
            worker.stop()

    def _work(self, worker: TaskWorker, tasks: Tasks, told: Told) -> None:
        with contextlib.closing(worker):
            while (task := self._take(tasks)) is not None:
                try:
                    reply = worker.do(task)
                    with self._free:
                        tasks.answer(task, reply)
                        told(task, reply)
                finally:  # or the others would wait for this one's answer for ever
                    with self._free:
                        self._in_hand -= 1
                        self._free.notify_all()

    def _take(self, tasks: Tasks) -> Task | None:
        with self._free:
            while not self._stopping:
                task = tasks.next()
                if task is not None:
                    self._in_hand += 1
                    return task
                if self._in_hand == 0:
                    break
                self._free.wait()
            self._free.notify_all()
            return None


class Worker:
    """A child process that keeps torch imported between runs; replaced when it dies."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._stopped = False

    def do_line(self, line: str) -> WorkerReply:
        """Do a task that comes as one line of JSON, `payload`'s."""
        values = json.loads(line)
        try:
            run = read_task(values)
        except UserError as error:
            return {"error": str(error)}
        return self.do(Task(run, values["trial"]))

    def do(self, task: Task) -> dict[str, Any]:
        if self._stopped:
            return {"stopped": True}
        process = self._process = self._process or self._start()
        if self._stopped:  # told while it started
            process.terminate()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(payload(task.run, task.trial))
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if line:
            reply = json.loads(line)
            if "stopped" in reply:  # that was its last word; the next task needs another process
                self.close()
        else:
            code = self.close()
            reply = {"stopped": True} if self._stopped else {"error": exit_words(code)}
        if "error" in reply:  # here too: a job may outlive the sweep that waits for its reply
            failed_elsewhere(task.run, reply["error"])
        return reply

    def stop(self) -> None:
        self._stopped = True
        if (process := self._process) is not None:
            process.terminate()

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command("run"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip

    def close(self) -> int:
        """Close what the process reads, wait for it, and give its exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        code = process.wait()
        process.stdout.close()
        return code
