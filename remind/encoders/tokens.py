"""Tokens: what every encoder returns, packed without padding.

T tokens, D width, B patients of a batch, M modalities.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Tokens(NamedTuple):
    """Packed tokens of the observed modalities of a batch.

    Attributes:
        x_TD: the tokens.
        owner_T: patient of each token, int64.
        modality_T: modality of each token, int64.
    """

    x_TD: Tensor
    owner_T: Tensor
    modality_T: Tensor


def observed(present_BM: Tensor) -> tuple[Tensor, Tensor]:
    """Return patient and modality of every observed pair, patient by patient (int64, T each)."""
    owner_T, modality_T = present_BM.nonzero(as_tuple=True)
    return owner_T, modality_T


def patient_order(owner_T: Tensor, modality_T: Tensor) -> Tensor:
    """Return the order of tokens by patient, there by modality, there as they came."""
    if not len(owner_T):
        return owner_T
    return (owner_T * (modality_T.max() + 1) + modality_T).argsort(stable=True)


def merge(parts: Sequence[Tokens]) -> Tokens:
    """Join the tokens of several kinds, patient by patient and there in the order of modalities."""
    if len(parts) == 1:
        return parts[0]
    x_TD, owner_T, modality_T = (torch.cat(column) for column in zip(*parts, strict=True))
    order_T = patient_order(owner_T, modality_T)
    return Tokens(x_TD[order_T], owner_T[order_T], modality_T[order_T])
