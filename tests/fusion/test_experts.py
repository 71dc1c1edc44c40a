"""The packed experts equal a plain loop over experts."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from remind.fusion.moe import Experts, Modulation, grouped
from remind.fusion.moe.activations import ACTIVATIONS
from remind.fusion.moe.grouped import (
    Pairs,
    has_grouped_mm,
    linear_by_group,
    mix_blocked,
    mix_chunked,
    mix_grouped,
)
from tests.fusion.reference import assert_same, loop_experts

MIXES = {"chunked": mix_chunked, "grouped": mix_grouped, "blocked": mix_blocked}


def choice(num_tokens: int, top_k: int, num_experts: int, used: int) -> tuple[Tensor, Tensor]:
    """Random distinct experts of every token among the first ``used``, and their gates."""
    scores_TE = torch.rand(num_tokens, num_experts, dtype=torch.float64)
    scores_TE[:, used:] -= 1
    gates_TK, index_TK = scores_TE.topk(top_k)
    return index_TK, gates_TK.abs()


@settings(max_examples=40, deadline=None)
@given(
    num_tokens=st.integers(0, 9),
    num_experts=st.integers(1, 6),
    top_k=st.integers(1, 6),
    used=st.integers(1, 6),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    modulated=st.booleans(),
    chunk=st.sampled_from([1, 24, 2**19]),
    seed=st.integers(0, 9),
)
def test_mixture_equals_a_loop_over_experts(
    num_tokens, num_experts, top_k, used, activation, modulated, chunk, seed
):
    """Any size, experts without tokens, any cut into chunks: same values, same gradients."""
    torch.manual_seed(seed)
    top_k = min(top_k, num_experts)
    experts = Experts(4, 6, num_experts, activation).double()
    x_TD = torch.randn(num_tokens, 4, dtype=torch.float64, requires_grad=True)
    index_TK, gates_TK = choice(num_tokens, top_k, num_experts, max(used, top_k))
    gates_TK.requires_grad_()
    scale_UH = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    combo_T = torch.randint(3, (num_tokens,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grouped, "CHUNK", chunk)
        patch.setattr(grouped, "SHORTEST", 1)
        modulation = Modulation(scale_UH, combo_T) if modulated else None
        out_TD = experts(x_TD, index_TK, gates_TK, modulation)
    w1, w2 = experts.w1_EDF, experts.w2_EHD
    scale_TH = scale_UH[combo_T] if modulated else None
    expected = loop_experts(x_TD, index_TK, gates_TK, w1, w2, experts.activation, scale_TH)
    inputs = [x_TD, gates_TK, w1, w2, *([scale_UH] if modulated else [])]
    assert_same(out_TD, expected, inputs)


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    ("num_tokens", "modulated"), [(40, False), (40, True), (1, True), (0, True)]
)
def test_both_paths_equal_the_loop_in_float32(mix, activation, num_tokens, modulated):
    """One grouped GEMM per layer and the chunked loop compute the same, with an idle expert."""
    torch.manual_seed(0)
    experts = Experts(8, 16, 5, activation)
    x_TD = torch.randn(num_tokens, 8, requires_grad=True)
    index_TK, gates_TK = choice(num_tokens, 2, 5, used=4)
    gates_TK = gates_TK.float().requires_grad_()
    combo_T = torch.randint(3, (num_tokens,))
    scale_UH = torch.randn(3, 16, requires_grad=True) if modulated else None
    pairs = Pairs.of(index_TK, gates_TK, 5, combo_T)
    w1, w2 = experts.w1_EDF, experts.w2_EHD
    out_TD = MIXES[mix](x_TD, w1, w2, scale_UH, pairs, experts.activation)
    scale_TH = None if scale_UH is None else scale_UH[combo_T]
    expected = loop_experts(x_TD, index_TK, gates_TK, w1, w2, experts.activation, scale_TH)
    inputs = [x_TD, gates_TK, w1, w2, *([] if scale_UH is None else [scale_UH])]
    assert_same(out_TD, expected, inputs)


@pytest.mark.parametrize(
    ("width", "hidden", "dtype", "exists"),
    [
        (8, 16, torch.bfloat16, True),
        (6, 16, torch.bfloat16, False),  # rows of 12 bytes
        (8, 16, torch.float32, False),  # on CUDA it would be a loop on the host
    ],
)
def test_a_grouped_gemm_is_asked_for_where_it_exists(width, hidden, dtype, exists):
    """Rows of multiples of 16 bytes, and a type that has a kernel."""
    w1_EDF = torch.empty(3, width, hidden, dtype=dtype)
    assert has_grouped_mm(torch.empty(1, width, dtype=dtype), w1_EDF) is exists


@pytest.mark.parametrize("num_tokens", [0, 1, 200])
def test_a_matrix_per_group_is_that_of_the_tokens_group(num_tokens):
    """Blocks of tokens of one group give what each token's own matrix gives, with an idle group."""
    torch.manual_seed(0)
    x_TD = torch.randn(num_tokens, 4, dtype=torch.float64, requires_grad=True)
    w_UDE = torch.randn(5, 4, 3, dtype=torch.float64, requires_grad=True)
    group_T = torch.randint(4, (num_tokens,))
    expected = torch.einsum("td,tde->te", x_TD, w_UDE[group_T])
    assert_same(linear_by_group(x_TD, w_UDE, group_T), expected, [x_TD, w_UDE])


def test_gradients_equal_finite_differences():
    """The hand-written backward of every activation passes gradcheck in float64."""
    torch.manual_seed(0)
    index_TK, gates_TK = choice(3, 2, 3, used=3)
    combo_T = torch.tensor([1, 0, 1])
    for activation in ACTIVATIONS:
        experts = Experts(2, 3, 3, activation).double()

        def mix(x_TD, gates_TK, w1, w2, scale_UH, experts=experts):
            pairs = Pairs.of(index_TK, gates_TK, 3, combo_T)
            return mix_chunked(x_TD, w1, w2, scale_UH, pairs, experts.activation)

        x_TD = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
        scale_UH = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
        weights = (experts.w1_EDF, experts.w2_EHD)
        assert torch.autograd.gradcheck(mix, (x_TD, gates_TK.requires_grad_(), *weights, scale_UH))


def test_autocast_computes_in_bfloat16_and_returns_float32_gradients():
    """Under autocast the matmuls run in its dtype; weights and their gradients stay float32."""
    torch.manual_seed(0)
    experts = Experts(8, 16, 3)
    x_TD = torch.randn(7, 8, requires_grad=True)
    index_TK, gates_TK = choice(7, 2, 3, used=3)
    modulation = Modulation(torch.ones(1, 16), torch.zeros(7, dtype=torch.int64))
    exact = experts(x_TD, index_TK, gates_TK.float(), modulation)
    with torch.autocast("cpu", torch.bfloat16):
        out_TD = experts(x_TD, index_TK, gates_TK.float(), modulation)
    assert out_TD.dtype == torch.bfloat16
    torch.testing.assert_close(out_TD.float(), exact, rtol=0.05, atol=0.02)
    out_TD.float().sum().backward()
    assert experts.w1_EDF.grad is not None
    assert experts.w1_EDF.grad.dtype == torch.float32
