"""Artefacts stored under the hash of everything that determines them: built once, published whole.

`<root>/<stage>/<key>/` is a published artefact. It appears by one rename, so it is complete or it
is not there. Beside it live `.<key>.work`, the folder a build writes into (kept when the build
dies, so that the next one resumes from it), and `.<key>.lock`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import math
import os
import re
import shutil
import socket
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from tiebreak.errors import UserError

FORMAT = 2
ARTEFACT = "artefact.json"
FULL = (errno.ENOSPC, errno.EDQUOT)
UNWRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)


@dataclass(frozen=True)
class Artefact:
    """What a stage left. `reused` is True when somebody had published it before."""

    path: Path
    stage: str
    key: str
    reused: bool


class Settings(dict[str, Any]):
    """Settings that many keys hash, with their JSON text kept: not to be changed."""

    @functools.cached_property
    def text(self) -> str:
        return _text(dict(self), "settings")

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(self.text)


def key(stage: str, inputs: Mapping[str, Any]) -> str:
    """16 hex characters that name the artefact `stage` makes from `inputs`.

    Order of keys does not count; 1 and 1.0 differ, as they do in JSON. ValueError for a value that
    JSON has no one way to write (NaN, a set, a path, an object): it would not name anything.
    """
    text = f'{{"inputs":{_text(inputs, stage)},"stage":{_quoted(stage)}}}'
    return hashlib.sha256(text.encode()).hexdigest()[:16]


_quoted: Callable[[str], str] = json.encoder.encode_basestring_ascii
_PLAIN: dict[type, Callable[[Any], str]] = {
    str: _quoted,
    int: int.__repr__,
    bool: {True: "true", False: "false"}.__getitem__,
    type(None): {None: "null"}.__getitem__,
}


def _text(value: Any, where: str) -> str:
    """The one JSON text of a value: keys sorted, no spaces."""
    if (plain := _PLAIN.get(type(value))) is not None:
        return plain(value)
    if isinstance(value, Settings):
        return value.text
    if isinstance(value, dict | Mapping):
        return _mapping_text(value, where)
    if isinstance(value, list | tuple):
        return f"[{','.join(_text(v, f'{where}[{i}]') for i, v in enumerate(value))}]"
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where}: {value} is not a number that JSON can hold")
    if type(value) is float:
        return float.__repr__(value)
    if isinstance(value, str | int | float):
        return json.dumps(value)
    raise ValueError(f"{where}: cannot hash {value!r} ({type(value).__name__}); pass plain JSON")


def _mapping_text(values: Mapping[str, Any], where: str) -> str:
    """A plan of many runs spends a good part of its time here."""
    parts = []
    try:
        for name in sorted(values):
            value, quoted = values[name], _quoted(name)
            plain = _PLAIN.get(type(value))
            text = _text(value, f"{where}.{name}") if plain is None else plain(value)
            parts.append(f"{quoted}:{text}")
    except TypeError:  # names that are no strings are neither sorted nor quoted
        wrong = next(name for name in values if not isinstance(name, str))
        raise ValueError(f"{where}: key {wrong!r} is not a string") from None
    return f"{{{','.join(parts)}}}"


class Store:
    """A folder of artefacts. Safe for any number of processes at once, and against being killed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, stage: str, key: str) -> Path:
        return self.root / stage / key

    def work(self, stage: str, key: str) -> Path:
        """Where a build of this artefact writes, and finds what a killed build left."""
        return self.root / stage / f".{key}.work"

    def has(self, stage: str, key: str) -> bool:
        """Whether the artefact is published. UserError when it is damaged or of another format."""
        path = self.path(stage, key)
        if not path.exists():
            return False
        for name, entry in read_artefact(path)["files"].items():
            file = path / name
            if not file.is_file() or file.stat().st_size != entry["size"]:
                raise UserError(f"{file} is missing or was changed; delete {path} to rebuild it")
        return True

    def build(
        self,
        stage: str,
        key: str,
        inputs: Mapping[str, Any],
        builder: Callable[[Path], None],
        *,
        scratch: Sequence[str] = (),
    ) -> Artefact:
        """The artefact, building it when it is not there; one process builds, the others wait.

        `builder(work)` fills `work`, which may hold what a killed build left. Folders named in
        `scratch` (checkpoints) are removed once everything else has reached the disk. What the
        builder raises is raised, except a full disk, which is a UserError; `work` is then left as
        it is, nothing is published and the next build goes on from there.
        """
        assert key == _key(stage, inputs), f"{stage}/{key} is not the key of these inputs"
        path, work = self.path(stage, key), self.work(stage, key)
        if self.has(stage, key):  # no lock, so that a read-only store can be used
            return Artefact(path, stage, key, reused=True)
        with disk_errors(self.root, FULL, f"; unfinished work is kept in {work}"):
            with self._lock(stage, key):
                if self.has(stage, key):
                    return Artefact(path, stage, key, reused=True)
                work.mkdir(exist_ok=True)
                if not (work / ARTEFACT).is_file():  # else only publishing was left to do
                    builder(work)
                    about = {"stage": stage, "key": key, "inputs": dict(inputs)}
                    _seal(work, scratch, about)
                for folder in scratch:
                    if (work / folder).is_dir():
                        shutil.rmtree(work / folder)
                os.rename(work, path)
                _sync_folder(path.parent)
        return Artefact(path, stage, key, reused=False)

    @contextlib.contextmanager
    def _lock(self, stage: str, key: str) -> Generator[None, None, None]:
        """flock, because the kernel lets go of it however its holder dies."""
        with disk_errors(self.root, UNWRITABLE):
            (self.root / stage).mkdir(parents=True, exist_ok=True)
            lock = open(self.root / stage / f".{key}.lock", "a+")
        with lock:
            if not try_lock(lock.fileno()):
                lock.seek(0)
                who = lock.read().strip() or "another process"
                print(f"waiting for {stage}/{key}: {who} builds it", file=sys.stderr, flush=True)
                fcntl.flock(lock, fcntl.LOCK_EX)
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            lock.flush()
            yield


