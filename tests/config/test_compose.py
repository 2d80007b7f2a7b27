"""Overrides to a Run: what is accepted, and what a user reads when it is not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.config.quick import quick
from tiebreak.config import compose as files
from tiebreak.config.compose import GROUPS, configure, options
from tiebreak.config.schema import Adapter, Split
from tiebreak.data.sources.world import WorldData
from tiebreak.errors import UserError
from tiebreak.home import shipped

WRONG = [
    ("metod=dpo", "unknown group 'metod' (nearest: 'method'); groups are model, method"),
    ("method=dpoo", "unknown method 'dpoo' (nearest: 'dpo'); there are "),
    ("train=tinny", "unknown train 'tinny' (nearest: 'tiny')"),
    ("model=tny", "(nearest: 'tiny'); there are checkpoint"),
    ("model=tny", "or a folder, or a Hub id ORG/NAME"),
    ("data=pairs.txt", "or a file (.jsonl, .json, .csv, .parquet), or a Hub id ORG/NAME"),
    ("train.learning_rte=1", "unknown key 'train.learning_rte' (nearest: 'learning_rate')"),
    ("train.sft.epoch=1", "unknown key 'train.sft.epoch' (nearest: 'epochs'); train.sft has"),
    ("method.gamma=1", "unknown key 'method.gamma'; method has name, beta"),
    ("seed.x=1", "unknown key 'seed.x': seed is a value; give seed=VALUE"),
    ("train.learning_rate.x=1", "train.learning_rate is a value; give train.learning_rate=VALUE"),
    ("train.learning_rate=fast", "train.learning_rate='fast' is not a number"),
    ("train.batch_size=true", "train.batch_size=True is not a whole number"),
    ("train.sft=3", "train.sft must be a group of keys, got 3"),
    ("seed=1.5", "seed=1.5 is not a whole number from 0 up"),
    ("seed=-1", "seed=-1 is not a whole number from 0 up"),
    ("method.name=ppo", "method.name follows from the group; choose it with method=NAME"),
    ("data.kind=files", "choose it with data=world, or data=FILE"),
    ("data.label_noise=3", "data.label_noise: 3.0 is not possible; use 0 to 1"),
    ("model=checkpoint", "model.name has no value; give model.name=VALUE"),
    ("data=files", "data.name has no value; give data.name=VALUE"),
    ("dpo", "'dpo' is not KEY=VALUE; for example method=dpo"),
    ("=dpo", "'=dpo' is not KEY=VALUE"),
    ("+train.x=1", "keys are neither added nor removed; drop the '+'"),
    ("~method", "'~method' is not KEY=VALUE"),
    ("train.learning_rate=inf", "train.learning_rate=inf is not a finite number"),
    ("method.beta=nan", "method.beta=nan is not a finite number"),
    ("tracker.mode=on", "tracker.mode='on' is not one of auto, online, offline, disabled"),
    ("train.learning_rate=[1,", "could not read train.learning_rate=[1,"),
]
OUT_OF_RANGE = [
    ("train.batch_size=8.5", "train.batch_size=8.5 is not a whole number"),
    ("train.batch_size=null", "train.batch_size=None is not a whole number"),
    ("train.drift=maybe", "train.drift='maybe' is not true or false"),
    ("train.lora.targets=q_proj", "train.lora.targets='q_proj' is not a list; write [a, b]"),
    ("train.adapter=lorra", "train.adapter='lorra' is not one of none, lora (nearest: 'lora')"),
    ("method.beta=-1", "method.beta=-1.0 must be above 0; usual values: 0.01, 0.05, 0.1"),
    ("train.batch_size=0", "train.batch_size=0 must be above 0"),
    ("train.max_steps=0", "train.max_steps=0 must be above 0"),
    ("train.max_grad_norm=-1", "train.max_grad_norm=-1.0 must be above 0"),
    ("train.lora.rank=0", "train.lora.rank=0 must be above 0"),
    ("train.weight_decay=-0.1", "train.weight_decay=-0.1 must be 0 or above"),
    ("train.warmup_share=1", "train.warmup_share=1.0 is a share of the steps; give 0 or more"),
    ("data.num_pairs=0", "data.num_pairs: 0 is not possible; ask for at least one pair"),
    ("data.num_test_pairs=0", "data.num_test_pairs=0 must be above 0"),
    ("evaluation.num_prompts=0", "evaluation.num_prompts=0 must be above 0"),
    ("evaluation.split=valid", "evaluation.split='valid' is not one of test, validation"),
    (
        "evaluation.num_prompts=10001",
        "num_prompts=10001: data=world has no more than 10000 prompts",
    ),
    ("evaluation.temperature=-1", "evaluation.temperature=-1.0 must be 0 or above"),
    ("model.pretraining.hidden_size=30", "must be a multiple of twice model.pretraining.heads"),
    ("model.pretraining=null", "made by model.pretraining, which is null or incomplete; use"),
]


@pytest.mark.parametrize(("override", "message"), WRONG)
def test_a_mistake_is_named_with_its_remedy(override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        configure([override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("override", "message"), OUT_OF_RANGE)
def test_a_value_that_cannot_work(override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        quick(override)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["method=ipo", "method.reduction=avg"], "method.reduction='avg' is not one of mean, sum"),
        (["method=cpo", "method.alpha=-1"], "method.alpha=-1.0 must be at least 0"),
        (["model=smollm2-135m-instruct"], "use scenario=align-from-instruct or give model.sft="),
        (["model=a/b", "data=c/d", "model.base=null"], "model.sft"),
        (["model=a/b", "data=c/d"], "data.demonstrations is null; give data.demonstrations=FILE"),
        (["model=a/b", "model.base=null", "model.instruct=null", "scenario=align-from-base"],
         "starts from model.base, which model=b does not have; give model.base=FOLDER"),
        (["method=tr-dpo", "train.adapter=lora"], "an adapter is no copy that could follow; use"),
        (["data=c/d", "scenario=align-from-base", "evaluation.split=validation"],
         "evaluation.split=validation, and data.validation_share=0.0 keeps no rows for it; give "
         "data.validation_share=0.1, or use evaluation.split=test"),
        (["data=c/d", "data.validation_share=1"],
         "data.validation_share=1.0 is a share of the training prompts; give 0 or more, below 1"),
        (["data=world", "data.validation_share=0.1"], "unknown key 'data.validation_share'"),
        (["evaluation.split=validation", "evaluation.num_prompts=5001"], "no more than 5000 "
         "prompts for evaluation.split=validation; ask for fewer"),
        (["method=rrhf", "method.k=4"], "method.k=4, and data=world holds pairs; give method.k=2"),
        (["method=rrhf", "method.k=null"], "method.k=None is not a whole number"),
        (["method=slic", "method.regulariser_weight=null"], "is not a number"),
        (["method=slic", "method.regulariser_weight=???"], "method.regulariser_weight has no value;"
         " give method.regulariser_weight=VALUE"),
        (["method=cdpo", "method.label_smoothing=0.5"], "method.label_smoothing=0.5 must be below"),
        (["method.search.beta=[1]"], "is what sweeps try; give the hyper-parameter"),
        (["model.instruct_tuning=null", "scenario=align-from-instruct"],
         "made by model.instruct_tuning, which is null"),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_together(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        configure(overrides)
    assert message in str(caught.value)


def test_no_override_gives_the_defaults() -> None:
    run = configure([])
    assert run.names == {
        "model": "tiny", "method": "dpo", "scenario": "sft-then-align", "data": "world",
    }  # fmt: skip
    assert isinstance(run.data, WorldData) and run.seed == 1


def test_values_win_over_the_group_whatever_their_order() -> None:
    run = configure(["train.learning_rate=1e-4", "train=lora", "method.beta=1", "method=kto"])
    assert (run.train.learning_rate, run.train.adapter) == (1e-4, Adapter.LORA)
    assert run.method_name == "kto" and run.method == type(run.method)(beta=1.0)


def test_validation_where_there_are_rows_for_it() -> None:
    validation = "evaluation.split=validation"
    world = configure([validation])
    files = ["data=c/d", "data.validation_share=0.1", "scenario=align-from-base"]
    assert world.evaluation.split is configure([validation, *files]).evaluation.split
    assert world.evaluation.split is Split.VALIDATION
    assert configure([]).evaluation.split is Split.TEST


def test_a_folder_or_a_hub_id_is_a_model(tmp_path: Path) -> None:
    (tmp_path / "mine-1.5").mkdir()
    for place, name in ((str(tmp_path / "mine-1.5"), "mine-1.5"), ("org/q2.5-0.5B", "q2.5-0.5B")):
        run = configure([f"model={place}", "scenario=align-from-instruct"])
        assert (run.model.instruct, run.model.base) == (place, place)
        assert run.model.name == name


@pytest.mark.parametrize("place", [0, 0.5, 1])
def test_a_file_is_read_as_hydra_composes_it(place: float) -> None:
    """Hydra itself is asked only where a file includes others: it takes 0.1 s each time."""
    groups = [group for group in GROUPS if group != "method"]  # a method has no file
    chosen = {group: options(group)[round(place * (len(options(group)) - 1))] for group in groups}
    whole = files._hydra([f"{group}={name}" for group, name in chosen.items()])
    read = {group: files._composed(group, name) for group, name in chosen.items()}
    assert whole == {**read, "method": "dpo", "seed": 1}


def test_a_file_that_includes_another_goes_through_hydra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(shipped("conf"), tmp_path / "conf")
    (tmp_path / "conf" / "evaluation" / "few.yaml").write_text(
        "defaults: [default, _self_]\nname: few\nnum_prompts: 7\n"
    )
    monkeypatch.setattr(files, "shipped", lambda folder: tmp_path / folder)
    found = files._composed("evaluation", "few")
    assert found == {**files._composed("evaluation", "default"), "name": "few", "num_prompts": 7}


@pytest.mark.parametrize("text", "0 7 -3 0.05 1.0e-05 1e-5 1e5 2e+3 -0.5 12.50".split())
def test_a_number_is_read_as_hydra_reads_it(text: str) -> None:
    key, value = files._read(f"train.sft.learning_rate={text}")
    hydra = files.parse(f"train.sft.learning_rate={text}")
    assert (key, value) == (hydra.key_or_group, hydra.value())
    assert type(value) is type(hydra.value())


@pytest.mark.parametrize("text", ["1_000", "007", ".5", "5.", "+1", "0x10", "1,2", "1e", "inf"])
def test_what_may_be_no_number_is_left_to_hydra(text: str) -> None:
    assert files._NUMBER.fullmatch(f"seed={text}") is None
