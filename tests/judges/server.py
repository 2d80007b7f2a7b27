"""A judge behind an OpenAI-compatible endpoint on this machine, which says what a script says."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-of-the-tests"
Said = dict[str, Any]
"""content, and what else of: status (of HTTP), finish, refusal, body (in place of JSON), wait
(seconds), headers."""


def longer(prompt: str, seen: int) -> Said:
    """Prefers the longer answer, says why, and gives longer answers higher grades."""
    one, other = (part_of(prompt, f"answer {name}") for name in "AB")
    if one is None:
        grade = min(10, 1 + len(part_of(prompt, "answer") or "") // 10)
        return {"content": f'It is what it is.\n{{"grade": {grade}}}'}
    assert other is not None
    if '{"verdict": "A>>B"}' in prompt:
        return {"content": f'By far, or not.\n{{"verdict": "{by_how_much(one, other)}"}}'}
    better = "tie" if len(one) == len(other) else "A" if len(one) > len(other) else "B"
    return {"content": f'The longer one.\n{{"better": "{better}"}}'}


def by_how_much(one: str, other: str) -> str:
    """One of five verdicts: much better is twice as long."""
    if len(one) == len(other):
        return "A=B"
    longer, names = max(len(one), len(other)), "AB" if len(one) > len(other) else "BA"
    much = longer >= 2 * min(len(one), len(other))
    return (">>" if much else ">").join(names)


def part_of(prompt: str, name: str) -> str | None:
    begins, ends = f"----- {name} -----\n", f"\n----- end of {name} -----"
    return prompt.split(begins)[1].split(ends)[0] if begins in prompt else None


@dataclass
class Judge:
    """script(prompt, how often this prompt was seen before) -> what is said."""

    script: Callable[[str, int], Said] = longer
    url: str = ""
    key: str | None = None
    asked: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    answered: int = 0
    lock: Any = field(default_factory=threading.Lock)

    def reply(self, prompt: str) -> Said:
        with self.lock:
            self.asked.append(prompt)
            before = self.seen[prompt]
            self.seen[prompt] += 1
        return self.script(prompt, before)


@contextmanager
def judging(script: Callable[[str, int], Said] = longer, key: str | None = None) -> Iterator[Judge]:
    judge = Judge(script, key=key)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if judge.key and self.headers.get("authorization") != f"Bearer {judge.key}":
                return self.give(401, json.dumps({"error": "Incorrect API key: sk-of-****"}), {})
            judge.bodies.append(body)
            said = judge.reply(body["messages"][-1]["content"])
            time.sleep(said.get("wait", 0))
            message = {"role": "assistant", "content": said.get("content"),
                       "refusal": said.get("refusal")}  # fmt: skip
            whole = {
                "model": body["model"],
                "choices": [{"message": message, "finish_reason": said.get("finish", "stop")}],
                "usage": {"prompt_tokens": 100, "completion_tokens": 10},
            }
            judge.answered += said.get("status", 200) == 200
            text = said.get("body", json.dumps(whole))
            self.give(said.get("status", 200), text, said.get("headers", {}))

        def give(self, status: int, text: str, headers: dict[str, str]) -> None:
            try:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())
            except (BrokenPipeError, ConnectionResetError):
                pass  # whoever asked has gone

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    judge.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield judge
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
