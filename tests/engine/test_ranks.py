"""Two processes (gloo, CPU) train like one: same rows of metrics, same weights."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import pytest
import ranks
from closeness import OF_GRADIENTS, assert_near, assert_rows_near, size_of
from safetensors.torch import load_file
from tiny import make_model

from tests import forked

HERE = Path(__file__).parent
CASES = list(ranks.CASES)


def launch(folder: Path) -> None:
    """The script as two processes."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parent)}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2",
                "--master-addr", "127.0.0.1", "--master-port", str(port)]  # fmt: skip
    command = [sys.executable, *torchrun, str(HERE / "ranks.py"), str(folder)]
    done = forked.run(command, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> tuple[Path, Path]:
    """(folder of one process, folder of two)."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    for case in ranks.CASES:
        ranks.run_case(case, one)
    launch(two)
    return one, two


@pytest.mark.parametrize("case", CASES)
def test_metrics_rows_are_the_same(runs, case):
    one, two = (json.loads((folder / f"{case}.json").read_text()) for folder in runs)
    assert len(one) == len(two) == 3
    for alone, together in zip(one, two, strict=True):
        assert set(alone) == set(together)
        assert alone.get("kl/mismatched", 1.0) > 0.2, "clamped at 0 it would prove nothing"
        for row in (alone, together):
            row.pop("positions/unique_token")  # cuts are made per process
        assert_rows_near(together, alone)


@pytest.mark.parametrize("case", CASES)
def test_weights_are_the_same(runs, case):
    """They moved as far, up to rounding of the gradients and, in three steps, of the weights."""
    one, two = (load_file(folder / f"{case}.safetensors") for folder in runs)
    assert set(one) == set(two)
    start = make_model().state_dict()
    for name, expected in one.items():
        moved = expected - start[name]
        size = size_of(moved) + 2 * 3 * 2**-24 * size_of(expected) / OF_GRADIENTS
        assert_near(two[name] - start[name], moved, size=size, within=OF_GRADIENTS, what=name)


@pytest.mark.parametrize("case", CASES)
def test_a_checkpoint_of_two_processes_is_complete(runs, case):
    (folder,) = (runs[1] / f"{case}-checkpoints").glob("checkpoint-*")
    sizes = json.loads((folder / "complete.json").read_text())["files"]
    assert {"random-0.json", "random-1.json", "model.safetensors"} <= set(sizes)


def test_not_a_number_stops_every_process(runs):
    for rank in (0, 1):
        message = (runs[1] / f"nan-{rank}.txt").read_text()
        assert "the loss became nan at step 1" in message