def try_lock(lock: int, kind: int = fcntl.LOCK_EX) -> bool:
    """Take the lock of an open file, exclusive or shared; False where another process holds it."""
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


_key = key  # `key` is also the natural name of the methods' parameter


@contextlib.contextmanager
def disk_errors(root: Path, numbers: Sequence[int], kept: str = "") -> Generator[None, None, None]:
    """Turn these error numbers into what a user can do about them; let everything else pass."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        number = error_number(error)
        if number is None or number not in numbers:
            raise
        remedy = "free some space" if number in FULL else "make it writable"
        raise UserError(
            f"cannot write below {root}: {os.strerror(number)}; {remedy} and run again, "
            f"or set TIEBREAK_HOME{kept}"
        ) from error


def error_number(error: OSError | SafetensorError) -> int | None:
    """The errno; safetensors gives it in its text only."""
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None


def read_artefact(path: Path) -> dict[str, Any]:
    """`artefact.json` of a published artefact: format, stage, key, inputs, files."""
    try:
        content = json.loads((path / ARTEFACT).read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is not an artefact (no readable {ARTEFACT}); move it") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise UserError(
            f"{path} has artefact format {found!r}, expected {FORMAT}; delete it or move it away, "
            "or set TIEBREAK_HOME"
        )
    return content


def _seal(work: Path, scratch: Sequence[str], about: dict[str, Any]) -> None:
    """Flush every file but the scratch, then write the list of them: `work` is then complete."""
    partial, files = work / f".{ARTEFACT}", {}
    partial.unlink(missing_ok=True)
    for file in sorted(p for p in work.rglob("*") if not p.is_dir() or p.is_symlink()):
        name = file.relative_to(work)
        if name.parts[0] not in scratch:
            plain = file.is_file() and not file.is_symlink()
            assert plain, f"{file}: artefacts hold plain files only"
            sha256 = _file_hash(file, sync=True)
            files[name.as_posix()] = {"sha256": sha256, "size": file.stat().st_size}
    assert files, f"the builder of {about['stage']}/{about['key']} left no file"
    text = json.dumps({"format": FORMAT, **about, "files": files}, sort_keys=True, indent=1)
    partial.write_text(text + "\n")
    _file_hash(partial, sync=True)
    for folder in {work, *((work / name).parent for name in files)}:
        _sync_folder(folder)
    os.replace(partial, work / ARTEFACT)
    _sync_folder(work)


def _file_hash(file: Path, *, sync: bool = False) -> str:
    with open(file, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if sync:
            os.fsync(stream.fileno())
    return digest


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def stamps(files: Iterable[Path]) -> tuple[tuple[str, int, int], ...]:
    """(path, size, time of change) of files, sorted: another when one was changed."""
    found = sorted((str(file), file.stat()) for file in files)
    return tuple((name, about.st_size, about.st_mtime_ns) for name, about in found)


def files_hash(files: Iterable[Path]) -> str:
    """sha256 over names and contents; they are read once per process, and again if one changed."""
    return _hash_of(stamps(files))


@functools.lru_cache
def _hash_of(files: tuple[tuple[str, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, *_ in files:
        digest.update(Path(path).name.encode() + b"\0")
        digest.update(hashlib.sha256(Path(path).read_bytes()).digest())
    return digest.hexdigest()


def weights_hash(folder: Path) -> str:
    """sha256 (64 hex) over the names and contents of the folder's `*.safetensors`.

    In a published artefact the files' hashes are taken from `artefact.json` (the files never
    change there); elsewhere the files are read. UserError when there are no weights.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UserError(f"{folder} has no *.safetensors; only safetensors weights are read")
    about = read_artefact(folder) if (folder / ARTEFACT).is_file() else {"stage": None, "key": None}
    # A copy of an artefact that somebody went on working in lies elsewhere.
    published = (about["stage"], about["key"]) == (folder.parent.name, folder.name)
    known = about["files"] if published else {}
    digest = hashlib.sha256()
    for file in files:
        recorded = known.get(file.name)
        fresh = recorded is None or recorded["size"] != file.stat().st_size
        sha256 = _file_hash(file) if fresh else recorded["sha256"]
        digest.update(f"{file.name}\0{sha256}\n".encode())
    return digest.hexdigest()
