"""A W&B server small enough to read: what a run asks of one, on loopback; `wandb sweep` and
`wandb agent`; and, with read_back, `wandb.Api`.

It keeps what it is sent in plain attributes. `answer` may be "well", "unauthorised" (every key is
wrong), or "never" (it takes a request and says nothing, as a server behind a dead link does).
"""

from __future__ import annotations

import gzip
import itertools
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

import yaml

from tests.track.wandb_read_back import ReadBack

VIEWER = {"id": "1", "username": "someone", "entity": "team", "flags": "{}", "admin": False}


class GridSweep:
    """One sweep over a grid. An agent that has nothing in hand is given the next point, once."""

    def __init__(self) -> None:
        self.config = ""
        self.given: dict[str, dict[str, Any]] = {}  # run id -> parameters
        self._left: list[dict[str, Any]] = []

    def register(self, config: str) -> None:
        self.config = config
        parameters = dict(sorted(yaml.safe_load(config)["parameters"].items()))
        points = itertools.product(*(one["values"] for one in parameters.values()))
        self._left = [dict(zip(parameters, point, strict=True)) for point in points]

    def commands(self, running: dict[str, bool]) -> list[dict[str, Any]]:
        if running:
            return []
        if not self._left:
            return [{"type": "exit"}]
        run_id, point = f"sweeprun{len(self.given)}", self._left.pop(0)
        self.given[run_id] = point
        args = {name: {"value": value} for name, value in point.items()}
        program = yaml.safe_load(self.config)["program"]
        return [{"type": "run", "run_id": run_id, "program": program, "args": args}]

    def graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any] | None:
        """None: the question is about something else."""
        project = {"id": "1", "name": "tiebreak", "entity": {"id": "1", "name": "team"}}
        if "upsertSweep" in query:
            self.register(variables["config"])
            sweep = {"name": "sweep1", "project": project}
            return {"upsertSweep": {"sweep": sweep, "configValidationWarnings": []}}
        if "createAgent" in query:
            return {"createAgent": {"agent": {"id": "agent1"}}}
        if "agentHeartbeat" in query:
            commands = json.dumps(self.commands(json.loads(variables["runState"])))
            return {"agentHeartbeat": {"agent": {"id": "agent1"}, "commands": commands}}
        if "sweep(" in query:
            sweep = {"id": "1", "name": "sweep1", "config": self.config, "runs": {"edges": []}}
            return {"project": {**project, "sweep": sweep}}
        return None


class Stub:
    def __init__(self) -> None:
        self.sweep = GridSweep()
        self.read_back = ReadBack()
        self.answer = "well"
        self.runs: dict[str, dict[str, Any]] = {}  # by run id: the variables of the upserts
        self.history: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.uploads: dict[str, bytes] = {}
        self.takes_artifacts = True
        self.artifacts: list[dict[str, Any]] = []
        self.exit_code: int | None = None
        self.keys_seen = 0
        self.released = threading.Event()
        stub = self

        class Handler(_Handler):
            server_state = stub

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        for part in (
            self.sweep.graphql(query, variables),
            self.read_back.graphql(query, variables, self.url),
        ):
            if part is not None:
                return part
        if "upsertBucket" in query:
            run_id = variables["name"]
            project = {"name": variables["project"], "entity": {"name": "team"}}
            new = run_id not in self.runs
            given = {k: v for k, v in variables.items() if v is not None}
            self.runs.setdefault(run_id, {}).update(given)
            self.read_back.upsert(run_id, given)
            bucket = {"id": run_id, "name": run_id, "displayName": run_id, "project": project}
            return {"upsertBucket": {"bucket": bucket, "inserted": new}}
        if "createRunFiles" in query:
            at = f"{self.url}/storage/{variables['run']}"
            files = [{"name": f, "uploadUrl": f"{at}/{f}"} for f in variables["files"]]
            return {"createRunFiles": {"runID": "1", "uploadHeaders": [], "files": files}}
        if (
            "createArtifact(" in query and self.takes_artifacts
        ):  # one that the server has already: nothing is uploaded
            self.artifacts.append(variables)
            sequence = {"id": "2", "latestArtifact": {"id": "1", "versionIndex": 0}}
            made = {"id": "1", "state": "COMMITTED", "artifactSequence": sequence}
            return {"createArtifact": {"artifact": made}}
        if "viewer" in query:
            return {"viewer": VIEWER}
        if "serverInfo" in query:
            return {"serverInfo": {"features": []}}
        return {"model": None, "project": None}  # "is there such a run to resume?": no

    def uploaded(self, path: str, content: bytes) -> None:
        _, run_id, name = path.lstrip("/").split("/", 2)
        self.uploads[name] = self.read_back.files[run_id, name] = content

    def file_stream(self, run_id: str, sent: dict[str, Any]) -> None:
        self.read_back.file_stream(run_id, sent)
        files = sent.get("files") or {}
        for line in files.get("wandb-history.jsonl", {}).get("content", []):
            self.history.append(json.loads(line))
        for line in files.get("wandb-summary.json", {}).get("content", []):
            self.summary = json.loads(line)
        if sent.get("complete"):
            self.exit_code = sent["exitcode"]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error here; anything else is."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state: Stub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        _, run_id, name = [*unquote(self.path).lstrip("/").split("/", 2), "", ""][:3]
        content = self.server_state.read_back.files.get((run_id, name))
        if content is None:
            return self._reply({})
        self._send(content, "application/octet-stream", 200)

    def do_PUT(self) -> None:
        self.server_state.uploaded(unquote(self.path), self._body())
        self._reply({})

    def do_POST(self) -> None:
        state, body = self.server_state, self._body()
        if self.headers.get("Authorization", "").startswith("Basic "):
            state.keys_seen += 1
        if state.answer == "never":
            state.released.wait()
        elif state.answer == "unauthorised":
            self._reply({"errors": [{"message": "invalid key"}]}, 401)
        elif self.path.endswith("/file_stream"):
            state.file_stream(self.path.split("/")[-2], json.loads(body))
            self._reply({"limits": {}})
        elif self.path != "/graphql":
            self._reply({})  # telemetry
        else:
            asked = json.loads(body)
            self._reply({"data": state.graphql(asked["query"], asked.get("variables") or {})})

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _reply(self, content: dict[str, Any], status: int = 200) -> None:
        self._send(json.dumps(content).encode(), "application/json", status)

    def _send(self, data: bytes, kind: str, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
