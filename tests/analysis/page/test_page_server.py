"""The server: loopback, one page, built when records change."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tiebreak.errors import UserError
from tiebreak_analysis.page import server as page_server
from tiebreak_analysis.page.server import HOST, changed, serve


class Builder:
    """A page that counts how often it was built."""

    def __init__(self) -> None:
        self.count = 0
        self.error: str | None = None

    def __call__(self) -> str:
        self.count += 1
        if self.error:
            raise UserError(self.error)
        return f"<p>{self.count}</p>"


@contextmanager
def served(build: Builder, runs_dir: Path) -> Iterator[int]:
    server = serve(build, runs_dir)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def ask(
    port: int, path: str = "/", how: str = "GET", **headers: str
) -> tuple[int, str, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    connection.request(how, path, headers={key.replace("_", "-"): v for key, v in headers.items()})
    answer = connection.getresponse()
    found = answer.status, answer.read().decode(), answer.headers
    connection.close()
    return found


@pytest.fixture(autouse=True)
def without_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_server, "REST", 0.0)


@pytest.fixture
def build() -> Builder:
    return Builder()


def touch(runs_dir: Path, step: int) -> None:
    (runs_dir / "a").mkdir(parents=True, exist_ok=True)
    (runs_dir / "a" / "metrics.jsonl").write_text("x" * step)


def test_it_listens_on_loopback_alone(build: Builder, runs_dir: Path) -> None:
    server = serve(build, runs_dir)
    assert server.server_address[0] == "127.0.0.1"
    server.server_close()


def test_it_is_built_once_until_a_record_changes(build: Builder, runs_dir: Path) -> None:
    with served(build, runs_dir) as port:
        assert [ask(port)[1] for _ in range(3)] == ["<p>1</p>"] * 3
        touch(runs_dir, 1)
        assert ask(port)[1] == ask(port)[1] == "<p>2</p>"


def test_it_rests_after_a_build(
    build: Builder, runs_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_server, "REST", 1e9)
    with served(build, runs_dir) as port:
        assert ask(port)[1] == "<p>1</p>"
        touch(runs_dir, 1)
        assert ask(port)[1] == "<p>1</p>", "the runs need the machine"


def test_a_browser_that_has_it_is_told_so(build: Builder, runs_dir: Path) -> None:
    with served(build, runs_dir) as port:
        status, _, headers = ask(port)
        assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
        again = ask(port, If_None_Match=headers["ETag"])
        assert again[:2] == (304, "") and again[2]["ETag"] == headers["ETag"]
        touch(runs_dir, 1)
        assert ask(port, If_None_Match=headers["ETag"])[0] == 200


@pytest.mark.parametrize("path", ["/runs", "/../etc/passwd", "//x", "/?x=1", "/index.html"])
def test_there_is_one_page(build: Builder, runs_dir: Path, path: str) -> None:
    with served(build, runs_dir) as port:
        assert ask(port, path)[0] == 404
    assert build.count == 0


@pytest.mark.parametrize("how", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"])
def test_get_and_nothing_else(build: Builder, runs_dir: Path, how: str) -> None:
    with served(build, runs_dir) as port:
        assert ask(port, how=how)[0] == 501


def test_a_name_that_was_pointed_here_is_refused(build: Builder, runs_dir: Path) -> None:
    with served(build, runs_dir) as port:
        assert ask(port, Host="evil.example")[0] == 403
        assert ask(port, Host=f"localhost:{port}")[0] == 200


def test_a_mistake_is_shown_and_looked_at_again(build: Builder, runs_dir: Path) -> None:
    build.error = "no finished runs <yet>"
    with served(build, runs_dir) as port:
        _, text, _ = ask(port)
        assert "no finished runs &lt;yet&gt;" in text and 'http-equiv="refresh"' in text
        build.error = None
        touch(runs_dir, 1)
        assert ask(port)[1] == "<p>2</p>"


def test_a_port_that_is_taken_is_a_users_mistake(build: Builder, runs_dir: Path) -> None:
    with served(build, runs_dir) as port, pytest.raises(UserError, match=f"port {port}: .*give"):
        serve(build, runs_dir, port)


def test_a_record_that_goes_is_a_change_too(runs_dir: Path) -> None:
    nothing = changed(runs_dir)
    touch(runs_dir, 1)
    something = changed(runs_dir)
    touch(runs_dir, 2)
    assert len({nothing, something, changed(runs_dir)}) == 3
    (runs_dir / "a" / "metrics.jsonl").unlink()
    assert changed(runs_dir) == nothing
