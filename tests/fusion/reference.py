"""Short plain oracles: what the fast paths of ``remind.fusion`` must equal, values and gradients.

B patients, L tokens of a padded patient, T tokens, D width, H hidden, E experts, K experts per
token, h heads.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from remind.fusion import Attention, GroupContext, GroupMoE, Packing, SoftGroupMoE
from remind.fusion.mixture import FeedForward
from remind.fusion.moe.activations import Activation
from remind.fusion.transformer import Block, TransformerFusion


def loop_experts(
    x_TD: Tensor,
    index_TK: Tensor,
    gates_TK: Tensor,
    w1_EDF: Tensor,
    w2_EHD: Tensor,
    activation: Activation,
    scale_TH: Tensor | None = None,
) -> Tensor:
    """Mix experts by a loop over experts, each on all tokens, weights of zero where not chosen."""
    out_TD = torch.zeros_like(x_TD)
    for expert, (w1_DF, w2_HD) in enumerate(zip(w1_EDF, w2_EHD, strict=True)):
        a_TH = activation.forward(x_TD @ w1_DF)
        if scale_TH is not None:
            a_TH = a_TH * scale_TH
        gate_T = (gates_TK * (index_TK == expert)).sum(1)
        out_TD = out_TD + gate_T.unsqueeze(1) * (a_TH @ w2_HD)
    return out_TD


def plain_moe(moe: GroupMoE, x_TD: Tensor) -> Tensor:
    """A plain top-k mixture of experts with the shared weights of a ``GroupMoE``: no groups."""
    probs_TE = (x_TD @ moe.router.shared_DE).softmax(-1)
    gates_TK, index_TK = probs_TE.topk(moe.config.top_k)
    if moe.config.top_k > 1:
        gates_TK = gates_TK / gates_TK.sum(1, keepdim=True)
    experts = moe.experts
    return loop_experts(
        x_TD, index_TK, gates_TK, experts.w1_EDF, experts.w2_EHD, experts.activation
    )


def padded_attention(attention: Attention, x_TD: Tensor, owner_T: Tensor) -> Tensor:
    """Attend over patients padded to the longest, with -inf for what is not there."""
    x_BLD, keep_BL = pad(x_TD, owner_T)
    q, k, v = attention.qkv(x_BLD).chunk(3, -1)
    q, k, v = (z.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for z in (q, k, v))
    scores_BhLL = q @ k.mT / math.sqrt(q.shape[-1])
    scores_BhLL = scores_BhLL.masked_fill(~keep_BL[:, None, None, :], -math.inf)
    out_BLD = attention.out((scores_BhLL.softmax(-1) @ v).transpose(1, 2).flatten(-2))
    return out_BLD[keep_BL]


def padded_soft_moe(
    moe: SoftGroupMoE, x_TD: Tensor, owner_T: Tensor, group_B: Tensor, gate: str
) -> Tensor:
    """The paper's layer on padded patients, one expert after the other."""
    x_BLD, keep_BL = pad(F.normalize(x_TD, dim=-1), owner_T)
    phi_DE = F.normalize(moe.shared_DE, dim=0)
    shared = moe.scale * x_BLD @ phi_DE
    group = torch.stack(
        [
            moe.scale * x_LD @ moe.residual_GDE[g] if g >= 0 else x_LD @ torch.zeros_like(phi_DE)
            for x_LD, g in zip(x_BLD, group_B.tolist(), strict=True)
        ]
    )
    alpha = {"none": 1, "shared": entropy(shared), "group": 1 - entropy(group)}[gate]
    logits = shared + (alpha * group if moe.stage == 2 else 0)
    dispatch = logits.masked_fill(~keep_BL[..., None], -math.inf).softmax(1)
    slots_BED = dispatch.mT @ x_BLD
    experts = moe.experts
    y_BED = torch.stack(
        [
            experts.activation.forward(slots_BED[:, e] @ experts.w1_EDF[e]) @ experts.w2_EHD[e]
            for e in range(logits.shape[-1])
        ],
        dim=1,
    )
    return (logits.softmax(-1) @ y_BED)[keep_BL]


