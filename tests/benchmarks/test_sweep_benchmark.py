"""How runs are cut into turns, where seconds are booked, and both sides at a tiny size."""

from __future__ import annotations

import json
import os

import pytest
import torch

from benchmarks.sweep import main, parse, turns
from benchmarks.sweep_sides import SPLIT, VALUES, stage_seconds, sweep_file
from tiebreak.compose import compose
from tiebreak.config.typed import search_space

pytestmark = pytest.mark.slow  # minutes on two busy cores; `make prove` runs it


def test_each_turn_is_a_sweep_of_one_setting():
    cut = turns(45, 15, 3)
    assert [{point.setting for point in points} for points in cut] == [{0}, {1}, {2}]
    assert len({point for points in cut for point in points}) == 45
    assert [len(points) for points in turns(24, 6, 3)] == [6, 6, 3, 6, 3]
    assert [(p.method, p.seed) for p in turns(2, 15, 3)[0]] == [("dpo", 1), ("dpo", 2)]
    for points in cut:
        study = sweep_file(points, ["data.num_pairs=50"])
        assert len(study["axes"]["method"]) * len(study["axes"]["seed"]) == len(points)
        assert study["fixed"]["data.num_pairs"] == "50"


@pytest.mark.parametrize("method", VALUES)
def test_the_values_are_worth_trying_and_the_first_is_the_default(method):
    key, values = VALUES[method]
    default = getattr(compose([f"method={method}"]).method, key)
    space = getattr(search_space(method)[key], "values", None)
    assert values[0] == default and len(set(values)) == 3
    assert space is not None and set(values) <= set(space)


@pytest.mark.parametrize(
    "words", [["--runs", "5"], ["--turn", "4"], ["--seeds", "4"], ["--trl-micro-batch", "3"]]
)
def test_what_does_not_make_whole_sweeps_is_refused(words):
    with pytest.raises(SystemExit):
        parse(words)


def test_seconds_are_booked_to_what_was_built_and_to_what_was_waited_for(tmp_path):
    """Built at 3, 6, 7 and 9 s, in between another worker's at 5 s; one was there before."""
    stages = []

    def artefact(stage: str, at: float, reused: bool, **inputs: object) -> None:
        folder = tmp_path / "artefacts" / stage / str(len(stages))
        folder.mkdir(parents=True)
        (folder / "artefact.json").write_text(json.dumps({"inputs": inputs}))
        os.utime(folder / "artefact.json", (at, at))
        stages.append({"stage": stage, "key": folder.name, "reused": reused})

    artefact("gold", 9, False, what="policy")
    artefact("generations", 7, False, what="policy")
    artefact("generations", 6, False, what="start model")
    artefact("pretrain", 2, False)
    artefact("sft", 3, False)
    artefact("align", 5, True)
    artefact("tokens", 0.5, True)
    record = tmp_path / "record"
    record.mkdir()
    (record / "manifest.json").write_text(json.dumps({"stages": stages}))
    (record / "config.yaml").touch()
    os.utime(record / "config.yaml", (1, 1))
    found = {k: v for k, v in stage_seconds(record, tmp_path / "artefacts").items() if v}
    assert found == {
        "sft": 2, "waiting": 2, "evaluation, start model": 1, "evaluation, policy": 1 + 2,
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # TRL's own
def test_both_sides_do_the_same_runs(capsys):
    threads = torch.get_num_threads()
    assert main(["--runs", "2", "--pretend", "--json"]) == 0
    torch.set_num_threads(threads)  # the base model was made here, by one
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    (ours,), (trl,) = found["turns"]["ours"], found["turns"]["trl"]
    assert found["runs"] == 2 and found["ratio_wall_time"] == ours["seconds"] / trl["seconds"]
    assert [point["seed"] for point in found["points"][0]] == [1, 2]
    assert ours["steps"] == trl["steps"] == [2, 2]
    assert all(-0.7 <= reward <= 1 for reward in ours["reward"] + trl["reward"])
    for side in (ours, trl):
        assert sum(side["split"].values()) == pytest.approx(2 * side["seconds"])
        done = set(SPLIT) - {"waiting"}
        assert all(side["split"][row] > 0 for row in done), side["split"]
        assert side["cpu_seconds"] > 0
