from __future__ import annotations

import csv as csv_reader
import io
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tiebreak_analysis.page import table_document
from tiebreak_analysis.records.runs import load
from tiebreak_analysis.tables.comparison import comparison
from tiebreak_analysis.tables.data import csv, sidecar
from tiebreak_analysis.tables.text import latex, markdown

WriteRun = Callable[..., str]  # tests/analysis/conftest.py
NASTY = r"a_b|c*d%e&f#g$h{i}~j^k<l>\m[n]`o`"


def study(write_run: WriteRun) -> None:
    for seed, reward in ((1, 0.4), (2, 0.5), (3, 0.6)):
        metrics = {"gold/reward": reward, "win_rate/start": 0.5 + seed / 10}
        write_run("dpo", seed, metrics=metrics)
        lower = 0.08 + seed / 100  # not the same for all seeds: that could not be tested
        write_run("ipo", seed, metrics={k: v - lower for k, v in metrics.items()})


def cells(text: str, row: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if f"| {row} " in line]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_markdown(runs_dir: Path, write_run: WriteRun):
    study(write_run)
    text = markdown(comparison(load(runs_dir), command="tiebreak table --scenario x"))
    assert "### model tiny · data world dddddddd · evaluation eeeeeeee\n" in text
    assert cells(text, "method") == [
        "scenario", "method", "gold/reward", "gain in gold/reward", "win_rate/start (%)", "n",
    ]  # fmt: skip
    assert cells(text, "start model")[1:] == ["start model", "0.200 ± -", "", "", "1"]
    assert cells(text, "dpo")[1:] == [
        "dpo", "**0.500** ± 0.248", "**+0.300** ± 0.248", "**70.0** ± 24.8", "3",
    ]  # fmt: skip
    assert cells(text, "ipo")[2] == "0.400 ± 0.224"
    verdict = "dpo has the best gold/reward; ipo lower by 0.100 \\[0.075, 0.125\\]"
    assert f"- **align-from-base**: {verdict}\n- ±: half" in text
    assert text.endswith("- 6 finished runs; made by `tiebreak table --scenario x`\n")
    widths = {len(line) for line in text.splitlines() if line.startswith("|")}
    assert len(widths) == 1


def test_latex(runs_dir: Path, write_run: WriteRun):
    study(write_run)
    text = latex(comparison(load(runs_dir), command="tiebreak table --scenario x"))
    assert r"\begin{tabular}{llrrrr}" in text
    assert " &  & gold/ & gain in gold/ & win\\_rate/ &  \\\\\n" in text
    assert "scenario & method & reward & reward & start (\\%) & n \\\\\n" in text
    assert r"align-from-base & start model & $0.200$ -- &  &  & 1 \\" in text
    assert r" & dpo & $\mathbf{0.500} \pm 0.248$ & $\mathbf{+0.300} \pm 0.248$" in text
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == text.count(r"\midrule") == 1
    assert r"\texttt{tiebreak table -{}-scenario x}" in text
    assert all(ord(character) < 128 for character in text)


def test_csv(runs_dir: Path, write_run: WriteRun):
    """One line per cell; a share stays a share."""
    study(write_run)
    lines = list(csv_reader.DictReader(io.StringIO(csv(comparison(load(runs_dir))))))
    keys = [(line["row"], line["metric"], line["gain"]) for line in lines]
    of_method = [("gold/reward", "0"), ("gold/reward", "1"), ("win_rate/start", "0")]
    assert keys == [
        ("start model", "gold/reward", "0"),
        *(("dpo", *key) for key in of_method),
        *(("ipo", *key) for key in of_method),
    ]
    start, reward, _, wins, behind, *_ = lines
    assert (start["method"], start["group_id"], start["n"]) == ("", "", "1")
    assert (start["mean"], start["low"], start["num_items"]) == ("0.2", "", "0")
    assert float(wins["mean"]) == pytest.approx(0.7)  # not 70 per cent
    assert float(reward["low"]) == pytest.approx(0.5 - 0.248414, abs=1e-6)
    assert (reward["best"], reward["behind"]) == ("1", "")
    assert (behind["best"], behind["tied"]) == ("0", "0")
    assert float(behind["behind"]) == pytest.approx(0.1)
    assert float(behind["p"]) == pytest.approx(2 * 0.00331, abs=1e-4)  # two tests: reward, wins
    runs = [record for record in load(runs_dir).records if record.method == "dpo"]
    assert reward["run_ids"].split() == [record.run_id for record in runs]
    assert reward["group_id"] == runs[0].group_id
    assert (reward["data_hash"], reward["evaluation"]) == ("d" * 64, "e" * 64)


