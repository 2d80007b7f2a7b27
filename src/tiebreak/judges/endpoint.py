"""A judge behind an OpenAI-compatible endpoint: `POST BASE/chat/completions`.

The key comes from the environment and goes into one header, over https or to this machine, and
nowhere else. Calls run at once, `concurrency` of them. Answers 429 and 5xx, time-outs and broken
connections are tried again, with pauses that double. A judge that does not answer at all, or that
refuses the key, ends the judging; what it said until then is kept.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NoReturn
from urllib.parse import SplitResult, urlsplit

from tiebreak.config.schema import JudgeConfig
from tiebreak.errors import UserError
from tiebreak.judges.judge import Call, Keep, Reply, Status
from tiebreak.judges.prompts import prompt_of, read_reply
from tiebreak.judges.spending import Spending, check_prices

LOOPBACK = ("localhost", "127.0.0.1", "::1")
FATAL = {
    401: "refused the key in {key}; give a valid one",
    402: "wants to be paid first; add credit",
    403: "refused the key in {key}; give one that may use this model",
    404: "has no such model or path; give evaluation.judge.model and evaluation.judge.endpoint "
    "(its base URL, as in https://HOST/v1)",
}
AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0  # seconds
NEWER = "max_completion_tokens"  # what some servers want in the place of max_tokens
GIVEN_UP = 5  # calls in a row that failed however often they were tried: the endpoint is down
PER_TOKEN = 3.5  # characters of a token, where the server counts none


class _Stop(Exception):
    """No further call is made."""


def checked_url(config: JudgeConfig) -> SplitResult:
    """The parts of the base URL. UserError: it is no URL, or a setting is missing."""
    if not config.endpoint or not config.model:
        name = "endpoint" if not config.endpoint else "model"
        raise UserError(
            f"evaluation.judge.kind=endpoint needs evaluation.judge.{name}; give the base URL "
            "of an OpenAI-compatible server and the name of a model there"
        )
    parts = urlsplit(config.endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(
            f"evaluation.judge.endpoint={config.endpoint!r} is no base URL; give https://HOST/v1"
        )
    if parts.username or parts.password or parts.query:
        raise UserError(
            "evaluation.judge.endpoint holds a name, a password or a query; records would keep "
            f"them: give the plain URL, and the key as {config.key_variable}"
        )
    return parts


@dataclass(frozen=True)
class Endpoint:
    """See the head of this file. spent: what it and others were paid in this home."""

    config: JudgeConfig
    url: str
    key: str | None = field(repr=False)
    spent: Spending
    repeats: bool = True
    grades: bool = True

    @classmethod
    def of(cls, config: JudgeConfig) -> Endpoint:
        """UserError: a setting is missing or wrong, or there is no key."""
        parts = checked_url(config)
        check_prices(config)
        here = parts.hostname in LOOPBACK
        key = os.environ.get(config.key_variable) or None
        if key is None and parts.scheme == "https" and not here:
            raise UserError(
                f"no key for the judge: set the environment variable {config.key_variable}, or "
                "name another with evaluation.judge.key_variable"
            )
        safe = parts.scheme == "https" or here
        url = str(config.endpoint).rstrip("/")
        return cls(config, url, key if safe else None, Spending(config))

    @property
    def name(self) -> str:
        assert self.config.model is not None
        return self.config.model

    @property
    def revision(self) -> str:
        return self.config.revision or ""

    def ask(self, calls: Sequence[Call], keep: Keep) -> None:
        import httpx2

        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        with httpx2.Client(timeout=self.config.timeout, headers=headers) as client:
            asking = _Asking(self, client, keep)
            with _pool(self.config.concurrency, asking) as pool:
                for future in [pool.submit(asking.one, call) for call in calls]:
                    future.result()
        asking.settle()

    def body(self, call: Call, limit: str = "max_tokens") -> dict[str, Any]:
        """What is sent. limit: what the server calls the most tokens of a reply."""
        said = {"role": "user", "content": prompt_of(call)}
        body = {"model": self.config.model, "messages": [said], limit: self.config.max_tokens}
        if self.config.temperature is not None:
            body["temperature"] = self.config.temperature
        return body


@contextlib.contextmanager
def _pool(workers: int, asking: _Asking) -> Generator[ThreadPoolExecutor]:
    """Threads whose calls in flight are still kept when the judging ends early."""
    pool = ThreadPoolExecutor(max(1, workers))
    try:
        yield pool
    except _Stop:
        asking.ended.set()
    finally:
        asking.ended.set()
        pool.shutdown(wait=True, cancel_futures=True)


class _Asking:
    """One round of calls, from several threads."""

    def __init__(self, judge: Endpoint, client: Any, keep: Keep) -> None:
        self.judge, self.client, self._keep = judge, client, keep
        self.ended = threading.Event()
        self.error: UserError | None = None
        self._lock = threading.Lock()
        self._lost: list[tuple[Call, Reply]] = []  # failures in a row, kept once one succeeds
        self._spoke = False  # whether the judge said anything
        self._limit = "max_tokens"  # what this server calls it

    def one(self, call: Call) -> None:
        """Ask, and keep the reply. _Stop: the judging is over."""
        name, reply = self._reserve(len(prompt_of(call)) / PER_TOKEN), None
        try:
            reply = self._tried(call)
        finally:
            self.judge.spent.settle(name, reply)
        with self._lock:
            if reply.status in (Status.ERROR, Status.TIMED_OUT):
                self._lost.append((call, reply))
                if len(self._lost) >= GIVEN_UP:
                    self._end(self._down(reply))
                return
            self._spoke = True
            for before in self._lost:
                self._keep(*before)
            self._lost.clear()
            self._keep(call, reply)

    def settle(self) -> None:
        """The last failures count, unless nothing followed because the judge is down. UserError:
        why the judging ended early."""
        if self.error is None and self._lost and not self._spoke:
            self.error = UserError(self._down(self._lost[-1][1]))
        if self.error is not None:
            raise self.error
        for lost in self._lost:
            self._keep(*lost)

    def _down(self, reply: Reply) -> str:
        return f"the judge {self.judge.name} at {self.judge.url} gives no answer: {reply.raw}"

    def _reserve(self, sent: float) -> str:
        """The name under which the call's price is noted."""
        with self._lock:
            if self.ended.is_set():
                raise _Stop
            try:
                return self.judge.spent.reserve(sent, self.judge.config.max_tokens)
            except UserError as error:
                self._end(str(error))

    def _end(self, why: str) -> NoReturn:
        if self.error is None:
            self.error = UserError(why)
        self.ended.set()
        raise _Stop

    def _tried(self, call: Call) -> Reply:
        pause = FIRST_PAUSE
        for attempt in range(self.judge.config.retries + 1):
            reply, wait = self._once(call)
            if wait is None or attempt == self.judge.config.retries:
                break
            delay = max(wait, pause * random.uniform(0.5, 1.0))
            if self.ended.wait(min(delay, LONGEST_PAUSE)):
                raise _Stop
            pause *= 2
        return reply

    def _once(self, call: Call) -> tuple[Reply, float | None]:
        """(reply, seconds after which to try again; None: not to)."""
        import httpx2

        url, body = f"{self.judge.url}/chat/completions", self.judge.body(call, self._limit)
        try:
            response = self.client.post(url, json=body)
        except httpx2.TimeoutException:
            seconds = f"{self.judge.config.timeout:g}"
            return Reply(Status.TIMED_OUT, None, f"no answer within {seconds} s"), 0.0
        except httpx2.HTTPError as error:
            return Reply(Status.ERROR, None, f"{type(error).__name__}: {error}"), 0.0
        code = response.status_code
        if code in FATAL:
            said = FATAL[code].format(key=self.judge.config.key_variable)
            with self._lock:
                self._end(f"the judge at {self.judge.url} {said} (status {code})")
        if code == 400 and NEWER in response.text and NEWER not in body:
            self._limit = NEWER
            return self._once(call)
        if code in AGAIN:
            return Reply(Status.ERROR, None, self._said(response)), _retry_after(response)
        if code != 200:
            return Reply(Status.ERROR, None, self._said(response)), None
        return self._read(call, response), None

    def _read(self, call: Call, response: Any) -> Reply:
        try:
            found = response.json()
            choice = found["choices"][0]
            message = choice["message"]
            text = message.get("content")
        except (ValueError, LookupError, TypeError, AttributeError):
            return Reply(Status.UNPARSEABLE, None, self._said(response))
        ended = choice.get("finish_reason")
        refusal = message.get("refusal")
        verdict = read_reply(
            text, call.form, ended == "length", bool(refusal) or ended == "content_filter"
        )
        usage = found.get("usage") or {}
        sent = usage.get("prompt_tokens") or round(len(prompt_of(call)) / PER_TOKEN)
        written = usage.get("completion_tokens") or round(len(text or "") / PER_TOKEN)
        said = text or refusal or ""
        return Reply(verdict.status, verdict.value, said, sent, written, verdict.weight)

    def _said(self, response: Any) -> str:
        """The first words of an answer that is none, without the key should it hold it."""
        text = f"status {response.status_code}: {response.text[:200]}"
        return text.replace(self.judge.key, "(key)") if self.judge.key else text


def _retry_after(response: Any) -> float:
    """Seconds that the server asks to wait; 0: it does not say."""
    try:
        return max(0.0, float(response.headers.get("retry-after", "")))
    except ValueError:
        return 0.0
