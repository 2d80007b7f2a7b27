"""RRHF on lists of several responses, against the paper's sums written out."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch

from tiebreak.methods import METHODS, Pairs, Responses

# Two prompts with four responses each, best first; the first list has a tie, the second one too.
LOGPS = [
    [[-1.0, -2.0, -3.0], [-0.5, -0.25], [-4.0], [-0.5, -1.0, -0.5, -1.0]],
    [[-0.1], [-3.0, -3.5], [-2.0, -2.5, -3.0], [-0.2, -0.3]],
]
SCORES = [[0.9, 0.4, 0.4, -1.0], [2.0, 2.0, 1.0, 0.5]]


def lists(dtype: torch.dtype = torch.float64) -> Pairs:
    """The lists as what a method sees, padded with NaN."""
    ranked = []
    for place in range(4):
        rows = [LOGPS[prompt][place] for prompt in range(2)]
        policy_BT = torch.tensor(
            [row + [float("nan")] * (5 - len(row)) for row in rows], dtype=dtype
        )
        mask_BT = torch.arange(5)[None] < torch.tensor([[len(row)] for row in rows])
        ranked.append(Responses(policy_BT.requires_grad_(), mask=mask_BT))
    scores_Bk = torch.tensor(SCORES, dtype=dtype)
    return Pairs(ranked[0], ranked[-1], ranked=tuple(ranked), scores=scores_Bk)


@pytest.mark.parametrize("length_penalty", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("nll", ["response", "sum"])
def test_four_responses_give_the_sum_over_pairs_of_unequal_score(length_penalty, nll):
    method = METHODS["rrhf"](k=4, nll=nll, length_penalty=length_penalty, rank_weight=3.0)
    expected, counted = [], []
    for logps, scores in zip(LOGPS, SCORES, strict=True):
        p = [sum(tokens) / len(tokens) ** length_penalty for tokens in logps]
        pairs = [(i, j) for i, j in itertools.product(range(4), repeat=2) if scores[i] < scores[j]]
        ranking = sum(max(0.0, p[i] - p[j]) for i, j in pairs)
        likelihood = sum(logps[0]) / (len(logps[0]) if nll == "response" else 1)
        expected.append(3.0 * ranking - likelihood)
        counted.append(len(pairs))
    assert counted == [5, 5], "a tie takes one of the six pairs away"
    assert method.loss(lists()).tolist() == pytest.approx(expected, rel=1e-12)


def test_one_list_by_hand():
    """p = -2, -0.375, -4, -0.75: the second and the fourth are above better ones."""
    loss_B = METHODS["rrhf"](k=4).loss(lists())
    above_first = (-0.375 + 2) + (-0.75 + 2)
    above_third = -0.75 + 4
    assert loss_B[0].item() == pytest.approx(above_first + above_third + 2)


def test_the_gradient_pushes_each_response_once_per_violated_pair():
    pairs = lists()
    METHODS["rrhf"](k=4).loss(pairs)[0].backward()
    per_token = [r.policy.grad[0, : len(LOGPS[0][i])].tolist() for i, r in enumerate(pairs.ranked)]
    # first: below two worse ones, and the best; second: above one better; fourth: above two.
    assert per_token == [
        pytest.approx([(-2 - 1) / 3] * 3), pytest.approx([1 / 2] * 2), pytest.approx([-1.0]),
        pytest.approx([2 / 4] * 4),
    ]  # fmt: skip
    for r in pairs.ranked:
        assert not r.policy.grad[~r.mask].any(), "padding has a gradient"


def test_ties_give_no_ranking_loss():
    tied = dataclasses.replace(lists(), scores=torch.zeros(2, 4))
    found_B = METHODS["rrhf"](k=4).loss(tied)
    assert found_B.tolist() == pytest.approx([2.0, 0.1])


def test_a_pair_is_a_list_of_two():
    four = lists()
    pair = Pairs(four.chosen, four.rejected)
    two = dataclasses.replace(
        pair, ranked=(four.chosen, four.rejected), scores=torch.tensor([[1.0, 0.0]] * 2)
    )
    torch.testing.assert_close(METHODS["rrhf"]().loss(pair), METHODS["rrhf"]().loss(two))


def test_lists_of_another_length_are_refused():
    with pytest.raises(ValueError, match="k=4"):
        METHODS["rrhf"](k=3).loss(lists())
    with pytest.raises(ValueError, match="k=2"):
        METHODS["rrhf"](k=3).loss(Pairs(lists().chosen, lists().rejected))


def test_it_asks_for_lists_of_k():
    assert METHODS["rrhf"](k=5).needs.ranked == 5
