"""TDPO through rows, hidden states and the trainer, against full logits and autograd alone."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from closeness import assert_gradients_near, assert_near
from tiny import gradients, make_model, make_tokens, moved, one_step
from torch.nn.functional import logsigmoid

from tiebreak.engine.reference import Live
from tiebreak.engine.scorer import TrainingData
from tiebreak.engine.scoring import install
from tiebreak.methods import METHODS

NUM = 8


def lora(model, scale):
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    policy = get_peft_model(
        model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    )
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, scale)
    return policy


def full_logits(model, prompt, response):
    """(T, V) log-probs that predict the response, by the model's ordinary call."""
    ids = torch.tensor([[*prompt, *response]])
    plain = model.get_base_model() if hasattr(model, "peft_config") else model
    logits = model(input_ids=ids).logits if plain is not model else model(ids).logits
    return logits[0, len(prompt) - 1 : -1].log_softmax(-1)


def sums(policy, reference, prompt, response):
    """(drift, K) of one response: sums over its positions, and over no other."""
    log_p_TV = full_logits(policy, prompt, response)
    with torch.no_grad():
        log_q_TV = full_logits(reference, prompt, response)
    picked = torch.tensor(response)[:, None]
    drift = (log_p_TV.gather(1, picked) - log_q_TV.gather(1, picked)).sum()
    return drift, (log_q_TV.exp() * (log_q_TV - log_p_TV)).sum()


def naive(policy, reference, tokens, *, beta, alpha):
    """Equations 15 (alpha None) and 17, straight from logits of separate forwards."""
    losses = []
    for prompt, (chosen, rejected) in zip(tokens.prompts, tokens.responses, strict=True):
        drift_c, k_c = sums(policy, reference, prompt, chosen)
        drift_r, k_r = sums(policy, reference, prompt, rejected)
        shift = k_r - k_c if alpha is None else alpha * (k_r - k_c.detach())
        losses.append(-logsigmoid(beta * (drift_c - drift_r - shift)))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("kind", ["lora", "separate reference"])
@pytest.mark.parametrize("name", ["tdpo1", "tdpo2"])
def test_equals_full_logits(tmp_path, name, kind):
    tokens, reference = make_tokens(NUM), make_model()
    if kind == "lora":
        policy, live = lora(make_model(), 0.3), Live()
    else:
        policy, live = moved(make_model(), scale=0.05), Live(copy.deepcopy(reference))
        install(live.copy)
    method = METHODS[name](beta=0.7)
    policy.zero_grad()
    expected = naive(policy, reference, tokens, beta=0.7, alpha=getattr(method, "alpha", None))
    expected.backward()
    wanted = gradients(policy)
    policy.zero_grad()
    data = TrainingData(tokens, live=live)
    row, found = one_step(tmp_path, method, data, range(NUM), model=policy, budget=60)
    assert abs(row["loss"] - math.log(2)) > 0.01, "the comparison means something"
    assert_near(row["loss"], expected, what="loss")
    assert_gradients_near(found, wanted)


def test_the_divergence_is_summed_over_the_response_alone(tmp_path):
    """A longer prompt, where policy and reference differ as much, adds nothing to K."""
    from tiebreak.engine.scorer import Scorer

    tokens = make_tokens(4)
    data = TrainingData(tokens, live=Live(make_model()))
    install(data.live.copy)
    policy = moved(make_model(), scale=0.05)
    install(policy)
    pairs, _ = Scorer(data, 0, 10**6, 0).pairs(policy, [0, 1, 2], METHODS["tdpo1"]().needs)
    for i, row in enumerate([0, 1, 2]):
        for side, response in zip((pairs.chosen, pairs.rejected), tokens.responses[row],
                                  strict=True):  # fmt: skip
            assert int(side.mask[i].sum()) == len(response)
            _, k = sums(policy, make_model(), tokens.prompts[row], response)
            assert_near(side.total_kl()[i], k)
    assert pairs.chosen.total_kl().min() > 1e-4
