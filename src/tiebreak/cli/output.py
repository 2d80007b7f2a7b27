"""Where a command's words go: stdout, or the file of --out."""

from __future__ import annotations

from pathlib import Path

from tiebreak.errors import UserError


def say(line: str) -> None:
    print(line, flush=True)


def give(text: str, out: Path | None, what: str) -> None:
    """To a file, or to stdout."""
    if out is None:
        return say(text.rstrip("\n"))
    try:
        out.write_text(text)
    except OSError as error:
        raise UserError(f"--out {out}: {error.strerror}; give a file to write") from error
    say(f"{what}: {out}")