def padded_transformer(fusion: TransformerFusion, x_TD: Tensor, owner_T: Tensor) -> Tensor:
    """Logits (B, C) on patients padded to the longest, the readout first, with key padding."""
    num_patients = int(owner_T[-1]) + 1
    x_BLD, keep_BL = pad(fusion.token_norm(x_TD), owner_T)
    x_BLD = torch.cat([fusion.readout_D.expand(num_patients, 1, -1), x_BLD], dim=1)
    keep_BL = F.pad(keep_BL, (1, 0), value=True)
    for block in fusion.blocks:
        assert isinstance(block, Block)
        x_BLD = x_BLD + padded_self_attention(block, block.attention_norm(x_BLD), keep_BL)
        assert isinstance(block.mixture, FeedForward)
        experts = block.mixture.network
        hidden_BLH = F.relu(block.mixture_norm(x_BLD) @ experts.w1_EDF[0])
        x_BLD = x_BLD + hidden_BLH @ experts.w2_EHD[0]
    return fusion.head(fusion.norm(x_BLD[:, 0]))


def padded_self_attention(block: Block, x_BLD: Tensor, keep_BL: Tensor) -> Tensor:
    """The attention of torch itself, batch first."""
    x_LBD, attention = x_BLD.transpose(0, 1), block.attention
    out_LBD, _ = F.multi_head_attention_forward(
        x_LBD,
        x_LBD,
        x_LBD,
        x_LBD.shape[-1],
        attention.num_heads,
        attention.qkv.weight,
        attention.qkv.bias,
        None,
        None,
        False,
        0.0,
        attention.out.weight,
        attention.out.bias,
        key_padding_mask=~keep_BL,
        need_weights=False,
    )
    return out_LBD.transpose(0, 1)


def entropy(logits: Tensor) -> Tensor:
    """Entropy over the last axis, as a share of its maximum, with that axis kept."""
    probs = torch.distributions.Categorical(logits=logits)
    return probs.entropy().unsqueeze(-1) / math.log(logits.shape[-1])


def pad(x_TD: Tensor, owner_T: Tensor) -> tuple[Tensor, Tensor]:
    """Pad packed tokens of patients 0..B-1, each with at least one, to (B, L, D), and say where."""
    parts = [x_TD[owner_T == b] for b in range(int(owner_T[-1]) + 1)]
    keep = torch.nn.utils.rnn.pad_sequence([x.new_ones(len(x)) for x in parts], batch_first=True)
    return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True), keep.bool()


def batch(
    sizes: list[int], width: int, *, num_modalities: int = 5, num_groups: int = 3, seed: int = 0
) -> tuple[Tensor, Packing, GroupContext]:
    """Random float64 tokens, patients of the given token counts, of seen and unseen groups."""
    random = torch.Generator().manual_seed(seed)
    owner_T = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes, dtype=torch.int64))
    x_TD = torch.randn(len(owner_T), width, dtype=torch.float64, generator=random)
    patterns = torch.rand(num_groups + 1, num_modalities, generator=random) < 0.6
    group_B = torch.randint(-1, num_groups, (len(sizes),), generator=random)
    return x_TD, Packing.of(owner_T), GroupContext.from_batch(patterns[group_B], group_B)


def gradients(out: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    """Gradients of a fixed random projection of an output."""
    random = torch.Generator().manual_seed(1)
    weight = torch.randn(out.shape, dtype=out.dtype, generator=random)
    return list(torch.autograd.grad((out * weight).sum(), inputs, materialize_grads=True))


def assert_same(out: Tensor, expected: Tensor, inputs: list[Tensor]) -> None:
    """Assert that values and gradients agree."""
    torch.testing.assert_close(out, expected)
    for got, want in zip(gradients(out, inputs), gradients(expected, inputs), strict=True):
        torch.testing.assert_close(got, want)
