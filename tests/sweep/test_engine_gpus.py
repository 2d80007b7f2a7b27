"""What a run needs of GPUs is asked of the engine that places it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tiebreak.compose import compose
from tiebreak.sweep.engines import engine_for, gpus_of, ray
from tiebreak.sweep.engines.slurm import executor, parameters

HALF = "train.precision=bfloat16"
TWO = "train.execution.num_processes=2"


def test_a_gpu_for_each_process_of_a_run_that_computes_in_bfloat16() -> None:
    tiny, half, two = compose([]), compose([HALF]), compose([HALF, TWO])
    assert gpus_of([]) == gpus_of([tiny, compose([TWO])]) == 0
    assert (gpus_of([tiny, half]), gpus_of([half, two])) == (1, 2)


def test_slurm_is_asked_unless_a_setting_says_otherwise(tmp_path: Path) -> None:
    asked = parameters(4, {}, gpus=2)
    assert asked["gres"] == "gpu:2"
    executor(tmp_path, asked)  # submitit has such a setting
    assert "gres" not in parameters(4, {}) and "gres" not in parameters(4, {"gpus_per_node": 1}, 2)
    assert parameters(4, {"gres": "gpu:h100:2"}, 1)["gres"] == "gpu:h100:2"


@pytest.mark.parametrize(("settings", "asked"), [((), 2), (("num_gpus=0.5",), 0.5)])
def test_ray_is_asked_unless_a_setting_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: tuple[str, ...], asked: float
) -> None:
    nodes = [{"Alive": True, "Resources": {"CPU": 8, "GPU": 4}}]
    pretended = SimpleNamespace(init=lambda *given, **more: None, nodes=lambda: nodes)
    monkeypatch.setattr(ray, "package", lambda: pretended)
    given: list[Any] = []
    monkeypatch.setattr(ray, "RayWorker", given.append)
    engine_for("ray", None, [compose([HALF, TWO])], tmp_path, ("address=here", *settings))
    assert {one["num_gpus"] for one in given} == {asked}
    assert len(given) == min(8, int(4 // asked)), "as many at once as there is room for"
