"""What makes a product be made again: its records, the code, a version, the command, the file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.analysis.conftest import measured
from tiebreak_analysis.records import load
from tiebreak_analysis.studies import StudyReport, TableSpec, products
from tiebreak_analysis.studies.products import MANIFEST, Products
from tiebreak_analysis.studies.study import EFFECTS, FIGURES, PAGE, write_products
from tiebreak_analysis.tables.rows import Planned

WriteRun = Callable[..., str]
ALL = {EFFECTS, "table one", "table two", FIGURES, PAGE}
STUDY = StudyReport(
    "mine", "My study", ("first", "second"), (),
    (TableSpec("one", ("first",)), TableSpec("two", ("second",))),
    lambda runs, done: (), lambda runs, done: {}, (),
)  # fmt: skip
Sweeps = dict[str, Sequence[Planned]]


@pytest.fixture
def sweeps(runs_dir: Path, write_run: WriteRun) -> Sweeps:
    """Two sweeps of one method each, all done."""
    ids = {"first": [write_run("dpo", seed) for seed in (1, 2)], "second": [write_run("ipo", 1)]}
    names = ("tiny", "world", "align-from-base", "dpo", "material")
    return {
        name: [Planned(run_id, f"group-{name}", *names) for run_id in of]
        for name, of in ids.items()
    }


def now(folder: Path, sweeps: Sweeps, runs_dir: Path, command: str = "") -> Products:
    return STUDY.products(folder, sweeps, runs_dir, command)


def make(folder: Path, sweeps: Sweeps, runs_dir: Path) -> Products:
    """Makes what is stale, as `tiebreak study` does."""
    found = now(folder, sweeps, runs_dir)
    written = write_products(STUDY.build(load(runs_dir), sweeps), folder, found.stale())
    (folder / "page.html").write_text("a page")
    written[PAGE] = [folder / "page.html"]
    found.record({name: written.get(name, []) for name in found.stale()})
    return found


def test_nothing_is_made_again(sweeps: Sweeps, runs_dir: Path, tmp_path: Path) -> None:
    assert now(tmp_path, sweeps, runs_dir).stale() == ALL, "before the first time"
    made = make(tmp_path, sweeps, runs_dir)
    again = now(tmp_path, sweeps, runs_dir)
    assert again.stale() == frozenset()
    assert again.files(again.keys) == made.files(made.keys)
    assert {"one.md", "two.json", "page.html"} <= set(again.files(again.keys))
    assert again.files([FIGURES]) == [] == again.files([EFFECTS]), "there are none"


def test_a_changed_record_concerns_the_products_of_its_sweeps(
    sweeps: Sweeps, runs_dir: Path, tmp_path: Path
) -> None:
    make(tmp_path, sweeps, runs_dir)
    (log,) = [runs_dir / one.run_id / "status.json" for one in sweeps["second"]]
    os.utime(log, ns=(1, 1))
    assert now(tmp_path, sweeps, runs_dir).stale() == ALL - {"table one"}
    make(tmp_path, sweeps, runs_dir)
    inside = measured(runs_dir / sweeps["first"][0].run_id)
    (inside / "pairs.parquet").write_bytes(b"more")
    assert now(tmp_path, sweeps, runs_dir).stale() == ALL - {"table two"}
    make(tmp_path, sweeps, runs_dir)
    (runs_dir / sweeps["first"][0].run_id / ".lock").touch()
    assert now(tmp_path, sweeps, runs_dir).stale() == frozenset(), "no file of the record"


def test_an_edited_or_missing_product_is_made_again(
    sweeps: Sweeps, runs_dir: Path, tmp_path: Path
) -> None:
    make(tmp_path, sweeps, runs_dir)
    before = (tmp_path / "one.md").read_bytes()
    (tmp_path / "one.md").write_text("edited")
    (tmp_path / "two.csv").unlink()
    assert now(tmp_path, sweeps, runs_dir).stale() == {"table one", "table two"}
    make(tmp_path, sweeps, runs_dir)
    assert (tmp_path / "one.md").read_bytes() == before and (tmp_path / "two.csv").is_file()


def test_other_code_versions_plans_and_commands_make_everything_again(
    sweeps: Sweeps, runs_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, sweeps, runs_dir)
    assert now(tmp_path, sweeps, runs_dir, "another command").stale() == ALL
    fewer = {**sweeps, "first": sweeps["first"][:1]}
    assert now(tmp_path, fewer, runs_dir).stale() == ALL - {"table two"}
    known = products.version
    monkeypatch.setattr(products, "version", lambda name: known(name) + ".1")
    assert now(tmp_path, sweeps, runs_dir).stale() == ALL
    monkeypatch.undo()
    monkeypatch.setattr(products, "CODE", ("metrics.py",))
    assert now(tmp_path, sweeps, runs_dir).stale() == ALL


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"format": 2, "products": {}}', '{"format": 1, "products": {"page": 7}}']
)
def test_a_manifest_that_cannot_be_used_is_none(
    text: str, sweeps: Sweeps, runs_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / MANIFEST).write_text(text)
    assert now(tmp_path, sweeps, runs_dir).stale() == ALL


def test_the_manifest_is_in_the_order_of_the_products(
    sweeps: Sweeps, runs_dir: Path, tmp_path: Path
) -> None:
    texts = []
    for at in range(2):
        make(tmp_path / str(at), sweeps, runs_dir)
        texts.append((tmp_path / str(at) / MANIFEST).read_text())
    assert texts[0] == texts[1] and str(tmp_path) not in texts[0]
    assert list(json.loads(texts[0])["products"]) == [
        EFFECTS, "table one", "table two", FIGURES, PAGE,
    ]  # fmt: skip


def test_comparing_keys_imports_nothing_heavy(runs_dir: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from tiebreak_analysis.studies import STUDIES\n"
        "folder = Path('results')\n"
        "assert STUDIES['demo'].products(folder, {}, folder).stale()\n"
        "heavy = ('torch', 'wandb', 'pandas', 'pyarrow', 'matplotlib', 'plotly', 'scipy.stats')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
