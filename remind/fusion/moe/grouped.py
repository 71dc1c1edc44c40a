"""The arithmetic of the experts on token-expert pairs that are sorted by expert.

Each expert is two dense matmuls over its own pairs. Three ways to the same sum:

- ``mix_chunked``, eager on CPU: the experts in turn, in chunks whose activations stay in cache.
  What is kept for backward lies in leased memory, for the page faults of large fresh arrays cost as
  much as a matmul; tokens come back by one gather, never by a scatter.
- ``mix_grouped``: one grouped GEMM per layer. No loop, no waiting for the device, traceable.
- ``mix_blocked``, where no grouped GEMM exists for the dtype or the widths: blocks of pairs of one
  expert as one batched matmul. No shape depends on the routing, so nothing waits either.

    out[t] = sum over pairs p of token t:  gate[p] * (f(x[t] W1_e) * scale[combo[p]]) W2_e

T tokens, K experts per token, P = T K pairs, N pairs of one chunk; D width, H hidden, F = H (2H for
gated units), E experts, U combinations; S blocks of L pairs.
"""

import sys
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from remind.fusion.moe.activations import Activation
from remind.fusion.moe.memory import lease

CHUNK = 2**18  # hidden activations of a chunk on CPU for each thread: 1 MiB in float32
SHORTEST = 512  # pairs of a chunk at least: weights are read once per chunk
BLOCK = 64  # pairs of a block: the padding of an expert is half of it on average


class Pairs(NamedTuple):
    """Token-expert pairs in the order in which they are computed: by expert, then by token.

    Attributes:
        gates_TK: weight of every chosen expert.
        place_P: place of the pair in the flattened (T, K) choice.
        token_P: token of the pair.
        combo_P: combination of the pair; empty where nothing depends on it.
        num_E: pairs of every expert.
    """

    gates_TK: Tensor
    place_P: Tensor
    token_P: Tensor
    combo_P: Tensor
    num_E: Tensor

    @classmethod
    def of(
        cls, index_TK: Tensor, gates_TK: Tensor, num_experts: int, combo_T: Tensor | None = None
    ) -> Self:
        """Sort the pairs of a choice of K experts per token by expert."""
        expert_P = index_TK.reshape(-1)
        place_P = _order(expert_P, num_experts)
        token_P = place_P.div(index_TK.shape[1], rounding_mode="floor")
        combo_P = token_P[:0] if combo_T is None else combo_T.index_select(0, token_P)
        num_E = torch.zeros(num_experts, dtype=torch.int64, device=expert_P.device)
        num_E = num_E.scatter_add(0, expert_P, torch.ones_like(place_P))
        return cls(gates_TK, place_P, token_P, combo_P, num_E)

    def gates_P(self) -> Tensor:
        """Return the weight of every pair."""
        return self.gates_TK.reshape(-1).index_select(0, self.place_P)

    def pair_TK(self) -> Tensor:
        """Return where the K pairs of every token lie, int64."""
        pair_P = torch.empty_like(self.place_P)
        pair_P = pair_P.scatter(0, self.place_P, _count(self.place_P))
        return pair_P.view(self.gates_TK.shape)


def mix_experts(
    x_TD: Tensor,
    w1_EDF: Tensor,
    w2_EHD: Tensor,
    scale_UH: Tensor | None,
    pairs: Pairs,
    activation: Activation,
) -> Tensor:
    """Return the sum above, the fast way for these tensors: (T, D)."""
    if x_TD.device.type == "cpu" and not torch.compiler.is_compiling():
        return mix_chunked(x_TD, w1_EDF, w2_EHD, scale_UH, pairs, activation)
    mix = mix_grouped if has_grouped_mm(x_TD, w1_EDF) else mix_blocked
    return mix(x_TD, w1_EDF, w2_EHD, scale_UH, pairs, activation)


def has_grouped_mm(x_TD: Tensor, w1_EDF: Tensor) -> bool:
    """Tell whether a grouped GEMM that does not wait for the device exists for these tensors."""
    _, width, columns = w1_EDF.shape
    if not hasattr(F, "grouped_mm"):  # torch < 2.10
        return False
    if width % 8 or columns % 16:  # rows of D, H and F must be multiples of 16 bytes
        return False
    return x_TD.dtype == torch.bfloat16


