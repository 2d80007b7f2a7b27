"""Every field of every group: which keys and ids change with it, and that no other does.

A stage that hangs on a changed one changes too; `FIRST` names where a change begins. A field that
is added without an entry here fails with its name.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from tiebreak.compose import Run, compose, settle
from tiebreak.config import compose as files
from tiebreak.config import schema
from tiebreak.config.compose import configure
from tiebreak.config.typed import _inner, hints_of
from tiebreak.data.sources import SOURCES
from tiebreak.methods import METHODS
from tiebreak.stages import plan

TRAIN, TEST, SHOWN = "tokens train rows", "tokens test rows", "tokens demonstrations"
REFERENCE, SCORED = "reference responses", "pairs start model"
ANSWERED = "generations start model"
# Of the policy, where a change of evaluation begins.
ANSWERS, SCORES = "generations policy", "pairs policy"
ANYTHING_COMPUTED = {"sft", REFERENCE, "align", ANSWERED, SCORED, ANSWERS, SCORES}
GIVEN = None  # names a checkpoint or a data set: tests/config/test_run_id.py, by content

FIRST: dict[str, set[str] | None] = {
    "seed": {"sft", "align"},
    "method_name": {"align"},
    **dict.fromkeys("model.name scenario.name data.name train.name evaluation.name".split(), set()),
    **dict.fromkeys("model.base model.sft model.instruct model.revision".split(), GIVEN),
    **dict.fromkeys("model.chat_template scenario.start data.kind".split(), GIVEN),
    "model.chat_template_kwargs": GIVEN,
    "model.base_chat_template": GIVEN,
    "model.pretraining": {"pretrain"},
    "model.instruct_tuning": set(),  # this scenario does not start from it
    "data.seed": {TRAIN, TEST, SHOWN},
    "data.num_pairs": {TRAIN},
    "data.num_test_pairs": {TEST},
    "data.num_demonstrations": {SHOWN},
    "data.label_noise": {TRAIN},
    "data.length_bias": {TRAIN},
    "data.temperature": {TRAIN},
    "data.edit_distance": {TRAIN, TEST},
    "data.max_length": {TRAIN, TEST, SHOWN},
    "data.max_prompt_length": {TRAIN, TEST, SHOWN},
    "data.max_dropped_share": set(),
    **dict.fromkeys("data.train data.test data.demonstrations".split(), GIVEN),
    "data.train_split": {TRAIN, TEST},  # the test rows are a share of it
    "data.test_split": set(),
    "data.test_share": {TRAIN, TEST},
    "data.validation_share": {TRAIN},
    "data.as_conversation": {TRAIN, TEST, SHOWN},
    "data.encode_together": {TRAIN, TEST, SHOWN},
    "data.demonstrations_split": {SHOWN},
    "data.revision": GIVEN,  # files have none; of a Hub the commit counts
    **dict.fromkeys("data.subset data.demonstrations_subset".split(), GIVEN),  # of a Hub, too
    "data.columns": {TRAIN, TEST, SHOWN},
    "data.max_shared_prompts": set(),
    "data.max_rows": {TRAIN},
    "data.max_test_rows": {TEST},
    **{
        f"train.{name}": {"align"}
        for name in "learning_rate batch_size epochs max_steps schedule warmup_share weight_decay "
        "optimiser max_grad_norm adapter lora reference".split()
    },
    "train.precision": ANYTHING_COMPUTED,
    "train.drift": set(),  # this method reads the reference anyway
    "train.sft": {"sft"},
    "train.execution": set(),
    "evaluation.split": {TEST, ANSWERED, ANSWERS, SCORED, SCORES},
    "evaluation.evaluators": GIVEN,  # see below
    **dict.fromkeys("evaluation.benchmarks evaluation.pair_sets".split(), GIVEN),  # see there
    "evaluation.max_shared_prompts": set(),
    **dict.fromkeys(
        "evaluation.questions evaluation.chat_template evaluation.mirror".split(), set()
    ),
    "evaluation.generator.command": {ANSWERED, ANSWERS},
    "evaluation.generator": set(),  # without a command; tests/stages/test_generator.py
    # tests/judges/test_keys.py
    "evaluation.judge": GIVEN,
    **{
        f"evaluation.{name}": set()
        for name in "mt_bench mt_bench_baseline alpaca_eval alpaca_eval_baseline "
        "arena_hard arena_hard_baseline".split()
    },
    **{
        f"evaluation.{name}": {ANSWERED, ANSWERS}
        for name in "num_prompts max_new_tokens temperature batch_size seed sampling".split()
    },
    **{f"tracker.{name}": set() for name in "name mode project entity".split()},
}


def keys(run: Run) -> dict[str, str]:
    """Stage and what it is for -> key; the split's name left out, so that two can be compared."""
    named = {f"{s.name} {s.what}".strip().replace("validation", "test"): s
             for s in run.plan.stages()}  # fmt: skip
    return {name: stage.key for name, stage in named.items()}


def below(run: Run, names: set[str]) -> set[str]:
    """These stages and all that hang on them."""
    hang = set(names)
    for stage in run.plan.stages():  # parents first
        parents = {f"{p.name} {p.what}".strip() for p in stage.parents.values()}
        if parents & hang:
            hang.add(f"{stage.name} {stage.what}".strip())
    return hang


