"""Plans: where the tokens of a batch come from, found on the host so that no device waits for it.

How many tokens a batch has depends on who is observed in what. Asked on a device that is a wait for
all work before it; asked on the host, where batches are made, it is not.

T tokens, B patients, M modalities.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from remind.encoders.tokens import Tokens, patient_order
from remind.transfer import to_device


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Where the tokens of several encoders come from.

    Attributes:
        parts: name of an encoder -> its plan, a tuple or a dataclass.
        order_T: their tokens one after the other, in the order of patients and modalities; None of
            one encoder alone.
        owner_T, modality_T: of each token, in that order, int64.
    """

    parts: dict[str, Any]
    order_T: Tensor | None
    owner_T: Tensor
    modality_T: Tensor

    @classmethod
    def of(
        cls, encoders: Mapping[str, "PlannedEncoder"], values: Mapping[str, Any], present_BM: Tensor
    ) -> Self:
        """Join the plans of encoders, of which there is one at least.

        Args:
            encoders: by name.
            values: of each, on the host.
            present_BM: bool, on the host.
        """
        parts = {name: one.plan(values[name], present_BM) for name, one in encoders.items()}
        owner_T = torch.cat([part.owner_T for part in parts.values()])
        modality_T = torch.cat([part.modality_T for part in parts.values()])
        if len(parts) == 1:
            return cls(parts=parts, order_T=None, owner_T=owner_T, modality_T=modality_T)
        order_T = patient_order(owner_T, modality_T)
        return cls(
            parts=parts,
            order_T=order_T,
            owner_T=owner_T[order_T],
            modality_T=modality_T[order_T],
        )

    def encode(self, encoders: Mapping[str, "PlannedEncoder"], values: Mapping[str, Any]) -> Tokens:
        """Encode the values of those encoders, and join their tokens."""
        tokens = [one.encode(values[name], self.parts[name]) for name, one in encoders.items()]
        x_TD = torch.cat([part.x_TD for part in tokens])
        if self.order_T is not None:
            x_TD = x_TD.index_select(0, self.order_T)
        return Tokens(x_TD, self.owner_T, self.modality_T)


class PlannedEncoder(nn.Module, ABC):
    """An encoder in two halves: what waits for nothing, and before it, on the host, its plan."""

    @abstractmethod
    def plan(self, values: Any, present_BM: Tensor) -> Any:
        """Find where the tokens of a batch come from.

        Args:
            values: of the kind or modality, on the host.
            present_BM: bool, on the host.

        Returns:
            A tuple or dataclass with at least ``owner_T`` and ``modality_T``, as in ``Plan``.
        """

    @abstractmethod
    def encode(self, values: Any, plan: Any) -> Tokens:
        """Encode the observed modalities of a batch as planned, all on one device."""

    def forward(self, values: Any, present_BM: Tensor) -> Tokens:
        """Plan and encode the observed modalities of a batch."""
        plan = self.plan(to_device(values, "cpu"), present_BM.cpu())
        return self.encode(values, to_device(plan, present_BM.device))


def places_of_parts(num_V: Tensor, item_V: Tensor) -> tuple[Tensor, Tensor]:
    """Places of the parts of some items, and where those of each begin.

    Args:
        num_V: parts of every item, which lie one item after the other, int64.
        item_V: the items that are wanted, int64.

    Returns:
        Places among all parts, item by item, and for each item its first among those places.
    """
    num_I = num_V[item_V]
    start_I = num_I.cumsum(0) - num_I
    skipped_I = (num_V.cumsum(0) - num_V)[item_V] - start_I
    places = torch.arange(int(num_I.sum())) + skipped_I.repeat_interleave(num_I)
    return places, start_I
