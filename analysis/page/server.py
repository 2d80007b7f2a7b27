"""One page on loopback, built again when the records change. Nobody else can reach it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from time import monotonic

from tiebreak.errors import UserError
from tiebreak.track.record_format import EVALUATIONS, METRICS, RESULT, STATUS

HOST = "127.0.0.1"
REST = 10.0  # times as long as a build took, it is not built again: the runs need the machine
FILES = (STATUS, METRICS, f"{EVALUATIONS}/*/{RESULT}")


def serve(build: Callable[[], str], runs_dir: Path, port: int = 0) -> ThreadingHTTPServer:
    """A server, bound and not yet running: the caller prints `.server_port`, then calls
    `serve_forever()` and, at the end, `server_close()`.

    `build`: the page as text (`write(..., live=True)`); called again only when a record under
    `runs_dir` has changed. Its UserError (no finished run yet) is shown as the page.
    UserError: the port is taken.
    """
    try:
        return _Server(build, runs_dir, port)
    except OSError as error:
        raise UserError(f"port {port}: {error.strerror}; give another one") from None


def changed(runs_dir: Path) -> str:
    """A text that differs when any record was added, removed or written to."""
    state = hashlib.sha256()
    for folder in sorted(runs_dir.iterdir()) if runs_dir.is_dir() else []:
        for path in sorted(path for name in FILES for path in folder.glob(name)):
            stat = path.stat()
            state.update(f"{path} {stat.st_size} {stat.st_mtime_ns}".encode())
    return state.hexdigest()


class _Server(ThreadingHTTPServer):
    """The page and the state of the records it was built from; one thread builds at a time."""

    def __init__(self, build: Callable[[], str], runs_dir: Path, port: int) -> None:
        super().__init__((HOST, port), _Handler)
        self._build, self._runs_dir, self._lock = build, runs_dir, Lock()
        self._of: str | None = None
        self._not_before = 0.0
        self._body, self._tag = b"", ""

    def current(self) -> tuple[bytes, str]:
        """The page's bytes and the hash of them."""
        with self._lock:
            began = monotonic()
            if began >= self._not_before:
                now = changed(self._runs_dir)  # first: a change meanwhile is seen the next time
                if now != self._of:
                    try:
                        self._body = self._build().encode()
                    except UserError as error:
                        self._body = _waiting(str(error)).encode()
                    self._of, self._tag = now, hashlib.sha256(self._body).hexdigest()[:32]
                    self._not_before = monotonic() + REST * (monotonic() - began)
            return self._body, self._tag


def _waiting(why: str) -> str:
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" '
        f'content="5"><title>tiebreak</title><p>{escape(why)}</p><p>This page looks again '
        "every five seconds.</p></html>"
    )


class _Handler(BaseHTTPRequestHandler):
    server_version, sys_version = "tiebreak", ""

    def do_GET(self) -> None:
        """`/` and nothing else. A browser that has this version already is told so."""
        assert isinstance(self.server, _Server)
        port = self.server.server_port
        if self.headers.get("Host") not in (f"{HOST}:{port}", f"localhost:{port}"):
            # a page elsewhere whose name was pointed at this machine (DNS rebinding)
            return self.send_error(HTTPStatus.FORBIDDEN)
        if self.path != "/":
            return self.send_error(HTTPStatus.NOT_FOUND)
        body, tag = self.server.current()
        fresh = self.headers.get("If-None-Match") == f'"{tag}"'
        self.send_response(HTTPStatus.NOT_MODIFIED if fresh else HTTPStatus.OK)
        self.send_header("ETag", f'"{tag}"')
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Length", str(0 if fresh else len(body)))
        self.end_headers()
        if not fresh:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged: the page asks every few seconds."""
