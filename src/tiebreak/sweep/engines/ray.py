"""The engine `ray`: runs on the nodes of a Ray cluster, or of one that is started here. Each of the
workers at once is an actor with a warm worker process beside it. Tasks and replies are lines of
JSON. What a node lacks of this process's environment is set where `ray start` is called; only
TIEBREAK_HOME, on a disk that all nodes share, travels with the actors.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tiebreak.compose import Run
from tiebreak.errors import UserError
from tiebreak.home import home
from tiebreak.plan.estimate import workers_for
from tiebreak.run.task import payload
from tiebreak.sweep.engines import gpus_of
from tiebreak.sweep.engines.local import Pool, Worker
from tiebreak.sweep.tasks import Task, Tasks, Told, WorkerReply

SETTINGS = ("address", "num_cpus", "num_gpus")
REMEDY = (
    "tiebreak retry goes on from its checkpoint; where memory ran out, give fewer --workers, or "
    "each more of a node: --launcher num_cpus=N"
)


def package() -> Any:
    """Ray itself, imported when it is needed. ModuleNotFoundError: it is not installed."""
    return importlib.import_module("ray")


def engine(
    workers: int | None, runs: Sequence[Run], folder: Path, settings: Mapping[str, Any]
) -> Ray:
    """Connected to the cluster. Ray's own handler of SIGTERM is set before a sweep sets its own."""
    resources = {"num_cpus": 1, "num_gpus": gpus_of(runs), **settings}
    address = resources.pop("address", None)
    for key, number in resources.items():
        if not isinstance(number, int | float) or number < 0:
            raise UserError(f"--launcher {key}={number} must be a number: of each run")
    if address is None:  # a Ray of this process alone, on the loopback interface, no dashboard
        workers = workers_for(workers, runs)
        # Read when ray is imported; else it puts this host's address in its network for 127.0.0.1.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        num_cpus = max(1, round(workers * resources["num_cpus"]))
        package().init("local", num_cpus=num_cpus, include_dashboard=False,
                       _node_ip_address="127.0.0.1", logging_level=logging.ERROR)  # fmt: skip
    else:
        try:
            package().init(str(address), logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            why = str(error).strip().splitlines()[0]
            raise UserError(
                f"--launcher address={address}: {why}; start the cluster (ray start --head), or "
                "leave the address out for a Ray on this machine"
            ) from error
    room = fitting(resources)
    if not room:
        asked = ", ".join(f"{key}={number}" for key, number in resources.items())
        raise UserError(f"--launcher {asked}: no node of the Ray cluster has as many; give less")
    return Ray(workers or room, lambda: RayWorker(resources))


def fitting(resources: Mapping[str, float]) -> int:
    """How many runs the cluster's nodes have room for at once."""
    nodes = [node["Resources"] for node in package().nodes() if node["Alive"]]
    needs = {"CPU": resources["num_cpus"], "GPU": resources["num_gpus"]}
    return sum(
        min([int(node.get(kind, 0) // need) for kind, need in needs.items() if need], default=1)
        for node in nodes
    )


class Ray(Pool):
    """Does tasks on actors. Afterwards it leaves the cluster, or ends the Ray it has started."""

    def run(self, tasks: Tasks, told: Told) -> None:
        try:
            super().run(tasks, told)
        finally:
            package().shutdown()


class Actor:
    """A worker process on a node. Its methods are called in two threads: one does, one stops."""

    def __init__(self) -> None:
        self._worker = Worker()

    def node(self) -> str:
        return socket.gethostname()

    def do_line(self, line: str) -> str:
        return json.dumps(self._worker.do_line(line))

    def stop(self) -> None:
        self._worker.stop()


class RayWorker:
    """One actor; another one in its place, maybe on another node, when it dies."""

    def __init__(self, resources: Mapping[str, float]) -> None:
        self._resources = resources
        self._actor: Any = None
        self._node: str | None = None
        self._stopped = False

    def do(self, task: Task) -> WorkerReply:
        ray = package()
        if self._stopped:
            return {"stopped": True}
        try:
            actor = self._actor = self._actor or self._start()
            if self._stopped:  # told while it was made
                return {"stopped": True}
            self._node = self._node or ray.get(actor.node.remote())
            return json.loads(ray.get(actor.do_line.remote(payload(task.run, task.trial))))
        except ray.exceptions.RayError as error:
            node = self._node or "a node"
            self.close()
            if self._stopped:
                return {"stopped": True}
            return {"error": f"its Ray worker on {node} {reason(error)}; {REMEDY}"}

    def stop(self) -> None:
        self._stopped = True
        actor = self._actor
        if actor is not None and self._node is not None:
            actor.stop.remote()
        else:  # it may wait for a place for hours
            self.close()

    def close(self) -> None:
        ray = package()
        actor, self._actor, self._node = self._actor, None, None
        if actor is not None:
            ray.kill(actor)

    def _start(self) -> Any:
        ray = package()
        environment = {"env_vars": {"TIEBREAK_HOME": str(home())}}
        remote = ray.remote(max_concurrency=2, max_restarts=0, runtime_env=environment,
                            **self._resources)  # fmt: skip
        return remote(Actor).remote()


def reason(error: Exception) -> str:
    """What became of an actor, in one line; Ray's own words are a page of ids and states."""
    if isinstance(error, package().exceptions.RayTaskError):  # raised by the actor
        return f"failed: {str(error).strip().splitlines()[-1]}"
    return f"is gone ({type(error).__name__}): the node died, or its process there was killed"
