"""Sweep files to runs, and what is said about a file that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tiebreak.compose import Run
from tiebreak.config.compose import configure
from tiebreak.errors import UserError
from tiebreak.sweep import sweep_file as sweeps

Expand = Callable[..., list[Run]]


@pytest.fixture
def expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Expand:
    monkeypatch.setattr(sweeps, "shipped", lambda folder: tmp_path)

    def expand(text: str, *extra: str) -> list[Run]:
        (tmp_path / "mine.yaml").write_text(text)
        return sweeps.read_sweep_file("mine", extra).runs()

    return expand


def test_the_product_of_the_axes_in_order(expanded: Expand) -> None:
    runs = expanded("axes: {method: [dpo, kto], seed: [1, 2]}\nfixed: {data.num_pairs: 50}")
    assert [(r.method_name, r.seed) for r in runs] == [
        ("dpo", 1), ("dpo", 2), ("kto", 1), ("kto", 2),
    ]  # fmt: skip
    assert {getattr(r.data, "num_pairs", None) for r in runs} == {50}


def test_values_keep_their_kind(expanded: Expand) -> None:
    (run,) = expanded(
        "axes: {train.max_steps: [null]}\n"
        "fixed: {train.drift: false, train.learning_rate: 1.0e-05, "
        "train.lora.targets: [q_proj], model.chat_template: null}"
    )
    assert run.train.max_steps is None and run.train.drift is False
    assert run.train.learning_rate == 1e-5 and run.train.lora.targets == ("q_proj",)


def test_a_group_of_free_names_is_written_as_hydra_reads_it() -> None:
    given = {"enable_thinking": False, "date_string": "1 May, 2025", "more": {"n": [1, None]}}
    assert (
        configure(
            [
                "model=a/b",
                "scenario=align-from-base",
                sweeps.override("model.chat_template_kwargs", given),
            ]
        ).model.chat_template_kwargs
        == given
    )


def test_overrides_win_and_equal_runs_are_one(expanded: Expand) -> None:
    runs = expanded("axes: {method: [dpo, ipo], train.batch_size: [8, 16]}", "train.batch_size=4")
    assert [(r.method_name, r.train.batch_size) for r in runs] == [("dpo", 4), ("ipo", 4)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "mine.yaml: 'axes' must be a group of keys"),
        ("- method", "mine.yaml: 'axes' must be a group of keys"),
        ("axes: [dpo]", "mine.yaml: 'axes' must be a group of keys"),
        ("axes: {seed: [1]}\nfixed: 3", "mine.yaml: 'fixed' must be a group of keys"),
        ("axes: {seed: [1]}\nseeds: 3", "mine.yaml: unknown key 'seeds'; a sweep has axes, fixed"),
        ("axes: {seed: []}", "mine.yaml: axis seed is empty; give a list of values"),
        ("axes: {seed: 1}", "mine.yaml: axis seed is empty; give a list of values"),
        ("axes: {methods: [dpo]}", "mine.yaml: unknown axis 'methods' (nearest: 'method'); "),
        ("axes: {method: [dpo, dpoo]}", "unknown method 'dpoo' (nearest: 'dpo')"),
        ("axes: {seed: [1]}\nfixed: {train.learning_rte: 1}", "(nearest: 'learning_rate')"),
        ("axes: {seed: [1", "mine.yaml is not YAML: while parsing"),
    ],
)
def test_a_file_that_is_no_sweep(text: str, message: str, expanded: Expand) -> None:
    with pytest.raises(UserError) as caught:
        expanded(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_sweep_is_told_the_nearest() -> None:
    with pytest.raises(UserError) as caught:
        sweeps.read_sweep_file("arizona-mni")
    assert str(caught.value).startswith("unknown sweep 'arizona-mni' (nearest: 'arizona-mini'); ")
    assert "; there are " in str(caught.value) and "arizona-mini, " in str(caught.value)
