"""What keeps the experts in use: balance over the batch, information about the group.

T tokens, K experts per token, E experts, U combinations of the batch.
"""

import torch
from torch import Tensor
from torch import distributed as dist

from remind.world import num_ranks


def imbalance(probs_TE: Tensor, index_TK: Tensor) -> Tensor:
    """Return E * sum_e f_e p_e - 1: f the share of the chosen pairs, p the mean probability.

    About 0 when the experts are used evenly over the batch, E - 1 when one takes all
    (Fedus et al. 2021, equation 4). Single groups may concentrate as they like. With several ranks
    f is that of all of them and p each rank's own: the mean of the result, which is linear in p,
    is then that of the whole batch.
    """
    num_experts = probs_TE.shape[1]
    index_P = index_TK.reshape(-1)  # not bincount: it would wait for a CUDA device
    share_E = probs_TE.new_zeros(num_experts).scatter_add(
        0, index_P, torch.ones_like(index_P, dtype=probs_TE.dtype)
    )
    share_E = over_ranks(share_E)
    share_E = share_E / share_E.sum().clamp(min=1)
    return num_experts * (share_E * _mean(probs_TE)).sum() - 1


def over_ranks(count_E: Tensor) -> Tensor:
    """Return counts of all ranks together, in training; a prediction counts nothing."""
    if torch.is_grad_enabled() and num_ranks() > 1:
        dist.all_reduce(count_E)
    return count_E


def information(probs_TE: Tensor, combo_T: Tensor, num_combos: int) -> Tensor:
    """Return the mutual information I(combination; expert) in nats over the tokens of a batch.

    0 when all combinations are routed alike (Mod-Squad, Chen et al. 2023, equation 5).
    """
    joint_UE = probs_TE.new_zeros(num_combos, probs_TE.shape[1])
    joint_UE = joint_UE.index_add(0, combo_T, probs_TE) / max(len(probs_TE), 1)
    p_U1, p_1E = joint_UE.sum(1, keepdim=True), joint_UE.sum(0, keepdim=True)
    tiny = torch.finfo(joint_UE.dtype).tiny
    log_UE = (
        joint_UE.clamp(min=tiny).log() - p_U1.clamp(min=tiny).log() - p_1E.clamp(min=tiny).log()
    )
    return (joint_UE * log_UE).sum()


def _mean(probs_TE: Tensor) -> Tensor:
    return probs_TE.sum(0) / max(len(probs_TE), 1)
