"""Overrides -> one checked Run, by Hydra's composition over `conf/`."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from tiebreak.config import checks, schema
from tiebreak.config.typed import typed, untyped
from tiebreak.errors import UserError, nearest
from tiebreak.home import shipped
from tiebreak.methods import METHODS

GROUPS = ("model", "method", "scenario", "data", "train", "evaluation", "tracker")
CHOSEN = {
    "method.name": "method=NAME",
    "data.kind": "data=world, or data=FILE",
    "scenario.name": "scenario=NAME",
    "scenario.start": "scenario=NAME",
    "tracker.name": "tracker=NAME",
}


def options(group: str) -> list[str]:
    """The configurations a group offers."""
    return _options(shipped("conf") / group)


@functools.cache
def _options(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.yaml"))


def compose(overrides: Sequence[str]) -> schema.Run:
    """`["method=kto", "train.learning_rate=1e-4"]` -> Run. Raises UserError for any mistake."""
    choices, values = _split(overrides)
    return to_run(_container(choices, values))


def to_run(container: dict[str, Any]) -> schema.Run:
    """A complete, plain configuration -> Run."""
    for key in container:
        if key not in (*GROUPS, "seed"):
            raise UserError(f"unknown key {key}{nearest(key, (*GROUPS, 'seed'))}")
    method = dict(container["method"])
    name = method.pop("name")
    method.pop("search", None)  # what sweeps try; no part of a run
    data = schema.WorldData if container["data"].get("kind") == "world" else schema.FileData
    classes = {
        "model": schema.ModelConfig,
        "method": METHODS[name],
        "scenario": schema.ScenarioConfig,
        "data": data,
        "train": schema.TrainConfig,
        "evaluation": schema.EvaluationConfig,
        "tracker": schema.TrackerConfig,
    }
    given = {**container, "method": method}
    found = {key: _part(cls, json.dumps(given[key]), key) for key, cls in classes.items()}
    parts: dict[str, Any] = {key: part for key, (part, _) in found.items()}
    resolved = {key: plain for key, (_, plain) in found.items()}
    resolved["method"] = {"name": name, **resolved["method"]}
    seed = _seed(container["seed"])
    run = schema.Run(**parts, method_name=name, seed=seed, resolved={**resolved, "seed": seed})
    checks.check(run)
    return run


@functools.lru_cache(maxsize=4096)
def _part(cls: type, text: str, where: str) -> tuple[Any, Any]:
    """A group as its dataclass and as plain values; most runs of a plan share most groups."""
    part = typed(cls, json.loads(text), where)
    return part, untyped(part)


def _split(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Group choices first (with paths and Hub ids resolved), then values inside groups."""
    choices: list[str] = []
    places: list[str] = []
    values: list[str] = []
    seen: set[str] = set()
    for item in overrides:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise UserError(f"{item!r} is not KEY=VALUE; for example method=dpo")
        if key.startswith(("+", "~")):
            raise UserError(f"{item!r}: keys are neither added nor removed; drop the {key[0]!r}")
        head = key.split(".")[0]
        if head not in (*GROUPS, "seed"):
            hint = nearest(head, (*GROUPS, "seed"))
            raise UserError(f"unknown group {head!r}{hint}; groups are {', '.join(GROUPS)}")
        if key.startswith("method.search"):
            raise UserError(
                f"{key} is what sweeps try; give the hyper-parameter: method.NAME=VALUE"
            )
        if key in CHOSEN:
            raise UserError(f"{key} follows from the group; choose it with {CHOSEN[key]}")
        if key in GROUPS:
            if key in seen:
                raise UserError(f"{item!r}: {key} is chosen twice; give it once")
            seen.add(key)
            choice, *more = _choice(key, value)
            choices.append(choice)
            places += more
        else:
            values.append(item)
    return choices, places + values


def _choice(group: str, value: str) -> list[str]:
    if value in options(group):
        return [f"{group}={value}"]
    is_file = Path(value).suffix in (".jsonl", ".parquet")
    name = Path(value).stem if is_file else Path(value).name  # Qwen2.5-0.5B has no suffix
    if group == "model" and ("/" in value or Path(value).is_dir()):
        place = quoted(value)
        return ["model=checkpoint", f"model.name={quoted(name)}", f"model.base={place}",
                f"model.instruct={place}"]  # fmt: skip
    if group == "data" and ("/" in value or is_file):
        return ["data=files", f"data.name={quoted(name)}", f"data.train={quoted(value)}"]
    hint = nearest(value, options(group))
    kinds = {"model": "a folder", "data": "a .jsonl or .parquet file"}
    more = f"; or {kinds[group]}, or a Hub id ORG/NAME" if group in kinds else ""
    raise UserError(f"unknown {group} {value!r}{hint}; there are {', '.join(options(group))}{more}")


def quoted(value: str) -> str:
    """As Hydra's grammar reads it; there a backslash is special only before a quote or the end."""
    escaped = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + m[2].replace("'", "\\'"), value)
    return f"'{escaped}'"


def _container(choices: list[str], values: list[str]) -> dict[str, Any]:
    """Plain configuration: the chosen files, then each value in turn."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    container = dict(_composed(None))  # parts are shared; `_set` copies what it changes
    for choice in choices:
        container[choice.partition("=")[0]] = _composed(choice)
    for item in values:
        _set(container, item)
    if "${" not in " ".join(values):
        return container
    try:
        resolved = OmegaConf.to_container(OmegaConf.create(container), resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(f"could not read {' '.join(values)}: {_first_line(error)}") from error
    return cast(dict[str, Any], resolved)


@functools.cache
def _composed(choice: str | None) -> dict[str, Any]:
    """One group as Hydra composes it from its file; None: all groups, by default.

    Hydra takes 0.1 s each time, and a plan has thousands of runs of a few choices.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(shipped("conf")), version_base="1.3"):
        config = hydra_compose("config", [] if choice is None else [choice])
    found: Any = OmegaConf.to_container(config)
    return found if choice is None else found[choice.partition("=")[0]]


def _set(container: dict[str, Any], item: str) -> None:
    """Apply one `key=value`, read by Hydra's grammar, to a key that exists; copies on the way."""
    override = parse(item)
    if override.is_sweep_override():
        raise UserError(
            f"{item} names several values; one run takes one, and `tiebreak run -m` all"
        )
    node: Any = container
    walked: list[str] = []
    *path, last = override.key_or_group.split(".")
    for part in [*path, last]:
        place = ".".join(walked)
        if not isinstance(node, dict):
            raise UserError(f"unknown key {override.key_or_group!r}: {place} is a value; give "
                            f"{place}=VALUE")  # fmt: skip
        if part not in node:
            keys = [key for key in node if (place, key) != ("method", "search")]
            there = f"; {place} has {', '.join(keys)}"
            raise UserError(f"unknown key {override.key_or_group!r}{nearest(part, node)}{there}")
        if part is last and len(walked) == len(path):
            break
        if isinstance(node[part], dict):
            node[part] = dict(node[part])  # the original is shared with other runs
        node, walked = node[part], [*walked, part]
    value = override.value()
    both = isinstance(node[last], dict) and isinstance(value, dict)
    node[last] = {**node[last], **value} if both else value


@functools.lru_cache(maxsize=4096)
def parse(item: str) -> Any:
    """`key=value` as Hydra's grammar reads it. UserError when it cannot."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(item)
    except HydraException as error:
        raise UserError(f"could not read {item}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _seed(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise UserError(f"seed={value!r} is not a whole number from 0 up")
    return value
