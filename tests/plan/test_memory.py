"""The memory of training by formula, against torch's tracker."""

from __future__ import annotations

import pytest

from benchmarks import memory as benchmark
from tiebreak.plan.memory import FLOAT, HALF, Layout, Place, Step, scoring, training, writing
from tiebreak.plan.sizes import Shape

GIB = 2**30
# (model, GPUs, rank of the adapters or 0) -> GiB of one GPU at the peak, as printed with torch 2.13
# and transformers 5.23 by: python benchmarks/memory.py --model MODEL --train full|lora --gpus GPUS
TRACKED = {
    ("mistral-7b", 1, 0): 113.21,
    ("mistral-7b", 2, 0): 59.66,
    ("mistral-7b", 4, 0): 32.69,
    ("mistral-7b", 8, 0): 19.20,
    ("mistral-7b", 1, 16): 19.97,
    ("mistral-7b", 2, 16): 13.38,
    ("mistral-7b", 4, 16): 10.00,
    ("mistral-7b", 8, 16): 8.32,
    ("llama-3-8b", 2, 0): 66.00,
}


@pytest.mark.parametrize("case", TRACKED)
def test_the_formula_is_within_a_tenth_of_the_tracker(case: tuple[str, int, int]) -> None:
    model, gpus, rank = case
    planned = sum(benchmark.formula(benchmark.MODELS[model], gpus, rank).values())
    assert planned / GIB == pytest.approx(TRACKED[case], rel=0.1)


def test_seven_billion_parameters_fit() -> None:
    """What the design promises: full fine-tuning on two and on eight GPUs, LoRA on one."""
    assert TRACKED["mistral-7b", 2, 0] <= 62 and TRACKED["mistral-7b", 8, 0] <= 22
    assert TRACKED["mistral-7b", 1, 16] <= 20


@pytest.mark.slow
@pytest.mark.parametrize(("gpus", "rank"), [(1, 0), (2, 0), (1, 16), (2, 16)])
@pytest.mark.filterwarnings("ignore")
def test_the_tracker_again_on_a_small_shape(gpus: int, rank: int) -> None:
    small = benchmark.MODELS["small"]
    real = benchmark.measure(small, gpus, rank)["Total"]
    assert sum(benchmark.formula(small, gpus, rank).values()) == pytest.approx(real, rel=0.1)


SHAPE = Shape(1000, layers=2, hidden=8, intermediate=16, vocabulary=50, tied=False)
STEP = Step(positions=10, chunk=4, recompute=True)


def test_what_is_split_over_the_processes_of_a_copy() -> None:
    """Masters and moments are; what is gathered to compute, and activations, are not."""
    two, four = (training(SHAPE, STEP, Layout(shards), HALF) for shards in (2, 4))
    assert two["masters"] == 4 * 1000 / 2 and two["moments"] == 8 * 1000 / 2
    for part in ("masters", "moments"):
        assert four[part] == two[part] / 2
    layer = (1000 - 2 * 50 * 8) / 2
    assert two["gathered"] == four["gathered"] == 2 * HALF * layer
    assert two["gradients"] - 4 * 1000 / 2 == FLOAT * 50 * 8 + HALF * 8 * 16
    assert two["activations"] == four["activations"]
    copies = training(SHAPE, STEP, Layout(2, replicas=4), HALF)
    assert copies == two, "a copy more takes no memory of the others"


def test_an_adapter_is_whole_on_every_process_and_its_base_is_not() -> None:
    found = training(SHAPE, STEP, Layout(2), HALF, adapter=60)
    assert (found["weights"], found["masters"], found["moments"]) == (1000, 240, 480)
    assert found["gradients"] == 240


def test_a_reference_beside_the_policy_is_split_like_it() -> None:
    assert training(SHAPE, STEP, Layout(2), HALF, reference=HALF)["reference"] == 1000


def test_one_process_in_float32_gathers_nothing() -> None:
    found = training(SHAPE, STEP, Layout(), FLOAT)
    assert found["gathered"] == 0 and found["gradients"] == 4 * 1000


def test_passes_without_gradient_hold_a_whole_model() -> None:
    assert scoring(SHAPE, STEP, HALF, adapter=60)["weights"] == 2 * 1000 + 4 * 60
    assert scoring(SHAPE, STEP, HALF)["head"] == 4 * 50 * (4 + 4 + 2)
    assert writing(SHAPE, 3, 20, HALF)["keys and values"] == 2 * 3 * 20 * 2 * 2 * 8


def test_a_place_says_what_a_number_takes() -> None:
    from tests.config.quick import quick

    run = quick("train.precision=bfloat16")
    assert Place(on_gpu=True).number(run) == HALF and Place().number(run) == FLOAT
    assert Place(on_gpu=True).number(quick("train.precision=float32")) == FLOAT
