"""Every command the README shows is run: here in miniature, or by CI itself."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.commands import MICRO, Command
from tiebreak_analysis.studies import STUDIES, TableSpec

ROOT = Path(__file__).parents[2]
BY_CI = {"make demo"}  # .ci/run
ELSEWHERE = {"fetch": "tests/test_fetch.py"}
# The real model's stand-in is a micro model, so the settings of the world's stay out.
SMALL = ("tracker=none train.max_steps=1 train.batch_size=4 evaluation.num_prompts=2 "
         "evaluation.max_new_tokens=4 data.max_length=200").split()  # fmt: skip


def commands() -> list[str]:
    lines, inside = [], False
    for line in (ROOT / "README.md").read_text().splitlines():
        if line.startswith("```"):
            inside = not inside
        elif inside:
            lines.append(line)
    return lines


def test_every_line_in_a_block_is_a_command_we_know() -> None:
    assert {c for c in commands() if not c.startswith(".venv/bin/tiebreak ")} == BY_CI
    assert "make demo" in (ROOT / ".ci" / "run").read_text()


@pytest.fixture
def real_home(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The fetched model and `prefs.jsonl`, as the README's reader would have them."""
    (made,) = (home / "artefacts" / "pretrain").glob("[!.]*")
    shutil.copytree(made, home / "models" / "smollm2-135m-instruct")
    rows = [
        {"prompt": [{"role": "user", "content": f"the water is cold {'today ' * i}."}],
         "chosen": "the water is cold.", "rejected": "the water is warm."}
        for i in range(1, 21)
    ]  # fmt: skip
    (tmp_path / "prefs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    return home


@pytest.fixture
def small_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's study over one run, which is done."""
    fixed = dict(one.split("=", 1) for one in MICRO)
    sweep = tmp_path / "small.yaml"
    sweep.write_text(yaml.safe_dump({"axes": {"method": ["dpo"]}, "fixed": fixed}))
    of = (str(sweep),)
    made = replace(
        STUDIES["demo"], sweeps=of, tables=(TableSpec("scenarios", of),),
        effects=lambda runs, done: (), figures=lambda runs, done: {},
    )  # fmt: skip
    monkeypatch.setitem(STUDIES, "demo", made)


@pytest.mark.usefixtures("small_demo")
@pytest.mark.parametrize("line", [c for c in commands() if c.startswith(".venv/bin/tiebreak ")])
def test_the_command_does_what_it_says(line: str, real_home: Path, tiebreak: Command) -> None:
    name, *arguments = shlex.split(line)[1:]
    if name in ELSEWHERE:
        assert (ROOT / ELSEWHERE[name]).is_file()
        return
    if name in ("run", "plan"):
        arguments += SMALL if any("prefs.jsonl" in a for a in arguments) else MICRO
    if "every-method" in arguments:  # one of its 99 runs
        arguments += [*MICRO, "method=sft", "scenario=align-from-base"]
        if name == "table":
            tiebreak("sweep", *arguments)
    answer = tiebreak(name, *arguments)
    assert answer.code == 0, answer.err
    assert answer.out.strip()
