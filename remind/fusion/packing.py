"""Packed tokens: which rows of x_TD belong to which patient, without padding.

The tokens of a batch lie one patient after the other. Whatever looks at a patient's own tokens
only (attention, soft dispatch) works on *buckets*: patients with equally many tokens, side by side,
are a dense (b, n, D) array that needs neither padding nor a mask.

T tokens; B patients, L tokens of the longest; b patients of one bucket, n tokens of each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Packing:
    """The rows of a packed batch, grouped into buckets once and used by every layer.

    Under ``torch.compile`` a list of buckets would be another program for every batch. There all
    patients are one bucket, padded to the longest, with a mask.

    Attributes:
        owner_T: patient of each token, int64; non-decreasing, but in ``in_layers``.
        order_T: tokens in bucket order: by token count of the patient, then as they came.
        is_ordered: whether they lie so.
        inverse_T: the inverse permutation of ``order_T``.
        shapes: (patients, tokens per patient) of every bucket.
        place_T: place of each token among the patients padded to the longest.
        is_there_BL: bool, which of those places hold a token; patients without tokens are left out.
    """

    owner_T: Tensor
    order_T: Tensor
    inverse_T: Tensor
    shapes: tuple[tuple[int, int], ...]
    place_T: Tensor
    is_there_BL: Tensor
    is_ordered: bool

    @classmethod
    def of(cls, owner_T: Tensor) -> Self:
        """Find the buckets of a packed batch; waits for the device, so better on the host.

        Raises:
            ValueError: ``owner_T`` is not sorted.
        """
        if (owner_T[1:] < owner_T[:-1]).any():
            raise ValueError("owner_T must be sorted: the tokens of a patient lie side by side")
        _, patient_T, num_B = owner_T.unique_consecutive(return_inverse=True, return_counts=True)
        order_T = num_B[patient_T].argsort(stable=True)
        count_T = torch.arange(len(order_T), device=order_T.device)
        inverse_T = torch.empty_like(order_T)
        inverse_T[order_T] = count_T
        sizes, patients = num_B.unique(return_counts=True)
        shapes = tuple(zip(patients.tolist(), sizes.tolist(), strict=True)) or ((0, 1),)
        longest = shapes[-1][1]
        rank_T = count_T - (num_B.cumsum(0) - num_B)[patient_T]
        rank_L = torch.arange(longest, device=owner_T.device)
        return cls(
            owner_T=owner_T,
            order_T=order_T,
            inverse_T=inverse_T,
            shapes=shapes,
            place_T=patient_T * longest + rank_T,
            is_there_BL=rank_L < num_B.unsqueeze(1),
            is_ordered=len(shapes) == 1,
        )

    @classmethod
    def uniform(cls, num_patients: int, size: int, device: torch.device) -> Self:
        """Pack patients of ``size`` tokens each: one bucket, known without looking."""
        order_T = torch.arange(num_patients * size, device=device)
        return cls(
            owner_T=order_T.div(size, rounding_mode="floor"),
            order_T=order_T,
            inverse_T=order_T,
            shapes=((num_patients, size),),
            place_T=order_T,
            is_there_BL=torch.ones(num_patients, size, dtype=torch.bool, device=device),
            is_ordered=True,
        )

    @classmethod
    def in_layers(cls, num_patients: int, size: int, device: torch.device) -> Self:
        """Pack ``size`` tokens of each patient: the first of all patients, then the second, ..."""
        place_BL = torch.arange(num_patients * size, device=device).view(num_patients, size)
        return cls(
            owner_T=torch.arange(num_patients, device=device).repeat(size),
            order_T=place_BL.view(size, num_patients).T.flatten(),
            inverse_T=place_BL.T.flatten(),
            shapes=((num_patients, size),),
            place_T=place_BL.T.flatten(),
            is_there_BL=torch.ones_like(place_BL, dtype=torch.bool),
            is_ordered=size == 1,
        )

    def split(self, x_TX: Tensor) -> list[Tensor]:
        """Return the buckets of per-token values (T, ...), each as (b, n, ...)."""
        if self._is_padded():
            num_patients, longest = self.is_there_BL.shape
            x_PX = x_TX.new_zeros(num_patients * longest, *x_TX.shape[1:])
            x_PX = x_PX.index_copy(0, self.place_T, x_TX)
            return [x_PX.unflatten(0, (num_patients, longest))]
        if self.is_ordered:
            return [x_TX.unflatten(0, self.shapes[0])]
        parts = x_TX.index_select(0, self.order_T).split([b * n for b, n in self.shapes])
        return [p.unflatten(0, shape) for p, shape in zip(parts, self.shapes, strict=True)]

    def absent(self) -> list[Tensor | None]:
        """Return which places (b, n) of every bucket hold no token; None where all hold one."""
        return [~self.is_there_BL] if self._is_padded() else [None] * len(self.shapes)

    def join(self, buckets: Sequence[Tensor]) -> Tensor:
        """Undo ``split``: buckets (b, n, ...) become per-token values (T, ...) in packed order."""
        if self._is_padded():
            return buckets[0].flatten(0, 1).index_select(0, self.place_T)
        if self.is_ordered:
            return buckets[0].flatten(0, 1)
        return torch.cat([x.flatten(0, 1) for x in buckets]).index_select(0, self.inverse_T)

    @staticmethod
    def _is_padded() -> bool:
        return torch.compiler.is_compiling()
