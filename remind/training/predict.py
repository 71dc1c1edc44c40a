"""Predictions of a model for many patients, in chunks, always the same."""

# B patients of a chunk, C classes, N patients

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from remind.cohort import Encoded
from remind.errors import InputError
from remind.training.batches import own_slice
from remind.training.losses import log_probabilities
from remind.training.ranks import gather, rank
from remind.world import num_ranks

CHUNK, CHUNK_CPU = 4096, 512
"""Patients that are predicted at once; on CPU so few that what they need stays in cache."""


def predict_log_probabilities(model: nn.Module, encoded: Encoded, rows: np.ndarray) -> Tensor:
    """(N, C) log probabilities of some rows, float64 on the model's device; N >= 1.

    The model is in evaluation mode meanwhile, and in its own again afterwards. On CPU every thread
    predicts a chunk of its own: they are too small to be shared out.
    """
    device = device_of(model)
    size = chunk_size(device)
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]

    @torch.inference_mode()
    def predict(part: np.ndarray) -> Tensor:
        return log_probabilities(_forward(model, encoded, part, device))

    was_training = model.training
    if was_training:  # to say so to every module takes as long as to predict some patients
        model.eval()
    try:
        return torch.cat(_side_by_side(predict, parts, device))
    finally:
        if was_training:
            model.train()


def predict_in_parts(
    predict: Callable[[Callable[[nn.Module], Tensor]], Tensor],
    encoded: Encoded,
    rows: np.ndarray,
    device: torch.device,
) -> Tensor:
    """(N, C) log probabilities on every rank, each patient's by the one rank that predicts it.

    All ranks call it, and predict equally many chunks: those with a patient fewer predict one
    twice, of which the second is thrown away.

    Args:
        predict: gives a function the model in evaluation mode.
        encoded: of all patients.
        rows: N >= 1 of them.
        device: of the model.
    """
    size = chunk_size(device)
    slices = [own_slice(len(rows), place, num_ranks()) for place in range(num_ranks())]
    own, most = rows[slices[rank()]], -(-len(rows) // num_ranks())
    padded = np.concatenate([own, rows[: most - len(own)]])
    chunks = [
        predict(lambda model, c=chunk: log_probabilities(_forward(model, encoded, c, device)))
        for chunk in np.split(padded, range(size, most, size))
    ]
    parts = gather(torch.cat(chunks))
    return torch.cat(
        [part[: own.stop - own.start] for part, own in zip(parts, slices, strict=True)]
    )


def _side_by_side(
    predict: Callable[[np.ndarray], Tensor], parts: Sequence[np.ndarray], device: torch.device
) -> list[Tensor]:
    """Predict all parts, in threads of one core each where there is more than one of both."""
    num_threads = min(torch.get_num_threads(), len(parts))
    if device.type != "cpu" or num_threads == 1:
        return [predict(part) for part in parts]
    with _threads(num_threads) as pool:
        return list(pool.map(predict, parts))


@contextmanager
def _threads(num: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that do not share out their work; the caller has as many as before afterwards."""
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(num, initializer=lambda: torch.set_num_threads(1)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)  # some libraries have one number for all threads


def chunk_size(device: torch.device) -> int:
    """Patients that are predicted at once."""
    return CHUNK_CPU if device.type == "cpu" else CHUNK


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
