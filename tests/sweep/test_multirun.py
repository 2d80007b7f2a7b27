"""`tiebreak run -m`: what a Hydra user expects of comma lists."""

from __future__ import annotations

import pytest

from tiebreak.errors import UserError
from tiebreak.sweep.sweep_file import multirun


def test_every_combination() -> None:
    study, engine = multirun(["method=dpo,simpo", "seed=1,2", "train.learning_rate=1e-4"])
    found = [(r.method_name, r.seed, r.train.learning_rate) for r in study.runs()]
    assert found == [("dpo", 1, 1e-4), ("dpo", 2, 1e-4), ("simpo", 1, 1e-4), ("simpo", 2, 1e-4)]
    assert engine is None, "the option's"


def test_hydra_s_ways_to_write_values() -> None:
    study, engine = multirun(
        ["seed=range(1,4)", "method.beta=choice(0.1,0.5)", "hydra/launcher=basic"]
    )
    found = [(r.seed, getattr(r.method, "beta", None)) for r in study.runs()]
    assert len(found) == 6 and set(found) == {(s, b) for s in (1, 2, 3) for b in (0.1, 0.5)}
    assert engine == "local"


def test_the_same_command_is_the_same_study() -> None:
    one, other = multirun(["seed=1,2", "method=dpo"]), multirun(["method=dpo", "seed=1,2"])
    assert one[0].name == other[0].name != multirun(["seed=1,3"])[0].name


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("train.learning_rate=interval(1,2)", "-m takes lists; an interval is searched in a"),
        ("seed=[1", "could not read seed=[1"),
        ("sed=1,2", "unknown group 'sed' (nearest: 'seed')"),
        ("method=dpo,dpoo", "unknown method 'dpoo' (nearest: 'dpo')"),
    ],
)
def test_mistakes_are_named(item: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        multirun([item])[0].runs()
    assert message in str(caught.value)
