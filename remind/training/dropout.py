"""Modality dropout: training patients see themselves with fewer modalities."""

# B patients of a batch, M modalities, X = M + 1

import torch
from torch import Tensor

from remind.training.seeds import step_generator


def draw(seed: int, epoch: int, step: int, num_patients: int, num_modalities: int) -> Tensor:
    """(B, M + 1) uniform numbers of a global batch: the same on every rank and after a resume.

    Args:
        seed: of the run.
        epoch: counted from 0.
        step: of the epoch, counted from 0.
        num_patients: of the global batch.
        num_modalities: M.
    """
    return torch.rand(num_patients, num_modalities + 1, generator=step_generator(seed, epoch, step))


def drop_modalities(present_BM: Tensor, rate: float, uniform_BX: Tensor | None = None) -> Tensor:
    """A presence with some observed modalities hidden.

    Every patient has a drop rate r ~ U(0, 2 rate); each observed modality is hidden with
    probability r. A patient who would lose everything keeps everything.

    Args:
        present_BM: whether each modality is observed, bool, on the CPU.
        rate: mean share of hidden modalities, in [0, 0.5].
        uniform_BX: M + 1 numbers in [0, 1) of each patient; from torch's global generator if None.
    """
    num_patients, num_modalities = present_BM.shape
    if uniform_BX is None:
        uniform_BX = torch.rand(num_patients, num_modalities + 1)
    kept_BM = present_BM & (uniform_BX[:, 1:] >= 2 * rate * uniform_BX[:, :1])
    return torch.where(kept_BM.any(dim=1, keepdim=True), kept_BM, present_BM)
