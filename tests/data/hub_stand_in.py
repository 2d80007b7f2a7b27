"""A Hub on loopback: the few answers of its HTTP API that loading a data set or a model needs."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
Repos = dict[str, dict[str, bytes]]  # "datasets/org/name" or "models/org/name" -> path -> content


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    repos: Repos
    requests: list[str]

    def do_GET(self) -> None:
        self._answer(b"")

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self, body: bytes) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        self.requests.append(f"{self.command} /{path}")
        if path.startswith("api/"):
            kind, org, name, *rest = path.removeprefix("api/").split("/")
            self._api(f"{kind}/{org}/{name}", rest, body)
        else:
            kind = "datasets" if path.startswith("datasets/") else "models"
            org, name, *rest = path.removeprefix("datasets/").split("/")
            self._file(f"{kind}/{org}/{name}", rest)

    def _api(self, repo: str, rest: list[str], body: bytes) -> None:
        files = self.repos.get(repo)
        if files is None:
            return self._send(404, b'{"error": "Repository not found"}', "RepoNotFound")
        if len(rest) > 1 and rest[1] not in ("main", COMMIT):
            return self._send(404, b'{"error": "Invalid rev"}', "RevisionNotFound")
        action = rest[0] if rest else "revision"
        if action == "revision":
            names = [{"rfilename": path} for path in files]
            id = repo.split("/", 1)[1]
            return self._json({"id": id, "sha": COMMIT, "siblings": names, "tags": []})
        if action == "tree":
            query = parse_qs(urlsplit(self.path).query)
            is_deep = query.get("recursive", ["false"])[0].lower() in ("true", "1")
            entries = _tree(files, "/".join(rest[2:]), is_deep)
            if entries or not rest[2:]:
                return self._json(entries)
        if action == "paths-info":
            wanted = _paths(body, self.headers.get("Content-Type", ""))
            known = [_entry(path, files[path]) for path in wanted if path in files]
            folders = [_folder(p) for p in wanted if any(f.startswith(f"{p}/") for f in files)]
            return self._json(known + folders)
        self._send(404, b'{"error": "not part of the stand-in"}', "EntryNotFound")

    def _file(self, repo: str, rest: list[str]) -> None:
        path = "/".join(rest[2:])
        if len(rest) > 1 and rest[1] not in ("main", COMMIT):
            return self._send(404, b"", "RevisionNotFound")
        if rest[:1] != ["resolve"] or path not in self.repos.get(repo, {}):
            return self._send(404, b"", "EntryNotFound")
        self._send(200, self.repos[repo][path], None)

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), None)

    def _send(self, status: int, body: bytes, error: str | None) -> None:
        self.send_response(status)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.send_header("Content-Length", str(len(body)))
        if error is not None:
            self.send_header("X-Error-Code", error)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _entry(path: str, content: bytes) -> dict[str, object]:
    return {"type": "file", "path": path, "size": len(content), "oid": "0" * 40}


def _folder(path: str) -> dict[str, object]:
    return {"type": "directory", "path": path, "oid": "0" * 40}


def _tree(files: dict[str, bytes], folder: str, is_deep: bool) -> list[dict[str, object]]:
    start = f"{folder}/" if folder else ""
    entries: dict[str, dict[str, object]] = {}
    for path, content in files.items():
        if not path.startswith(start):
            continue
        first, *below = path.removeprefix(start).split("/")
        if below:
            entries.setdefault(f"{start}{first}", _folder(f"{start}{first}"))
        if not below or is_deep:
            entries[path] = _entry(path, content)
    return list(entries.values())


def _paths(body: bytes, kind: str) -> list[str]:
    if "json" in kind:
        paths = json.loads(body)["paths"]
        return [paths] if isinstance(paths, str) else paths
    return parse_qs(body.decode())["paths"]


@contextmanager
def hub(repos: Repos) -> Generator[tuple[str, list[str]]]:
    """(endpoint, requests so far) of a server on a free loopback port."""
    requests: list[str] = []
    handler = type("Handler", (_Handler,), {"repos": repos, "requests": requests})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