def test_same_runs_same_bytes(runs_dir: Path, write_run: WriteRun, tmp_path: Path):
    """Whatever the order in which the records were written, and wherever they lie."""
    study(write_run)
    folders = sorted(runs_dir.iterdir())
    random.Random(0).shuffle(folders)
    for folder in folders:
        shutil.copytree(folder, tmp_path / "elsewhere" / folder.name)
    here, there = comparison(load(runs_dir)), comparison(load(tmp_path / "elsewhere"))
    for render in (markdown, latex, csv, table_document, sidecar):
        assert render(here) == render(there)
        assert str(tmp_path) not in render(here)


def test_two_sections_have_their_own_columns(runs_dir: Path, write_run: WriteRun):
    write_run(model="one")
    write_run(model="two", metrics={"accuracy/likelihood": 0.5}, start_metrics={})
    table = comparison(load(runs_dir))
    found = list(csv_reader.DictReader(io.StringIO(csv(table))))
    told = [(line["model"], line["row"], line["metric"], line["mean"]) for line in found]
    assert told == [
        ("one", "start model", "gold/reward", "0.2"), ("one", "dpo", "gold/reward", "0.5"),
        ("one", "dpo", "gold/reward", "0.3"), ("two", "dpo", "accuracy/likelihood", "0.5"),
    ]  # fmt: skip
    assert latex(table).count(r"\begin{table}") == markdown(table).count("### ") == 2


def test_a_section_of_validation_results_says_so(runs_dir: Path, write_run: WriteRun):
    for split, evaluation in (("test", "e" * 64), ("validation", "f" * 64)):
        write_run("dpo", evaluation=evaluation, config={"evaluation": {"split": split}})
    table = comparison(load(runs_dir))
    assert re.findall("^### .* · (.*)$", markdown(table), re.MULTILINE) == [
        "evaluation eeeeeeee", "evaluation ffffffff (validation)",
    ]  # fmt: skip
    assert latex(table).count("(validation)") == 1


def test_names_cannot_break_the_text(runs_dir: Path, write_run: WriteRun):
    write_run(model=NASTY, data="two\nlines", scenario=NASTY)
    table = comparison(load(runs_dir))
    text = latex(table)
    assert (
        r"a\_b\textbar{}c*d\%e\&f\#g\$h\{i\}\textasciitilde{}j\textasciicircum{}k"
        r"\textless{}l\textgreater{}\textbackslash{}m{[}n{]}`o`"
    ) in text
    assert "two lines" in text
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {4}
    assert len(re.findall(r"(?<!\\)\{", text)) == len(re.findall(r"(?<!\\)\}", text))
    text = markdown(table)
    assert r"a_b\|c\*d%e\&f#g$h{i}\~j^k\<l>\\m\[n\]\`o\`" in text
    found = list(csv_reader.DictReader(io.StringIO(csv(table))))
    assert (found[1]["scenario"], found[1]["data"]) == (NASTY, "two\nlines")


def test_underscores_that_would_emphasise(runs_dir: Path, write_run: WriteRun):
    write_run(method="_mine_")
    assert r"| \_mine\_ " in markdown(comparison(load(runs_dir)))


def test_no_minus_nought(runs_dir: Path, write_run: WriteRun):
    write_run(reward=0.2, start_reward=0.2 + 1e-9)
    write_run("ipo", reward=0.1)
    text = markdown(comparison(load(runs_dir)))
    assert cells(text, "dpo")[3] == "0.000 ± -"
    assert cells(text, "ipo")[3] == "-0.100 ± -"


def test_a_cell_with_fewer_runs_says_so(runs_dir: Path, write_run: WriteRun):
    write_run(seed=1, metrics={"gold/reward": 0.5, "kl/reference": 2.0})
    write_run(seed=2)
    assert cells(markdown(comparison(load(runs_dir))), "dpo")[4] == "2.00 ± - (n=1)"
