"""The columnar cache: the same answers, fewer files opened, never trusted over the files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.analysis.conftest import measured, write_record
from tests.analysis.record_files import fill, parquet
from tiebreak_analysis.records import cache, source_from
from tiebreak_analysis.records.record import Folder, RunFolder
from tiebreak_analysis.records.runs import Runs, load

FRAMES = ("history", "pairs", "items", "generations")
Opened = Callable[[], list[str]]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose few runs are worth a cache."""
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path))
    monkeypatch.setattr(cache, "WORTH", 1)
    return tmp_path


@pytest.fixture
def some(runs_dir: Path) -> list[str]:
    made = [
        write_record(runs_dir, method, seed, 0.5) for method in ("dpo", "ipo") for seed in (1, 2)
    ]
    made.append(write_record(runs_dir, "kto", 1, status="failed"))
    for run_id in made:
        fill(runs_dir / run_id)
    return made


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Which files of records were read since it was last asked."""
    names: list[str] = []
    read = RunFolder.read

    def noted(self: RunFolder, file: str) -> bytes:
        names.append(f"{self.path.name}/{file}")
        return read(self, file)

    monkeypatch.setattr(RunFolder, "read", noted)

    def since() -> list[str]:
        found, names[:] = list(names), []
        return found

    return since


def tables(runs: Runs) -> dict[str, pd.DataFrame]:
    return {name: getattr(runs, name)() for name in FRAMES} | {"frame": runs.frame}


def assert_equal(here: dict[str, pd.DataFrame], there: dict[str, pd.DataFrame]) -> None:
    for name, frame in here.items():
        pd.testing.assert_frame_equal(frame, there[name], check_exact=True, obj=name)


def uncached(runs_dir: Path) -> Runs:
    return load(Folder(runs_dir))


def test_a_warm_load_opens_no_file_and_says_the_same(
    runs_dir: Path, some: list[str], opened: Opened
) -> None:
    plain = uncached(runs_dir)
    expected = tables(plain)
    assert len(opened()) > 4 * len(some)
    cold = load(runs_dir)
    assert cold.records == plain.records
    assert_equal(tables(cold), expected)
    assert len(opened()) > 4 * len(some)
    warm = load(runs_dir)
    assert warm.records == plain.records
    assert_equal(tables(warm), expected)
    assert opened() == []


def test_a_changed_record_is_read_again_and_a_removed_one_is_gone(
    runs_dir: Path, some: list[str], opened: Opened
) -> None:
    tables(load(runs_dir))
    changed, removed, *_ = some
    result = measured(runs_dir / changed) / "result.json"
    result.write_text(result.read_text().replace("0.5", "0.75"))
    fill(runs_dir / changed, [0.9] * 7)
    shutil.rmtree(runs_dir / removed)
    opened()
    again = load(runs_dir)
    found = tables(again)
    assert {name.split("/")[0] for name in opened()} == {changed}
    assert removed not in {record.run_id for record in again.records}
    assert {r.run_id: r.metrics for r in again.records}[changed] == {"gold/reward": 0.75}
    assert_equal(found, tables(uncached(runs_dir)))
    opened()
    assert_equal(tables(load(runs_dir)), found)
    assert opened() == []


def test_some_runs_of_many(runs_dir: Path, some: list[str], opened: Opened) -> None:
    """Asking for a few neither reads the others nor forgets them."""
    tables(load(runs_dir))
    opened()
    wanted = [some[2], some[0], some[0], "0" * 12]
    items = load(runs_dir).items(wanted)
    assert sorted(set(items["run_id"])) == sorted({some[0], some[2]}) and len(items) == 10
    assert len(load(runs_dir).items([some[4]])) == 0, "a failed run has no evaluation"
    assert set(load(runs_dir).history([some[4]])["run_id"]) == {some[4]}
    tables(load(runs_dir))
    assert [name for name in opened() if not name.startswith(some[4])] == []


def test_the_same_content_at_another_time_is_read_again(
    runs_dir: Path, some: list[str], opened: Opened
) -> None:
    load(runs_dir)
    opened()
    os.utime(runs_dir / some[0] / "status.json", ns=(1, 1))
    load(runs_dir)
    assert {name.split("/")[0] for name in opened()} == {some[0]}


def test_a_running_record_is_never_from_the_cache(
    runs_dir: Path, home: Path, opened: Opened
) -> None:
    run_id = write_record(runs_dir, status="running")
    load(runs_dir)
    opened()
    load(runs_dir)
    assert f"{run_id}/status.json" in opened()
    assert list((home / ".tiebreak").rglob("*.feather")) == [], "there was nothing to keep"


@pytest.mark.parametrize("how", ["torn", "text", "other columns", "folder"])
def test_a_damaged_cache_is_made_again_and_said(
    how: str, runs_dir: Path, home: Path, some: list[str], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    expected = tables(load(runs_dir))
    for path in sorted((home / ".tiebreak" / "cache").rglob("*.feather")):
        content = path.read_bytes()
        if how == "torn":
            path.write_bytes(content[: len(content) // 2])
        elif how == "text":
            path.write_text("no table")
        elif how == "folder":
            path.unlink()
            path.mkdir()
        else:
            cache.save(path, cache.open_cached(path, lambda table: table.select([0])))
    again = load(runs_dir)
    assert_equal(tables(again), expected)
    assert again.skipped == () and again.damaged == {}
    said = capsys.readouterr().err
    assert "the cache records.feather is damaged and is made again" in said
    if how != "folder":  # a folder in its place cannot be replaced, and that is said each time
        tables(load(runs_dir))
        assert capsys.readouterr().err == ""


def test_a_cache_of_another_version_is_made_again_without_a_word(
    runs_dir: Path, some: list[str], capsys: pytest.CaptureFixture[str],
    opened: Opened, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    expected = tables(load(runs_dir))
    monkeypatch.setattr(cache, "VERSION", b"another")
    opened()
    assert_equal(tables(load(runs_dir)), expected)
    assert len(opened()) > 4 * len(some) and capsys.readouterr().err == ""


def test_a_cache_that_cannot_be_written_is_said(
    runs_dir: Path, home: Path, some: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (home / ".tiebreak").write_text("a file")
    assert len(load(runs_dir).records) == len(some)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("the cache records.feather cannot be written: ")


def test_unreadable_records_are_named_warm_too(runs_dir: Path, some: list[str]) -> None:
    (measured(runs_dir / some[0]) / "result.json").write_text("{")
    first, second = load(runs_dir), load(runs_dir)
    assert first.skipped == second.skipped and len(second.skipped) == 1
    parquet(measured(runs_dir / some[1]) / "items" / "gold.parquet", {"id": ["a", "a"]})
    for _ in range(2):
        runs = load(runs_dir)
        assert some[1] not in set(runs.items()["run_id"])
        assert runs.damaged == {
            (some[1], "items/gold.parquet"): "items/gold.parquet names an id more than once"
        }


def test_no_path_and_no_pickle_in_the_cache(runs_dir: Path, home: Path, some: list[str]) -> None:
    tables(load(runs_dir))
    made = [path for path in (home / ".tiebreak").rglob("*") if path.is_file()]
    assert made and {path.suffix for path in made} == {".feather"}
    assert [path for path in made if str(home).encode() in path.read_bytes()] == []


def test_a_folder_that_is_not_of_this_home_has_no_cache(
    tmp_path: Path, home: Path, some: list[str], runs_dir: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(runs_dir, other)
    tables(load(source_from(str(other))))
    assert not (home / ".tiebreak").exists()
    load(source_from(str(runs_dir)))
    assert (home / ".tiebreak" / "cache" / "records.feather").is_file()


def test_json_keeps_the_types_of_settings(runs_dir: Path) -> None:
    chosen = {"a": 1, "b": 1.0, "c": True, "d": None, "e": "1", "f": 1e22}
    write_record(runs_dir, config={"train": chosen})
    for _ in range(2):
        (record,) = load(runs_dir).records
        found = {k.removeprefix("train."): v for k, v in record.settings.items() if "train." in k}
        assert json.dumps(found) == json.dumps(chosen)
