"""Layout: all that follows from who is observed in what, found on the host before a step.

B patients, P tokens with a readout of every patient.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from remind.encoders.plan import Plan
from remind.fusion.context import GroupContext
from remind.fusion.packing import Packing


class Readouts(NamedTuple):
    """Tokens of a batch with one readout more for every patient, after the patient's own.

    Attributes:
        packing: of tokens and readouts.
        order_P: where each lies among the tokens followed by the readouts.
        last_B: place of every patient's readout.
    """

    packing: Packing
    order_P: Tensor
    last_B: Tensor

    @classmethod
    def of(cls, owner_T: Tensor, num_patients: int) -> "Readouts":
        """Place the readouts of a packed batch."""
        patient_B = torch.arange(num_patients, device=owner_T.device)
        owner_P, order_P = torch.cat([owner_T, patient_B]).sort(stable=True)
        last_B = torch.searchsorted(owner_P, patient_B, right=True) - 1
        return cls(Packing.of(owner_P), order_P, last_B)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a model needs to know of a batch beside its values.

    Attributes:
        plan: where the tokens come from.
        context: the distinct combinations.
        fusion: what the fusion's own ``layout`` found.
    """

    plan: Plan
    context: GroupContext
    fusion: Any
