"""What can be said over the questions alone, of models that stay as they are: pure functions.

Where a method has one seed or two, nothing tells what training again would give. But each model
answered the same questions, and another choice of questions is what `model_difference` allows for:

    d_i = mean over a's seeds - mean over b's seeds, of question i
    H0: neither model is better, so d_i could as well have been -d_i, for each i by itself

The p-value is the share of all 2^n choices of signs whose |sum| is at least the one that was seen.
With answers of 0 and 1 and one seed a side this is McNemar's (1947) exact test. A bootstrap needs
as many draws as the smallest p that Holm's correction asks for, and of ten questions that differ it
knows no tail; so p is by signs, and the interval is Student's t over questions, which is the paired
bootstrap's to within its own noise.

Both `by_subject` and `average` are linear in the values, so a difference of two rows is the same
row made from differences, and everything that takes a `Sample` takes theirs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import bdtr, ndtr

from tiebreak_analysis.statistics import Difference, Sample, crossed, mean_interval

MIN_QUESTIONS = 10
"""Fewer questions (or subjects) say nothing of a model, whatever their answers."""
MIN_SUBJECTS = 10
"""With fewer subjects in a benchmark, its questions are drawn one by one; see `by_subject`."""
EXACT = 8_000  # sum of |d_i| on its grid up to which the choices of signs are counted out
FEW = 15  # questions that differ of which all 2^n choices of signs are made
GRID = 4  # two seeds and ties that count half: differences are multiples of a quarter


def by_subject(values: np.ndarray, subjects: np.ndarray) -> np.ndarray:
    """Values (questions,) of one model as one per subject (subjects,), with the same mean.

    `subjects`: (questions,) numbers from 0. Of subject g: mean + G/n sum over g of (value - mean),
    the linearised ratio estimate of Cochran (1977, "Sampling techniques", 9A), so that subjects of
    unequal size cost no more than they must.
    """
    mean = values.mean()
    apart = np.bincount(subjects, weights=values - mean)
    return mean + len(apart) / len(values) * apart


def average(parts: Sequence[tuple[str, Sample]]) -> Sample:
    """The mean over named samples of the same seeds, of equal weight however many items they have.

    Its items are those of all parts, centred in their own part: that one benchmark is harder than
    another is no noise. By seed alone where a part has no items.
    """
    first = parts[0][1]
    means = [s.values.reshape(len(s.seeds), -1).mean(1) for _, s in parts]
    mean = np.mean(means, axis=0)
    if not all(sample.items for _, sample in parts):
        return Sample(first.seeds, (), mean)
    total = sum(len(sample.items) for _, sample in parts)
    values = [
        mean[:, None] + total / len(parts) / len(sample.items) * (sample.values - own[:, None])
        for (_, sample), own in zip(parts, means, strict=True)
    ]
    items = tuple(f"{name} {item}" for name, sample in parts for item in sample.items)
    return Sample(first.seeds, items, np.concatenate(values, axis=1))


def model_difference(a: Sample, b: Sample, level: float = 0.95) -> Difference | None:
    """a's models minus b's on the questions both have, with p by signs (head of this file).

    None: fewer than MIN_QUESTIONS in common.
    """
    apart = paired(a, b)
    if apart is None:
        return None
    found = mean_interval(apart, level)
    counts = min(len(a.seeds), len(b.seeds)), len(apart)
    return Difference(found.mean, found.low, found.high, sign_p(apart), *counts)


def paired(a: Sample, b: Sample) -> np.ndarray | None:
    """a's models minus b's (questions,), each the mean of its seeds. None: too few in common."""
    if a.items == b.items:
        apart = a.values.mean(0) - b.values.mean(0)
        return apart if len(a.items) >= MIN_QUESTIONS else None
    there = set(b.items)
    items = tuple(item for item in a.items if item in there)
    if len(items) < MIN_QUESTIONS:
        return None
    return a.at(a.seeds, items).mean(0) - b.at(b.seeds, items).mean(0)


def sign_p(apart: np.ndarray) -> float:
    """Share of all choices of signs of `apart` (n,) whose |sum| is at least |its sum|.

    Counted out where the values lie on a grid of quarters; else by the saddlepoint of Lugannani and
    Rice (1980) and Robinson (1982), which keeps its relative precision far into the tail.
    """
    steps = np.rint(GRID * apart)
    if not np.allclose(GRID * apart, steps, rtol=0, atol=1e-9):
        return _saddlepoint(apart[apart != 0])
    steps = steps[steps != 0].astype(int)
    sizes, counts = np.unique(np.abs(steps), return_counts=True)
    if len(sizes) < 2:  # McNemar's test
        fewer = int(min((steps > 0).sum(), (steps < 0).sum()))
        return min(1.0, 2 * float(bdtr(fewer, len(steps), 0.5)))
    if np.abs(steps).sum() > EXACT:
        return _saddlepoint(steps.astype(float))
    return _counted(steps, sizes, counts)


def _counted(steps: np.ndarray, sizes: np.ndarray, counts: np.ndarray) -> float:
    """A binomial of each size of step, convolved."""
    chance = np.ones(1)  # of a sum of -k, ..., k
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        k = np.arange(count + 1)
        log = [math.lgamma(count + 1) - math.lgamma(i + 1) - math.lgamma(count - i + 1) for i in k]
        own = np.zeros(2 * size * count + 1)
        own[2 * size * k] = np.exp(np.array(log) - count * math.log(2))
        chance = np.convolve(chance, own)
    sums = np.arange(len(chance)) - len(chance) // 2
    return min(1.0, float(chance[np.abs(sums) >= abs(int(steps.sum()))].sum()))


def _saddlepoint(apart: np.ndarray) -> float:
    """2 P(sum of signs times |d_i| >= s), with K(t) = sum of log cosh(t d_i) and K'(t) = s; of few
    values all choices are made."""
    size = np.abs(apart)
    if len(size) <= FEW:
        signs = np.arange(2 ** len(size))[:, None] >> np.arange(len(size)) & 1
        sums = ((2 * signs - 1) * size).sum(1)
        return float((np.abs(sums) >= abs(apart.sum()) * (1 - 1e-9)).mean())
    s, most = abs(float(apart.sum())), float(size.sum())
    spread = float(np.sqrt(np.square(size).sum()))
    least = 2.0 * 0.5 ** len(size)
    if s >= most * (1 - 1e-9):
        return least
    if s <= 1e-3 * spread:  # the formula is 0/0 there
        return 2 * float(ndtr(-s / spread))
    t = 0.0
    for _ in range(200):  # Newton's method: K' is concave, so no step from 0 overshoots
        slope = np.tanh(t * size)
        bend = float((np.square(size) * (1 - np.square(slope))).sum())
        step = (s - float((size * slope).sum())) / bend
        t += step
        if step <= 1e-9 * t:
            break
    k = float(np.logaddexp(t * size, -t * size).sum()) - len(size) * math.log(2)
    w, u = math.sqrt(2 * (t * s - k)), t * math.sqrt(bend)
    tail = float(ndtr(-w)) + math.exp(-w * w / 2) / math.sqrt(2 * math.pi) * (1 / u - 1 / w)
    return min(1.0, max(least, 2 * tail))


def spread_and_noise(samples: Sequence[Sample]) -> tuple[float, float] | None:
    """Variance of the rows' means, and the mean over rows of the variance of a row's mean.

    Rows answer the same questions: what a question does to all of them alike is taken out first, as
    it is in the spread. Equal models give two numbers that are equal on average. Seeds count where
    a row has two or more. None: fewer than two rows, other items, or fewer than MIN_QUESTIONS.
    """
    rows = len(samples)
    if rows < 2 or len({sample.items for sample in samples}) > 1:
        return None
    num_items = len(samples[0].items)
    if num_items < MIN_QUESTIONS:
        return None
    alike = np.mean([sample.values.mean(0) for sample in samples], axis=0)
    taken_out = rows / (rows - 1)  # centred on the mean of R rows, a row keeps (R-1)/R of its own
    noise = []
    for sample in samples:
        own = sample.values - alike
        if len(sample.seeds) == 1:
            noise.append(taken_out * float(own[0].var(ddof=1)) / num_items)
            continue
        c = crossed(own)
        seeds, rest = max(float(c.of_seeds), float(c.of_rest)), float(c.of_rest)
        items = max(taken_out * float(c.of_items) - rest, 0.0)
        noise.append((seeds + items) / (len(sample.seeds) * num_items))
    means = [sample.mean for sample in samples]
    return float(np.var(means, ddof=1)), float(np.mean(noise))


def signal_to_noise(blocks: Sequence[Sequence[Sample]]) -> float | None:
    """Spread between rows over the standard error of a row's mean, over all blocks (scenarios).

    After Heineman et al. (2025, arXiv 2508.13144); docs/statistics.md says what differs. Equal
    models give about 1; of two rows it is |t| of their difference. None: nothing to take it from.
    """
    found = [(len(rows) - 1, *both) for rows in blocks if (both := spread_and_noise(rows))]
    spread = sum(weight * one for weight, one, _ in found)
    noise = sum(weight * one for weight, _, one in found)
    return math.sqrt(spread / noise) if noise > 0 else None
