"""Group DRO for hundreds of groups, most of them with a handful of patients."""

# G groups, M modalities, K neighbors

from dataclasses import dataclass

import torch
from torch import Tensor

from remind.objectives.adaptive import AdaptiveObjective
from remind.objectives.checks import check_number, check_whole
from remind.objectives.neighbors import nearest_groups
from remind.objectives.weights import follow, relative, tilt

_ALL_NEIGHBORS = 1e12  # patients: an infinite tau, without infinity's undefined products


class LongTailDRO(AdaptiveObjective):
    """Group DRO with shrunken losses, in a ball around the empirical distribution.

    The loss of a group of three is noise, and plain group DRO chases it. So:

    (a) the running loss is shrunk towards near combinations,
        L~_g = (n_g L_g + tau * mean of near groups) / (n_g + tau),
        near by the Jaccard similarity of the modalities, reliable ones first;
    (b) q is the worst distribution with KL(q || n/N) <= radius, in which a difference in risk of
        `temperature` changes the weight by a factor of e at most, then mixed with n/N;
    (c) a patient weighs q_g / s_g, so that the loss is unbiased under the sampler (sampler form);
    (d) with `held_out` the risk, and its n_g, come from `observe`.

    Which risk? A group may lose much because its patients are intrinsically hard to predict; weight
    spent there buys nothing. `baseline_G` turns the loss into the excess over what is attainable
    (minimax regret, Agarwal & Zhang 2022): for instance the shrunken held-out losses of an ERM
    model, or the optimum where it is known. A group's label entropy would not do: it is what
    knowing nothing costs, and subtracting it favors groups of low prevalence, where little can be
    gained.

    Args:
        counts_G: training patients per group, all >= 1.
        config: options.
        patterns_GM: modalities of each group, bool.
        share_G: share of each group among the patients that the sampler draws, > 0, sums to 1;
            n_g / N if None.
        baseline_G: attainable loss of each group; 0 if None. Moves the weights, is no part of the
            loss.

    Raises:
        ValueError: `patterns_GM` is missing, or an argument has the wrong shape or range.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(AdaptiveObjective.Config):
        """Options of long-tail group DRO."""

        radius: float = 0.03
        """Largest KL divergence of the weights from n/N, in nats, >= 0; 0 is ERM."""

        temperature: float = 0.1
        """Risk difference (nats) below which groups nearly keep their shares, >= 0. At 0 the ball
        is always filled, however little the risks differ, and noise is magnified to its size."""

        mix: float = 0.0
        """Share of ERM in the final weights, in [0, 1]."""

        tau: float = 20.0
        """Patients that the neighbors' mean is worth, >= 0; infinity leaves only the neighbors."""

        rate: float = 0.1
        """Weight of the newest batch in the running loss, in (0, 1]."""

        neighbors: int = 16
        """Near groups that a group is compared with, >= 1."""

        bandwidth: float = 0.2
        """Jaccard distance at which a neighbor counts 1/e of an identical one, > 0."""

        def __post_init__(self) -> None:
            super().__post_init__()
            check_number("radius", self.radius, at_least=0)
            check_number("temperature", self.temperature, at_least=0)
            check_number("mix", self.mix, at_least=0, at_most=1)
            check_number("tau", self.tau, at_least=0)
            check_number("rate", self.rate, above=0, at_most=1)
            check_whole("neighbors", self.neighbors, at_least=1)
            check_number("bandwidth", self.bandwidth, above=0)

    share_G: Tensor
    baseline_G: Tensor
    neighbor_GK: Tensor
    kernel_GK: Tensor
    running_G: Tensor
    evidence_G: Tensor

    def __init__(
        self,
        counts_G: Tensor,
        config: Config | None = None,
        *,
        patterns_GM: Tensor | None = None,
        share_G: Tensor | None = None,
        baseline_G: Tensor | None = None,
    ) -> None:
        super().__init__(counts_G, config, patterns_GM=patterns_GM)
        self.config = config or self.Config()
        near = nearest_groups(
            _checked_patterns(patterns_GM, self.num_groups),
            self.counts_G,
            self.config.neighbors,
            self.config.bandwidth,
        )
        share_G = self.weight_G if share_G is None else _checked_share(share_G, self.num_groups)
        zero_G = torch.zeros_like(self.counts_G)
        if baseline_G is None:
            baseline_G = zero_G
        baseline_G = _checked_row("baseline_G", baseline_G, zero_G).clone()
        self.register_buffer("neighbor_GK", near.index_GK, persistent=False)
        self.register_buffer("kernel_GK", near.kernel_GK, persistent=False)
        self.register_buffer("share_G", share_G.clone(), persistent=False)
        self.register_buffer("baseline_G", baseline_G, persistent=False)
        self.register_buffer("running_G", torch.zeros_like(zero_G))
        self.register_buffer("evidence_G", torch.zeros_like(zero_G))

    def update(self, loss_G: Tensor, count_G: Tensor) -> None:
        evidence_G = torch.where(count_G > 0, self.counts_G, self.evidence_G)
        self._update(loss_G, count_G, evidence_G, self.config.rate)

    def update_held_out(self, loss_G: Tensor, count_G: Tensor) -> None:
        evidence_G = torch.where(count_G > 0, count_G, self.evidence_G)
        self._update(loss_G, count_G, evidence_G, 1.0)

    def ratio(self, count_G: Tensor) -> Tensor:
        return self.weight_G / self.share_G

    def risk(self) -> Tensor:
        """(G,) shrunken running loss, relative to the mean of all patients."""
        return shrink(
            self.running_G, self.evidence_G, self.neighbor_GK, self.kernel_GK, self.config.tau
        )

    def _update(self, loss_G: Tensor, count_G: Tensor, evidence_G: Tensor, rate: float) -> None:
        excess_G = relative(loss_G - self.baseline_G, count_G)
        self.running_G = follow(self.running_G, self.evidence_G > 0, excess_G, count_G, rate)
        self.evidence_G = evidence_G
        empirical_G = self.counts_G / self.counts_G.sum()
        worst_G = tilt(empirical_G, self.risk(), self.config.radius, self.config.temperature)
        self.weight_G = empirical_G.lerp(worst_G, 1 - self.config.mix)


