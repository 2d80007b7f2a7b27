"""`tiebreak methods`: made from the methods' own files."""

from __future__ import annotations

import pytest

from tiebreak.errors import UserError
from tiebreak.launch.catalogue import card, catalogue, catalogue_lines
from tiebreak.methods import METHODS


def test_every_method_says_what_it_is() -> None:
    entries = {entry["name"]: entry for entry in catalogue()}
    assert list(entries) == list(METHODS)
    for entry in entries.values():
        assert entry["summary"] and "arXiv" in entry["source"]
        assert isinstance(entry["needs"], list)
        for value in entry["hyperparameters"].values():
            assert {"default", "source", "range"} <= value.keys()
            assert value["source"] and value["range"]
    assert entries["dpo"]["hyperparameters"]["beta"]["default"] == 0.1
    assert entries["cpo"]["needs"] != entries["dpo"]["needs"]


@pytest.mark.parametrize("name", METHODS)
def test_a_card_has_the_convention(name: str) -> None:
    text = card(name)
    for part in ("loss", "Paper:", "Official code:", "Convention", "Needs: "):
        assert part in text, part
    for field, value in next(e for e in catalogue() if e["name"] == name)[
        "hyperparameters"
    ].items():
        assert f"{field} = {value['default']}" in text


def test_the_list_has_every_name_and_default() -> None:
    text = "\n".join(catalogue_lines())
    for entry in catalogue():
        assert entry["name"] in text and entry["summary"] in text
    assert "tiebreak methods NAME" in text


def test_an_unknown_method_is_told_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown method 'dpoo' \(nearest: 'dpo'\); there are dpo"):
        card("dpoo")