def mix_grouped(
    x_TD: Tensor,
    w1_EDF: Tensor,
    w2_EHD: Tensor,
    scale_UH: Tensor | None,
    pairs: Pairs,
    activation: Activation,
) -> Tensor:
    """Mix the experts by one grouped GEMM per layer."""
    ends_E = pairs.num_E.cumsum(0, dtype=torch.int32)
    h_PF = F.grouped_mm(x_TD.index_select(0, pairs.token_P), w1_EDF, offs=ends_E)
    a_PH = activation.forward(h_PF)
    if scale_UH is not None:
        a_PH = a_PH * scale_UH.index_select(0, pairs.combo_P)
    y_PD = F.grouped_mm(a_PH, w2_EHD, offs=ends_E)
    return _combine(y_PD, pairs)


def mix_blocked(
    x_TD: Tensor,
    w1_EDF: Tensor,
    w2_EHD: Tensor,
    scale_UH: Tensor | None,
    pairs: Pairs,
    activation: Activation,
) -> Tensor:
    """Mix the experts by batched matmuls over blocks of L pairs, each of one expert.

    Weights are copied once per block.
    """
    blocks = Blocks.of(pairs.num_E, len(pairs.token_P))
    x_SLD = blocks.spread(x_TD.index_select(0, pairs.token_P))
    a_SLH = activation.forward(x_SLD @ w1_EDF.index_select(0, blocks.expert_S))
    if scale_UH is not None:
        a_SLH = a_SLH * blocks.spread(scale_UH.index_select(0, pairs.combo_P))
    y_SLD = a_SLH @ w2_EHD.index_select(0, blocks.expert_S)
    return _combine(blocks.gather(y_SLD), pairs)


