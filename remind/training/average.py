"""The exponential moving average of a model's parameters."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from remind.training.rows import RowAverage


class WeightAverage:
    """Average <- d average + (1 - d) parameter after step t, d = min(decay, (1 + t) / (10 + t)).

    The smaller decay of the first steps forgets the random start.

    Args:
        model: whose parameters are averaged; buffers are not.
        decay: in (0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.parameters = list(model.parameters())
        self.averages = [parameter.detach().clone() for parameter in self.parameters]
        self.rows = {
            parameter: RowAverage(parameter, average)
            for parameter, average in zip(self.parameters, self.averages, strict=True)
            if getattr(parameter, "by_rows", False)
        }
        pairs = zip(self.averages, self.parameters, strict=True)
        dense = [pair for pair in pairs if pair[1] not in self.rows]
        self.dense_averages, self.dense_parameters = ([pair[i] for pair in dense] for i in (0, 1))
        average_of = dict(zip(self.parameters, self.averages, strict=True))
        names = model.named_parameters(remove_duplicate=False)  # a tied parameter has several
        self.named_averages = {name: average_of[parameter] for name, parameter in names}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the parameters after step t, counted from 0, into the average."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for rows in self.rows.values():
            rows.update(decay)
        if self.dense_averages:
            lerp = torch._foreach_lerp_  # pyright: ignore[reportPrivateImportUsage]
            lerp(self.dense_averages, self.dense_parameters, 1 - decay)

    @contextmanager
    @torch.no_grad()
    def applied(self) -> Iterator[None]:
        """The model has the averages for parameters inside, and its own again afterwards."""
        self._flush()
        own = [parameter.detach().clone() for parameter in self.parameters]
        self._set(self.averages)
        try:
            yield
        finally:
            self._set(own)

    def state_dict(self) -> dict[str, Tensor]:
        """Parameter name -> average."""
        self._flush()
        return dict(self.named_averages)

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take the averages of `state_dict`."""
        for name, average in self.named_averages.items():
            average.copy_(state[name])
        for rows in self.rows.values():
            rows.restart()

    @torch.no_grad()
    def _flush(self) -> None:
        for rows in self.rows.values():
            rows.flush()

    def _set(self, values: list[Tensor]) -> None:
        for parameter, value in zip(self.parameters, values, strict=True):
            parameter.copy_(value)
