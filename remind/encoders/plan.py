"""Plans: where the tokens of a batch come from, found on the host so that no device waits for it.

How many tokens a batch has depends on who is observed in what. Asked on a device that is a wait for
all work before it; asked on the host, where batches are made, it is not.

T tokens, B patients, M modalities.
"""

from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Where the tokens of a batch come from.

    Attributes:
        kinds: kind name -> the plan of its encoder, a NamedTuple of tensors and numbers.
        order_T: tokens of all kinds one after the other, in the order of patients and modalities;
            None where a kind has no plan, or all tokens are of one kind and in order.
        owner_T, modality_T: of each token, in that order; None where a kind has no plan.
    """

    kinds: dict[str, Any]
    order_T: Tensor | None
    owner_T: Tensor | None
    modality_T: Tensor | None

    @classmethod
    def of(cls, kinds: dict[str, Any], *, is_whole: bool) -> Self:
        """Join the plans of kinds; ``is_whole`` if there is no other kind."""
        if not is_whole:
            return cls(kinds=kinds, order_T=None, owner_T=None, modality_T=None)
        parts = list(kinds.values())
        owner_T = torch.cat([part.owner_T for part in parts])
        modality_T = torch.cat([part.modality_T for part in parts])
        if len(parts) == 1:
            return cls(kinds=kinds, order_T=None, owner_T=owner_T, modality_T=modality_T)
        order_T = patient_order(owner_T, modality_T)
        return cls(
            kinds=kinds,
            order_T=order_T,
            owner_T=owner_T[order_T],
            modality_T=modality_T[order_T],
        )

    def to(self, device: torch.device) -> "Plan":
        """Return the same plan on a device."""
        return Plan(**{item.name: move(getattr(self, item.name), device) for item in fields(self)})


def patient_order(owner_T: Tensor, modality_T: Tensor) -> Tensor:
    """Return the order of tokens by patient, there by modality, there as they came."""
    if not len(owner_T):
        return owner_T
    return (owner_T * (modality_T.max() + 1) + modality_T).argsort(stable=True)


def move(plan: Any, device: torch.device) -> Any:
    """Return a tensor, and tensors inside tuples and dicts, on a device."""
    if isinstance(plan, Tensor):
        return plan.to(device, non_blocking=True)
    if isinstance(plan, dict):
        return {name: move(item, device) for name, item in plan.items()}
    if isinstance(plan, tuple):
        items = [move(item, device) for item in plan]
        return type(plan)(*items) if hasattr(plan, "_fields") else tuple(items)
    return plan
