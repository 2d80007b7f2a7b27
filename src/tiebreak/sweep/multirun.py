"""`tiebreak run -m method=dpo,simpo seed=1,2`: every combination, as Hydra users write it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from tiebreak.config.compose import parse
from tiebreak.errors import UserError
from tiebreak.sweep.sweep_file import Study

LAUNCHER = "hydra/launcher"


def multirun(overrides: Sequence[str]) -> tuple[Study, str]:
    """(a study of all combinations, the engine asked for with `hydra/launcher=NAME`).

    Values are given in Hydra's grammar: `a,b`, `choice(a,b)`, `range(1,4)`.
    """
    engine, axes, plain = "local", {}, []
    for item in overrides:
        key, _, value = item.partition("=")
        if key == LAUNCHER:
            engine = "local" if value == "basic" else value
            continue
        override = parse(item)
        if not override.is_sweep_override():
            plain.append(item)
            continue
        if not override.is_discrete_sweep():
            raise UserError(f"{item}: -m takes lists; an interval is searched in a sweep file")
        axes[key] = tuple(override.sweep_string_iterator())
    name = hashlib.sha256(" ".join(sorted(overrides)).encode()).hexdigest()[:8]
    return Study(f"multirun-{name}", axes, {}, {}, None, {}, tuple(plain)), engine
