"""Overrides -> one checked Run, by Hydra's composition over `conf/`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
    return sorted(p.stem for p in (shipped("conf") / group).glob("*.yaml"))


def compose(overrides: Sequence[str]) -> schema.Run:
    """`["method=kto", "train.learning_rate=1e-4"]` -> Run. Raises UserError for any mistake."""
    choices, values = _split(overrides)
    container = _container(choices + values)
    return to_run(container)


def to_run(container: dict[str, Any]) -> schema.Run:
    """A complete, plain configuration -> Run."""
    for key in container:
        if key not in (*GROUPS, "seed"):
            raise UserError(f"unknown key {key}{nearest(key, (*GROUPS, 'seed'))}")
    method = dict(container["method"])
    name = method.pop("name")
    method.pop("search", None)  # what sweeps try; no part of a run
    data = schema.WorldData if container["data"].get("kind") == "world" else schema.FileData
    parts = {
        "model": typed(schema.ModelConfig, container["model"], "model"),
        "method": typed(METHODS[name], method, "method"),
        "scenario": typed(schema.ScenarioConfig, container["scenario"], "scenario"),
        "data": typed(data, container["data"], "data"),
        "train": typed(schema.TrainConfig, container["train"], "train"),
        "evaluation": typed(schema.EvaluationConfig, container["evaluation"], "evaluation"),
        "tracker": typed(schema.TrackerConfig, container["tracker"], "tracker"),
    }
    resolved = {group: untyped(part) for group, part in parts.items()}
    resolved["method"] = {"name": name, **resolved["method"]}
    seed = _seed(container["seed"])
    run = schema.Run(**parts, method_name=name, seed=seed, resolved={**resolved, "seed": seed})
    checks.check(run)
    return run


def _split(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Group choices first (with paths and Hub ids resolved), then values inside groups."""
    choices: list[str] = []
    values: list[str] = []
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
            choices += _choice(key, value)
        else:
            values.append(item)
    return choices, values


def _choice(group: str, value: str) -> list[str]:
    if value in options(group):
        return [f"{group}={value}"]
    is_file = Path(value).suffix in (".jsonl", ".parquet")
    name = Path(value).stem if is_file else Path(value).name  # Qwen2.5-0.5B has no suffix
    if group == "model" and ("/" in value or Path(value).is_dir()):
        place = _quoted(value)
        return ["model=checkpoint", f"model.name={_quoted(name)}", f"model.base={place}",
                f"model.instruct={place}"]  # fmt: skip
    if group == "data" and ("/" in value or is_file):
        return ["data=files", f"data.name={_quoted(name)}", f"data.train={_quoted(value)}"]
    hint = nearest(value, options(group))
    kinds = {"model": "a folder", "data": "a .jsonl or .parquet file"}
    more = f"; or {kinds[group]}, or a Hub id ORG/NAME" if group in kinds else ""
    raise UserError(f"unknown {group} {value!r}{hint}; there are {', '.join(options(group))}{more}")


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _container(overrides: list[str]) -> dict[str, Any]:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    with initialize_config_dir(str(shipped("conf")), version_base="1.3"):
        try:
            config = hydra_compose("config", overrides)
            container = OmegaConf.to_container(config, resolve=True)
        except (HydraException, OmegaConfBaseException) as error:
            groups = [o for o in overrides if "." not in o.partition("=")[0]]
            plain = hydra_compose("config", [o for o in groups if not o.startswith("seed")])
            raise _explained(overrides, OmegaConf.to_container(plain), error) from error
    assert isinstance(container, dict)
    return {str(k): v for k, v in container.items()}


def _explained(overrides: list[str], plain: Any, error: Exception) -> UserError:
    """Name the first override whose key does not exist; else give Hydra's first line."""
    for item in overrides:
        key = item.partition("=")[0]
        node, walked = plain, []
        for part in key.split("."):
            if not isinstance(node, dict) or part not in node:
                place = ".".join(walked)
                if not isinstance(node, dict):
                    return UserError(f"unknown key {key!r}: {place} is a value; give {place}=VALUE")
                hint = nearest(part, node)
                return UserError(f"unknown key {key!r}{hint}; {place} has {', '.join(node)}")
            node, walked = node[part], [*walked, part]
    return UserError(f"could not read {' '.join(overrides)}: {str(error).splitlines()[0]}")


def _seed(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise UserError(f"seed={value!r} is not a whole number from 0 up")
    return value
