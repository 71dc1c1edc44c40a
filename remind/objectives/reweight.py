"""Fixed weights that grow as a group shrinks."""

# G groups

from dataclasses import dataclass

from torch import Tensor

from remind.objectives.base import Objective
from remind.objectives.checks import check_number


class Reweight(Objective):
    """A patient of group g weighs n_g^-power, scaled to a mean of 1 over the training patients.

    Power 0 is ERM; 1 gives every group the same weight, the common 1 / n_g. The default is half
    way: hundreds of groups of a handful would else be most of the loss. Tuning tries 1 as well.

    Args:
        counts_G: training patients per group, all >= 1.
        config: options.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Objective.Config):
        """Options of reweighting."""

        power: float = 0.5
        """How strongly rare groups are raised, >= 0; common choices are 1 and 0.5."""

        def __post_init__(self) -> None:
            check_number("power", self.power, at_least=0)

    def __init__(
        self, counts_G: Tensor, config: Config | None = None, *, patterns_GM: Tensor | None = None
    ) -> None:
        super().__init__(counts_G, config, patterns_GM=patterns_GM)
        self.config = config or self.Config()
        raised_G = self.counts_G ** (1 - self.config.power)
        self.weight_G = raised_G / raised_G.sum()
