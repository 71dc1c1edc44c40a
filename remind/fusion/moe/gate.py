"""The entropy gate: how much the group's routing counts, token by token.

T tokens, E experts.
"""

import math

import torch
from torch import Tensor

GATES = ("none", "shared", "group")


def normalized_entropy(logits_TE: Tensor) -> Tensor:
    """Return H(softmax(logits)) / log E, in [0, 1], with a trailing axis of one: (T, 1)."""
    log_TE = logits_TE.log_softmax(-1)
    entropy_T1 = -(log_TE.exp() * log_TE).sum(-1, keepdim=True)
    return entropy_T1 / max(math.log(logits_TE.shape[-1]), torch.finfo(logits_TE.dtype).tiny)


def entropy_gate(gate: str, shared_TE: Tensor, group_TE: Tensor) -> Tensor | float:
    """Return alpha(x), the factor of the group's logits.

    The paper mixes the group's residual routing in by a gate of entropy whose exact form is not
    public (method 3.3). Two readings, and no gate:

    - ``shared``: H(softmax(shared)) / log E. Where the shared router is undecided the group
      decides.
    - ``group``: 1 - H(softmax(group)) / log E. Where the group is decided it decides. Its product
      with group logits of zero has gradient zero, so group logits must not start at zero.
    - ``none``: 1.
    """
    if gate == "shared":
        return normalized_entropy(shared_TE)
    if gate == "group":
        return 1 - normalized_entropy(group_TE)
    return 1.0