class Blocks(NamedTuple):
    """Rows sorted by expert, padded to blocks of ``BLOCK`` rows of one expert.

    P / L + E blocks are enough for any routing, so no shape depends on it.

    Attributes:
        row_P: place of every row among those of the blocks.
        expert_S: expert of every block; blocks left over have the last one.
    """

    row_P: Tensor
    expert_S: Tensor

    @classmethod
    def of(cls, num_E: Tensor, num_rows: int) -> Self:
        """Lay out rows of which expert e has the next num_E[e]."""
        blocks_E = (num_E + (BLOCK - 1)).div(BLOCK, rounding_mode="floor")
        block_S = torch.arange(num_rows // BLOCK + len(num_E), device=num_E.device)
        expert_S = torch.searchsorted(blocks_E.cumsum(0), block_S, right=True)
        place_P = torch.arange(num_rows, device=num_E.device)
        expert_P = torch.searchsorted(num_E.cumsum(0), place_P, right=True)
        padding_E = blocks_E * BLOCK - num_E
        before_E = padding_E.cumsum(0) - padding_E
        row_P = place_P + before_E.index_select(0, expert_P)
        return cls(row_P, expert_S.clamp(max=len(num_E) - 1))

    def spread(self, x_PX: Tensor) -> Tensor:
        """Return rows as blocks (S, L, X), zeros where there is none."""
        x_RX = x_PX.new_zeros(len(self.expert_S) * BLOCK, x_PX.shape[1])
        return x_RX.index_copy(0, self.row_P, x_PX).view(-1, BLOCK, x_PX.shape[1])

    def gather(self, x_SLX: Tensor) -> Tensor:
        """Undo ``spread``: (P, X)."""
        return x_SLX.flatten(0, 1).index_select(0, self.row_P)


def linear_by_group(x_TD: Tensor, w_UDE: Tensor, group_T: Tensor) -> Tensor:
    """Return x[t] W_u with u = group_T[t], (T, E); matrices are copied once per block."""
    group_P, place_P = group_T.sort(stable=True)
    num_U = group_T.new_zeros(len(w_UDE)).scatter_add(0, group_P, torch.ones_like(group_P))
    blocks = Blocks.of(num_U, len(x_TD))
    x_SLD = blocks.spread(x_TD.index_select(0, place_P))
    y_PE = blocks.gather(x_SLD @ w_UDE.index_select(0, blocks.expert_S))
    return torch.empty_like(y_PE).index_copy(0, place_P, y_PE)


def mix_chunked(
    x_TD: Tensor,
    w1_EDF: Tensor,
    w2_EHD: Tensor,
    scale_UH: Tensor | None,
    pairs: Pairs,
    activation: Activation,
) -> Tensor:
    """Mix the experts one chunk of one expert at a time: any device, any dtype."""
    chunks = _chunks(pairs, _longest_chunk(w1_EDF))
    out_TD: Any = _MixChunked.apply(
        x_TD, pairs.gates_TK, w1_EDF, w2_EHD, scale_UH, chunks, pairs, activation
    )
    return out_TD


def _order(expert_P: Tensor, num_experts: int) -> Tensor:
    """Return the order that sorts experts, stable; small integers sort faster.

    NumPy sorts those by counting: an eighth of the time on CPU.
    """
    if num_experts > 256:
        return expert_P.argsort(stable=True)
    small_P = expert_P.to(torch.uint8)
    if small_P.device.type != "cpu" or torch.compiler.is_compiling():
        return small_P.argsort(stable=True)
    return torch.from_numpy(small_P.numpy().argsort(kind="stable"))


def _count(like_P: Tensor) -> Tensor:
    """Return 0..P-1."""
    return torch.arange(len(like_P), device=like_P.device)


def _combine(y_PD: Tensor, pairs: Pairs) -> Tensor:
    """Return the weighted sum (T, D) of every token's pairs."""
    y_TKD = y_PD.index_select(0, pairs.pair_TK().flatten()).unflatten(0, pairs.gates_TK.shape)
    return (y_TKD * pairs.gates_TK.unsqueeze(-1)).sum(1)


def _bag(y_PD: Tensor, pair_TK: Tensor, gates_TK: Tensor | None) -> Tensor:
    """Return the same sum without the array that is gathered."""
    if y_PD.dtype not in (torch.float32, torch.float64):
        y_TKD = y_PD.index_select(0, pair_TK.flatten()).unflatten(0, pair_TK.shape)
        return (y_TKD if gates_TK is None else y_TKD * gates_TK.unsqueeze(-1)).sum(1)
    return F.embedding_bag(pair_TK, y_PD, mode="sum", per_sample_weights=gates_TK)


class _Chunk(NamedTuple):
    """Pairs of one expert that are computed at once, with their tokens and combinations.

    They are the expert's first, or are added to its gradient.
    """

    expert: int
    is_first: bool
    token_N: Tensor
    combo_N: Tensor


def _longest_chunk(w1_EDF: Tensor) -> int:
    """Return how many pairs are computed at once.

    Threads meet after every operation, and a matmul of few rows is as slow as reading its weights.
    """
    if w1_EDF.device.type != "cpu":
        return sys.maxsize
    return max(SHORTEST, CHUNK * torch.get_num_threads() // w1_EDF.shape[2])


def _chunks(pairs: Pairs, longest: int) -> list[_Chunk]:
    """Cut the sorted pairs into chunks of at most ``longest`` pairs of one expert."""
    cuts = [
        (expert, low == 0, min(longest, num - low))
        for expert, num in enumerate(pairs.num_E.tolist())
        for low in range(0, num, longest)
    ]
    sizes = [size for _, _, size in cuts]
    tokens, none = pairs.token_P.split(sizes), [pairs.combo_P] * len(cuts)
    combos = pairs.combo_P.split(sizes) if len(pairs.combo_P) else none
    return [
        _Chunk(expert, is_first, token_N, combo_N)
        for (expert, is_first, _), token_N, combo_N in zip(cuts, tokens, combos, strict=True)
    ]


class _Spare:
    """Room for the tokens and the activations of one chunk, written again by every chunk."""

    def __init__(self, longest: int, x_TD: Tensor, w2_EHD: Tensor) -> None:
        self._x = lease((longest, x_TD.shape[1]), like=x_TD)
        self._a = lease((longest, w2_EHD.shape[1]), like=x_TD)

    def x(self, num_pairs: int) -> Tensor:
        """Return room for tokens (N, D)."""
        return self._x.values[:num_pairs]

    def a(self, num_pairs: int) -> Tensor:
        """Return room for activations (N, H)."""
        return self._a.values[:num_pairs]


class _MixChunked(torch.autograd.Function):
    """The formula above and its gradient. Kept for backward: both layers' outputs.

    That of the first is kept before f, or after it where f overwrites it.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x_TD: Tensor,
        gates_TK: Tensor,
        w1_EDF: Tensor,
        w2_EHD: Tensor,
        scale_UH: Tensor | None,
        chunks: list[_Chunk],
        pairs: Pairs,
        activation: Activation,
    ) -> Tensor:
        num_pairs, pair_TK = len(pairs.token_P), pairs.pair_TK()
        sizes = [len(chunk.token_N) for chunk in chunks]
        kept_h = lease((num_pairs, w1_EDF.shape[2]), like=x_TD)
        kept_y = lease((num_pairs, w2_EHD.shape[2]), like=x_TD)
        spare = _Spare(max(sizes, default=0), x_TD, w2_EHD)
        w1, w2 = w1_EDF.unbind(), w2_EHD.unbind()
        parts = zip(chunks, kept_h.values.split(sizes), kept_y.values.split(sizes), strict=True)
        for (expert, _, token_N, combo_N), h_NF, y_ND in parts:
            x_ND, spare_NH = spare.x(len(token_N)), spare.a(len(token_N))
            torch.mm(torch.index_select(x_TD, 0, token_N, out=x_ND), w1[expert], out=h_NF)
            a_NH = h_NF if activation.in_place else spare_NH
            activation.into(h_NF, a_NH)
            if scale_UH is not None:
                a_NH = torch.mul(a_NH, scale_UH.index_select(0, combo_N), out=spare_NH)
            torch.mm(a_NH, w2[expert], out=y_ND)
        ctx.save_for_backward(x_TD, gates_TK, w1_EDF, w2_EHD, scale_UH, pair_TK)
        ctx.kept, ctx.chunks, ctx.sizes = (kept_h, kept_y), chunks, sizes
        ctx.pairs, ctx.activation = pairs, activation
        return _bag(kept_y.values, pair_TK, gates_TK)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad_TD: Tensor
    ) -> tuple[Tensor | None, ...]:
        x_TD, gates_TK, w1_EDF, w2_EHD, scale_UH, pair_TK = ctx.saved_tensors
        (kept_h, kept_y), pairs, longest = ctx.kept, ctx.pairs, max(ctx.sizes, default=0)
        dw1_EDF, dw2_EHD = torch.empty_like(w1_EDF), torch.empty_like(w2_EHD)
        for dw_EXX in (dw1_EDF, dw2_EHD):
            dw_EXX[pairs.num_E == 0] = 0
        gates_P1 = gates_TK.reshape(-1).index_select(0, pairs.place_P).unsqueeze(1)
        dgates_P = gates_P1.new_empty(len(gates_P1))
        dscale_UH = None if scale_UH is None else torch.zeros_like(scale_UH)
        dx = lease((len(gates_P1), x_TD.shape[1]), like=x_TD)
        spare, more = (_Spare(longest, x_TD, w2_EHD) for _ in range(2))
        spare_h = lease((longest, w1_EDF.shape[2]), like=x_TD)
        w1, w2, dw1, dw2 = (w.unbind() for w in (w1_EDF.mT, w2_EHD.mT, dw1_EDF, dw2_EHD))
        of_pairs = (kept_h.values, kept_y.values, gates_P1, dgates_P, dx.values)
        parts = zip(ctx.chunks, *(x_PX.split(ctx.sizes) for x_PX in of_pairs), strict=True)
        for (expert, is_first, token_N, combo_N), h_NF, y_ND, gates_N1, dgates_N, dx_ND in parts:
            x_ND, dh_NF = more.x(len(token_N)), spare_h.values[: len(token_N)]
            grad_ND = torch.index_select(grad_TD, 0, token_N, out=spare.x(len(token_N)))
            torch.sum(torch.mul(grad_ND, y_ND, out=x_ND), 1, out=dgates_N)
            grad_ND.mul_(gates_N1)
            da_NH = torch.mm(grad_ND, w2[expert], out=spare.a(len(token_N)))
            spare_NH, scale_NH = more.a(len(token_N)), None
            a_NH = h_NF if ctx.activation.in_place else spare_NH
            df_NH = da_NH
            if scale_UH is not None:
                scale_NH = scale_UH.index_select(0, combo_N)
                df_NH = da_NH * scale_NH
            ctx.activation.backward_into(df_NH, h_NF, a_NH, dh_NF)
            if scale_NH is not None and dscale_UH is not None:
                dscale_UH.index_add_(0, combo_N, da_NH.mul_(a_NH))
                a_NH = torch.mul(a_NH, scale_NH, out=spare_NH)
            torch.index_select(x_TD, 0, token_N, out=x_ND)
            kept = 0 if is_first else 1
            dw2[expert].addmm_(a_NH.T, grad_ND, beta=kept)
            dw1[expert].addmm_(x_ND.T, dh_NF, beta=kept)
            torch.mm(dh_NF, w1[expert], out=dx_ND)
        dgates_TK = dgates_P.index_select(0, pair_TK.flatten()).view_as(gates_TK)
        dx_TD = _bag(dx.values, pair_TK, None)
        return dx_TD, dgates_TK, dw1_EDF, dw2_EHD, dscale_UH, None, None, None
