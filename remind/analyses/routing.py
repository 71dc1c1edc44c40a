"""Routing: which groups use which experts, and how much of that the group decides.

    I(group; expert) = sum_ge p(g, e) log p(g, e) / (p(g) p(e)),   p(g, e) = n_g / N * gates_ge

in nats, over patients, each with the mean gate weights of its tokens. Few patients of a group make
it too large by chance; `chance` is its mean when patients are permuted among the groups, and is
taken off.

N patients, G groups, E experts, T tokens, L mixtures of a model, R permutations or resamples.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from remind.fusion import GroupContext, GroupMoE, Packing, SoftGroupMoE
from remind.fusion.moe.gate import entropy_gate


@dataclass(frozen=True, kw_only=True, eq=False)
class Routes:
    """How the patients use the experts of one mixture.

    Args:
        name: of the module.
        gates_NE: mean gate weight of every expert over the tokens of a patient; rows sum to 1.
        shift_N: mean total variation between the routing of its tokens and what it would be
            without the group's part, in [0, 1].
        alpha_N: mean entropy gate; None without one.
    """

    name: str
    gates_NE: np.ndarray
    shift_N: np.ndarray
    alpha_N: np.ndarray | None


def routes(model: nn.Module, forward: Callable[[Any], Any], batches: Iterable[Any]) -> list[Routes]:
    """Run batches through a model and note the routing of every GroupMoE and SoftGroupMoE.

    Args:
        model: any with such modules; in evaluation mode meanwhile.
        forward: calls the model with a batch.
        batches: of the patients, in order.
    """
    notes: dict[str, list[tuple[Tensor, ...]]] = {
        name: []
        for name, module in model.named_modules()
        if isinstance(module, GroupMoE | SoftGroupMoE)
    }
    hooks = [
        model.get_submodule(name).register_forward_pre_hook(_noting(note))
        for name, note in notes.items()
    ]
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for batch in batches:
                forward(batch)
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return [_joined(name, note) for name, note in notes.items() if note]


def _noting(note: list[tuple[Tensor, ...]]) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        assert isinstance(module, GroupMoE | SoftGroupMoE)
        note.append(_look(module, *inputs))

    return hook


def _look(
    module: GroupMoE | SoftGroupMoE, x_TD: Tensor, packing: Packing, context: GroupContext
) -> tuple[Tensor, ...]:
    """Means over the tokens of each patient: gates (B, E), shift (B, 1), alpha (B, 1 or 0)."""
    terms = module.terms(x_TD, packing, context)
    if isinstance(module, GroupMoE):
        routing = module.route(x_TD, packing, context)
        gates_TK = routing.gates_TK / routing.gates_TK.sum(1, keepdim=True)
        gates_TE = torch.zeros_like(routing.probs_TE).scatter(1, routing.index_TK, gates_TK)
    else:
        gates_TE = module.route(x_TD, packing, context)
    shared_TE = terms.shared_TE.softmax(-1)
    shift_T1 = (terms.logits_TE.softmax(-1) - shared_TE).abs().sum(1, keepdim=True) / 2
    columns = [gates_TE, shift_T1, shift_T1[:, :0]]
    if terms.group_TE is not None:
        alpha = entropy_gate(module.config.gate, terms.shared_TE, terms.group_TE)
        columns[2] = alpha if isinstance(alpha, Tensor) else columns[2]
    num = len(context.combo_B)
    return tuple(_mean(x_TX, packing.owner_T, num) for x_TX in columns)


def _mean(x_TX: Tensor, owner_T: Tensor, num: int) -> Tensor:
    sum_BX = x_TX.new_zeros(num, x_TX.shape[1]).index_add(0, owner_T, x_TX)
    return sum_BX / owner_T.bincount(minlength=num).clamp(min=1)[:, None]


def _joined(name: str, note: list[tuple[Tensor, ...]]) -> Routes:
    gates, shift, alpha = (
        torch.cat(column).cpu().numpy().astype(np.float64) for column in zip(*note, strict=True)
    )
    return Routes(
        name=name,
        gates_NE=gates,
        shift_N=shift[:, 0],
        alpha_N=alpha[:, 0] if alpha.shape[1] else None,
    )


def group_gates(gates_NE: np.ndarray, group_N: np.ndarray, num_groups: int) -> np.ndarray:
    """Mean gate weights of the patients of every group 0..G-1, each with one at least: (G, E)."""
    sum_GE = np.zeros((num_groups, gates_NE.shape[1]))
    np.add.at(sum_GE, group_N, gates_NE)
    return sum_GE / np.bincount(group_N, minlength=num_groups)[:, None]


def information(gates_GE: np.ndarray, n_G: np.ndarray) -> float:
    """I(group; expert) in nats, without correction; 0 when all groups are routed alike."""
    return float(n_G @ specialisation(gates_GE, n_G) / n_G.sum())


def specialisation(gates_GE: np.ndarray, n_G: np.ndarray) -> np.ndarray:
    """KL(p(e | g) || p(e)) of every group, in nats: (G,)."""
    overall_E = n_G @ gates_GE / n_G.sum()
    ratio_GE = np.divide(
        gates_GE, overall_E, out=np.ones_like(gates_GE), where=(gates_GE > 0) & (overall_E > 0)
    )
    return np.maximum((gates_GE * np.log(ratio_GE)).sum(axis=1), 0.0)


def information_by_chance(
    gates_NE: np.ndarray, group_N: np.ndarray, permutations: int, rng: np.random.Generator
) -> np.ndarray:
    """I(group; expert) of permuted patients, who are different persons: (R,)."""
    n_G = np.bincount(group_N)
    return np.array(
        [
            information(group_gates(gates_NE, rng.permutation(group_N), len(n_G)), n_G)
            for _ in range(permutations)
        ]
    )


def effective(share_XE: np.ndarray) -> np.ndarray:
    """exp of the entropy along the last axis: how many equally used experts are as spread out."""
    log_XE = np.log(np.where(share_XE > 0, share_XE, 1.0))
    return np.exp(-(share_XE * log_XE).sum(axis=-1))


def overlap(gates_GE: np.ndarray) -> np.ndarray:
    """1 - total variation between the gates of every two groups, in [0, 1]: (G, G)."""
    apart_GG = np.zeros((len(gates_GE), len(gates_GE)))
    for gates_G in gates_GE.T:
        apart_GG += np.abs(gates_G[:, None] - gates_G) / 2
    return 1 - apart_GG


def jaccard(patterns_GM: np.ndarray) -> np.ndarray:
    """Shared over all modalities of every two combinations: (G, G)."""
    patterns_GM = patterns_GM.astype(float)
    both_GG = patterns_GM @ patterns_GM.T
    size_G = patterns_GM.sum(axis=1)
    return both_GG / np.maximum(size_G[:, None] + size_G - both_GG, 1)
