"""A plan is the same on a machine without a GPU, and needs neither torch nor one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plan.checkpoint import write_checkpoint

HEAVY = {"torch", "transformers", "trl", "peft", "accelerate", "datasets"}
STAND_IN = """
import types
asked = []
def answer(value):
    return lambda *given: asked.append(value) or value
torch = sys.modules["torch"] = types.ModuleType("torch")
torch.cuda = types.SimpleNamespace(
    is_available=answer({there}), is_bf16_supported=answer({there}), device_count=answer(1),
    get_device_name=answer("A GPU"),
)
"""
PLAN = """
from pathlib import Path
from tiebreak.compose import compose
from tiebreak.plan.estimate import estimate
from tiebreak.plan.report import lines
runs = [compose([*{overrides!r}, f"method={{method}}"]) for method in ("dpo", "kto")]
found = estimate(runs, root=Path({root!r}))
text = list(lines(found))
assert not any("not known" in line for line in text), text
keys = [[run.run_id for run in runs], [run.group_id for run in runs]]
keys.append([(needed.stage.name, needed.stage.key) for needed in found.stages])
print(json.dumps([keys, sorted(sys.modules), globals().get("asked", [])]))
"""


@pytest.fixture
def overrides(tmp_path: Path) -> list[str]:
    """A model of its own, an adapter, files and bfloat16: a run as it is done on a GPU."""
    write_checkpoint(tmp_path / "model")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "p", "chosen": "c", "rejected": "r"}\n' * 100)
    return [f"model={tmp_path / 'model'}", f"data={rows}", "train=lora",
            "train.precision=bfloat16", "scenario=align-from-base"]  # fmt: skip


def planned(overrides: list[str], root: Path, before: str = "") -> tuple[list, set[str], list]:
    """(ids and keys, modules that were imported, what the stand-in for torch was asked)."""
    code = "import json, sys\n" + before + PLAN.format(overrides=overrides, root=str(root))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    keys, modules, asked = json.loads(done.stdout)
    return keys, {*modules}, asked


def test_a_plan_names_the_keys_that_a_machine_with_a_gpu_builds(
    tmp_path: Path, overrides: list[str]
) -> None:
    light, modules, _ = planned(overrides, tmp_path)
    assert not HEAVY & modules
    without = planned(overrides, tmp_path, STAND_IN.format(there=False))
    with_gpu = planned(overrides, tmp_path, STAND_IN.format(there=True))
    assert light == without[0] == with_gpu[0]
    assert without[2] == with_gpu[2] == [], "no GPU is asked for"
