"""The arithmetic of the experts on token-expert pairs that are sorted by expert.

Each expert is two dense matmuls over its own pairs. Where that is fast, all experts are one grouped
GEMM per layer: bfloat16 on CUDA, and small batches on CPU. Elsewhere the experts are taken in turn,
in chunks whose hidden activations stay in cache: on CPU a grouped GEMM is a loop as well, and the
page faults of a large fresh (P, H) array cost as much as a matmul (``benchmarks/fusion_step.py``).

    out[t] = sum over pairs p of token t:  gate[p] * (f(x[t] W1_e) * scale[combo[p]]) W2_e

T tokens, K experts per token, P = T K pairs, N pairs of one chunk; D width, H hidden, F = H (2H for
gated units), E experts, U combinations.
"""

import sys
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from remind.fusion.moe.activations import Activation

CHUNK = 2**19  # hidden activations of a chunk on CPU: 2 MiB in float32
SMALL = 2**22  # hidden activations that a fresh array may hold on CPU: 16 MiB in float32


class Pairs(NamedTuple):
    """Token-expert pairs in the order in which they are computed: by expert, then by token.

    Attributes:
        place_P: place of the pair in the flattened (T, K) choice.
        token_P: token of the pair.
        combo_P: combination of the pair; empty where nothing depends on it.
        num_E: pairs of every expert.
        top_k: pairs of every token, K.
    """

    place_P: Tensor
    token_P: Tensor
    combo_P: Tensor
    num_E: Tensor
    top_k: int

    @classmethod
    def of(cls, index_TK: Tensor, num_experts: int, combo_T: Tensor | None = None) -> Self:
        """Sort the pairs of a choice of K experts per token by expert."""
        expert_P, place_P = index_TK.reshape(-1).sort(stable=True)
        top_k = index_TK.shape[1]
        token_P = place_P.div(top_k, rounding_mode="floor")
        combo_P = token_P[:0] if combo_T is None else combo_T.index_select(0, token_P)
        return cls(place_P, token_P, combo_P, expert_P.bincount(minlength=num_experts), top_k)


def mix_experts(
    x_TD: Tensor,
    gates_P: Tensor,
    w1_EDF: Tensor,
    w2_EHD: Tensor,
    scale_UH: Tensor | None,
    pairs: Pairs,
    activation: Activation,
) -> Tensor:
    """Return the sum above, the fast way for these tensors: (T, D)."""
    mix = mix_grouped if is_grouped_fast(x_TD, w1_EDF, len(pairs.token_P)) else mix_chunked
    return mix(x_TD, gates_P, w1_EDF, w2_EHD, scale_UH, pairs, activation)


def is_grouped_fast(x_TD: Tensor, w1_EDF: Tensor, num_pairs: int) -> bool:
    """Tell whether one grouped GEMM over all experts is possible and fast for these tensors."""
    _, width, columns = w1_EDF.shape
    if not hasattr(F, "grouped_mm"):  # torch < 2.10
        return False
    if width % 8 or columns % 16:  # rows of D, H and F must be multiples of 16 bytes
        return False
    if x_TD.is_cuda:
        return x_TD.dtype == torch.bfloat16
    is_small = num_pairs * columns <= SMALL
    return is_small and x_TD.device.type == "cpu" and x_TD.dtype == torch.float32


def mix_grouped(
    x_TD: Tensor,
    gates_P: Tensor,
    w1_EDF: Tensor,
    w2_EHD: Tensor,
    scale_UH: Tensor | None,
    pairs: Pairs,
    activation: Activation,
) -> Tensor:
    """Mix the experts by one grouped GEMM per layer: no loop, no waiting for the device."""
    ends_E = pairs.num_E.cumsum(0, dtype=torch.int32)
    h_PF = F.grouped_mm(x_TD.index_select(0, pairs.token_P), w1_EDF, offs=ends_E)
    a_PH = activation.forward(h_PF)
    if scale_UH is not None:
        a_PH = a_PH * scale_UH.index_select(0, pairs.combo_P)
    y_PD = F.grouped_mm(a_PH, w2_EHD, offs=ends_E) * gates_P.unsqueeze(1)
    pair_P = torch.empty_like(pairs.place_P)
    pair_P[pairs.place_P] = torch.arange(len(pair_P), device=pair_P.device)
    return y_PD.index_select(0, pair_P).unflatten(0, (len(x_TD), pairs.top_k)).sum(1)


