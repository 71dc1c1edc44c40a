"""Checks of options and batches, each one sentence: what, which value, what is allowed."""

# B patients of a batch, G groups

import math
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from remind.errors import InputError, did_you_mean
from remind.world import num_ranks


def check_number(
    name: str,
    value: Any,
    *,
    above: float = -math.inf,
    at_least: float = -math.inf,
    at_most: float = math.inf,
    finite: bool = False,
) -> None:
    """A number in the given range; NaN never is, infinity only if not `finite`.

    Raises:
        InputError: it is not; names the option, the range and the value.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_wide = finite and is_number and math.isinf(value)
    if is_number and not is_wide and value > above and at_least <= value <= at_most:
        return
    bounds = [
        f"{sign} {bound:g}"
        for sign, bound in ((">", above), (">=", at_least), ("<=", at_most))
        if math.isfinite(bound)
    ]
    noun = "a finite number" if finite else "a number"
    raise InputError(f"{name} must be {noun} {' and '.join(bounds)}, got {value!r}")


def check_whole(name: str, value: object, *, at_least: int, at_most: float = math.inf) -> None:
    """A whole number from `at_least` to `at_most`, InputError otherwise."""
    if isinstance(value, int) and not isinstance(value, bool) and at_least <= value <= at_most:
        return
    end = f" and <= {at_most:.0f}" if math.isfinite(at_most) else ""
    raise InputError(f"{name} must be a whole number >= {at_least}{end}, got {value!r}")


def check_choice(name: str, value: object, options: Collection[str]) -> None:
    """One of some words, InputError with the nearest otherwise."""
    if value not in options:
        words = " or ".join(f'"{option}"' for option in options)
        near = did_you_mean(str(value), options)
        raise InputError(f"{name} must be {words}, got {value!r}{near}")


def check_flag(name: str, value: object) -> None:
    """True or False, InputError otherwise."""
    if not isinstance(value, bool):
        raise InputError(f"{name} must be true or false, got {value!r}")


def check_counts(counts_G: Tensor) -> None:
    """Training patients per group: one axis, at least one group, all >= 1."""
    if counts_G.dim() != 1 or len(counts_G) == 0:
        raise ValueError(
            f"counts_G must list the training patients of at least one group, "
            f"got shape {tuple(counts_G.shape)}"
        )
    if bool((counts_G < 1).any()):
        group = int((counts_G < 1).int().argmax())
        raise ValueError(
            f"counts_G must be >= 1 everywhere, got {counts_G[group].item():g} for group {group}: "
            "leave out groups without a training patient"
        )


def check_batch(loss_B: Tensor, group_B: Tensor, num_groups: int) -> None:
    """Losses and groups of the same patients, every group a training group.

    One of several ranks may have no patient of a batch.

    The values of `group_B` are looked at on the CPU only: elsewhere that would wait for the device,
    and the device's own index assertion stops a wrong one.

    Raises:
        ValueError: shapes differ, no patients, or a group outside 0..num_groups-1.
    """
    is_flat = loss_B.dim() == 1 and loss_B.shape == group_B.shape
    if not is_flat or (len(loss_B) == 0 and num_ranks() == 1):
        raise ValueError(
            "expected one loss and one group per patient and at least one patient, got shapes "
            f"{tuple(loss_B.shape)} and {tuple(group_B.shape)}"
        )
    if group_B.device.type != "cpu" or len(group_B) == 0:
        return
    low, high = (int(end) for end in torch.aminmax(group_B))
    if low < 0:
        raise ValueError(
            f"group_B holds {low}, the mark of a combination that training has not seen: "
            "an objective takes training patients only"
        )
    if high >= num_groups:
        raise ValueError(
            f"group_B holds {high}, but there are {num_groups} groups (0..{num_groups - 1})"
        )
