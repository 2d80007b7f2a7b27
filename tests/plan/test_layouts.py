"""Layouts on GPUs that are only named: what fits, what is chosen, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plan.test_no_gpu import HEAVY, planned
from tiebreak.cli import main
from tiebreak.compose import Run, compose
from tiebreak.errors import UserError
from tiebreak.plan import layouts
from tiebreak.plan.gpus import GPUS, Gpu, gpu_named
from tiebreak.plan.layouts import Planner, choose, layout_lines
from tiebreak.plan.memory import Layout
from tiebreak.plan.sizes import start_shape

COMMIT = "a" * 40
MISTRAL = ["model=mistral-7b", "data=ultrafeedback", f"model.revision={COMMIT}",
           f"data.revision={COMMIT}", "scenario=align-from-instruct"]  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is here, of the Hub either."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path))
    return tmp_path


def runs(*overrides: str, seeds: int = 8) -> list[Run]:
    train = [] if "train=lora" in overrides else ["train=full"]
    given = [*MISTRAL, *train, *overrides]
    return [compose([*given, f"seed={seed}"]) for seed in range(seeds)]


def planner(gpu: Gpu, count: int, given: list[Run], home: Path) -> Planner:
    return Planner(given, gpu, count, None, home)


def test_four_runs_side_by_side_rather_than_one_on_eight(home: Path) -> None:
    options = planner(GPUS["h100"], 8, runs(), home).options()
    told = [(one.layout.shards, one.layout.replicas, one.at_once, one.fits) for one in options]
    assert told == [(1, 1, 8, False), (2, 1, 4, True), (2, 2, 2, True), (2, 4, 1, True)]
    best = choose(options)
    assert best is not None and best.layout == Layout(2)
    on_eight = options[-1]
    assert on_eight.estimate.total_seconds() > best.estimate.total_seconds()
    assert on_eight.money(3) > best.money(3), "one pair each: the links are what takes the time"


def test_a_single_run_takes_more_gpus_where_that_is_quicker(home: Path) -> None:
    """Its optimiser batches are large enough to keep four busy."""
    one = runs("train.batch_size=512", seeds=1)
    best = choose(planner(GPUS["h100"], 4, one, home).options())
    assert best is not None and best.layout == Layout(2, 2)


def test_an_adapter_fits_on_one(home: Path) -> None:
    text = layout_lines(runs("train=lora", seeds=24), GPUS["a100-40gb"], 4, root=home)
    assert "take: 4 runs side by side, 1 GPU each" in text


def test_lines_say_that_they_are_estimates_and_name_the_parts(home: Path) -> None:
    text = layout_lines(runs(), GPUS["h100"], 8, price=2.5, root=home)
    (heading,) = [line for line in text if line.startswith("layouts on h100")]
    assert "2.5 an hour each: all of it is an estimate" in heading and "40% of 989" in heading
    (held,) = [line for line in text if line.startswith("GiB of each GPU in align")]
    for part in ("masters 13.5", "moments 27.0", "gradients 14.4", "activations", "runtime 3.0"):
        assert part in held
    chosen = [line for line in text if line.endswith("<")]
    assert len(chosen) == 1 and "too large" in text[text.index(heading) + 2]


def test_what_cannot_fit_is_refused_with_the_smallest_that_can(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["plan", *MISTRAL, "train=full", "--gpu", "a10g", "--gpus", "2"])
    out, err = capsys.readouterr()
    assert left.value.code == 2 and not out and err.count("\n") == 1
    assert (
        "align takes" in err and "of 2 GPUs (shards=2, replicas=1) of a10g, which has 22.5" in err
    )
    assert "the smallest that fits: 8 GPUs (shards=8, replicas=1) of a10g, or 1 GPU of h200" in err


def test_the_layout_of_the_runs_themselves_is_judged(home: Path) -> None:
    asked = runs("train.execution.num_processes=2")
    with pytest.raises(UserError, match="align takes .* GiB of each of 2 GPUs"):
        layout_lines(asked, GPUS["h100"], 8, root=home)
    with pytest.raises(UserError, match="--gpus 1: a run is laid out on 2"):
        layout_lines(asked, GPUS["h100"], 1, root=home)


def test_a_model_of_unknown_size_is_asked_for(home: Path) -> None:
    own = runs("model.instruct=some/model")
    assert start_shape(own[0]) is None
    with pytest.raises(UserError, match="not known is the size of model=mistral-7b"):
        layout_lines(own, GPUS["h100"], 8, root=home)


def test_names_and_numbers_that_cannot_be() -> None:
    with pytest.raises(UserError, match=r"--gpu h10 \(nearest: 'h100'\); known are h100"):
        gpu_named("h10")
    with pytest.raises(SystemExit):
        main(["plan", "arizona-mini", "--gpus", "2"])


def test_a_record_names_its_gpu_as_the_driver_does() -> None:
    assert GPUS["h100"].is_called("NVIDIA H100 80GB HBM3")
    assert not GPUS["a100-40gb"].is_called("NVIDIA A100-SXM4-80GB")
    assert GPUS["a100-80gb"].is_called("NVIDIA A100-SXM4-80GB")


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    """The model's config alone is read."""
    overrides = [*MISTRAL, "train=lora"]
    before = (
        "from pathlib import Path\nfrom tiebreak.compose import compose\n"
        "from tiebreak.plan.layouts import layout_lines\nfrom tiebreak.plan.gpus import GPUS\n"
        f"layout_lines([compose({overrides!r})], GPUS['h100'], 2, root=Path({str(tmp_path)!r}))\n"
    )
    _, modules, _ = planned(overrides, tmp_path, before)
    assert not HEAVY & modules and layouts.__name__ in modules
