"""Paths with any character a file system allows, in every key that takes a path."""

from __future__ import annotations

import json
import operator
from pathlib import Path

import pytest

from tiebreak.compose import compose, to_run
from tiebreak.config.compose import PLACES, configure
from tiebreak.errors import UserError
from tiebreak.sweep.sweep_file import multirun, read_sweep_file

NAMES = [
    "lr=5e-7,beta=0.1", "a b", " lead", "it's", '"q"', "'q'", "[x]", "{x}", "(x)", "a:b", "a=",
    "=a", ",", "a\\b", "a\\'b", "a\\", "ünï-日本🎉", "a\nb", "a\tb", "#`!&;|<>~@%^", "-x", "1e5",
    "$x", "${x}", "${", "a\\${b}", "'${x}'\\", "null", "true",
]  # fmt: skip
BASE = ["data=org/d", "model=org/m", "scenario=align-from-base"]
KEYS = sorted(key for key in PLACES if "." in key)


def value(run: object, key: str) -> str:
    return operator.attrgetter(key)(run)


@pytest.mark.parametrize("name", NAMES)
def test_any_character_in_any_key(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"{name}.jsonl").write_text("")
    (tmp_path / name).mkdir()
    for path in (f"{name}.jsonl", f"./{name}", str(tmp_path / name)):
        for key in KEYS:
            assert value(configure([*BASE, f"{key}={path}"]), key) == path
        together = configure([*BASE, f"data.test={path}", "data.max_rows=${seed}"])
        assert value(together, "data.test") == path and value(together, "data.max_rows") == 1
        sweep, _ = multirun([*BASE, "seed=1,2", f"data.test={path}"])
        assert sweep.extra[-1] == f"data.test={path}" and sweep.axes == {"seed": ("1", "2")}
    files = configure([f"data={name}.jsonl", f"model=./{name}", "scenario=align-from-base"])
    assert (value(files, "data.train"), value(files, "data.name")) == (f"{name}.jsonl", name)
    assert (value(files, "model.base"), value(files, "model.name")) == (f"./{name}", name)


def test_a_path_goes_through_sweeps_workers_and_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import yaml

    from tiebreak.track.record_format import CONFIG

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path / "home"))
    names = [f"a=1,b='${{{at}' [x].jsonl" for at in "xy"]
    for name in names:
        rows = [{"prompt": f"{name} {i}", "chosen": "yes", "rejected": "no"} for i in range(3)]
        Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    fixed = {"data": names[0], "scenario": "align-from-base", "tracker": "none"}
    plan = {"axes": {"data.test": names, "seed": [1, 2]}, "fixed": fixed}
    Path("runs=2.yaml").write_text(yaml.safe_dump(plan))
    plan["axes"]["data.test"] = names[1:]
    with pytest.raises(UserError, match="no such file"):
        compose([f"data={names[0]}", "data.test=a=2,'.jsonl", "scenario=align-from-base"])
    Path("runs=2.yaml").write_text(yaml.safe_dump(plan))
    runs = read_sweep_file("runs=2.yaml").runs()
    assert [run.data.test for run in runs] == names[1:] * 2
    again = to_run(json.loads(json.dumps(runs[0].resolved)))  # as a worker is given it
    assert again.run_id == runs[0].run_id
    from tiebreak.run.execute import _opened

    with _opened(runs[0]) as record:
        written = yaml.safe_load((record.folder / CONFIG).read_text())
    assert written == runs[0].resolved


def test_several_paths_are_an_axis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a b.jsonl", "x=.jsonl", "y,.jsonl"):
        Path(name).write_text("")
    assert multirun(["data=a b.jsonl,x=.jsonl"])[0].axes == {"data": ("a b.jsonl", "x=.jsonl")}
    sweep, _ = multirun(["data='y,.jsonl','x=.jsonl'", "scenario=align-from-base"])
    found = [configure([f"data={one}", *BASE[1:]]).data for one in sweep.axes["data"]]
    assert [getattr(data, "train") for data in found] == ["y,.jsonl", "x=.jsonl"]  # noqa: B009


@pytest.mark.parametrize(
    ("text", "found"),
    [("null", None), ("'a b'", "a b"), ("a\\ b", "a b"), ("${data.train}", "org/d"), ("5", "5")],
)
def test_what_is_no_path_is_read_as_before(text: str, found: str | None) -> None:
    assert value(configure([*BASE, f"data.test={text}"]), "data.test") == found


def test_two_values_where_one_is_taken() -> None:
    with pytest.raises(UserError, match="names several values; one run takes one"):
        configure([*BASE, "data.test=no.jsonl,neither.jsonl"])
