"""Packed tokens: which rows of x_TD belong to which patient, without padding.

The tokens of a batch lie one patient after the other. Whatever looks at a patient's own tokens
only (attention, soft dispatch) works on *buckets*: patients with equally many tokens, side by side,
are a dense (b, n, D) array that needs neither padding nor a mask.

T tokens; b patients of one bucket, n tokens of each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Packing:
    """The rows of a packed batch, grouped into buckets once and used by every layer.

    Attributes:
        owner_T: patient of each token, int64, non-decreasing.
        order_T: tokens in bucket order: by token count of the patient, then as they came.
        inverse_T: the inverse permutation of ``order_T``.
        shapes: (patients, tokens per patient) of every bucket.
    """

    owner_T: Tensor
    order_T: Tensor
    inverse_T: Tensor
    shapes: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, owner_T: Tensor) -> Self:
        """Find the buckets of a packed batch.

        Raises:
            ValueError: ``owner_T`` is not sorted.
        """
        if (owner_T[1:] < owner_T[:-1]).any():
            raise ValueError("owner_T must be sorted: the tokens of a patient lie side by side")
        _, patient_T, num_B = owner_T.unique_consecutive(return_inverse=True, return_counts=True)
        order_T = num_B[patient_T].argsort(stable=True)
        inverse_T = torch.empty_like(order_T)
        inverse_T[order_T] = torch.arange(len(order_T), device=order_T.device)
        sizes, patients = num_B.unique(return_counts=True)
        shapes = tuple(zip(patients.tolist(), sizes.tolist(), strict=True)) or ((0, 1),)
        return cls(owner_T=owner_T, order_T=order_T, inverse_T=inverse_T, shapes=shapes)

    def split(self, x_TX: Tensor) -> list[Tensor]:
        """Return the buckets of per-token values (T, ...), each as (b, n, ...)."""
        parts = x_TX.index_select(0, self.order_T).split([b * n for b, n in self.shapes])
        return [p.unflatten(0, shape) for p, shape in zip(parts, self.shapes, strict=True)]

    def join(self, buckets: Sequence[Tensor]) -> Tensor:
        """Undo ``split``: buckets (b, n, ...) become per-token values (T, ...) in packed order."""
        return torch.cat([x.flatten(0, 1) for x in buckets]).index_select(0, self.inverse_T)
