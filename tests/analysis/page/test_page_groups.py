"""Runs of several models or data sets on one page: what may stand in one chart, and its name."""

from __future__ import annotations

from dataclasses import replace

from test_page_parts import record

from tiebreak_analysis.page.groups import groups_of
from tiebreak_analysis.records.runs import Record


def on(group_id: str, distance: float, status: str = "finished", **more: object) -> Record:
    data_hash = f"hash-{distance}" if status == "finished" else None
    settings = {"data.name": "d", "data.edit_distance": distance}
    one = record(f"run-{group_id}", group_id, status=status)
    return replace(one, data_hash=data_hash, settings=settings, **more)


def sections(*records: Record) -> dict[str, str]:
    return {group.group_id: group.section for group in groups_of(records, [])}


def test_data_are_told_apart_by_the_settings_in_which_they_differ() -> None:
    assert sections(on("a", 0.1), on("b", 1.0)) == {
        "a": "model m · data d (edit_distance=0.1)",
        "b": "model m · data d (edit_distance=1)",
    }


def test_one_set_of_data_needs_no_settings() -> None:
    assert set(sections(on("a", 0.1), on("b", 0.1)).values()) == {"model m · data d"}


def test_a_run_that_is_not_evaluated_stands_with_the_others_of_its_data() -> None:
    found = sections(on("a", 0.1), on("b", 1.0), on("c", 1.0, "running"), on("e", 0.5, "running"))
    assert found["c"] == found["b"] != found["a"]
    assert found["e"] == "model m · data d", "no finished run has its data"


def test_a_run_that_is_not_evaluated_is_put_into_no_section_by_chance() -> None:
    first, second = on("a", 0.1, evaluation="1" * 16), on("b", 0.1, evaluation="2" * 16)
    assert sections(first, second, on("c", 0.1, "running"))["c"] == "model m · data d"


def test_models_of_one_name_are_told_apart_for_running_runs_too() -> None:
    def revision(one: Record, name: str) -> Record:
        return replace(one, settings=one.settings | {"model.name": "m", "model.revision": name})

    found = sections(
        revision(on("a", 0.1), "A"), revision(on("b", 0.1), "B"),
        revision(on("c", 0.1, "running"), "A"),
    )  # fmt: skip
    assert found["c"] == found["a"] == "model m (revision=A) · data d"


def test_hashes_tell_what_names_do_not() -> None:
    found = sections(on("a", 0.1, evaluation="1" * 16), on("b", 0.1, evaluation="2" * 16))
    assert found["a"] == "model m · data d hash-0.1 · evaluation 11111111"
    assert found["b"] == "model m · data d hash-0.1 · evaluation 22222222"
    found = sections(on("a", 0.1, evaluation="1" * 16), on("b", 0.1))
    assert found["b"] == "model m · data d hash-0.1 · evaluation not recorded"
