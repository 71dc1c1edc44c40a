"""What training minimizes: losses and groups of a batch in, one scalar and the group weights out.

Every objective is an `nn.Module` that stands alone: `objective(loss_B, group_B) -> Robust`.
"""

# G groups, M modalities

from dataclasses import fields
from typing import Any

from torch import Tensor

from remind.errors import InputError, did_you_mean
from remind.objectives.adaptive import AdaptiveObjective
from remind.objectives.base import Objective, Robust, group_mean
from remind.objectives.chi_square import ChiSquare
from remind.objectives.cvar import GroupCVaR
from remind.objectives.erm import ERM
from remind.objectives.fair_batch import FairBatch
from remind.objectives.fair_mixup import FairMixup
from remind.objectives.group_dro import GroupDRO
from remind.objectives.health import diagnose
from remind.objectives.just_train_twice import JustTrainTwice
from remind.objectives.logit_adjustment import LogitAdjustment
from remind.objectives.long_tail_dro import LongTailDRO
from remind.objectives.paper import PaperUpdate
from remind.objectives.reweight import Reweight
from remind.objectives.trajectory import Trajectory

OBJECTIVES: dict[str, type[Objective]] = {
    "erm": ERM,
    "reweight": Reweight,
    "paper": PaperUpdate,
    "group_dro": GroupDRO,
    "cvar": GroupCVaR,
    "long_tail_dro": LongTailDRO,
    "logit_adjustment": LogitAdjustment,
    "chi2": ChiSquare,
    "fair_batch": FairBatch,
    "fair_mixup": FairMixup,
    "jtt": JustTrainTwice,
}


def make_objective(
    name: str, *, counts_G: Tensor, patterns_GM: Tensor | None = None, **options: Any
) -> Objective:
    """An objective by name.

    Args:
        name: a key of `OBJECTIVES`.
        counts_G: training patients per group, all >= 1 (tensor, array or list).
        patterns_GM: modalities of each group, bool; needed by long_tail_dro only.
        options: fields of the objective's `Config`.

    Raises:
        InputError: an unknown name or option, with the nearest ones, or a value out of range.
        ValueError: counts or patterns that do not fit.
    """
    if name not in OBJECTIVES:
        near = did_you_mean(name, OBJECTIVES)
        raise InputError(f'no objective "{name}"{near} (there are {", ".join(OBJECTIVES)})')
    kind = OBJECTIVES[name]
    known = [field.name for field in fields(kind.Config)]
    for option in options:
        if option not in known:
            near = did_you_mean(option, known)
            has = ", ".join(known) or "none"
            raise InputError(f'objective {name} has no option "{option}"{near} (options: {has})')
    return kind(counts_G, kind.Config(**options), patterns_GM=patterns_GM)


__all__ = [
    "ERM",
    "OBJECTIVES",
    "AdaptiveObjective",
    "ChiSquare",
    "FairBatch",
    "FairMixup",
    "GroupCVaR",
    "GroupDRO",
    "JustTrainTwice",
    "LogitAdjustment",
    "LongTailDRO",
    "Objective",
    "PaperUpdate",
    "Reweight",
    "Robust",
    "Trajectory",
    "diagnose",
    "group_mean",
    "make_objective",
]
