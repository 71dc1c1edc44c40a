"""Predictions of a model for many patients, in chunks, always the same."""

# B patients of a chunk, C classes, N patients

import numpy as np
import torch
from torch import Tensor, nn

from remind.cohort import Encoded
from remind.errors import InputError
from remind.training.losses import log_probabilities

CHUNK = 4096
"""Patients that are predicted at once."""


@torch.inference_mode()
def predict_log_probabilities(model: nn.Module, encoded: Encoded, rows: np.ndarray) -> Tensor:
    """(N, C) log probabilities of some rows, float64 on the model's device; N >= 1.

    The model is in evaluation mode meanwhile, and in its own again afterwards.
    """
    device = device_of(model)
    was_training = model.training
    model.eval()
    try:
        chunks = [
            log_probabilities(_forward(model, encoded, rows[start : start + CHUNK], device))
            for start in range(0, len(rows), CHUNK)
        ]
    finally:
        model.train(was_training)
    return torch.cat(chunks)


def pick_device(name: str) -> torch.device:
    """The device that a config names; "auto" is CUDA where there is one.

    Raises:
        InputError: CUDA is asked for, but there is none.
    """
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise InputError('device is "cuda", but torch sees no CUDA device: set device=cpu')
    return torch.device("cuda" if has_cuda and name != "cpu" else "cpu")


def device_of(model: nn.Module) -> torch.device:
    """Where the parameters of a model are."""
    return next(model.parameters()).device


def _forward(model: nn.Module, encoded: Encoded, rows: np.ndarray, device: torch.device) -> Tensor:
    return model(encoded.batch(rows).to(device)).logits_BKC
