"""Plain oracles of the objectives: Python numbers and loops, nothing clever. And a small cohort."""

# B patients of a batch

import math
from collections.abc import Sequence

import torch
from torch import Tensor

COUNTS = [400, 150, 60, 12, 5, 1]
PATTERNS = [[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]]


def batch(
    seed: int = 0, num_patients: int = 40, groups: Sequence[int] = ()
) -> tuple[Tensor, Tensor]:
    """(loss_B, group_B); every group of `groups` (all, if empty) occurs, and no other."""
    generator = torch.Generator().manual_seed(seed)
    groups_U = torch.tensor(groups or range(len(COUNTS)))
    pick_B = torch.randint(len(groups_U), (num_patients,), generator=generator)
    pick_B[: len(groups_U)] = torch.arange(len(groups_U))
    return torch.rand(num_patients, generator=generator, dtype=torch.float64), groups_U[pick_B]


def group_means(losses: Sequence[float], groups: Sequence[int]) -> dict[int, float]:
    """Mean loss of each group that occurs."""
    members: dict[int, list[float]] = {}
    for loss, group in zip(losses, groups, strict=True):
        members.setdefault(group, []).append(loss)
    return {group: sum(values) / len(values) for group, values in members.items()}


def ascend(weights: Sequence[float], risks: dict[int, float], step: float) -> list[float]:
    """Mirror ascent among the groups with a risk, within the mass they hold."""
    moved = {g: weights[g] * math.exp(step * risk) for g, risk in risks.items()}
    scale = sum(weights[g] for g in risks) / sum(moved.values())
    return [moved[g] * scale if g in moved else weight for g, weight in enumerate(weights)]


def paper_weights(
    batches: Sequence[tuple[Sequence[float], Sequence[int]]],
    weights: Sequence[float],
    gamma: float,
    every: int,
) -> list[float]:
    """The paper's weights after some batches of (losses, groups)."""
    weights, losses, groups = list(weights), [], []
    for number, (batch_losses, batch_groups) in enumerate(batches, start=1):
        losses += batch_losses
        groups += batch_groups
        if number % every == 0:
            weights = ascend(weights, group_means(losses, groups), gamma)
            losses, groups = [], []
    return weights


def cvar_weights(shares: Sequence[float], risks: Sequence[float], alpha: float) -> list[float]:
    """Fill alpha of the mass from the worst group on."""
    weights, left = [0.0] * len(shares), alpha
    for g in sorted(range(len(shares)), key=lambda g: -risks[g]):
        taken = min(shares[g], left)
        weights[g], left = taken / alpha, left - taken
    return weights


def jaccard(a: Sequence[int], b: Sequence[int]) -> float:
    """Modalities in both over modalities in either."""
    pairs = list(zip(a, b, strict=True))
    return sum(x & y for x, y in pairs) / sum(x | y for x, y in pairs)


def shrunken(
    losses: Sequence[float],
    counts: Sequence[float],
    patterns: Sequence[Sequence[int]],
    tau: float,
    bandwidth: float,
) -> list[float]:
    """(n L + tau * mean of the others by nearness and reliability) / (n + tau)."""
    result = []
    for g, pattern in enumerate(patterns):
        others = [h for h in range(len(patterns)) if h != g]
        weights = [
            math.exp(-(1 - jaccard(pattern, patterns[h])) / bandwidth)
            * counts[h]
            / (counts[h] + tau)
            for h in others
        ]
        near = sum(w * losses[h] for w, h in zip(weights, others, strict=True)) / sum(weights)
        result.append((counts[g] * losses[g] + tau * near) / (counts[g] + tau))
    return result


def kl(weights: Sequence[float], shares: Sequence[float]) -> float:
    """KL divergence in nats."""
    pairs = zip(weights, shares, strict=True)
    return sum(q * math.log(q / p) for q, p in pairs if q > 0)


def tilted(
    shares: Sequence[float], risks: Sequence[float], radius: float, temperature: float = 1e-12
) -> list[float]:
    """q proportional to p exp(b risk) with KL = radius or b = 1 / temperature, by halving."""
    low, high = 0.0, 1 / temperature

    def weights(b: float) -> list[float]:
        raised = [p * math.exp(b * (r - max(risks))) for p, r in zip(shares, risks, strict=True)]
        return [value / sum(raised) for value in raised]

    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if kl(weights(middle), shares) <= radius else (low, middle)
    return weights(low)
