"""The interface of all objectives: losses and groups of a batch in, one scalar and the weights out.

Every objective is a weighted mean over the patients of the batch. They differ in the weight that a
patient of each group gets, and most come down to q_g, the weight of a group, in one of two forms:

sampler form    loss = 1/B sum_i (q_g / s_g) l_i    s_g: share of g among the patients drawn.
                Its expectation is sum_g q_g L_g for any batch size. The default.
batch form      loss = sum_g q_g mean(l_i of g)     over the groups of the batch.
                As published; equals the former when a batch holds every group.

Example:
    objective = GroupDRO(counts_G)
    loss, weight_G = objective(loss_B, group_B)
    loss.backward()

Some objectives do more than weigh losses. What they may ask of a training loop are the hooks at the
end of `Objective`; each does nothing unless an objective defines it.
"""

# N training patients, B patients of a batch, G groups, K members, D width, C classes

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch import distributed as dist

from remind.objectives.checks import check_batch, check_counts
from remind.world import num_ranks


class Robust(NamedTuple):
    """What an objective returns.

    Args:
        loss: scalar to minimize. Under data parallelism the mean over ranks, of values and of
            gradients, is that of the whole batch.
        weight_G: q, the weight of each group; sums to 1.
    """

    loss: Tensor
    weight_G: Tensor


class Objective(nn.Module):
    """Base of all objectives. All state is in `state_dict`; `eval()` stops it from changing.

    Args:
        counts_G: training patients per group, all >= 1.
        config: options, kept by the subclass that has some; the defaults of `Config` if None.
        patterns_GM: modalities of each group, bool; read by objectives that compare groups.

    Raises:
        ValueError: a count below 1.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """No options."""

    counts_G: Tensor
    num_patients: Tensor
    weight_G: Tensor

    def __init__(
        self, counts_G: Tensor, config: Config | None = None, *, patterns_GM: Tensor | None = None
    ) -> None:
        super().__init__()
        counts_G = torch.as_tensor(counts_G)
        check_counts(counts_G)
        counts_G = counts_G.to(torch.float64, copy=True)
        self.register_buffer("counts_G", counts_G, persistent=False)
        self.register_buffer("num_patients", counts_G.sum(), persistent=False)
        self.register_buffer("weight_G", counts_G / counts_G.sum())

    @property
    def num_groups(self) -> int:
        """G."""
        return len(self.counts_G)

    def forward(self, loss_B: Tensor, group_B: Tensor) -> Robust:
        """The objective of one batch.

        Args:
            loss_B: loss of each patient.
            group_B: training group of each patient, int64.

        Raises:
            ValueError: an unseen group (-1) or shapes that differ.
        """
        check_batch(loss_B, group_B, self.num_groups)
        if self._is_fixed():
            return Robust(loss=self._fixed_loss(loss_B, group_B), weight_G=self.weight_G)
        loss_G, count_G = group_mean(loss_B, group_B, self.num_groups)
        self.learn(loss_G, count_G)
        loss_B = loss_B.to(torch.promote_types(loss_B.dtype, torch.float32))
        ratio_B = self.ratio(count_G).index_select(0, group_B).to(loss_B.dtype)
        num_patients = count_G.sum().to(loss_B.dtype) / num_ranks()
        return Robust(loss=(ratio_B * loss_B).sum() / num_patients, weight_G=self.weight_G)

    def learn(self, loss_G: Tensor, count_G: Tensor) -> None:
        """Move the weights by the group losses of a batch. Fixed weights have nothing to learn."""

    def ratio(self, count_G: Tensor) -> Tensor:
        """(G,) weight of one patient of each group, given the batch's patients per group.

        Here the sampler form, for a sampler that draws all training patients alike.
        """
        return self.weight_G * self.num_patients / self.counts_G

    restart_after: int = 0
    """Epochs after which `mark` is called and the model starts afresh; 0 never."""

    reads_representations: bool = False
    """Whether `penalty` is to be called."""

    def begin(self, label_N: Tensor, group_N: Tensor) -> None:
        """Called once before the first epoch, also of a training that is resumed.

        Args:
            label_N: class of each training patient, int64.
            group_N: training group of each, int64.
        """

    def adjust(self, logits_BKC: Tensor, group_B: Tensor) -> Tensor:
        """Logits that the loss is taken of instead; a prediction never is.

        Args:
            logits_BKC: of every ensemble member.
            group_B: group of each patient; -1 for a validation patient of an unseen one.
        """
        return logits_BKC

    def penalty(
        self,
        x_BKD: Tensor,
        classify: Callable[[Tensor], Tensor],
        label_B: Tensor,
        group_B: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """A scalar to add to the loss of a training batch, from what the model knows of it.

        Under data parallelism each rank gives its own patients, maybe none, and gets the scalar of
        the whole batch.

        Args:
            x_BKD: representation of each patient in every ensemble member.
            classify: representations to logits (B, K, C).
            label_B: class of each patient.
            group_B: training group of each.
            generator: of what is drawn, on the CPU, alike on all ranks; torch's own if None, which
                is for one process.
        """
        raise NotImplementedError

    def end_epoch(self) -> None:
        """Called after the last training batch of every epoch, before validation."""

    def draws(self, group_N: Tensor) -> Tensor | None:
        """(N,) how often each training patient is drawn in the next epoch, up to a factor.

        A function of the objective's state, which is alike on all ranks. None is each once.
        """
        return None

    def mark(self, is_wrong_N: Tensor) -> None:
        """Called after `restart_after` epochs with whom the model then gets wrong, bool."""

    def _is_fixed(self) -> bool:
        """Whether neither the weights nor the ratio depend on the batch."""
        return type(self).learn is Objective.learn and type(self).ratio is Objective.ratio

    def _fixed_loss(self, loss_B: Tensor, group_B: Tensor) -> Tensor:
        """The same loss, by rows of the batch's groups: its cost does not grow with G."""
        loss_B = loss_B.to(torch.promote_types(loss_B.dtype, torch.float32))
        weight_B, counts_B = (x.index_select(0, group_B) for x in (self.weight_G, self.counts_G))
        ratio_B = (weight_B * self.num_patients / counts_B).to(loss_B.dtype)
        num_patients = loss_B.new_full((), len(loss_B))
        if num_ranks() > 1:
            dist.all_reduce(num_patients)
        return (ratio_B * loss_B).sum() / (num_patients / num_ranks())


