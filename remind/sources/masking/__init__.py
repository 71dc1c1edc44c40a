"""Missingness on purpose: values of a cohort taken out by a rule, so that its effect is known.

A mask spec (`spec`) says who may lose what, `observe` finds out who is observed in what, `draw`
decides, and `tables` takes the values out of the cohort folder. `existing` makes a cohort folder of
one that is there already, for the mask to work on.
"""

from remind.sources.masking import existing
from remind.sources.masking.hide import apply
from remind.sources.masking.spec import MaskSpec, load_mask, mask_from_dict

__all__ = ["MaskSpec", "apply", "existing", "load_mask", "mask_from_dict"]
