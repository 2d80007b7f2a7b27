"""The sweeps of the studies: every file composes without a network, and is what its study says."""

from __future__ import annotations

import pytest

from tiebreak.config.compose import configure
from tiebreak.config.schema import RunConfig
from tiebreak.data.sources.files import FileData
from tiebreak.data.sources.world import WorldData
from tiebreak.home import shipped
from tiebreak.sweep.sweep_file import read_sweep_file
from tiebreak_analysis.studies import STUDIES

MINIATURE = sorted({name for study in STUDIES.values() for name in study.sweeps})
REAL = sorted({name for study in STUDIES.values() for name in study.real})
MOST_RUNS = 100  # of a study in miniature: 30 minutes on two cores at 35 s a run


RELEASED = "simpo-released"


def composed(name: str) -> list[RunConfig]:
    """Every point of a sweep file, typed and checked. Ids would ask the Hub for commits."""
    study = read_sweep_file(name)
    return [configure(study.overrides(cell, seed)) for cell, seed in study.points()]


def test_every_sweep_of_a_study_is_a_file_and_the_other_way_round() -> None:
    files = {path.stem for path in shipped("sweeps").glob("*.yaml")}
    of_studies = {name for name in files if name.split("-")[0] in STUDIES}
    assert of_studies == {*MINIATURE, *REAL, RELEASED}


def test_released_checkpoints_are_measured_and_nothing_is_trained() -> None:
    study = read_sweep_file(RELEASED)
    assert len(study.checkpoints) == 49 and len(set(study.checkpoints.values())) == 49
    assert all(place.count("/") == 1 for place in study.checkpoints.values())
    assert list(study.points()) == []


@pytest.mark.parametrize("name", MINIATURE)
def test_a_miniature_is_on_the_world_with_seeds_enough(name: str) -> None:
    runs = composed(name)
    assert all(isinstance(run.data, WorldData) and run.names["model"] == "tiny" for run in runs)
    assert len({run.seed for run in runs}) >= 3


@pytest.mark.parametrize("name", REAL)
def test_real_settings_compose(name: str) -> None:
    runs = composed(name)
    assert all(isinstance(run.data, FileData) for run in runs)
    assert len({run.seed for run in runs}) == 3


@pytest.mark.parametrize("name", STUDIES)
def test_a_miniature_study_is_affordable(name: str) -> None:
    """By run id: sweeps of a study share runs."""
    ids = {run_id for sweep in STUDIES[name].sweeps for run_id in _ids(sweep)}
    assert 36 <= len(ids) <= MOST_RUNS


def _ids(sweep: str) -> set[str]:

    return {run.run_id for run in read_sweep_file(sweep).runs()}


def test_arizona_as_in_the_paper() -> None:
    for run in composed("arizona-7b") + composed("arizona-base-7b"):
        train = run.train
        assert (train.learning_rate, train.batch_size, train.epochs) == (5e-7, 8, 1.0)
        assert (train.schedule, train.warmup_share, train.weight_decay) == ("linear", 0.1, 0.0)
        assert train.adapter == "none"
        assert getattr(run.method, "beta", 0.1) == 0.1
    starts = {run.scenario.name for run in composed("arizona-7b")}
    assert starts == {"align-from-instruct", "sft-then-align"}


def test_simpo_by_setting() -> None:
    """beta, gamma / beta and learning rate of SimPO, learning rate of DPO: its README."""
    told = {
        "simpo-mistral-base-7b": (2.0, 0.8, 3e-7, 5e-7),
        "simpo-mistral-instruct-7b": (2.5, 0.1, 5e-7, 5e-7),
        "simpo-llama3-base-8b": (2.0, 0.5, 6e-7, 5e-7),
        "simpo-llama3-instruct-8b": (2.5, 0.55, 1e-6, 7e-7),
    }
    for name, (beta, ratio, of_simpo, of_dpo) in told.items():
        by_method = {run.method_name: run for run in composed(name)}
        simpo, dpo = by_method["simpo"], by_method["dpo"]
        found = simpo.resolved["method"]
        assert found["beta"] == beta and found["gamma"] == pytest.approx(ratio * beta)
        assert (simpo.train.learning_rate, dpo.train.learning_rate) == (of_simpo, of_dpo)
        assert dpo.resolved["method"]["beta"] == 0.01
        assert (dpo.train.batch_size, dpo.train.schedule) == (128, "cosine")


def test_dpop_and_tdpo_as_found() -> None:
    for run in composed("dpop-7b"):
        assert (run.train.learning_rate, run.train.max_steps) == (5e-5, 1000)
        if run.method_name == "dpop":
            found = run.resolved["method"]
            assert (found["beta"], found["penalty_weight"]) == (0.3, 50.0)
    for run in composed("tdpo-hh-2.8b"):
        assert (run.train.learning_rate, run.train.batch_size) == (5e-6, 64)
        assert run.train.optimiser == "rmsprop"
        assert (run.data.max_length, run.data.max_prompt_length) == (512, 256)


def test_equal_steps_are_equal_whatever_the_size() -> None:
    """10 passes over 120 pairs are 80 steps of 16, so 75 is what ends the training."""
    for run in composed("arizona-steps-mini"):
        per_pass = -(-run.resolved["data"]["num_pairs"] // run.train.batch_size)
        assert run.train.max_steps == 75 <= per_pass * run.train.epochs


def test_rdpo_is_told_what_the_labels_imply() -> None:
    for run in composed("simpo-mini") + composed("simpo-length-mini"):
        if run.method_name == "rdpo":
            data = run.resolved["data"]
            assert run.resolved["method"]["alpha"] == data["length_bias"] / data["temperature"]
