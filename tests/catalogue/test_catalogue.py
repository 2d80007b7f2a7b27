"""`tiebreak methods`: made from the methods' own files."""

from __future__ import annotations

import pytest

from tiebreak.catalogue import card, catalogue, catalogue_lines, entry
from tiebreak.errors import UserError
from tiebreak.methods import METHODS


def test_every_method_says_what_it_is() -> None:
    entries = {one["name"]: one for one in catalogue()}
    assert list(entries) == list(METHODS)
    for one in entries.values():
        assert one["summary"] and "arXiv" in one["source"]
        assert isinstance(one["needs"], list)
        for value in one["hyperparameters"].values():
            assert {"default", "allowed", "search", "source"} == value.keys()
            assert value["source"] and value["allowed"]
    assert entries["dpo"]["hyperparameters"]["beta"]["default"] == 0.1
    assert entries["dpo"]["hyperparameters"]["beta"]["allowed"] == "> 0"
    assert entries["dpo"]["hyperparameters"]["beta"]["search"] == "0.01, 0.05, 0.1"
    assert entries["ipo"]["hyperparameters"]["reduction"]["allowed"] == "mean or sum"
    assert entries["cpo"]["needs"] != entries["dpo"]["needs"]


@pytest.mark.parametrize("name", METHODS)
def test_a_card_has_the_convention(name: str) -> None:
    text = card(name)
    for part in ("loss", "Paper:", "Official code:", "Convention", "Needs: "):
        assert part in text, part
    for field, value in entry(name)["hyperparameters"].items():
        assert f"{field} = {value['default']}" in text
        assert value["search"] in text


def test_the_list_has_every_name_and_default() -> None:
    text = "\n".join(catalogue_lines())
    for one in catalogue():
        assert one["name"] in text and one["summary"] in text
    assert "tiebreak methods NAME" in text


def test_an_unknown_method_is_told_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown method 'dpoo' \(nearest: 'dpo'\); there are "):
        card("dpoo")
