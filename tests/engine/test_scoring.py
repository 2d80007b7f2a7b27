"""Log-probs of branch rows against separate forwards of the stock model, padding and precision."""

from __future__ import annotations

import pytest
import torch
from closeness import assert_gradients_near, assert_near
from tiny import VOCAB, gradients, make_model, make_tokens

from tiebreak.engine.models import autocast
from tiebreak.engine.rows import Branches, Layout, build
from tiebreak.engine.scorer import TrainingData
from tiebreak.engine.scoring import disable_noise, install, pad, score
from tiebreak.errors import UserError


def separate(model, prompt, response) -> torch.Tensor:
    """(T,) from one plain forward of prompt + response, with a causal mask."""
    ids = torch.tensor([[*prompt, *response]])
    log_p = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
    return log_p[len(prompt) - 1 :].gather(1, torch.tensor(response)[:, None]).squeeze(1)


def branches(num: int = 8) -> list[Branches]:
    data = TrainingData(make_tokens(num))
    return [data.branches(row) for row in range(num)]


@pytest.fixture
def model():
    scored = make_model()
    install(scored)
    return scored


def mistral(sliding_window):
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, initializer_range=0.2,
        sliding_window=sliding_window,
    )  # fmt: skip
    torch.manual_seed(0)
    return MistralForCausalLM(config).eval()


@pytest.mark.parametrize("kind", ["llama", "tied", "mistral"])
def test_branch_rows_equal_separate_forwards(kind):
    if kind == "mistral":
        scored = mistral(sliding_window=64)
    else:
        scored = make_model(tie_word_embeddings=kind == "tied")
    install(scored)
    rows = branches()
    with torch.no_grad():
        found = score(scored, build(rows, 0)).logp
        want = [separate(scored, b.prompt, r) for b in rows for r in b.responses]
    for got, expected in zip(found, want, strict=True):
        assert_near(got, expected)


def test_gradients_equal_separate_forwards(model):
    rows = branches()
    sum(logp.sum() for logp in score(model, build(rows, 0)).logp).backward()
    found = gradients(model)
    model.zero_grad()
    sum(separate(model, b.prompt, r).sum() for b in rows for r in b.responses).backward()
    assert_gradients_near(found, gradients(model))


def test_neither_padding_nor_company_matters(model):
    rows = branches()
    with torch.no_grad():
        together = score(model, build(rows, 0)).logp
        other_pad = score(model, build(rows, VOCAB - 1)).logp
        alone = [logp for b in rows for logp in score(model, build([b], 0)).logp]
    for a, b, c in zip(together, other_pad, alone, strict=True):
        assert_near(b, a)
        assert_near(c, a)


def test_a_sibling_changes_nothing(model):
    first = Branches([5, 6, 7], [[8, 9, 10]])
    both = Branches([5, 6, 7], [[8, 9, 10], [11, 12]])
    with torch.no_grad():
        alone, beside = (score(model, build([b], 0)).logp[0] for b in (first, both))
    assert_near(beside, alone)


def test_entropy_is_of_the_next_token(model):
    row = Branches([5, 6], [[7, 8]])
    with torch.no_grad():
        found = score(model, build([row], 0)).entropy[0]
        log_p = model(input_ids=torch.tensor([[5, 6, 7]])).logits[0, 1:].log_softmax(-1)
    assert_near(found, -(log_p.exp() * log_p).sum(-1))


def test_mixed_precision_keeps_float32_log_probs(model):
    rows = build(branches(), 0)
    with torch.no_grad():
        exact = torch.cat(score(model, rows).logp)
        with autocast("bfloat16"):
            rounded = torch.cat(score(model, rows).logp)
    assert rounded.dtype == torch.float32
    assert 1e-6 < (rounded - exact).abs().max() < 0.5


def test_install_twice_is_once_and_leaves_plain_calls_alone(model):
    forward, ids = model.forward, torch.tensor([[4, 5]])
    install(model)
    assert model.forward == forward
    assert_near(model(input_ids=ids).logits, make_model()(input_ids=ids).logits)


SHAPE = {"vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.2}  # fmt: skip


def of_config(name: str, **more):
    """A random model of a family, with what it does to its logits made large."""
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**SHAPE, **more)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    if model.lm_head.bias is not None:
        torch.nn.init.normal_(model.lm_head.bias)
    return model


