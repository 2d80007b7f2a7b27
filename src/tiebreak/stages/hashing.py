"""Hashes of files a user gave."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path


def files_hash(files: Iterable[Path]) -> str:
    """sha256 over names and contents; they are read once per process, and again if one changed."""
    found = ((path, path.stat()) for path in files)
    return _hash_of(tuple((path, about.st_size, about.st_mtime_ns) for path, about in found))


@functools.lru_cache
def _hash_of(files: tuple[tuple[Path, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, *_ in files:
        digest.update(path.name.encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