def mix_chunked(
    x_TD: Tensor,
    gates_P: Tensor,
    w1_EDF: Tensor,
    w2_EHD: Tensor,
    scale_UH: Tensor | None,
    pairs: Pairs,
    activation: Activation,
) -> Tensor:
    """Mix the experts one chunk of one expert at a time: any device, any dtype."""
    longest = max(1, CHUNK // w1_EDF.shape[2]) if x_TD.device.type == "cpu" else sys.maxsize
    chunks = list(_chunks(pairs, longest))
    out_TD: Any = _MixChunked.apply(x_TD, gates_P, w1_EDF, w2_EHD, scale_UH, chunks, activation)
    return out_TD


class _Chunk(NamedTuple):
    """Pairs ``rows`` of one expert, with their tokens and combinations."""

    expert: int
    rows: slice
    token_N: Tensor
    combo_N: Tensor


def _chunks(pairs: Pairs, longest: int) -> Iterator[_Chunk]:
    """Cut the sorted pairs into chunks of at most ``longest`` pairs of one expert."""
    start = 0
    for expert, num in enumerate(pairs.num_E.tolist()):
        for low in range(start, start + num, longest):
            rows = slice(low, min(low + longest, start + num))
            yield _Chunk(expert, rows, pairs.token_P[rows], pairs.combo_P[rows])
        start += num


class _MixChunked(torch.autograd.Function):
    """The formula above and its gradient. Only the first layer's outputs are kept for backward."""

    @staticmethod
    def forward(
        ctx: Any,
        x_TD: Tensor,
        gates_P: Tensor,
        w1_EDF: Tensor,
        w2_EHD: Tensor,
        scale_UH: Tensor | None,
        chunks: list[_Chunk],
        activation: Activation,
    ) -> Tensor:
        out_TD = torch.zeros_like(x_TD)
        hidden = []
        for expert, rows, token_N, combo_N in chunks:
            h_NF = x_TD.index_select(0, token_N) @ w1_EDF[expert]
            a_NH = activation.forward(h_NF)
            if scale_UH is not None:
                a_NH.mul_(scale_UH.index_select(0, combo_N))
            y_ND = (a_NH @ w2_EHD[expert]).mul_(gates_P[rows].unsqueeze(1))
            out_TD.index_add_(0, token_N, y_ND)
            hidden.append(h_NF)
        ctx.save_for_backward(x_TD, gates_P, w1_EDF, w2_EHD, scale_UH, *hidden)
        ctx.chunks, ctx.activation = chunks, activation
        return out_TD

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad_TD: Tensor
    ) -> tuple[Tensor | None, ...]:
        x_TD, gates_P, w1_EDF, w2_EHD, scale_UH, *hidden = ctx.saved_tensors
        dx_TD, dw1_EDF, dw2_EHD = map(torch.zeros_like, (x_TD, w1_EDF, w2_EHD))
        dgates_P = torch.empty_like(gates_P)
        dscale_UH = None if scale_UH is None else torch.zeros_like(scale_UH)
        for (expert, rows, token_N, combo_N), h_NF in zip(ctx.chunks, hidden, strict=True):
            x_ND, grad_ND = x_TD.index_select(0, token_N), grad_TD.index_select(0, token_N)
            f_NH = ctx.activation.forward(h_NF)
            da_NH = grad_ND @ w2_EHD[expert].T  # without the gate
            scale_NH = None if scale_UH is None else scale_UH.index_select(0, combo_N)
            a_NH = f_NH if scale_NH is None else f_NH * scale_NH
            dgates_P[rows] = torch.linalg.vecdot(da_NH, a_NH)
            gates_N1 = gates_P[rows].unsqueeze(1)
            dw2_EHD[expert].addmm_(a_NH.T, grad_ND.mul_(gates_N1))
            da_NH.mul_(gates_N1)
            if scale_NH is not None and dscale_UH is not None:
                dscale_UH.index_add_(0, combo_N, da_NH * f_NH)
                da_NH.mul_(scale_NH)
            dh_NF = ctx.activation.backward(da_NH, h_NF)
            dw1_EDF[expert].addmm_(x_ND.T, dh_NF)
            dx_TD.index_add_(0, token_N, dh_NF @ w1_EDF[expert].T)
        return dx_TD, dgates_P, dw1_EDF, dw2_EHD, dscale_UH, None, None
