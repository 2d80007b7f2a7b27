"""A search hands out its budget, survives being killed, and ends in runs at every seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tiebreak.errors import UserError
from tiebreak.home import runs_dir
from tiebreak.sweep import search as tuning
from tiebreak.sweep.search import SearchTasks, compared, known
from tiebreak.sweep.sweep_file import SweepFile, read_sweep_file
from tiebreak.sweep.tasks import Task

Make = Callable[..., SweepFile]
TWO = "axes: {method: [dpo, simpo], seed: [1, 2]}\nfixed: {tracker: none}\n"


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path / "home"))

    def make(search: str, text: str = TWO) -> SweepFile:
        (tmp_path / "mine.yaml").write_text(f"{text}search: {search}\n")
        return read_sweep_file(str(tmp_path / "mine.yaml"))

    return make


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """run id -> its metric, as records would have it."""
    found: dict[str, float] = {}
    monkeypatch.setattr(
        tuning, "read_result", lambda folder, _: {"metrics": {"gold/reward": found[folder.name]}}
    )
    return found


def finish(tasks: SearchTasks, task: Task, results: dict[str, float], value: float) -> None:
    results[task.run.run_id] = value
    tasks.answer(task, {})


def test_every_method_gets_the_same_trials_then_its_best_at_every_seed(study, results):
    tasks = SearchTasks(study("{trials: 3}"))
    assert len(tasks) == 2 * (3 + 2)
    trials: list[Task] = []
    for _ in range(6):
        task = tasks.next()
        assert task is not None and task.trial is not None and task.run.seed == 1
        assert str(task.run.evaluation.split) == "validation"
        trials.append(task)
    assert [t.run.method_name for t in trials] == ["dpo", "simpo"] * 3
    assert tasks.next() is None, "the budget is out, and no trial is answered"
    for value, task in enumerate(trials):
        finish(tasks, task, results, float(value))
    finals = [tasks.next() for _ in range(4)]
    assert tasks.next() is None
    found = {(t.run.method_name, t.run.seed, str(t.run.evaluation.split)) for t in finals if t}
    assert found == {(m, s, "test") for m in ("dpo", "simpo") for s in (1, 2)}
    best = {t.run.method_name: t.run.method for t in trials}  # the last of each had the most
    assert all(t is not None and t.run.method == best[t.run.method_name] for t in finals)
    assert [r.run_id for r in compared(str(Path(runs_dir()).parents[1] / "mine.yaml"))] == [
        t.run.run_id for t in finals if t
    ]


def test_what_is_known_of_a_search_so_far(study, results):
    mine = study("{trials: 3}")
    per_cell = 3 + len(mine.seeds())
    cells = len(list(mine.cells()))
    assert known(mine) == ([], cells * per_cell)
    tasks = SearchTasks(mine)
    first = tasks.next()
    drawn, unchosen = known(mine)
    assert [run.run_id for run in drawn] == [first.run.run_id]
    assert unchosen == cells * per_cell - 1
    finish(tasks, first, results, 0.5)
    while (task := tasks.next()) is not None:
        finish(tasks, task, results, 0.5)
    runs, unchosen = known(mine)
    assert (len(runs), unchosen) == (cells * per_cell, 0)


def test_pruned_and_failed_trials_use_up_budget_and_never_win(study, results):
    tasks = SearchTasks(study("{trials: 3}", TWO.replace(", simpo", "")))
    first, second, third = (tasks.next() for _ in range(3))
    assert first and second and third
    tasks.answer(first, {"pruned": "behind"})
    tasks.answer(second, {"error": "the loss became nan"})
    finish(tasks, third, results, -5.0)
    final = tasks.next()
    assert final is not None and final.run.method == third.run.method
    assert (tasks.result.pruned, len(tasks.result.failed), tasks.result.done) == (1, 1, 1)


def test_a_killed_search_goes_on_with_the_trials_it_had(study, results):
    before = SearchTasks(study("{trials: 3}", TWO.replace(", simpo", "")))
    done, open_, told = before.next(), before.next(), before.next()
    assert done and open_ and told
    finish(before, done, results, 1.0)
    before.answer(told, {"stopped": True})
    again = SearchTasks(study("{trials: 3}", TWO.replace(", simpo", "")))
    assert len(again) == 2 + 2, "two trials and two final runs"
    given = [again.next() for _ in range(2)]
    assert again.next() is None
    ids = [t.run.run_id for t in given if t]
    assert ids == [open_.run.run_id, told.run.run_id], "the same runs, from checkpoints"
    assert len({done.run.run_id, *ids}) == 3, "no setting is tried twice"


def test_random_settings_do_not_depend_on_the_order_of_answers(study, results):
    first = [t.run.method for t in iter(SearchTasks(study("{trials: 3}")).next, None)]
    import shutil

    shutil.rmtree(Path(runs_dir()).parent / ".tiebreak")
    tasks, second = SearchTasks(study("{trials: 3}")), []
    while (task := tasks.next()) is not None and task.trial is not None:
        second.append(task.run.method)
        finish(tasks, task, results, 0.0)
    assert set(first) >= set(second) and len(first) == 6


def test_a_grid_tries_each_point_once(study, results):
    tasks = SearchTasks(study("{trials: 3, sampler: grid}", TWO.replace(", simpo", "")))
    tried = {getattr(t.run.method, "beta", None) for t in iter(tasks.next, None)}
    assert tried == {0.01, 0.05, 0.1}


def test_tpe_learns_from_what_was_told(study, results):
    space = "{train.learning_rate: {low: 1.0e-5, high: 1.0e-1, log: true}}"
    text = "axes: {method: [sft], seed: [1]}\nfixed: {tracker: none}\n"
    tasks = SearchTasks(study(f"{{trials: 25, sampler: tpe, space: {space}}}", text))
    rates = []
    while (task := tasks.next()) is not None and task.trial is not None:
        rate = task.run.train.learning_rate
        rates.append(rate)
        finish(tasks, task, results, -abs(rate - 1e-3))
    late = sorted(abs(r - 1e-3) for r in rates[15:])
    early = sorted(abs(r - 1e-3) for r in rates[:10])
    assert late[5] < early[5]


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ("{trials: 0}", "mine.yaml: search.trials=0 must be 1 or more"),
        ("{sampler: random}", "mine.yaml: search.trials is missing"),
        ("{trials: 2, sampler: tp}", "search.sampler='tp' is not one of random, grid, tpe"),
        ("{trials: 2, pruner: ahsa}", "(nearest: 'asha')"),
        ("{trials: 2, trial: 3}", "unknown key search.trial (nearest: 'trials')"),
        ("3", "mine.yaml: 'search' must be a group of keys"),
        ("{trials: 2, space: {train.learning_rate: 3}}", "is not a space; give a list of values"),
        ("{trials: 9, sampler: grid}", "the budget must be the same for all methods"),
        ("{trials: 2, space: {train.lerning_rate: [1]}}", "(nearest: 'learning_rate')"),
        ("{trials: 2, space: {method.tau: [1]}}", "unknown key 'method.tau'"),
    ],
)
def test_a_search_that_cannot_work_is_refused_before_the_first_run(study, search, message):
    with pytest.raises(UserError) as caught:
        tasks = SearchTasks(study(search))
        tasks.next()
    assert message in str(caught.value)
    assert not Path(runs_dir()).exists()
