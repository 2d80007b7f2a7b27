"""Overrides without Hydra's 0.1 s: on the default configuration, composed once."""

from __future__ import annotations

import functools

from tiebreak.compose import Run, compose, to_run


@functools.cache
def _composed(groups: tuple[str, ...]) -> Run:
    return compose(groups)


def quick(*overrides: str) -> Run:
    """Same as `compose`, for keys that exist."""
    from omegaconf import OmegaConf

    groups = tuple(o for o in overrides if "." not in o.partition("=")[0])
    values = [o for o in overrides if o not in groups]
    base = _composed(groups)
    if not values:
        return base
    merged = OmegaConf.merge(OmegaConf.create(base.resolved), OmegaConf.from_dotlist(values))
    return to_run(OmegaConf.to_container(merged))  # type: ignore[arg-type]
