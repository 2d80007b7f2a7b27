"""Every hyper-parameter: it has an effect, a source, bounds that hold, and values worth trying."""

from __future__ import annotations

from typing import Any

import pytest
from any_method import BOUNDS, batch, carried, fields, others

from tests.config.quick import quick
from tiebreak.config.typed import Choice, search_space
from tiebreak.errors import UserError
from tiebreak.methods import METHODS

FIELDS = [(name, key) for name in METHODS for key in fields(name)]
CHECKS = [(name, key, check) for name, key in FIELDS
          for check in fields(name)[key].metadata["check"]]  # fmt: skip
OPTIONS = [(name, key) for name, key in FIELDS if fields(name)[key].metadata["options"]]
WORDS = {"above": "above", "below": "below", "at_least": "at least", "at_most": "at most"}


def effects(name: str, settings: dict[str, Any]) -> list[list[float]]:
    """All that a run could notice: losses, what is carried, how the reference moves."""
    method: Any = METHODS[name](**settings)
    found = []
    for scale in (5.0, 0.5):
        first = carried(method, batch(1, scale=scale))
        second = carried(method, batch(2, scale=scale), dict(first.carried))
        for pairs in (first, second):
            found += [method.loss(pairs).tolist(), [float(v) for v in pairs.carried.values()]]
    if hasattr(method, "reference_share"):
        found.append([method.reference_share(step) for step in range(1, 2001)])
    return found


def differs(name: str, settings: dict[str, Any], base: dict[str, Any]) -> bool:
    """Whether it has an effect on top of `base`; refusing this data with words is one, too."""
    before = effects(name, base)
    try:
        after = effects(name, base | settings)
    except ValueError:
        return True
    return any(one != pytest.approx(other, rel=1e-5, abs=1e-7)
               for one, other in zip(after, before, strict=True))  # fmt: skip


@pytest.mark.parametrize(("name", "key"), FIELDS)
def test_each_hyperparameter_has_an_effect(name: str, key: str) -> None:
    """At the defaults, or else beside another option that it belongs to."""
    values = others(name, key)
    assert values, "there is nothing else it could be"
    options = [
        {k: v} for k in fields(name) if k != key for v in fields(name)[k].metadata["options"]
    ]
    assert any(differs(name, {key: value}, base) for base in [{}, *options] for value in values)


@pytest.mark.parametrize(("name", "key"), FIELDS)
def test_each_hyperparameter_names_its_source(name: str, key: str) -> None:
    field = fields(name)[key]
    assert field.metadata["source"]
    assert {"float": float, "int": int, "bool": bool, "str": str}[str(field.type)] is type(
        field.default
    )


@pytest.mark.parametrize(("name", "key"), FIELDS)
def test_what_is_worth_trying_composes(name: str, key: str) -> None:
    space = search_space(name).get(key, Choice(()))
    values = space.values if isinstance(space, Choice) else (space.low, space.high)
    default = fields(name)[key].default
    assert {type(value) for value in values} <= {type(default)}
    for value in [*values, default]:
        run = quick(f"method={name}", f"method.{key}={value}")
        assert run.method == METHODS[name](**{key: value}), f"{key}={value}"


@pytest.mark.parametrize(("name", "key", "check"), CHECKS)
def test_a_value_out_of_bounds_is_refused(name: str, key: str, check: str) -> None:
    field = fields(name)[key]
    limit, kind = field.metadata["check"][check], type(field.default)
    beyond = kind(limit + (1 if check in ("below", "at_most") else -1))
    bad = [beyond] if BOUNDS[check](limit, limit) else [beyond, kind(limit)]
    for value in bad:
        with pytest.raises(UserError) as caught:
            quick(f"method={name}", f"method.{key}={value}")
        said = f"method.{key}={value!r} must be {WORDS[check]} {limit:g}; usual values: "
        assert str(caught.value).startswith(said)
        assert len(str(caught.value)) > len(said), "a remedy"


@pytest.mark.parametrize(("name", "key"), OPTIONS)
def test_a_word_that_is_no_option_is_refused(name: str, key: str) -> None:
    words = fields(name)[key].metadata["options"]
    with pytest.raises(UserError) as caught:
        quick(f"method={name}", f"method.{key}=neither")
    said = f"method.{key}='neither' is not one of {', '.join(words)}"
    assert str(caught.value).startswith(said)
