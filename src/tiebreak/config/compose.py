"""Overrides -> one checked configuration, by Hydra's composition over `conf/`."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from tiebreak.config import checks, schema
from tiebreak.config.typed import complete, hints_of, typed, untyped
from tiebreak.data.formats import called, kind_of
from tiebreak.data.sources import SOURCES
from tiebreak.errors import UserError, nearest
from tiebreak.home import shipped
from tiebreak.methods import METHODS

GROUPS = ("model", "method", "scenario", "data", "train", "evaluation", "tracker")
KEYS = (*GROUPS, "seed")
# Keys whose value may be a path, and groups that take one.
PLACES = frozenset(
    "model data model.base model.sft model.instruct model.chat_template data.train data.test "
    "data.demonstrations evaluation.mirror evaluation.judge.model evaluation.mt_bench "
    "evaluation.mt_bench_baseline evaluation.alpaca_eval evaluation.alpaca_eval_baseline "
    "evaluation.arena_hard evaluation.arena_hard_baseline".split()
)
OPEN = ("model.chat_template_kwargs",)  # groups whose names are somebody else's
CHOSEN = {
    "method.name": "method=NAME",
    "data.kind": "data=world, or data=FILE",
    "scenario.name": "scenario=NAME",
    "scenario.start": "scenario=NAME",
    "tracker.name": "tracker=NAME",
}


Part = tuple[Any, Any]  # a group as its dataclass and as plain values; the seed twice


@functools.cache
def options(group: str) -> list[str]:
    """The configurations a group offers: its files, or the methods."""
    if group == "method":
        return list(METHODS)
    return sorted(path.stem for path in (shipped("conf") / group).glob("*.yaml"))


def configure(overrides: Sequence[str]) -> schema.RunConfig:
    """`["method=kto", "train.learning_rate=1e-4"]`, typed and checked; no file is read but conf/.
    Raises UserError for any mistake. `tiebreak.compose` makes it a run with ids."""
    seeds = tuple([item for item in overrides if item.startswith(("seed=", "seed."))])
    others = tuple([item for item in overrides if item not in seeds])
    if "${" in " ".join(overrides):  # may mean a key of any group
        own = _groups((*seeds, *others))
        container = {key: _plain(key, *what) for key, what in own.items()}
        return read_config(_interpolated(container, [v for _, vs in own.values() for v in vs]))
    parts = (_chosen_parts if all(map(_lasts, others)) else _chosen_parts.__wrapped__)(others)
    return _run({**parts, "seed": _chosen("seed", None, seeds)})


@functools.lru_cache(maxsize=256)
def _chosen_parts(overrides: tuple[str, ...]) -> dict[str, Part]:
    """Every group but the seed, in which most runs of a plan differ alone."""
    own = _groups(overrides)
    return {key: _chosen(key, *what) for key, what in own.items() if key != "seed"}


def _groups(overrides: Sequence[str]) -> dict[str, tuple[str | None, tuple[str, ...]]]:
    """Of each key at the top: the configuration that is chosen, and what is set in it."""
    choices: dict[str, str] = {}
    places: dict[str, tuple[str, ...]] = {}
    values: dict[str, tuple[str, ...]] = {}
    for item in overrides:
        head, choice, said = _said(item)
        if choice is None:
            values[head] = values.get(head, ()) + said
            continue
        if head in choices:
            raise UserError(f"{item!r}: {head} is chosen twice; give it once")
        choices[head], places[head] = choice, said
    return {key: (choices.get(key), places.get(key, ()) + values.get(key, ())) for key in KEYS}


def read_config(container: dict[str, Any]) -> schema.RunConfig:
    """A plain configuration, as a record keeps it, typed and checked. Keys that were added since
    it was written are read at their value at introduction."""
    for key in container:
        if key not in KEYS:
            raise UserError(f"unknown key {key}{nearest(key, KEYS)}")
    return _run({key: _read_part(key, json.dumps(container[key])) for key in KEYS})


def _run(parts: dict[str, Part]) -> schema.RunConfig:
    resolved = {key: plain for key, (_, plain) in parts.items()}
    fields: dict[str, Any] = {key: part for key, (part, _) in parts.items()}
    run = schema.RunConfig(**fields, method_name=resolved["method"]["name"], resolved=resolved)
    checks.check(run)
    return run


@functools.lru_cache(maxsize=4096)
def _chosen(key: str, choice: str | None, values: tuple[str, ...]) -> Part:
    """One group by its choice and what is set in it; most runs of a plan share most groups."""
    return _part(key, _plain(key, choice, values))


@functools.lru_cache(maxsize=4096)
def _read_part(key: str, text: str) -> Part:
    return _part(key, json.loads(text))


def _part(key: str, given: Any) -> Part:
    """A group typed and checked by itself."""
    if key == "seed":
        if type(given) is not int or given < 0:
            raise UserError(f"seed={given!r} is not a whole number from 0 up")
        return given, given
    name = {}
    if key == "method":
        given = dict(given)
        name = {"name": given.pop("name")}
    part = typed(_class(key, {**given, **name}), given, key)
    checks.check_group(key, part, name.get("name", ""))
    return part, name | untyped(part)


def _class(key: str, given: Mapping[str, Any]) -> type:
    if key == "method":
        return METHODS[given["name"]]
    if key == "data":
        kind = given.get("kind")
        if kind not in SOURCES:
            hint = nearest(str(kind), SOURCES)
            raise UserError(f"data.kind={kind!r} is not one of {', '.join(SOURCES)}{hint}")
        return SOURCES[kind]
    return hints_of(schema.RunConfig)[key]


def _said(item: str) -> tuple[str, str | None, tuple[str, ...]]:
    """`_parsed`, kept where it can be."""
    return (_parsed_once if _lasts(item) else _parsed)(item)


@functools.lru_cache(maxsize=4096)
def _lasts(item: str) -> bool:
    """Whether what an override means does not depend on which files are there."""
    key, _, value = item.partition("=")
    return key not in PLACES or (key in GROUPS and value in options(key))


def _parsed(item: str) -> tuple[str, str | None, tuple[str, ...]]:
    """(group, the configuration that is chosen of it, values inside it); of a path or a Hub id the
    configuration is a template, and the values are what it needs."""
    key, equals, value = item.partition("=")
    if not equals or not key:
        raise UserError(f"{item!r} is not KEY=VALUE; for example method=dpo")
    if key.startswith(("+", "~")):
        raise UserError(f"{item!r}: keys are neither added nor removed; drop the {key[0]!r}")
    head = key.partition(".")[0]
    if head not in KEYS:
        hint = nearest(head, KEYS)
        raise UserError(f"unknown group {head!r}{hint}; groups are {', '.join(GROUPS)}")
    if key.startswith("method.search"):
        raise UserError(f"{key} is what sweeps try; give the hyper-parameter: method.NAME=VALUE")
    if key in CHOSEN:
        raise UserError(f"{key} follows from the group; choose it with {CHOSEN[key]}")
    if key not in GROUPS:
        return head, None, (_as_text(item) if key in PLACES else item,)
    choice, *needed = _choice(key, value)
    return head, choice, tuple(needed)


_parsed_once = functools.lru_cache(maxsize=4096)(_parsed)


def paths(item: str) -> tuple[str, ...]:
    """What an override names by paths of this machine, which may hold any character: one, or
    several between commas; none where its key takes no path, or where there is no such path."""
    key, _, value = item.partition("=")
    if key not in PLACES or value == "null":
        return ()
    several = ((value,), tuple(value.split(",")))
    return next((found for found in several if all(map(os.path.exists, found))), ())


def _as_text(item: str) -> str:
    """The override of a key that takes a path, quoted where the path is there as it stands, or
    where Hydra's grammar takes it for no text."""
    key, _, value = item.partition("=")
    if paths(item) != (value,):
        try:
            override = parse(item)
        except UserError:
            pass
        else:
            if override.is_sweep_override() or isinstance(override.value(), str | None):
                return item
    return f"{key}={quoted(value)}"