def shrink(
    loss_G: Tensor, evidence_G: Tensor, neighbor_GK: Tensor, kernel_GK: Tensor, tau: float
) -> Tensor:
    """(n L + tau * neighbors' mean) / (n + tau), n = `evidence_G`, the patients behind each loss.

    A neighbor counts by its kernel times n / (n + tau), its own reliability: a loss without
    evidence counts nothing. Without any reliable neighbor the mean over all patients stands in.
    """
    tiny = torch.finfo(loss_G.dtype).tiny
    trust_G = evidence_G / (evidence_G + min(tau, _ALL_NEIGHBORS)).clamp_min(tiny)
    weight_GK = kernel_GK * trust_G[neighbor_GK]
    total_G = weight_GK.sum(dim=1)
    near_G = (weight_GK * loss_G[neighbor_GK]).sum(dim=1) / total_G.clamp_min(tiny)
    everyone = (evidence_G * loss_G).sum() / evidence_G.sum().clamp_min(1.0)
    near_G = torch.where(total_G > 0, near_G, everyone)
    return trust_G * loss_G + (1 - trust_G) * near_G


def _checked_patterns(patterns_GM: Tensor | None, num_groups: int) -> Tensor:
    if patterns_GM is None:
        raise ValueError("long_tail_dro compares combinations: pass patterns_GM, one row per group")
    patterns_GM = torch.as_tensor(patterns_GM)
    if patterns_GM.dim() != 2 or len(patterns_GM) != num_groups:
        raise ValueError(
            f"patterns_GM must have one row for each of {num_groups} groups, "
            f"got shape {tuple(patterns_GM.shape)}"
        )
    return patterns_GM


def _checked_share(share_G: Tensor, num_groups: int) -> Tensor:
    share_G = _checked_row("share_G", share_G, torch.empty(num_groups, dtype=torch.float64))
    if bool((share_G <= 0).any()) or abs(float(share_G.sum()) - 1) > 1e-6:
        raise ValueError(
            f"share_G must be > 0 and sum to 1, got a minimum of {float(share_G.min()):g} "
            f"and a sum of {float(share_G.sum()):g}"
        )
    return share_G


def _checked_row(name: str, value_G: Tensor, like_G: Tensor) -> Tensor:
    value_G = torch.as_tensor(value_G).to(like_G)
    if value_G.shape != like_G.shape:
        raise ValueError(
            f"{name} must hold one value for each of {len(like_G)} groups, "
            f"got shape {tuple(value_G.shape)}"
        )
    return value_G
