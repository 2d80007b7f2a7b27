from __future__ import annotations

import json
import subprocess
import sys

from tiebreak_analysis.figures.palette import (
    COLOURS,
    MARKERS,
    NUM_LOOKS,
    ORDER,
    START,
    legend_order,
    look,
    looks,
)

MAIN = ("dpo", "ipo", "kto", "cpo", "simpo", "dpop", "tdpo2")


def test_the_main_methods_look_as_they_always_did():
    """Published figures are laid side by side: these do not change."""
    assert [(look(m).colour, look(m).marker) for m in MAIN] == [
        ("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#E69F00", "v"),
        ("#56B4E9", "P"), ("#6E6E6E", "X"),
    ]  # fmt: skip
    assert look(START).colour == "#000000"


def test_no_two_listed_methods_look_alike():
    assert len(set(ORDER)) == len(ORDER) < NUM_LOOKS
    assert len({(look(m).colour, look(m).marker) for m in ORDER}) == len(ORDER)
    assert len({look(m).marker for m in ORDER[: len(MARKERS)]}) == len(MARKERS), "told in grey"
    assert len({look(m).colour for m in MAIN}) == len(COLOURS)


def test_methods_compared_in_one_study_differ_in_colour():
    for study in (("dpo", "tdpo1", "tdpo2"), ("dpo", "dpop", "ipo", "slic", "cpo"),
                  ("dpo", "simpo", "rdpo"), ("dpo", "ipo", "kto", "cpo")):  # fmt: skip
        assert len({look(method).colour for method in study}) == len(study), study


def test_an_unlisted_method_has_a_look_of_its_own_that_stays():
    listed = {(look(m).colour, look(m).marker) for m in ORDER}
    for name in ("mine", "yours", "dpo2", "wpo-2", "x"):
        assert (look(name).colour, look(name).marker) not in listed
    assert look("mine") == look("mine")
    assert (look("mine").colour, look("mine").marker) == ("#0072B2", "s"), "by the hash of its name"


def test_a_look_does_not_depend_on_what_is_beside_it():
    alone, beside = looks({"kto": "kto"}), looks({m: m for m in (*ORDER, "mine", START)})
    assert alone["kto"] == beside["kto"]
    assert list(beside)[-2:] == ["mine", START] and list(beside)[0] == "dpo"


def test_settings_of_one_method_share_its_colour():
    labels = {f"dpo (beta={beta})": "dpo" for beta in (0.01, 0.05, 0.1, 0.5)}
    found = list(looks(labels).values())
    assert {one.colour for one in found} == {look("dpo").colour}
    assert found[0] == look("dpo")
    assert len({(one.marker, one.filled) for one in found}) == len({one.line for one in found}) == 4


def test_the_order_of_legends():
    assert sorted(["zzz", START, "simpo", "dpo", "mine"], key=legend_order) == [
        "dpo", "simpo", "mine", "zzz", START
    ]  # fmt: skip


def test_the_palette_loads_no_matplotlib():
    code = (
        "import tiebreak_analysis.figures.palette, sys, json\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "matplotlib" not in json.loads(done.stdout)
