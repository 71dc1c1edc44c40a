"""Modality dropout: training patients see themselves with fewer modalities."""

# B patients of a batch, M modalities

import torch
from torch import Tensor


def drop_modalities(present_BM: Tensor, rate: float) -> Tensor:
    """A presence with some observed modalities hidden, drawn from torch's global generator (CPU).

    Every patient has a drop rate r ~ U(0, 2 rate); each observed modality is hidden with
    probability r. A patient who would lose everything keeps everything.

    Args:
        present_BM: whether each modality is observed, bool, on the CPU.
        rate: mean share of hidden modalities, in [0, 0.5].
    """
    rate_B1 = 2 * rate * torch.rand(len(present_BM), 1)
    kept_BM = present_BM & (torch.rand(present_BM.shape) >= rate_B1)
    return torch.where(kept_BM.any(dim=1, keepdim=True), kept_BM, present_BM)
