"""Tuning: what a budget of trials buys, and results of settings that were selected."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


def expected_best(
    scores: Sequence[float],
    budget: int,
    *,
    higher_is_better: bool = True,
    with_replacement: bool = False,
) -> float:
    """The validation score to expect of the best of `budget` trials, from the k tried.

    So that a method tuned ten times is read at the budget of one tuned once. Scores (k,), of
    settings drawn at random. Sorted upwards, v_1 ... v_k:

        unbiased (default):  sum_i v_i C(i-1, n-1) / C(k, n)         n draws without replacement
        with replacement:    sum_i v_i ((i/k)^n - ((i-1)/k)^n)       Dodge et al. 2019

    Sources: Dodge et al. 2019, "Show Your Work", arXiv 1909.03004, equation 7 and what follows;
    their estimate is biased downwards (Tang et al. 2020, arXiv 2004.13705), the first form, the
    U-statistic, is not. ValueError: no scores, one not finite, a budget below 1 or above k.
    """
    k = len(scores)
    if not k or not all(map(math.isfinite, scores)):
        raise ValueError(f"scores must be one or more finite numbers: {scores!r}")
    if not 1 <= budget <= k:
        raise ValueError(f"a budget of {budget} cannot be read off {k} trials; give 1 to {k}")
    sign = 1 if higher_is_better else -1
    best = 0.0
    for i, score in enumerate(sorted(sign * score for score in scores), start=1):
        if with_replacement:
            share = (i / k) ** budget - ((i - 1) / k) ** budget
        else:
            share = math.comb(i - 1, budget - 1) / math.comb(k, budget)
        best += share * score
    return sign * best


@dataclass(frozen=True)
class Selected:
    """A setting chosen by its validation score, and what it then scored on test."""

    name: str
    validation: float
    test: float


def select(
    validation: Mapping[str, float], test: Mapping[str, float], *, higher_is_better: bool = True
) -> Selected:
    """The setting with the best validation score, and its test score: test selects nothing.

    The best score of many is high partly by luck, so the validation score of the winner must not
    be reported as its result (Cawley and Talbot 2010, JMLR 11). Equal scores: the first by name.
    ValueError: nothing to select from, a score not finite, no test score for the one selected.
    """
    if not validation or not all(map(math.isfinite, validation.values())):
        raise ValueError(f"validation scores must be one or more finite numbers: {validation!r}")
    sign = -1 if higher_is_better else 1
    name = min(validation, key=lambda n: (sign * validation[n], n))
    if name not in test:
        raise ValueError(f"{name!r} was selected on validation and has no test score")
    return Selected(name, validation[name], test[name])
