"""What a user can get wrong, said once: where, which value, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in input or environment. The command line prints it and exits with 2."""


class Busy(UserError):
    """Another process is at this very run."""


class TrainingFailed(UserError):
    """A run that cannot go on (for example: its loss is no longer a number)."""


def nearest(word: str, options: Iterable[str]) -> str:
    """` (nearest: 'dpo')` for a misspelt word, or an empty string when nothing is near."""
    found = difflib.get_close_matches(word, list(options), n=1, cutoff=0.5)
    return f" (nearest: {found[0]!r})" if found else ""