def _choice(group: str, value: str) -> list[str]:
    """The configuration, then the values it needs."""
    if value[:1] in ("'", '"') and not os.path.exists(value):
        value = _read(f"{group}={value}")[1]
    if value in options(group):
        return [value]
    is_file = kind_of(value) is not None
    name = called(value)
    if group == "model" and ("/" in value or Path(value).is_dir()):
        place = quoted(value)
        return ["checkpoint", f"model.name={quoted(name)}", f"model.base={place}",
                f"model.instruct={place}"]  # fmt: skip
    if group == "data" and ("/" in value or is_file or Path(value).is_dir()):
        return ["files", f"data.name={quoted(name)}", f"data.train={quoted(value)}"]
    hint = nearest(value, options(group))
    kinds = {"model": "a folder", "data": "a file (.jsonl, .json, .csv, .parquet)"}
    more = f"; or {kinds[group]}, or a Hub id ORG/NAME" if group in kinds else ""
    raise UserError(f"unknown {group} {value!r}{hint}; there are {', '.join(options(group))}{more}")


def quoted(value: str) -> str:
    """As Hydra's grammar reads it, where a backslash is special before a quote or the end, and then
    OmegaConf, where it is before an interpolation."""
    escaped = re.sub(r"(\\*)\$\{", r"\1\1\\${", value)
    escaped = re.sub(r"(\\*)('|\Z)", lambda m: m[1] * 2 + m[2].replace("'", "\\'"), escaped)
    return f"'{escaped}'"


