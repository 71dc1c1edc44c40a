"""From the logits of an ensemble to the loss and the probability of every patient."""

# B patients of a batch, K ensemble members, C classes

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def patient_losses(logits_BKC: Tensor, label_B: Tensor) -> Tensor:
    """(B,) mean over members of the cross entropy, in nats: each member learns by itself."""
    num_members = logits_BKC.shape[1]
    label_BK = label_B[:, None].expand(-1, num_members)
    return F.cross_entropy(logits_BKC.transpose(1, 2), label_BK, reduction="none").mean(dim=1)


def log_probabilities(logits_BKC: Tensor) -> Tensor:
    """(B, C) log of the mean over members of the softmax, float64."""
    log_prob_BKC = logits_BKC.to(torch.float64).log_softmax(dim=2)
    return log_prob_BKC.logsumexp(dim=1) - math.log(logits_BKC.shape[1])


def probabilities(logits_BKC: Tensor) -> Tensor:
    """(B, C) mean over members of the softmax, float64."""
    return logits_BKC.to(torch.float64).softmax(dim=2).mean(dim=1)
