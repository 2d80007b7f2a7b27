"""What a method may ask of the engine: prompts, lists, statistics, running and moving state."""

from __future__ import annotations

import copy

import pytest
import torch
from closeness import assert_near
from tiny import make_data, make_model, make_tokens, make_trainer, moved

from tiebreak.engine.batches import BatchPlan
from tiebreak.engine.reference import Live
from tiebreak.engine.scorer import Scorer, TrainingData
from tiebreak.engine.scoring import install
from tiebreak.methods import METHODS, Needs


def log_probs(model, ids):
    """Log-prob of each of `ids` after its first, and the whole distributions there."""
    log_p_TV = model(input_ids=torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    return log_p_TV.gather(1, torch.tensor(ids[1:])[:, None])[:, 0], log_p_TV


@pytest.fixture
def policy():
    model = moved(make_model())
    install(model)
    return model


def test_prompt_log_probs_are_those_of_the_plain_model(policy):
    tokens = make_tokens(6)
    tokens.prompts[2] = [5]  # nothing in it is predicted
    pairs, scores = Scorer(TrainingData(tokens), 0, 10**6, 0).pairs(
        policy, [0, 1, 2], Needs(reference=False, prompt=True)
    )
    assert pairs.prompt is not None and len(scores.logp) == 9
    for i in range(3):
        want, _ = log_probs(policy, [*tokens.prompts[i], *tokens.responses[i][0]])
        n = len(tokens.prompts[i]) - 1
        assert int(pairs.prompt.mask[i].sum()) == n
        assert_near(pairs.prompt.policy[i, :n], want[:n])
        both = pairs.prompt.logp()[i] + pairs.chosen.logp()[i]
        assert_near(both, want.sum())
    bare, _ = Scorer(TrainingData(tokens), 0, 10**6, 0).pairs(policy, [0, 1, 2], Needs())
    assert bare.prompt is None
    assert_near(bare.chosen.policy, pairs.chosen.policy)


def test_collision_is_that_of_the_plain_model(policy):
    tokens = make_tokens(3)
    scorer = Scorer(TrainingData(tokens), 0, 10**6, 0)
    pairs, _ = scorer.pairs(policy, [1, 2], Needs(reference=False, collision=True))
    for i, row in enumerate((1, 2)):
        prompt, response = tokens.prompts[row], tokens.responses[row][1]
        _, log_p_TV = log_probs(policy, [*prompt, *response])
        want_T = log_p_TV[len(prompt) - 1 :].exp().square().sum(-1).log()
        assert_near(pairs.rejected.collision[i, : len(want_T)], want_T)


def test_ranked_lists_reach_the_method_best_first(policy):
    tokens = make_tokens(4, k=4)
    pairs, _ = Scorer(TrainingData(tokens), 0, 10**6, 0).pairs(policy, [1, 3])
    assert pairs.ranked is not None and len(pairs.ranked) == 4
    assert pairs.scores.tolist() == [[4.0, 2.0, 2.0, 1.0]] * 2
    assert_near(pairs.ranked[0].policy, pairs.chosen.policy)
    assert_near(pairs.ranked[3].policy, pairs.rejected.policy)
    for k in range(4):
        want, _ = log_probs(policy, [*tokens.prompts[3], *tokens.responses[3][k]])
        n = len(tokens.responses[3][k])
        assert_near(pairs.ranked[k].policy[1, :n], want[-n:])


STATEFUL = {"bco": {}, "beta-dpo": {}, "tr-dpo": {"sync_every": 2}, "tdpo2": {}}


@pytest.mark.parametrize("name", STATEFUL)
def test_a_resumed_run_is_the_run(tmp_path, name):
    """Killed after step 3 of 6, what the method carries comes back with the checkpoint."""
    method, start = METHODS[name](**STATEFUL[name]), make_model()
    rows: dict[str, list] = {"whole": [], "halves": []}

    def trainer(kind, steps):
        plan = BatchPlan(tuple(tuple(range(i, 12, 3)) for i in (0, 1, 2, 1, 0, 2))[:steps])
        data = make_data(make_tokens(12), make_model(), method)
        return make_trainer(
            tmp_path / kind, method, copy.deepcopy(start), data, plan=plan, checkpoint_every=3,
            schedule="constant", on_step=lambda step, row, speed: rows[kind].append(row),
        )  # fmt: skip

    whole = trainer("whole", 6)
    whole.train()
    trainer("halves", 3).train()
    resumed = trainer("halves", 6)
    assert resumed.resume() == 3
    resumed.train()
    assert rows["halves"] == rows["whole"]
    for (n, want), (_, got) in zip(
        whole.model.named_parameters(), resumed.model.named_parameters(), strict=True
    ):
        assert torch.equal(want, got), n
    assert resumed.method_state.carried == whole.method_state.carried


def test_the_moving_reference_follows_at_its_steps(tmp_path):
    method = METHODS["tr-dpo"](mixing=0.25, sync_every=2)
    start, seen = make_model(), []
    live = Live(copy.deepcopy(start).requires_grad_(False))
    install(live.copy)
    data = TrainingData(make_tokens(8), live=live)

    def on_step(step, row, speed):
        seen.append((step, weights(live.copy), weights(trainer.model)))

    trainer = make_trainer(tmp_path, method, copy.deepcopy(start), data, on_step=on_step,
                           batch_size=4, epochs=2)  # fmt: skip
    trainer.train()
    first, again = weights(start), dict((step, (ref, pol)) for step, ref, pol in seen)
    assert torch.equal(again[1][0], first), "not before its step"
    want = 0.75 * first + 0.25 * again[2][1]
    assert_near(again[2][0], want)
    assert torch.equal(again[3][0], again[2][0])
    assert not torch.equal(again[4][0], again[3][0])


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()]).clone()
