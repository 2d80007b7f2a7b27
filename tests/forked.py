"""Commands in processes of their own that begin with the libraries loaded.

Importing torch and transformers takes a process some eight CPU seconds, which is more than most
commands of the tests need for what they do. One helper per test process imports the libraries (and
nothing of this project) and forks for every command. What it forks becomes a child of the test
process, with the streams, folder, environment and session that `subprocess` was asked for: it is
read, waited for and killed as any other. What such a command starts (a sweep's worker) is forked
from itself. All forks have one hash seed: a test that is about it gives PYTHONHASHSEED. Where the
environment differs in what libraries read on import, and off Linux, `Popen` is subprocess's own.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import gc
import importlib
import io
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import traceback
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[1]
OURS = ("tiebreak", "analysis")
LIBRARIES = ("transformers.trainer", "peft", "datasets", "pandas", "scipy.stats", "hydra", "optuna")
# Environment that is not read on import.
FREE = ("TIEBREAK_", "PYTHONPATH", "PYTHONUNBUFFERED", "WANDB_", "PYTEST_", "RANK", "LOCAL_",
        "GROUP_", "ROLE_", "WORLD_SIZE", "MASTER_", "TORCHELASTIC_", "TORCH_", "GLOO_")  # fmt: skip
KNOWN = ("-m", "-c", "-u")
CHILD_SUBREAPER = 36  # prctl(2): orphans among this process's descendants become its children
HELPER = "import sys; from tests import forked; forked.serve(int(sys.argv[1]))"
AT_ONCE = threading.Lock()


class Popen(subprocess.Popen):  # ty: ignore[missing-type-argument]
    """`subprocess.Popen`; a `python` of this environment begins with the libraries loaded."""

    def _execute_child(self, args: Any, *rest: Any) -> None:
        executable, preexec, _, pass_fds, cwd, env = rest[:6]
        env = dict(os.environ if env is None else env)
        plain = executable is None and preexec is None and not pass_fds
        python = not isinstance(args, str) and args[0] == sys.executable and args[1] in KNOWN
        if not (plain and python and _alike(env)):
            super()._execute_child(args, *rest)  # ty: ignore[unresolved-attribute]
            return
        streams = rest[9], rest[12], rest[14]  # the child's ends of stdin, stdout, stderr; or -1
        what = {"arguments": [os.fsdecode(one) for one in args[1:]],
                "cwd": os.fspath(cwd or os.getcwd()), "env": env, "session": rest[20]}  # fmt: skip
        ends = [own if own != -1 else standard for standard, own in enumerate(streams)]
        self.pid = _fork_here(what, ends) if forked else _ask_helper(what, ends)
        self._child_created = True
        for own in {*streams} - {-1}:
            os.close(own)


forked = False  # whether this process is a fork of the helper
read_on_import: dict[str, str] = {}  # the environment of the helper


run_afresh = functools.partial(subprocess.run, capture_output=True, text=True)


def run(arguments: Sequence[str | Path], **more: Any) -> subprocess.CompletedProcess[str]:
    """`run_afresh`, the libraries loaded."""
    pipe = subprocess.PIPE
    with Popen([*arguments], stdout=pipe, stderr=pipe, text=True, **more) as process:
        out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def _fixed(env: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in env.items() if not key.startswith(FREE)}


def _alike(env: Mapping[str, str]) -> bool:
    """Whether the libraries would be the same under this environment."""
    if sys.platform != "linux":
        return False
    if not read_on_import:
        read_on_import.update(_fixed(os.environ) | {"OMP_NUM_THREADS": "1"})
    return _fixed(env) == read_on_import


@functools.cache
def _helper() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    helper = subprocess.Popen(
        [sys.executable, "-c", HELPER, str(theirs.fileno())], cwd=ROOT, pass_fds=[theirs.fileno()],
        env=read_on_import, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    theirs.close()

    def end() -> None:
        ours.close()
        helper.wait()

    atexit.register(end)
    return ours


def _ask_helper(what: dict[str, Any], ends: list[int]) -> int:
    """The process id of a new child, made by the helper."""
    prctl = ctypes.CDLL(None).prctl
    with AT_ONCE:
        prctl(CHILD_SUBREAPER, 1, 0, 0, 0)
        socket.send_fds(_helper(), [json.dumps(what).encode()], ends)
        answer = _helper().recv(64)
        prctl(CHILD_SUBREAPER, 0, 0, 0, 0)
    return int(answer)


def serve(number: int) -> None:
    """Be the helper: fork for each request on this socket, until it is closed."""
    asked = socket.socket(fileno=number)
    read_on_import.update(os.environ)
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.freeze()
    while True:
        message, ends, _, _ = socket.recv_fds(asked, 1 << 20, 3)
        if not message:
            os._exit(0)
        reader, writer = os.pipe()
        between = os.fork()
        if between == 0:
            child = os.fork()
            if child == 0:
                _become(json.loads(message), ends)
            os.write(writer, str(child).encode())
            os._exit(0)  # now the child is the test process's
        os.close(writer)
        os.waitpid(between, 0)
        asked.send(os.read(reader, 64))
        for one in (reader, *ends):
            os.close(one)


def _fork_here(what: dict[str, Any], ends: list[int]) -> int:
    child = os.fork()
    if child == 0:
        _become(what, ends)
    return child


def _become(what: dict[str, Any], ends: list[int]) -> NoReturn:
    """Do what `python ARGUMENTS` does, and end the process as Python does."""
    code = 1
    try:
        _begin(what, ends)
        _do(what["arguments"])
        code = 0
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        else:
            code = int(stop.code or 0)
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    try:
        threading._shutdown()  # ty: ignore[unresolved-attribute]
        atexit._run_exitfuncs()
        sys.stdout.flush()
    finally:
        os._exit(code)


def _begin(what: dict[str, Any], ends: list[int]) -> None:
    """What a new process has: its own streams, no other files, handlers or modules of ours."""
    global forked
    forked, subprocess.Popen = True, Popen  # ty: ignore[invalid-assignment]
    atexit._clear()
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if what["session"]:
        os.setsid()
    for name in [name for name in sys.modules if name.split(".")[0] in OURS]:
        del sys.modules[name]
    gc.collect()
    for standard, end in enumerate([os.dup(end) for end in ends]):
        os.dup2(end, standard)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.environ.clear()
    os.environ.update(what["env"])
    os.chdir(what["cwd"])
    given = [one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one]
    sys.path[:] = [os.getcwd(), *given, *(one for one in sys.path[1:] if one not in given)]
    at_once = bool(os.environ.get("PYTHONUNBUFFERED")) or "-u" in what["arguments"][:1]
    sys.stdin = sys.__stdin__ = open(0, closefd=False)
    sys.stdout = sys.__stdout__ = _text(1, at_once)
    sys.stderr = sys.__stderr__ = _text(2, True)


def _do(arguments: list[str]) -> None:
    if arguments[0] == "-u":
        arguments = arguments[1:]
    what, *rest = arguments
    if what == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif what == "-c":
        sys.argv = ["-c", *rest[1:]]
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), vars(main))
    else:
        sys.argv, sys.path[0] = arguments, str(Path(what).parent)
        runpy.run_path(what, run_name="__main__")


def _text(number: int, at_once: bool) -> io.TextIOWrapper:
    raw = open(number, "wb", buffering=0 if at_once else -1, closefd=False)
    return io.TextIOWrapper(raw, encoding="utf-8", write_through=at_once,
                            line_buffering=number == 2)  # fmt: skip
