"""A home that an older version filled is refused in one line, and left as it is."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tiebreak.cli import HELP, _refuse_old_home, main
from tiebreak.store import ARTEFACT, FORMAT
from tiebreak.track import record_format

RECORD, MADE = (
    f"runs/0123456789ab/{record_format.MANIFEST}",
    f"artefacts/sft/0123456789abcdef/{ARTEFACT}",
)
NAMED = {"sweep", "status", "retry", "stop", "study"}
FREE = ("methods", "data", "fetch", "mirror")
"""Commands that read and write neither records nor artefacts."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path))
    return tmp_path


def put(home: Path, name: str, number: object) -> None:
    (home / name).parent.mkdir(parents=True, exist_ok=True)
    (home / name).write_text(json.dumps({"format": number}))


def content(home: Path) -> dict[str, bytes | None]:
    return {str(p): p.read_bytes() if p.is_file() else None for p in home.rglob("*")}


def code_of(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    assert isinstance(stop.value.code, int)
    return stop.value.code


@pytest.mark.parametrize("command", [name for name in HELP if name not in FREE])
def test_every_command_that_uses_a_home_refuses_an_old_one(
    command: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(home, RECORD, 1)
    put(home, MADE, 1)
    before = content(home)
    more = {"judge": ["check", "--data", "pairs.jsonl"], "evaluate": ["a-model"]} | dict.fromkeys(
        NAMED, ["arizona-mini"]
    )
    assert code_of(command, *more.get(command, [])) == 2
    assert capsys.readouterr() == (
        "",
        f"tiebreak: this home holds records of format 1 ({home / 'runs'}), which this version does "
        "not read; move runs/ and artefacts/ away, or set TIEBREAK_HOME\n",
    )
    assert content(home) == before


def test_old_artefacts_alone_are_enough(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(home, RECORD, record_format.FORMAT)
    put(home, MADE, FORMAT - 1)
    assert code_of("plan") == 2
    said = capsys.readouterr().err
    assert f"holds artefacts of format {FORMAT - 1} ({home / 'artefacts'})" in said


def test_commands_without_a_home_do_not_look(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(home, RECORD, 1)
    main(["methods", "dpo"])
    assert code_of("fetch", "nothing") == 2 and code_of("data", "method=nothing") == 2
    assert code_of("run", "--help") == 0
    out, err = capsys.readouterr()
    assert "this home" not in out + err


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": null}', '{"format": 999}', f'{{"format": {FORMAT}}}']
)
def test_any_other_home_is_left_to_whoever_reads_it(home: Path, text: str) -> None:
    """Empty, damaged, newer or ours."""
    _refuse_old_home()
    for name in (RECORD, MADE):
        put(home, name, None)
        (home / name).write_text(text)
    _refuse_old_home()


def test_one_old_record_behind_good_ones_is_no_old_home(home: Path) -> None:
    put(home, RECORD, record_format.FORMAT)
    put(home, RECORD.replace("0123456789ab", "fedcba987654"), 1)
    (home / "runs" / "000000000000").mkdir()  # begun, and killed before its manifest
    put(home, MADE.replace("0123456789abcdef", ".0123456789abcdef.work"), 1)
    _refuse_old_home()


def test_it_costs_next_to_nothing(home: Path) -> None:
    for number in range(200):
        put(home, f"runs/{number:012x}/{record_format.MANIFEST}", record_format.FORMAT)
        put(home, f"artefacts/align/{number:016x}/{ARTEFACT}", FORMAT)
    _refuse_old_home()  # imports
    took = []
    for _ in range(20):
        began = time.perf_counter()
        _refuse_old_home()
        took.append(time.perf_counter() - began)
    assert min(took) < 0.005