def group_mean(loss_B: Tensor, group_B: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    """Mean loss and number of patients per group, over all ranks; float64, without gradient.

    A group that is absent has mean 0 and count 0. Patients of unseen groups (-1) are left out.
    """
    # A last row that is cut off takes the unseen: no shape depends on the data.
    index_B = torch.where(group_B < 0, num_groups, group_B)
    loss_B = loss_B.detach().to(torch.float64)
    sums_2G = loss_B.new_zeros(2, num_groups + 1)
    sums_2G.index_add_(1, index_B, torch.stack([loss_B, torch.ones_like(loss_B)]))
    sums_2G = sums_2G[:, :num_groups].contiguous()
    if num_ranks() > 1:
        dist.all_reduce(sums_2G)
    sum_G, count_G = sums_2G
    return sum_G / count_G.clamp_min(1), count_G


def from_all_ranks(own_BX: Tensor) -> Tensor:
    """The rows of all ranks, those of rank 0 first.

    Ranks may have different numbers of rows, or none. Values of others come without gradient. That
    of the own ones is multiplied by the number of ranks: where every rank computes the same scalar
    of all rows and gradients are averaged over ranks, the mean is the gradient of that scalar, and
    nothing needs to be sent back.
    """
    if num_ranks() == 1:
        return own_BX
    sizes = [torch.zeros(1, dtype=torch.int64, device=own_BX.device) for _ in range(num_ranks())]
    dist.all_gather(sizes, torch.tensor([len(own_BX)], device=own_BX.device))
    numbers = [int(size) for size in sizes]
    padded_BX = own_BX.new_zeros(max(numbers), *own_BX.shape[1:])
    padded_BX[: len(own_BX)] = own_BX.detach()
    parts = [torch.empty_like(padded_BX) for _ in numbers]
    dist.all_gather(parts, padded_BX)
    rows = [part[:number] for part, number in zip(parts, numbers, strict=True)]
    if own_BX.requires_grad:
        value_BX = own_BX.detach()
        rows[dist.get_rank()] = value_BX + num_ranks() * (own_BX - value_BX)
    return torch.cat(rows)
