"""Overrides -> a run with everything that names it settled: ids, keys, hashes.

Whoever holds a `Run` asks nobody else what it is called or what it is made of.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tiebreak.config.compose import configure, quoted, read_config
from tiebreak.config.schema import RunConfig
from tiebreak.errors import UserError
from tiebreak.stages.plan import RunPlan, plan_of
from tiebreak.track.record_format import CHECKPOINT


@dataclass(frozen=True)
class Run(RunConfig):
    """One composed point, named.

    run_id         12 hex digits of what determines the policy, and of nothing else
    data_hash      which training rows, whatever the scenario
    evaluation_id  how the policy is measured, whichever evaluators do it
    evaluators     name -> definition: the same for every model that is measured in the same way
    plan           every stage with its key
    """

    run_id: str
    data_hash: str
    evaluation_id: str
    evaluators: Mapping[str, str] = field(hash=False)
    plan: RunPlan = field(repr=False, hash=False, compare=False)

    @functools.cached_property
    def group_id(self) -> str:
        """The run id without the seed: what is averaged in a table."""
        return _id(self.plan.align.seedless_key)


def compose(overrides: Sequence[str]) -> Run:
    """`["method=kto", "train.learning_rate=1e-4"]` -> Run. UserError for any mistake, and for a
    file or a model that is not there."""
    return settle(configure(overrides))


def compose_given(
    place: str, name: str | None, overrides: Sequence[str], with_data: bool = False
) -> Run:
    """The run that trains nothing: it measures the checkpoint at `place` (folder, Hub id, or name
    of a model) as it is, under `name` (default: what the place is called). Where no key is of the
    data, there are none (with_data: the usual ones), and then only benchmarks are measured, and
    evaluators that are asked for by name. UserError as of `compose`, and for a key that only
    training reads."""
    keys = [item.partition("=")[0] for item in overrides]
    for key in keys:
        if not reads_given(key):
            raise UserError(f"{key} has no effect on a model that is measured as it is given; "
                            "leave it out")  # fmt: skip
    if name is not None and not name.strip():
        raise UserError("--as needs a name for the row of this model")
    words = [f"model={place}", f"scenario={CHECKPOINT}", *overrides]
    words += [] if name is None else [f"model.name={quoted(name)}"]
    if not with_data and not any(key.split(".")[0] == "data" for key in keys):
        words.append("data=none")
        words += [] if "evaluation.evaluators" in keys else ["evaluation.evaluators=[]"]
    return compose(words)


def reads_given(key: str) -> bool:
    """Whether a key changes how a checkpoint is measured that is not trained."""
    own = ("train", "train.precision", "model.revision", "model.chat_template",
           "model.base_chat_template", "model.chat_template_kwargs")  # fmt: skip
    layout = key.startswith("train.execution.") and key != "train.execution.num_processes"
    return key in own or layout or key.split(".")[0] in ("data", "evaluation", "tracker")


def to_run(container: dict[str, Any]) -> Run:
    """A configuration as a record keeps it -> Run."""
    return settle(read_config(container))


def settle(config: RunConfig) -> Run:
    """The run of a checked configuration; files are read for their content, nothing is built."""
    plan = plan_of(config)
    return Run(
        **vars(config),
        run_id=_id(plan.align.key),
        data_hash=plan.data_hash,
        evaluation_id=plan.evaluation_id,
        evaluators=plan.evaluators,
        plan=plan,
    )


def _id(policy: str) -> str:
    return hashlib.sha256(f"run {policy}".encode()).hexdigest()[:12]