def fields(part: Any, above: str) -> Iterator[tuple[str, Any, Any]]:
    """(dotted name, the type inside `X | None`, the value) of every field, groups inside too."""
    for field in dataclasses.fields(part):
        kind, value = _inner(hints_of(type(part))[field.name]), getattr(part, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from fields(value, f"{above}.{field.name}")
        else:
            yield f"{above}.{field.name}", kind, value


def another(kind: Any, value: Any) -> Any:
    """A value of the same type that is not `value`."""
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return next(option for option in kind if option != value)
    if kind is bool:
        return not value
    if kind in (int, float):
        return kind(3 if value is None else value + 2)
    if kind is str:
        return f"{value or ''}x"
    return (*value, "x")


def changed(config: schema.RunConfig, name: str, value: Any) -> Run:
    head, *path = name.split(".")
    if not path:
        return settle(dataclasses.replace(config, **{head: value}))
    part = getattr(config, head)
    parts = [part]
    for step in path[:-1]:
        parts.append(getattr(parts[-1], step))
    for step, owner in zip(reversed(path), reversed(parts), strict=True):
        value = dataclasses.replace(owner, **{step: value})
    return settle(dataclasses.replace(config, **{head: value}))


def expected(name: str) -> set[str] | None:
    while name not in FIRST and "." in name:
        name = name.rpartition(".")[0]
    assert name in FIRST, f"{name}: say in FIRST of {Path(__file__).name} which keys it changes"
    return FIRST[name]


WORLD = ["train.adapter=lora"]


def base(data: list[str]) -> schema.RunConfig:
    return configure([*WORLD, *data])


@pytest.fixture
def rows(tmp_path: Path) -> list[str]:
    path = tmp_path / "rows.jsonl"
    lines = [{"prompt": f"p{i}", "chosen": "a", "rejected": "b"} for i in range(4)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    shown = tmp_path / "shown.jsonl"
    shown.write_text('{"prompt": "p", "completion": "c"}\n')
    return [f"data={path}", f"data.demonstrations={shown}", "data.validation_share=0.1"]


def check(config: schema.RunConfig, name: str, kind: Any, value: Any) -> None:
    first = expected(name)
    if first is None:
        return
    before, after = settle(config), changed(config, name, another(kind, value))
    was, now = keys(before), keys(after)
    differ = {stage for stage in was if stage in now and was[stage] != now[stage]}
    assert differ == below(before, first) & set(now), name
    assert (before.run_id != after.run_id) == ("align" in differ), name
    assert (before.group_id != after.group_id) == ("align" in differ and name != "seed"), name
    assert (before.data_hash != after.data_hash) == (TRAIN in first), name
    held_out = {TEST, ANSWERED} & first if name != "train.precision" else set()
    assert (before.evaluation_id != after.evaluation_id) == bool(held_out), name


def test_every_field_of_a_run_on_the_world() -> None:
    config = base([])
    parts = [getattr(config, g) for g in "model scenario data train evaluation tracker".split()]
    for group, part in zip("model scenario data train evaluation tracker".split(), parts,
                           strict=True):  # fmt: skip
        for name, kind, value in fields(part, group):
            check(config, name, kind, value)
    check(config, "seed", int, config.seed)


def test_every_field_of_a_run_on_files(rows: list[str]) -> None:
    config = base(rows)
    for name, kind, value in fields(config.data, "data"):
        check(config, name, kind, value)


def test_every_source_of_data_was_asked() -> None:
    rowless = {name for name, source in SOURCES.items() if not source.has_rows}
    assert rowless == {"none"}
    assert set(SOURCES) - rowless == {"files", "world"}, "give it a test like those above"


@pytest.mark.parametrize("method", METHODS)
def test_every_hyperparameter_changes_the_policy_and_what_is_measured_on_it(method: str) -> None:
    config = configure([f"method={method}"])
    before = settle(config)
    for field in dataclasses.fields(METHODS[method]):
        value = getattr(config.method, field.name)
        other = next((o for o in field.metadata["options"] if o != value), None)
        after = changed(config, f"method.{field.name}", other or another(type(value), value))
        differ = {stage for stage, key in keys(before).items() if keys(after).get(stage) != key}
        assert {"align", ANSWERS, SCORES, "gold policy"} == differ, field.name
        assert before.group_id != after.group_id and before.data_hash == after.data_hash


def test_a_field_at_its_introduction_value_is_not_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is added with a default renames nothing, and old files are read as if they held
    it; another value is another run."""
    before = compose([])
    added = dataclasses.make_dataclass(
        "TrainConfig",
        [("new_knob", float, dataclasses.field(default=0.5))],
        bases=(schema.TrainConfig,),
        frozen=True,
    )
    known = files._class
    monkeypatch.setattr(
        files, "_class", lambda key, given: added if key == "train" else known(key, given)
    )
    _clear()
    try:
        same, other = compose([]), compose(["train.new_knob=0.7"])
        assert (same.run_id, keys(same)) == (before.run_id, keys(before))
        assert other.run_id != before.run_id
        assert keys(other)["sft"] != keys(before)["sft"], "left out by name, never let in by name"
    finally:
        _clear()


def _clear() -> None:
    for cached in (files._chosen, files._read_part, files._defaults, files._composed, plan._shared):
        cached.cache_clear()


def test_what_is_measured_is_no_part_of_any_other_key() -> None:
    alone, all_three = compose(["evaluation.evaluators=[pairs]"]), compose([])
    assert alone.run_id == all_three.run_id and alone.evaluation_id == all_three.evaluation_id
    assert keys(alone).items() < keys(all_three).items()
    assert alone.evaluators.items() < all_three.evaluators.items()
