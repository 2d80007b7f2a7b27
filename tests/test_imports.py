"""What is light stays light: configuration, commands and analysis import no torch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {
    "torch", "transformers", "trl", "peft", "accelerate", "datasets", "wandb", "matplotlib",
}  # fmt: skip
LIGHT = [
    "tiebreak.cli",
    "tiebreak.compose",
    "tiebreak.config.compose",
    "tiebreak.methods",
    "tiebreak.run.execute",
    "tiebreak.sweep.tasks",
    "tiebreak.cli.printing",
    "tiebreak.catalogue",
    "tiebreak.run.worker",
    "tiebreak.plan.estimate",
    "tiebreak.sweep.sweep_file",
    "tiebreak.sweep.search",
    "tiebreak.stages.plan",
    "tiebreak.stages.evaluators",
    "tiebreak.run.trials",
    "tiebreak.store",
    "tiebreak.track.record",
    "tiebreak.track.mirror",
    "tiebreak.data.read",
    "tiebreak.data.tokens",
    "tiebreak.data.lint",
    "tiebreak.data.sources",
    "tiebreak.data.world",
    "tiebreak.harness.mirror",
    "tiebreak_analysis.records.runs",
    "tiebreak_analysis.tables.comparison",
    "tiebreak_analysis.tables.data",
    "tiebreak_analysis.tables.text",
    "tiebreak_analysis.page",
    "tiebreak.metrics",
]


def loaded_by(code: str) -> set[str]:
    tail = "; import sys, json; print(); print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_light_modules_import_nothing_heavy() -> None:
    """All together; the first that fails is then found one by one."""
    if loaded_by("import " + ", ".join(LIGHT)) & HEAVY:
        guilty = [m for m in LIGHT if loaded_by(f"import {m}") & HEAVY]
        pytest.fail(f"these import {HEAVY}: {guilty}")


def test_composing_and_planning_import_nothing_heavy() -> None:
    names = loaded_by(
        "from tiebreak.compose import compose; "
        "from tiebreak.cli.printing import plan_lines; run = compose([]); run.run_id; "
        "list(plan_lines(run))"
    )
    assert not names & HEAVY


def test_help_imports_little() -> None:
    names = loaded_by(
        "import contextlib, tiebreak.cli\n"
        "with contextlib.suppress(SystemExit): tiebreak.cli.main(['--help'])\n"
        "pass"
    )
    ours = {name for name in names if name.split(".")[0] in ("tiebreak", "tiebreak_analysis")}
    assert len(ours) <= 15, f"the command line and what it needs to name its words: {sorted(ours)}"
    rooms = {name.split(".")[1] for name in ours if name.count(".")}
    does_the_work = set("config data methods engine stages run plan catalogue track".split())
    assert not rooms & does_the_work and "tiebreak_analysis" not in ours
    assert not names & (HEAVY | {"hydra", "omegaconf", "yaml", "numpy", "pandas", "rich"})
