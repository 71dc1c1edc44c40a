"""Layer families: which part of a model a parameter belongs to."""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from torch import nn

GROUP_OWNED = ("*.delta_GR", "*.residual_GDE")
"""Parameters with a row per group: no two groups share any of it, so they have no say here."""

FAMILIES: dict[str, tuple[str, ...]] = {
    "encoder": ("encoder.*",),
    "router": (
        "*.mixture.router.*",
        "*.mixture.code.*",
        "*.mixture.shared_DE",
        "*.mixture.scale",
        "*.mixture.scale_RH",
    ),
    "attention": ("*.attention.*", "*.attention_norm.*", "*.token_norm.*", "*.readout_D"),
    "pooling": ("fusion.factors.*", "fusion.pool.*", "fusion.layers.*"),
    "experts": ("fusion.blocks.*",),
    "head": ("fusion.head*", "fusion.bias_KC", "fusion.norm.*"),
}
"""Of `remind.fusion.Model`, by patterns of parameter names; the first that fits counts."""

OTHER = "other"


class Family(NamedTuple):
    """The parameters of one family.

    Attributes:
        name: of the family.
        parameters: its own, in the order of the model.
        size: numbers in them.
    """

    name: str
    parameters: list[nn.Parameter]
    size: int


def families_of(
    model: nn.Module,
    patterns: Mapping[str, Sequence[str]] = FAMILIES,
    excluded: Sequence[str] = GROUP_OWNED,
) -> list[Family]:
    """The trainable shared parameters of a model, by family; those that fit none are "other".

    Args:
        model: any.
        patterns: family -> patterns of parameter names, as in `fnmatch`.
        excluded: patterns of parameters that are left out.

    Raises:
        ValueError: no parameter is left.
    """
    found: dict[str, list[nn.Parameter]] = {name: [] for name in (*patterns, OTHER)}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not _fits(name, excluded):
            family = next((key for key in patterns if _fits(name, patterns[key])), OTHER)
            found[family].append(parameter)
    families = [
        Family(name, parameters, sum(parameter.numel() for parameter in parameters))
        for name, parameters in found.items()
        if parameters
    ]
    if not families:
        raise ValueError("the model has no trainable parameter that groups share")
    return families


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
