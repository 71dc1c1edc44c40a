"""The weights' health in words, at the end of training."""

# G groups

from collections.abc import Sequence

import torch
from torch import Tensor

from remind.objectives.trajectory import Trajectory

MOVED_LEAST = 0.05
"""Weights that never were this far (total variation) from their start have not moved."""

ONE_HOT = 0.9
"""A group with more weight than this holds all of it, for what the others can learn."""

KEPT_LEAST = 0.1
"""A tail that keeps less than this part of its starting weight is abandoned."""


def diagnose(trajectory: Trajectory, counts_G: Tensor, names_G: Sequence[str] | None = None) -> str:
    """One sentence: frozen, one-hot, abandoned tail, or healthy.

    Args:
        trajectory: of an objective with moving weights.
        counts_G: training patients per group.
        names_G: what to call the groups; their number if None.
    """
    counts_G = torch.as_tensor(counts_G).to(torch.float64).cpu()
    start_G, latest_G = trajectory.start_G.cpu(), trajectory.latest_G.cpu()
    if len(counts_G) == 1:
        return "one group only: there is nothing to weigh"
    if trajectory.num_updates == 0:
        return "frozen: no risk was ever observed, the weights are those of the start"
    return (
        _frozen(trajectory, start_G, counts_G / counts_G.sum())
        or _one_hot(start_G, latest_G, counts_G, names_G)
        or _abandoned(start_G, latest_G, counts_G, trajectory.tail)
        or _healthy(trajectory, start_G, latest_G)
    )


def _frozen(trajectory: Trajectory, start_G: Tensor, share_G: Tensor) -> str | None:
    moved = max(*trajectory.to_dict()["moved"], trajectory.summary()["moved"])
    if moved >= MOVED_LEAST:
        return None
    other_name = "a fixed reweighting"
    if torch.allclose(start_G, torch.full_like(start_G, 1 / len(start_G))):
        other_name = "uniform group weighting"
    if torch.allclose(start_G, share_G):
        other_name = "ERM"
    return (
        f"frozen: the weights never moved (at most {moved:.1%} of their mass): "
        f"this is {other_name} under another name; raise the step (gamma, radius)"
    )


def _one_hot(
    start_G: Tensor, latest_G: Tensor, counts_G: Tensor, names_G: Sequence[str] | None
) -> str | None:
    group = int(latest_G.argmax())
    if float(latest_G[group]) <= ONE_HOT or float(start_G[group]) > ONE_HOT:
        return None
    name = f"group {group}" if names_G is None else f'"{names_G[group]}"'
    return (
        f"one-hot: {name} ({_patients(counts_G[group])}) holds {float(latest_G[group]):.1%} of the "
        "weight and the other groups hardly count; lower the step (gamma, radius)"
    )


def _abandoned(start_G: Tensor, latest_G: Tensor, counts_G: Tensor, tail: int) -> str | None:
    is_tail_G = counts_G < tail
    before, after = float(start_G[is_tail_G].sum()), float(latest_G[is_tail_G].sum())
    if after >= KEPT_LEAST * before:
        return None
    return (
        f"abandoned tail: the {int(is_tail_G.sum())} groups under {tail} patients fell from "
        f"{before:.2%} to {after:.2%} of the weight while larger groups gained it; their training "
        "loss may be memorized: use a held-out risk (held_out), stop earlier or lower the step"
    )


def _healthy(trajectory: Trajectory, start_G: Tensor, latest_G: Tensor) -> str:
    moved = trajectory.summary()["moved"]
    return (
        f"healthy: {_effective(start_G):.1f} effective groups at the start, "
        f"{_effective(latest_G):.1f} at the end; {moved:.1%} of the weight moved"
    )


def _effective(weight_G: Tensor) -> float:
    """exp of the entropy: how many equally weighted groups would be as spread out."""
    return float(torch.special.entr(weight_G).sum().exp())


def _patients(count: Tensor) -> str:
    return "1 patient" if int(count) == 1 else f"{int(count)} patients"