HEADS = {
    "scale": lambda: of_config("Granite", logits_scaling=0.25, attention_multiplier=0.3),
    "other scale": lambda: of_config("Cohere", logit_scale=0.25),
    "soft cap": lambda: of_config("Gemma2", head_dim=8, final_logit_softcapping=1.0,
                                  attn_logit_softcapping=2.0, query_pre_attn_scalar=8),
    "bias": lambda: of_config("Phi"),
}  # fmt: skip


@pytest.mark.parametrize("head", HEADS)
def test_what_follows_the_head_is_the_models_own(head):
    scored, rows = HEADS[head](), branches(4)
    want = [separate(scored, b.prompt, r) for b in rows for r in b.responses]
    sum(logp.sum() for logp in want).backward()
    expected = gradients(scored)
    scored.zero_grad()
    install(scored)
    found = score(scored, build(rows, 0)).logp
    sum(logp.sum() for logp in found).backward()
    for got, one in zip(found, want, strict=True):
        assert_near(got.detach(), one.detach())
    assert_gradients_near(gradients(scored), expected)


@pytest.mark.parametrize("head", HEADS)
def test_the_same_with_a_frozen_head(head):
    scored, rows = HEADS[head](), branches(4)
    for part in (scored.get_output_embeddings(), scored.get_input_embeddings()):
        part.requires_grad_(False)
    sum(separate(scored, b.prompt, r).sum() for b in rows for r in b.responses).backward()
    expected = gradients(scored)
    scored.zero_grad()
    install(scored)
    sum(logp.sum() for logp in score(scored, build(rows, 0)).logp).backward()
    assert_gradients_near(gradients(scored), expected)


def test_an_unknown_use_of_the_logits_is_refused():
    odd = make_model()
    forward = odd.forward

    def squared(*args, **kwargs):
        out = forward(*args, **kwargs)
        out.logits = out.logits.square()
        return out

    odd.forward = squared
    with pytest.raises(UserError, match="does something to its logits"):
        install(odd)


@pytest.mark.parametrize("layout", Layout)
def test_rows_beyond_a_sliding_window(layout):
    scored, rows = mistral(sliding_window=6), branches()
    want = [separate(scored, b.prompt, r) for b in rows for r in b.responses]
    install(scored)
    with torch.no_grad():
        found = score(scored, build(rows, 0, layout=layout)).logp
    for got, expected in zip(found, want, strict=True):
        assert_near(got, expected.detach())


@pytest.mark.parametrize(
    ("layout", "overhead"),
    [(Layout.SEPARATE, float("inf")), (Layout.SEPARATE, 2), (Layout.ALONE, 2)],
)
def test_scores_and_gradients_do_not_depend_on_layout_and_forwards(model, layout, overhead):
    rows = branches()
    found, gradient = {}, {}
    for one in (Layout.SHARED, layout):
        model.zero_grad()
        found[one] = score(model, build(rows, 0, True, one, overhead)).logp
        torch.cat(found[one]).sum().backward()
        gradient[one] = gradients(model)
    for got, want in zip(found[layout], found[Layout.SHARED], strict=True):
        assert_near(got.detach(), want.detach())
    assert_gradients_near(gradient[layout], gradient[Layout.SHARED])


def test_a_copy_of_an_installed_model_calls_itself(model):
    import copy

    other, ids = copy.deepcopy(model), torch.tensor([[4, 5]])
    with torch.no_grad():
        other.lm_head.weight.zero_()
    assert not torch.equal(other(input_ids=ids).logits, model(input_ids=ids).logits)


def test_pad_and_dropout():
    values_BT, mask_BT = pad([torch.tensor([1.0, 2.0]), torch.tensor([3.0])])
    assert values_BT.tolist() == [[1, 2], [3, 0]]
    assert mask_BT.tolist() == [[True, True], [True, False]]
    net = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(2, 2))
    disable_noise(net)
    assert net[0].p == 0.0


def test_disable_noise_reaches_attention():
    """Attention dropout is a number, not a module, in transformers' Llama."""
    dropped = make_model(attention_dropout=0.5).train()
    install(dropped)
    disable_noise(dropped)
    rows = build(branches(2), 0)
    with torch.no_grad():
        first, second = (torch.cat(score(dropped, rows).logp) for _ in range(2))
    assert torch.equal(first, second)
