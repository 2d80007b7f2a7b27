from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.analysis.conftest import measured
from tiebreak_analysis.records.runs import listing, load, setting_text

WriteRun = Callable[..., str]  # tests/analysis/conftest.py


def test_a_record_is_read(runs_dir: Path, write_run: WriteRun):
    run_id = write_run("ipo", 3, 0.75, 0.25)
    (record,) = load(runs_dir).records
    assert (record.run_id, record.method, record.seed, record.status) == (
        run_id, "ipo", 3, "finished",
    )  # fmt: skip
    assert record.metrics == {"gold/reward": 0.75}
    assert record.start == {"gold/reward": 0.25}
    assert record.settings["method.beta"] == 0.1
    assert not any(key.split(".")[0] in ("seed", "tracker") for key in record.settings)


def test_frame_is_tidy(runs_dir: Path, write_run: WriteRun):
    write_run(seed=1, reward=0.5)
    write_run(seed=2, reward=0.6, metrics={"gold/reward": 0.6, "kl/reference": 1.5})
    write_run("ipo", method_settings={"beta": 0.05}, status="running")
    frame = load(runs_dir).frame
    assert len(frame) == 3
    assert sorted(frame["method.beta"]) == [0.05, 0.1, 0.1]
    assert "train.learning_rate" not in frame  # the same everywhere
    assert "method.name" not in frame  # told by the column `method`
    assert math.isnan(frame.loc[frame.status == "running", "gold/reward"].item())
    assert frame.loc[frame.seed == 2, "kl/reference"].item() == 1.5
    assert frame.loc[frame.seed == 2, "start/gold/reward"].item() == 0.2


def test_no_runs(runs_dir: Path):
    runs = load(runs_dir)
    assert (runs.records, runs.skipped) == ((), ())
    assert runs.frame.empty and "run_id" in runs.frame


def _truncate(folder: Path) -> None:
    path = measured(folder) / "result.json"
    path.write_text(path.read_text()[: path.stat().st_size // 2])


def _edit(name: str, old: str, new: str):
    def edit(folder: Path) -> None:
        path = (measured(folder) if name == "result.json" else folder) / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return edit


SPOILED = {
    "torn": (_truncate, "result.json cannot be read"),
    "no result": (lambda f: (measured(f) / "result.json").unlink(), "result.json is missing"),
    "no config": (lambda f: (f / "config.yaml").unlink(), "config.yaml is missing"),
    "folder": (
        lambda f: ((f / "status.json").unlink(), (f / "status.json").mkdir()),
        "status.json cannot be read: Is a directory",
    ),
    "format": (_edit("result.json", '"format": 2', '"format": 3'), "a record of format 3"),
    "old": (
        _edit("manifest.json", '"format": 2', '"format": 1'),
        "a record of format 1, which this version does not read; move it away or set TIEBREAK_HOME",
    ),
    "evaluation": (_edit("result.json", "e" * 64, "f" * 64), "its folder was renamed"),
    "evaluators": (_edit("result.json", '"' + "e" * 16 + '"', "7"), "'gold' is 7, not text"),
    "overlap": (
        _edit("result.json", '"evaluators"', '"overlap": {"quiz": 1}, "evaluators"'),
        "overlap of 'quiz' is 1, not counts",
    ),
    "nan": (_edit("result.json", "0.5", "NaN"), "NaN is not a number"),
    "infinite": (_edit("result.json", "0.5", "1e999"), "not a finite number"),
    "null": (_edit("result.json", "0.5", "null"), "None, not a finite number"),
    "name": (_edit("result.json", "gold/reward", "reward"), "not named group/name"),
    "seed": (_edit("result.json", '"seed": 1', '"seed": 2'), "seed is 2, manifest.json has 1"),
    "status": (_edit("status.json", "finished", "done"), "status 'done' is none of"),
    "type": (_edit("manifest.json", '"seed": 1', '"seed": true'), "not int"),
    "list": (lambda f: (f / "status.json").write_text("[]"), "holds list"),
    "yaml": (lambda f: (f / "config.yaml").write_text("a: [1"), "config.yaml cannot be read"),
    "bytes": (lambda f: (f / "config.yaml").write_bytes(b"\xff\xfe\xff"), "cannot be read"),
    "renamed": (lambda f: f.rename(f.with_name("0" * 12)), "renamed or copied"),
    "foreign": (lambda f: f.rename(f.with_name("notes")), "not a run id"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_spoiled_records_are_named(case: str, runs_dir: Path, write_run: WriteRun):
    spoil, reason = SPOILED[case]
    spoiled = runs_dir / write_run(seed=1)
    kept = write_run(seed=2)
    spoil(spoiled)
    runs = load(runs_dir)
    assert [record.run_id for record in runs.records] == [kept]
    ((path, why),) = runs.skipped
    assert path.parent == runs_dir
    assert reason in why and "\n" not in why


def test_files_and_hidden_folders_are_no_records(runs_dir: Path, write_run: WriteRun):
    write_run()
    (runs_dir / ".lock").mkdir()
    (runs_dir / "README").write_text("")
    assert load(runs_dir).skipped == ()


def test_listing_is_json_and_stable(runs_dir: Path, write_run: WriteRun):
    write_run("kto", 2)
    write_run("dpo", 2, status="failed")
    write_run("dpo", 1, status="running")
    torn = write_run("ipo", 1)
    _truncate(runs_dir / torn)
    rows = listing(runs_dir)
    assert rows == listing(runs_dir) == json.loads(json.dumps(rows, allow_nan=False))
    told = [(row["method"], row["seed"], row["status"]) for row in rows]
    assert told == [
        ("dpo", 1, "running"), ("dpo", 2, "failed"), ("kto", 2, "finished"),
        (None, None, "unreadable"),
    ]  # fmt: skip
    assert (rows[0]["stage"], rows[0]["step"], rows[0]["steps"]) == ("align", 7, 20)
    assert rows[1]["error"] == "the loss is nan at step 7"
    assert rows[2]["metrics"] == {"gold/reward": 0.5}
    assert rows[3]["run_id"] == torn and "result.json" in rows[3]["error"]


def test_setting_text():
    values = [None, True, 1, 1.0, 5e-7, "sum"]
    assert [setting_text(v) for v in values] == ["null", "true", "1", "1", "5e-07", "sum"]


def test_analysis_imports_no_torch():
    program = (
        "import sys\n"
        "from tiebreak_analysis import statistics\n"
        "from tiebreak_analysis.records import cache, runs, wandb\n"
        "from tiebreak_analysis.tables import comparison, data, text\n"
        "heavy = ('torch', 'transformers', 'trl', 'wandb', 'pandas', 'pyarrow', 'scipy.stats')\n"
        "inside = ('tiebreak.engine', 'tiebreak.stages', 'tiebreak.methods')\n"
        "print([name for name in heavy + inside if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
