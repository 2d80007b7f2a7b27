"""`tiebreak table`, `page` and `study` on finished runs: formats, files, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.commands import MICRO, Command
from tiebreak_analysis.records import source_from
from tiebreak_analysis.records.wandb_log import read_log
from tiebreak_analysis.studies import STUDIES, StudyReport, TableSpec


@pytest.fixture
def sweep_file(tmp_path: Path) -> str:
    """The prepared run, and one of another method that is not done."""
    fixed = dict(one.split("=", 1) for one in MICRO)
    path = tmp_path / "two.yaml"
    path.write_text(yaml.safe_dump({"axes": {"method": ["dpo", "ipo"]}, "fixed": fixed}))
    return str(path)


@pytest.fixture
def study(sweep_file: str, monkeypatch: pytest.MonkeyPatch) -> StudyReport:
    made = StudyReport(
        "mine", "My study", (sweep_file,), (), (TableSpec("main", (sweep_file,)),),
        lambda runs, done: (), lambda runs, done: {}, (),
    )  # fmt: skip
    monkeypatch.setitem(STUDIES, "mine", made)
    return made


def test_every_format_of_a_table(home: Path, sweep_file: str, tiebreak: Command) -> None:
    answers = {f: tiebreak("table", sweep_file, "--format", f) for f in
               ("md", "tex", "csv", "html", "json")}  # fmt: skip
    assert {one.code for one in answers.values()} == {0}, [one.err for one in answers.values()]
    assert "| dpo" in answers["md"].out and "missing" in answers["md"].out
    assert r"\begin{tabular}" in answers["tex"].out
    assert answers["csv"].out.startswith("model,data,")
    assert answers["html"].out.startswith("<!doctype html>")
    assert json.loads(answers["json"].out)["format"] == 1


def test_a_table_of_chosen_metrics(home: Path, sweep_file: str, tiebreak: Command) -> None:
    names = ("--metrics", "length/generated,kl/reference", "--metrics", "drift/chosen")
    answer = tiebreak("table", sweep_file, *names)
    assert answer.code == 0, answer.err
    heads = [part.strip() for part in answer.out.splitlines()[2].strip("|").split("|")]
    assert heads == [
        "scenario", "method", "length/generated (tokens)", "gain in length/generated (tokens)",
        "kl/reference (nats)", "drift/chosen", "n",
    ]  # fmt: skip
    assert f"{sweep_file} --metrics length/generated,kl/reference,drift/chosen`" in answer.out
    refused = tiebreak("table", sweep_file, "--metrics", "kl/referenc")
    assert refused.code == 2 and "(nearest: 'kl/reference')" in refused.err


def test_a_study_has_one_table_of_chosen_metrics(
    home: Path, study: StudyReport, tiebreak: Command
) -> None:
    answer = tiebreak("table", "mine", "--metrics", "length/generated", "--format", "csv")
    assert answer.code == 0, answer.err
    assert {line.split(",")[8] for line in answer.out.splitlines()[1:]} == {"length/generated"}


def test_a_table_in_wandb(
    home: Path, sweep_file: str, monkeypatch: pytest.MonkeyPatch, tiebreak: Command
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    answer = tiebreak("table", sweep_file, "--wandb", "team/mine")
    assert answer.code == 0, answer.err
    (log,) = (home / "wandb").glob("offline-run-*-comparison-two-yaml-*")
    assert answer.out == f"W&B: two.yaml: kept offline, for `wandb sync`: {log}\n"
    sent = [path.read_bytes() for path in log.rglob("*") if path.suffix in (".wandb", ".html")]
    assert len(sent) == 2 and not any(sweep_file.encode() in one for one in sent)
    (table,) = log.glob("files/media/table/*.json")
    found = json.loads(table.read_text())
    told = tiebreak("table", sweep_file, "--format", "csv").out
    assert found["columns"] == told.splitlines()[0].split(",")
    assert len(found["data"]) == len(told.splitlines()) - 1
    (file,) = log.glob("*.wandb")
    summary = read_log(file).summary
    cells = [dict(zip(found["columns"], row, strict=True)) for row in found["data"]]
    (dpo,) = [c for c in cells if (c["row"], c["metric"], c["gain"]) == ("dpo", "gold/reward", 0)]
    assert summary["status"] == "comparison"
    assert summary[f"{dpo['scenario']}/dpo/gold/reward"] == dpo["mean"]
    assert source_from(f"wandb:{home / 'wandb'}").entries() == ([], []), "no run, nothing damaged"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("a/b/c",), "--wandb 'a/b/c': give PROJECT or ENTITY/PROJECT"),
        (("",), "--wandb '': give PROJECT or ENTITY/PROJECT"),
        (("mine", "--format", "csv"), "--wandb sends the table in every form; leave out --format"),
        (("mine",), "--wandb: WANDB_MODE=disabled; unset it, or give it offline"),
    ],
)
def test_a_table_that_wandb_cannot_have(
    options: tuple[str, ...],
    said: str,
    home: Path,
    sweep_file: str,
    monkeypatch: pytest.MonkeyPatch,
    tiebreak: Command,
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    answer = tiebreak("table", sweep_file, "--wandb", *options)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"tiebreak: {said}")


def test_a_page_of_a_sweep(home: Path, sweep_file: str, tmp_path: Path, tiebreak: Command) -> None:
    out = tmp_path / "page.html"
    answer = tiebreak("page", sweep_file, "--out", str(out))
    assert answer.code == 0 and answer.out == f"page: {out}\n", answer.err
    assert "<h1" in out.read_text()


def test_a_study_does_what_is_missing_and_prints_its_files_last(
    home: Path, study: StudyReport, tiebreak: Command
) -> None:
    answer = tiebreak("study", "mine", "--workers", "1")
    assert answer.code == 0, answer.err
    assert "2 runs: 1 done now, 1 finished before, 0 failed" in answer.out
    assert "| ipo" in answer.out and "made by `tiebreak study mine`" in answer.out
    paths = [Path(line) for line in answer.out.splitlines() if line.startswith(str(home))]
    assert [path.name for path in paths] == [
        "main.md", "main.tex", "main.csv", "main.html", "main.json", "page.html",
    ]  # fmt: skip
    assert answer.out.splitlines()[-1] == str(home / "results" / "mine" / "page.html")
    before = [path.read_bytes() for path in paths]
    again = tiebreak("study", "mine", "--workers", "1")
    assert "2 runs: 0 done now, 2 finished before, 0 failed" in again.out
    assert [path.read_bytes() for path in paths] == before, "the same records give the same bytes"
    last = again.out.splitlines()[-1]
    assert last.startswith("not made again, nothing they depend on changed: ")
    assert last.endswith("(6 files)") and str(home / "results") not in again.out
    paths[0].write_text("edited")
    third = tiebreak("study", "mine", "--workers", "1").out.splitlines()
    assert str(paths[0]) in third and third[-1].endswith("page.html (1 file)")
    assert [path.read_bytes() for path in paths] == before, "the same records give the same bytes"
    table = tiebreak("table", "mine")
    assert "| ipo" in table.out and "tiebreak table mine" in table.out


def test_a_sweep_is_a_study_of_its_own(
    home: Path, sweep_file: str, tiebreak: Command, tmp_path: Path
) -> None:
    out = tmp_path / "made"
    answer = tiebreak("study", sweep_file, "--workers", "1", "--out", str(out), "evaluation.seed=0")
    assert answer.code == 0, answer.err
    name = Path(sweep_file).stem
    ends = ("md", "tex", "csv", "html", "json")
    assert {path.name for path in out.iterdir()} == {
        *(f"{name}.{end}" for end in ends), "page.html", "products.json",
    }  # fmt: skip
    command = f"tiebreak study {sweep_file} evaluation.seed=0"
    assert f"made by `{command}`" in (out / f"{name}.md").read_text()
    again = tiebreak("study", sweep_file, "--workers", "1", "--out", str(out), "evaluation.seed=0")
    assert again.out.splitlines()[-1].startswith("not made again, nothing they depend on changed")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("study", "demo", "seed=1"), "seed=1: a study has its own settings; leave it out"),
        (
            ("study", "arizna"),
            "unknown study 'arizna' (nearest: 'arizona'); there are demo, arizona, arizona-seeds",
        ),
        (("study", "demo", "--real"), "--real: demo has no sweeps with a paper's settings"),
        (("table", "dpop"), "no run of dpop is finished yet; do them with: tiebreak study dpop"),
        (("table", "dpop", "seed=1"), "seed=1: a study has its own settings"),
        (("table", "arizona-mni"), "unknown sweep 'arizona-mni' (nearest: 'arizona-mini')"),
        (("table", "--source", "nowhere"), "--source 'nowhere': no such folder"),
    ],
)
def test_what_is_refused(
    arguments: tuple[str, ...], said: str, home: Path, tiebreak: Command
) -> None:
    answer = tiebreak(*arguments)
    assert answer.code == 2 and answer.out == ""
    assert said in answer.err and answer.err.count("\n") == 1
