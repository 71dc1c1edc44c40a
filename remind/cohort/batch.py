"""Batch: all that models know of data. The only file of this package that imports torch."""

# B patients of a batch, M modalities

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from remind.cohort.encoding import Encoded
from remind.cohort.groups import Groups
from remind.cohort.summary import CODERS


@dataclass(frozen=True, eq=False)
class Batch:
    """Tensors of B patients.

    Args:
        values: kind name -> its tensors, leading axis B.
        present_BM: whether each modality is observed, bool.
        label_B: class index int64, -1 unknown.
        group_B: training group int64, -1 unseen.
        groups: where a changed presence finds its group; without it a changed patient is unseen.
        host: the batch that this one is a copy of on a device; None where it is not known.
    """

    values: dict[str, Any]
    present_BM: Tensor
    label_B: Tensor
    group_B: Tensor
    groups: Groups | None = None
    host: "Batch | None" = None

    def __len__(self) -> int:
        return len(self.present_BM)

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on a device."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=True)

        return replace(
            self,
            values=_map(move, self.values),
            present_BM=move(self.present_BM),
            label_B=move(self.label_B),
            group_B=move(self.group_B),
            host=self.host or self,
        )

    def on_host(self) -> "Batch":
        """A batch whose presence and groups are on the host, without waiting where it is known."""
        if self.host is not None:
            return self.host
        present_BM, group_B = self.present_BM.cpu(), self.group_B.cpu()
        return replace(self, present_BM=present_BM, group_B=group_B)

    def with_present(self, present_BM: Tensor) -> "Batch":
        """The same patients observed in fewer modalities; their groups follow."""
        if self.groups is None:
            is_same_B = (present_BM == self.present_BM).all(dim=1)
            group_B = torch.where(is_same_B, self.group_B, -1)
        else:
            group_B = torch.from_numpy(self.groups.ids(present_BM.cpu().numpy())).to(
                self.group_B.device
            )
        return replace(self, present_BM=present_BM, group_B=group_B, host=None)


def make_batch(encoded: Encoded, rows: np.ndarray) -> Batch:
    """The batch of some rows of an encoded cohort."""
    values = {kind: CODERS[kind].batch(data, rows) for kind, data in encoded.values.items()}
    return Batch(
        values=_map(torch.from_numpy, values),
        present_BM=torch.from_numpy(encoded.present_NM[rows]),
        label_B=torch.from_numpy(encoded.label_N[rows]),
        group_B=torch.from_numpy(encoded.group_N[rows]),
        groups=encoded.groups,
    )


def _map(function: Callable[[Any], Tensor], values: Any) -> Any:
    """Apply a function to every array or tensor inside dicts and dataclasses."""
    if isinstance(values, Mapping):
        return {key: _map(function, value) for key, value in values.items()}
    if is_dataclass(values) and not isinstance(values, type):
        return replace(
            values,
            **{item.name: _map(function, getattr(values, item.name)) for item in fields(values)},
        )
    return function(values)
