"""The command line itself: words, exit codes, and that nothing ends in a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tiebreak import cli
from tiebreak.cli import HELP, main
from tiebreak.methods import METHODS
from tiebreak.sweep.engines import ENGINES


def code_of(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    assert isinstance(stop.value.code, int)
    return stop.value.code


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("--help") == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in HELP)
    for name in HELP:
        assert code_of(name, "--help") == 0


def test_no_command_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of() == 2
    assert "COMMAND" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "plan", "data"])
def test_a_mistake_is_one_line_and_2(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(command, "method=dpoo") == 2
    out, err = capsys.readouterr()
    assert out == ""
    there = ", ".join(METHODS)
    assert err == f"tiebreak: unknown method 'dpoo' (nearest: 'dpo'); there are {there}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sweep", "arizona-mni"], "unknown sweep 'arizona-mni' (nearest: 'arizona-mini')"),
        (["table", "arizona-mni"], "unknown sweep 'arizona-mni' (nearest: 'arizona-mini')"),
        (["methods", "ktoo"], "unknown method 'ktoo' (nearest: 'kto'); there are "),
        (["fetch", "smollm2-135m"], "(nearest: 'smollm2-135m-instruct')"),
        (["table"], "no finished runs under"),
        (["sweep", "arizona-mini", "--workers", "0"], "'0' is not a whole number from 1 up"),
        (["data", "--rows", "-1"], "'-1' is not a whole number from 1 up"),
        (["run", "--sed", "1"], "unrecognized arguments: --sed"),
        (["runs", "extra"], "unrecognized arguments: extra"),
        (["table", "--format", "xls"], "invalid choice: 'xls'"),
        (["methods", "kto", "--json"], "argument --json: not allowed with argument name"),
    ],
)
def test_other_mistakes(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path))
    assert code_of(*arguments) == 2
    assert said in capsys.readouterr().err


def test_overrides_may_follow_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    options = cli._parsed(["sweep", "arizona-mini", "--workers", "3", "seed=4", "train=tiny"])
    assert (options.workers, options.overrides) == (3, ["seed=4", "train=tiny"])
    options = cli._parsed(["data", "method=kto", "--rows", "2", "seed=4"])
    assert (options.rows, options.overrides) == (2, ["method=kto", "seed=4"])


def test_methods_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    main(["methods", "--json"])
    entries = json.loads(capsys.readouterr().out)
    for entry in entries:
        assert {"name", "summary", "needs", "hyperparameters"} <= entry.keys()
        for value in entry["hyperparameters"].values():
            assert {"default", "allowed", "search", "source"} == value.keys()
    assert [entry["name"] for entry in entries] == list(METHODS)


def test_one_method(capsys: pytest.CaptureFixture[str]) -> None:
    main(["methods", "kto"])
    assert "2402.01306" in capsys.readouterr().out


def test_runs_of_an_empty_home(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path / "not there"))
    main(["runs"])
    assert capsys.readouterr().out == "no runs yet; start one with: tiebreak run\n"
    main(["runs", "--json"])
    assert json.loads(capsys.readouterr().out) == []
    assert not (tmp_path / "not there").exists()


def test_stopping_it_is_not_a_crash(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.commands, "run", stop)
    assert code_of("run", "method=kto", "data.train=my pairs.jsonl") == 130
    assert capsys.readouterr().err == (
        "tiebreak: stopped; go on with: tiebreak run method=kto 'data.train=my pairs.jsonl'\n"
    )


def test_a_closed_pipe_is_not_a_crash() -> None:
    script = f"{sys.executable} -m tiebreak.cli methods --json | head -c 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", script], capture_output=True, text=True)
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


def test_the_installed_command() -> None:
    program = Path(sys.executable).with_name("tiebreak")
    if not program.exists():
        pytest.skip("the package is on the path and not installed")
    done = subprocess.run([program, "methods", "nope"], capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_engines_of_one_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("run", "--engine", "slurm", "method=kto") == 2
    assert "--workers are for run -m" in capsys.readouterr().err
    assert code_of("run", "-m", "seed=1,2", "tracker=none", "hydra/launcher=submitit_slurm") == 2
    assert capsys.readouterr().err == (
        "tiebreak: --engine submitit_slurm is no more; give --engine slurm\n"
    )
    assert code_of("sweep", "--help") == 0
    assert f"{', '.join(ENGINES)} (default: local)" in " ".join(capsys.readouterr().out.split())
