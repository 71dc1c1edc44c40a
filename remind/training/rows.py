"""Tables of which a step changes a few rows: their optimizer and average, at the cost of those.

A residual of each of a million combinations is a table of which a batch touches a few hundred rows.
Dense AdamW, gradient clipping and averaging would read all of it in every step, and cost more than
the step. A parameter that is marked ``by_rows`` has sparse gradients and is treated so:

- ``RowAdamW`` is AdamW for each row on its own, by the steps that touched it: moments, weight decay
  and bias correction of a row stand still in between (as in "lazy Adam" for embeddings).
- Its gradient is no part of the norm that is clipped; AdamW does not depend on a gradient's scale.
- ``RowAverage`` is the exponential moving average that a dense update would give, to rounding: what
  a row missed while it stood still has a closed form.
"""

# G rows, X values of a row, N rows that a step touched

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


class RowAdamW(torch.optim.AdamW):
    """AdamW; parameters marked ``by_rows`` are updated in the rows that have a gradient."""

    def __init__(self, params: Any, **options: Any) -> None:
        super().__init__(params, **options)
        for parameter in self._by_rows():
            if not hasattr(parameter, "kept_rows"):  # an optimizer before this one may have begun
                parameter.register_hook(partial(_keep_rows, _kept(parameter)))
                parameter.register_post_accumulate_grad_hook(_forget_rows)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients."""
        super().zero_grad(set_to_none)
        for parameter in self._by_rows():
            _kept(parameter).clear()

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step of everything."""
        loss = super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                if getattr(parameter, "by_rows", False) and _kept(parameter):
                    self._step_rows(parameter, group)
        return loss

    def _step_rows(self, parameter: Tensor, group: dict[str, Any]) -> None:
        gradient = _kept(parameter)[0]
        for more in _kept(parameter)[1:]:
            gradient = gradient + more
        gradient = gradient.coalesce()  # which does nothing to distinct rows
        row_N, grad_NX = gradient.indices()[0], gradient.values()
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(len(parameter), 1, device=parameter.device)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        first, second = group["betas"]
        step_N1 = state["step"][row_N] + 1
        mean_NX = state["exp_avg"][row_N].lerp(grad_NX, 1 - first)
        square_NX = (
            state["exp_avg_sq"][row_N].mul(second).addcmul(grad_NX, grad_NX, value=1 - second)
        )
        root_NX = (square_NX / (1 - second**step_N1)).sqrt() + group["eps"]
        change_NX = mean_NX / (1 - first**step_N1) / root_NX
        value_NX = parameter[row_N] * (1 - group["lr"] * group["weight_decay"])
        parameter[row_N] = value_NX - group["lr"] * change_NX
        state["step"][row_N], state["exp_avg"][row_N] = step_N1, mean_NX
        state["exp_avg_sq"][row_N] = square_NX
        parameter.touched_N = row_N  # pyright: ignore[reportAttributeAccessIssue]

    def _by_rows(self) -> list[nn.Parameter]:
        return [
            parameter
            for group in self.param_groups
            for parameter in group["params"]
            if getattr(parameter, "by_rows", False)
        ]


class RowAverage:
    """The moving average of a parameter that changes by rows.

    a <- d a + (1 - d) p at every step. While p stands still that is p + (product of d) (a - p),
    so a row is brought up to date when it is touched, and all of them by ``flush``.

    Args:
        parameter: marked ``by_rows``.
        average_GX: of it; changed in place.
    """

    def __init__(self, parameter: nn.Parameter, average_GX: Tensor) -> None:
        self.parameter, self.average_GX = parameter, average_GX
        self.log_decay = 0.0  # since the last flush
        self.value_GX = parameter.detach().clone()  # that the rows had since they were touched
        self.log_decay_G = torch.zeros(len(parameter), dtype=torch.float64)
        self.log_decay_G = self.log_decay_G.to(parameter.device)

    def update(self, decay: float) -> None:
        """Take the parameter after a step into the average."""
        row_N = getattr(self.parameter, "touched_N", None)
        if row_N is not None:
            average_NX, value_NX = self._up_to_date(row_N), self.parameter[row_N]
            self.average_GX[row_N] = average_NX.lerp(value_NX, 1 - decay)
            self.value_GX[row_N] = value_NX
        self.log_decay += math.log(decay)
        if row_N is not None:
            self.log_decay_G[row_N] = self.log_decay
            del self.parameter.touched_N  # pyright: ignore[reportAttributeAccessIssue]

    def flush(self) -> None:
        """Bring all rows up to date."""
        every_G = torch.arange(len(self.parameter), device=self.parameter.device)
        self.average_GX.copy_(self._up_to_date(every_G))
        self.restart()

    def restart(self) -> None:
        """Take the average, as it is, for that of the parameter as it is."""
        self.value_GX.copy_(self.parameter.detach())
        self.log_decay = 0.0
        self.log_decay_G.zero_()

    def _up_to_date(self, row_N: Tensor) -> Tensor:
        value_NX, average_NX = self.value_GX[row_N], self.average_GX[row_N]
        share_N1 = (self.log_decay - self.log_decay_G[row_N]).exp().unsqueeze(1)
        return value_NX + share_N1.to(value_NX.dtype) * (average_NX - value_NX)


def _keep_rows(kept: list[Tensor], gradient: Tensor) -> None:
    """Put a sparse gradient aside as it came: accumulating forgets that its rows are distinct."""
    if gradient.is_sparse:
        kept.append(gradient.detach())


def _forget_rows(parameter: Tensor) -> None:
    """Clipping and the dense step do not see the rows."""
    if parameter.grad is not None and parameter.grad.is_sparse:
        parameter.grad = None


def _kept(parameter: Tensor) -> list[Tensor]:
    if not hasattr(parameter, "kept_rows"):
        parameter.kept_rows = []  # pyright: ignore[reportAttributeAccessIssue]
    return parameter.kept_rows  # pyright: ignore[reportAttributeAccessIssue]
