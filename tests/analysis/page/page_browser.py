"""Chromium by way of chromedriver, in the few words of the WebDriver protocol the tests need."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.request import Request, urlopen

MISSING = (
    None
    if shutil.which("chromium") and shutil.which("chromedriver")
    else "needs chromium and chromedriver (Debian: apt-get install chromium chromium-driver)"
)


class Browser:
    """A headless window. `scripts`: whether a page's own may run."""

    def __init__(self, width: int = 1366, height: int = 768, *, scripts: bool = True) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._driver = subprocess.Popen(
            ["chromedriver", f"--port={port}"], **quiet, start_new_session=True
        )
        self._base = f"http://127.0.0.1:{port}"
        try:
            self._open_window(width, height, scripts)
        except (OSError, AssertionError):
            self._driver.kill()  # or it would outlive the tests
            raise

    def _open_window(self, width: int, height: int, scripts: bool) -> None:
        self._wait()
        arguments = ["--headless=new", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
                     "--disable-dev-shm-usage", f"--window-size={width},{height}"]  # fmt: skip
        arguments += ["--no-sandbox"] if os.geteuid() == 0 else []
        options: dict[str, Any] = {"args": arguments, "binary": shutil.which("chromium")}
        if not scripts:
            options["prefs"] = {"profile.managed_default_content_settings.javascript": 2}
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        made = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._base += f"/session/{made['sessionId']}"
        self.resize(width, height)

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._ask("DELETE", "")
        self._driver.terminate()
        self._driver.wait(20)

    def resize(self, width: int, height: int) -> None:
        self._ask("POST", "/window/rect", {"width": width, "height": height})

    def open(self, where: str) -> None:
        self._ask("POST", "/url", {"url": where})

    def run(self, script: str, *values: Any) -> Any:
        """The body of a function; what it returns."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": list(values)})

    def text(self) -> str:
        """What a reader sees, whether or not the page's own scripts may run."""
        found = self._ask("POST", "/element", {"using": "css selector", "value": "body"})
        return self._ask("GET", f"/element/{next(iter(found.values()))}/text")

    def until(self, script: str, seconds: float = 120) -> Any:
        """Wait for `return ...` to be true. AssertionError names what never was."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := self.run(script):
                return found
            time.sleep(0.05)
        raise AssertionError(f"never true: {script}")

    def console(self) -> list[str]:
        found = self._ask("POST", "/se/log", {"type": "browser"})
        return [f"{one['level']}: {one['message']}" for one in found]

    def requests(self) -> list[str]:
        """The addresses of everything that was asked for, the page itself included."""
        told = [json.loads(one["message"])["message"]
                for one in self._ask("POST", "/se/log", {"type": "performance"})]  # fmt: skip
        return [one["params"]["request"]["url"] for one in told
                if one["method"] == "Network.requestWillBeSent"]  # fmt: skip

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._ask("GET", "/screenshot")))

    def _wait(self) -> None:
        for _ in range(2400):
            try:
                if self._ask("GET", "/status")["ready"]:
                    return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("chromedriver does not answer")

    def _ask(self, how: str, what: str, body: dict[str, Any] | None = None) -> Any:
        told = None if body is None else json.dumps(body).encode()
        request = Request(self._base + what, told, {"Content-Type": "application/json"}, method=how)
        with urlopen(request, timeout=300) as answer:
            return json.load(answer)["value"]