def _plain(key: str, choice: str | None, values: Sequence[str]) -> Any:
    """A group's file with each value set in turn."""
    found = _defaults()[key] if choice is None else _composed(key, choice)
    container = {key: complete(_class(key, found), found) if key != "seed" else found}
    for item in values:
        _set(container, item)
    return container[key]


def _interpolated(container: dict[str, Any], values: Sequence[str]) -> dict[str, Any]:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        resolved = OmegaConf.to_container(OmegaConf.create(container), resolve=True)
    except OmegaConfBaseException as error:
        why = str(error).splitlines()[0]
        raise UserError(f"could not read {' '.join(values)}: {why}") from error
    return cast(dict[str, Any], resolved)


@functools.cache
def _defaults() -> dict[str, Any]:
    """All groups as they are when nothing is chosen."""
    composed = _hydra([])
    return {**composed, "method": _composed("method", composed["method"])}


@functools.cache
def _composed(group: str, choice: str) -> dict[str, Any]:
    """One group as Hydra composes it; a method has no file: its name and its class's defaults.
    Hydra takes 0.1 s each time, and a plan names many methods: a file that includes no other is
    what Hydra would make of it."""
    from omegaconf import OmegaConf

    if group == "method":
        return {"name": choice} | {f.name: f.default for f in dataclasses.fields(METHODS[choice])}
    path = shipped("conf") / group / f"{choice}.yaml"
    found: Any = OmegaConf.to_container(OmegaConf.load(path))
    if "defaults" not in found and "@package" not in path.read_text():
        return found
    return _hydra([f"{group}={choice}"])[group]


def _hydra(choices: list[str]) -> dict[str, Any]:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(shipped("conf")), version_base="1.3"):
        return cast(dict[str, Any], OmegaConf.to_container(hydra_compose("config", choices)))


def _set(container: dict[str, Any], item: str) -> None:
    """Apply one `key=value`, read by Hydra's grammar, to a key that exists; copies on the way."""
    key, value = _read(item)
    node: Any = container
    walked: list[str] = []
    *path, last = key.split(".")
    for part in [*path, last]:
        place = ".".join(walked)
        if not isinstance(node, dict):
            raise UserError(f"unknown key {key!r}: {place} is a value; give {place}=VALUE")
        if part not in node and not (place in OPEN and len(walked) == len(path)):
            there = f"; {place} has {', '.join(node)}"
            raise UserError(f"unknown key {key!r}{nearest(part, node)}{there}")
        if part is last and len(walked) == len(path):
            break
        if isinstance(node[part], dict):
            node[part] = dict(node[part])  # the original is shared with other runs
        node, walked = node[part], [*walked, part]
    both = isinstance(node.get(last), dict) and isinstance(value, dict)
    node[last] = {**node[last], **value} if both else value


def _read(item: str) -> tuple[str, Any]:
    """(key, value) of an override. A plain number is not worth Hydra's parser: a study may have
    thousands, and it takes the better part of a millisecond."""
    if (number := _NUMBER.fullmatch(item)) is not None:
        return number[1], json.loads(number[2])
    override = parse(item)
    if override.is_sweep_override():
        raise UserError(
            f"{item} names several values; one run takes one, and `tiebreak run -m` all"
        )
    return override.key_or_group, override.value()


_NUMBER = re.compile(r"([a-z_]\w*(?:\.\w+)*)=(-?(?:0|[1-9]\d*)(?:\.\d+)?(?:e[+-]?\d+)?)", re.ASCII)


@functools.lru_cache(maxsize=4096)
def parse(item: str) -> Any:
    """`key=value` as Hydra's grammar reads it. UserError when it cannot."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(item)
    except HydraException as error:
        raise UserError(f"could not read {item}: {str(error).splitlines()[0]}") from error
