"""Arithmetic of group weights: pure functions, no state, no waiting for the device."""

# G groups, P trial points

import torch
from torch import Tensor

_TRIALS = 7
_ROUNDS = 13
_SHARPEST = 1e4


def ascend(log_weight_G: Tensor, risk_G: Tensor, present_G: Tensor, step: float) -> Tensor:
    """Mirror ascent, q_g <- q_g exp(step * risk_g), among the groups present.

    Those share the mass that they held together, so that the weights stay in the simplex and an
    absent group's weight does not change in a single bit. In logarithms, so that no weight
    underflows to a zero from which it could not return.
    """
    moved_G = log_weight_G + step * risk_G
    before = log_weight_G.where(present_G, -torch.inf).logsumexp(0)
    after = moved_G.where(present_G, -torch.inf).logsumexp(0)
    return torch.where(present_G, moved_G + (before - after), log_weight_G)


def batch_form(weight_G: Tensor, count_G: Tensor) -> Tensor:
    """Patient weights that make the mean over a batch sum_g q_g (mean of g), for groups in it."""
    return weight_G * count_G.sum() / count_G.clamp_min(1.0)


def worst_fraction(mass_G: Tensor, risk_G: Tensor, alpha: float) -> Tensor:
    """CVaR over groups: q_g = mass_g / alpha on the worst groups that hold the fraction alpha.

    The group at the edge gets the rest; q sums to the whole mass.
    """
    order_G = risk_G.argsort(descending=True, stable=True)
    sorted_G = mass_G[order_G]
    left_G = alpha * mass_G.sum() - (sorted_G.cumsum(0) - sorted_G)
    taken_G = torch.minimum(left_G.clamp_min(0.0), sorted_G)
    return torch.zeros_like(mass_G).index_copy(0, order_G, taken_G / alpha)


def tilt(share_G: Tensor, risk_G: Tensor, radius: float, temperature: float = 0.0) -> Tensor:
    """The worst distribution of a KL ball: argmax_q sum q_g risk_g with KL(q || share) <= radius.

    Its form is q_g proportional to share_g exp(b risk_g) (Hu & Hong 2013). KL grows with b, so b is
    found by cutting an interval into eight, again and again; its lower end always satisfies the
    constraint, and is what is returned. b stays below 1 / `temperature`, and below 1e4 over the
    spread of the risks, which is as good as all mass on the worst group.
    """
    if radius == 0:
        return share_G
    log_share_G = share_G.log()
    spread = (risk_G.max() - risk_G.min()).clamp_min(torch.finfo(risk_G.dtype).tiny)
    risk_G = (risk_G - risk_G.max()) / spread
    grid_P = torch.arange(1, _TRIALS + 1, device=risk_G.device, dtype=risk_G.dtype) / (_TRIALS + 1)
    low = torch.zeros_like(spread)
    high = (spread / max(temperature, 1e-12)).clamp_max(_SHARPEST)
    for _ in range(_ROUNDS):
        trial_P = low + (high - low) * grid_P
        log_q_PG = (log_share_G + trial_P[:, None] * risk_G).log_softmax(dim=1)
        kl_P = (log_q_PG.exp() * (log_q_PG - log_share_G)).sum(dim=1)
        is_inside_P = kl_P <= radius
        low, high = trial_P.where(is_inside_P, low).max(), trial_P.where(~is_inside_P, high).min()
    return (log_share_G + low * risk_G).softmax(dim=0)


def worst_chi_square(mass_G: Tensor, risk_G: Tensor, radius: float) -> Tensor:
    """The worst distribution of a chi-square ball: argmax_q sum q_g risk_g with D(q | p) <= radius.

    D = 1/2 sum_g p_g (q_g / p_g - 1)^2, p = `mass_G` over its sum; q has the sum of `mass_G`. Its
    form is q_g proportional to p_g (risk_g - eta)_+ (Duchi & Namkoong 2021), with

        sum_g p_g (risk_g - eta)_+^2 / (sum_g p_g (risk_g - eta)_+)^2 = 1 + 2 radius.

    The left side grows with eta, so eta is found by cutting an interval into eight, again and
    again; its lower end always satisfies the constraint. As long as no group falls to zero the
    answer is eta = mean - deviation / sqrt(2 radius), and it is never lower. Where the ball holds
    the worst group alone, that is the answer.
    """
    if radius == 0:
        return mass_G
    total = mass_G.sum()
    tiny = torch.finfo(risk_G.dtype).tiny
    share_G = mass_G / total.clamp_min(tiny)
    is_live_G = mass_G > 0
    top = risk_G.where(is_live_G, -torch.inf).max()
    spread = (top - risk_G.where(is_live_G, torch.inf).min()).clamp_min(tiny)
    risk_G = ((risk_G - top) / spread).where(is_live_G, -1.0)  # in [-1, 0]
    mean = (share_G * risk_G).sum()
    deviation = (share_G * (risk_G - mean).square()).sum().sqrt()
    low = (mean - deviation / (2 * radius) ** 0.5).clamp_max(-1.0)
    high = torch.zeros_like(low)
    grid_P = torch.arange(1, _TRIALS + 1, device=risk_G.device, dtype=risk_G.dtype) / (_TRIALS + 1)
    for _ in range(_ROUNDS):
        trial_P = low + (high - low) * grid_P
        over_PG = (risk_G - trial_P[:, None]).clamp_min(0.0)
        ratio_P = (share_G * over_PG.square()).sum(dim=1) / (share_G * over_PG).sum(dim=1).square()
        is_inside_P = ratio_P <= 1 + 2 * radius
        low, high = trial_P.where(is_inside_P, low).max(), trial_P.where(~is_inside_P, high).min()
    weight_G = share_G * (risk_G - low).clamp_min(0.0)
    return total * weight_G / weight_G.sum().clamp_min(tiny)


def relative(loss_G: Tensor, count_G: Tensor) -> Tensor:
    """Losses minus the mean over the batch's patients.

    What is remembered of a rare group is old. Since all losses fall while a model learns, an old
    loss would pass for a bad one; an old distance from the mean does not.
    """
    return loss_G - (loss_G * count_G).sum() / count_G.sum().clamp_min(1.0)


def follow(
    running_G: Tensor, seen_G: Tensor, loss_G: Tensor, count_G: Tensor, rate: float
) -> Tensor:
    """Exponential moving average over the batches that hold a group, from its first value on."""
    moved_G = torch.where(seen_G, running_G + rate * (loss_G - running_G), loss_G)
    return torch.where(count_G > 0, moved_G, running_G)
