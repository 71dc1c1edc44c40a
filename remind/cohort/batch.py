"""Batch: all that models know of data. The only file of this package that imports torch."""

# B patients of a batch, M modalities

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from remind.cohort.encoding import Encoded
from remind.cohort.groups import Groups
from remind.cohort.summary import CODERS
from remind.transfer import map_tensors, to_device


@dataclass(frozen=True, eq=False)
class Batch:
    """Tensors of B patients.

    Args:
        values: kind name -> its tensors, leading axis B.
        present_BM: whether each modality is observed, bool.
        label_B: class index int64, -1 unknown.
        group_B: training group int64, -1 unseen.
        groups: where a changed presence finds its group; without it a changed patient is unseen.
        host: the batch that this one is a copy of on a device; None where it is not known, as
            after another change than ``with_present``.
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
        host = self if self.present_BM.device.type == "cpu" else self.host
        return replace(self._moved(device), host=host)

    def on_host(self) -> "Batch":
        """The same batch on the host, without waiting for the device where it is known."""
        return self._moved("cpu") if self.host is None else self.host

    def _moved(self, device: torch.device | str) -> "Batch":
        tensors = (self.values, self.present_BM, self.label_B, self.group_B)
        values, present_BM, label_B, group_B = to_device(tensors, device)
        return replace(self, values=values, present_BM=present_BM, label_B=label_B, group_B=group_B)

    def with_present(self, present_BM: Tensor) -> "Batch":
        """The same patients observed in fewer modalities; their groups follow."""
        device = self.present_BM.device
        if self.host is not None:
            host = self.host.with_present(present_BM.cpu())
            group_B = to_device(host.group_B, device)
            return replace(self, present_BM=present_BM, group_B=group_B, host=host)
        if self.groups is None:
            is_same_B = (present_BM == self.present_BM).all(dim=1)
            group_B = torch.where(is_same_B, self.group_B, -1)
        else:
            group_B = torch.from_numpy(self.groups.ids(present_BM.cpu().numpy())).to(device)
        return replace(self, present_BM=present_BM, group_B=group_B)


def make_batch(encoded: Encoded, rows: np.ndarray) -> Batch:
    """The batch of some rows of an encoded cohort."""
    values = {kind: CODERS[kind].batch(data, rows) for kind, data in encoded.values.items()}
    return Batch(
        values=map_tensors(torch.from_numpy, values),
        present_BM=torch.from_numpy(encoded.present_NM[rows]),
        label_B=torch.from_numpy(encoded.label_N[rows]),
        group_B=torch.from_numpy(encoded.group_N[rows]),
        groups=encoded.groups,
    )
