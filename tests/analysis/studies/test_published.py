"""The file of published figures: complete rows, marks that survive, no cell decided by chance."""

from __future__ import annotations

import csv
import re

import pytest

from tiebreak.errors import UserError
from tiebreak_analysis.published import (
    COLUMNS,
    FILE,
    PAPERS,
    REPLICATION_SPREAD,
    listed,
    published,
)

README = FILE.with_name("README.md").read_text(encoding="utf-8")


def test_every_row_is_complete_and_unique() -> None:
    with FILE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows and list(rows[0]) == COLUMNS
    for row in rows:
        assert all(row[name] for name in COLUMNS if name != "marks"), row
        assert row["paper"] in PAPERS.values() and float(row["value"]) == float(row["value"])
    keys = [tuple(row[name] for name in COLUMNS[:7]) for row in rows]
    assert len(keys) == len(set(keys))


def test_every_mark_is_explained() -> None:
    told = {mark for paper in PAPERS for row in listed(paper) for mark in row.figure.marks}
    assert {"secondary", "SUSPECT", "by-eye", "versions-differ", "joint"} <= told
    for mark in told:
        name = re.sub(r"^range:.*", "range:a-b", mark)
        assert f"`{name}`" in README, mark


def test_doubtful_figures_carry_their_marks() -> None:
    simpo = published("simpo", "llama-3-8b", versions=("README v0.1", "v3"))
    cpo, kto = (simpo["align-from-instruct", m, "alpacaeval2/lc"] for m in ("cpo", "kto"))
    assert cpo.value == kto.value and cpo.marks == ("SUSPECT",) and kto.marks == ()
    tdpo = published("tdpo", "gpt2-large")["sft-then-align", "dpo", "reward/at-kl-2.5"]
    assert tdpo.value == 0.875 and tdpo.marks == ("by-eye", "range:0.87-0.88")
    arizona = published("arizona", "mistral-7b")
    assert "joint" in arizona["align-from-instruct", "kto", "truthfulqa/mc2"].marks


def test_two_versions_of_a_cell_are_not_decided_by_chance() -> None:
    key = ("sft-then-align", "simpo", "alpacaeval2/lc")
    with pytest.raises(UserError, match="published twice .* name the version"):
        published("simpo", "mistral-7b")
    readme = published("simpo", "mistral-7b", versions=("README v0.1", "v3"))[key]
    paper = published("simpo", "mistral-7b", versions=("v3", "README v0.1"))[key]
    assert (readme.value, paper.value) == (21.4, 21.5)
    assert readme.marks == ("versions-differ",)


def test_the_replication_spread_is_that_of_the_win_rates() -> None:
    spread = REPLICATION_SPREAD["2405.14734"]
    assert spread == max(26.8 - 20.3, 24.9 - 17.9, 16.3 - 13.4)
    figures = published("simpo", "mistral-7b", versions=("README v0.1", "v3"))
    assert figures["align-from-instruct", "dpo", "alpacaeval2/wr"].spread == spread
    assert figures["align-from-instruct", "dpo", "mt-bench"].spread is None


def test_an_unknown_paper_is_told_the_nearest() -> None:
    with pytest.raises(UserError, match="nearest: 'simpo'"):
        published("simpoo", "mistral-7b")
