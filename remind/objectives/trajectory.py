"""What the weights did during training: a record that stays small and survives a resume."""

# G groups, R records, F fields

from typing import Any

import torch
from torch import Tensor, nn

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_FIELDS = ("entropy", "max_weight", "max_group", "tail_mass", "moved")
_FIELDS += tuple(f"q{round(100 * quantile):02d}" for quantile in _QUANTILES)


class Trajectory(nn.Module):
    """Records of the weights: at the start, then after every `stride` updates.

    Whenever the table is full every other record goes and the stride doubles. Fields of a record:
    `entropy` (nats), `max_weight` and `max_group` (who holds it), `tail_mass` (weight of the groups
    below `tail` patients), `moved` (total variation distance from the start, in [0, 1]), and the 5,
    25, 50, 75 and 95% quantiles of the weights. Recording never waits for the device.

    Args:
        start_G: weights before the first update.
        counts_G: training patients per group.
        tail: a group with fewer patients is in the tail.
        capacity: most records kept, even.
    """

    start_G: Tensor
    latest_G: Tensor
    records_RF: Tensor
    is_tail_G: Tensor

    def __init__(
        self, start_G: Tensor, counts_G: Tensor, *, tail: int = 20, capacity: int = 128
    ) -> None:
        super().__init__()
        if capacity < 2 or capacity % 2:
            raise ValueError(f"capacity must be an even number >= 2, got {capacity}")
        self.tail, self.capacity, self.num_updates = tail, capacity, 0
        self.register_buffer("start_G", start_G.clone())
        self.register_buffer("latest_G", start_G.clone())
        self.register_buffer("is_tail_G", counts_G < tail, persistent=False)
        self.register_buffer("records_RF", start_G.new_zeros(capacity, len(_FIELDS)))
        self.records_RF[0] = self._row()

    def record(self, weight_G: Tensor) -> None:
        """Take note of the weights after an update."""
        stride_before = self.stride
        self.num_updates += 1
        self.latest_G = weight_G.clone()
        if self.stride > stride_before:
            self.records_RF[: self.capacity // 2] = self.records_RF[::2].clone()
        if self.num_updates % self.stride == 0:
            self.records_RF[self.num_updates // self.stride] = self._row()

    @property
    def stride(self) -> int:
        """Updates between two records: the least power of two with which all of them fit."""
        return 1 << (self.num_updates // self.capacity).bit_length()

    def summary(self) -> dict[str, Any]:
        """The current weights' record, for a line of metrics.jsonl."""
        row = dict(zip(_FIELDS, self._row().tolist(), strict=True))
        return {**row, "max_group": int(row["max_group"]), "updates": self.num_updates}

    def to_dict(self) -> dict[str, list[float]]:
        """All records as columns; `update` counts from the start, 0."""
        num_records = self.num_updates // self.stride + 1
        columns_F = self.records_RF[:num_records].T.tolist()
        columns = dict(zip(_FIELDS, columns_F, strict=True))
        return {"update": [r * self.stride for r in range(num_records)], **columns}

    def get_extra_state(self) -> Tensor:
        """The number of updates lives on the host, where decisions cost no waiting."""
        return torch.tensor(self.num_updates)

    def set_extra_state(self, state: Tensor) -> None:
        self.num_updates = int(state)

    def _row(self) -> Tensor:
        weight_G = self.latest_G
        max_weight, max_group = weight_G.max(dim=0)
        fields = [
            torch.special.entr(weight_G).sum(),
            max_weight,
            max_group.to(weight_G.dtype),
            weight_G.where(self.is_tail_G, 0.0).sum(),
            (weight_G - self.start_G).abs().sum() / 2,
        ]
        sorted_G = weight_G.sort().values
        fields += [sorted_G[round(quantile * (len(sorted_G) - 1))] for quantile in _QUANTILES]
        return torch.stack(fields)
