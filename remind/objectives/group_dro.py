"""Group distributionally robust optimization (Sagawa, Koh, Hashimoto & Liang, ICLR 2020)."""

# G groups

from dataclasses import dataclass

from torch import Tensor

from remind.objectives.adaptive import BatchObjective
from remind.objectives.checks import check_number
from remind.objectives.weights import ascend


class GroupDRO(BatchObjective):
    """min over theta, max over q in the simplex, of sum_g q_g L_g, by mirror ascent on q.

    Algorithm 1 with the generalization adjustment of section 3.3: q_g <- q_g exp(step * (L_g +
    C / sqrt(n_g))), from uniform weights, at every batch, for the groups of the batch; the others
    keep their weight. The adjustment moves the weights and is no part of the loss. Batch form: when
    batches hold few of many groups, the common ones contribute more often than their weight says;
    all commands of the reference implementation draw balanced batches (`balanced`), the default
    here does not.

    Args:
        counts_G: training patients per group, all >= 1.
        config: options.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(BatchObjective.Config):
        """Options of group DRO."""

        step: float = 0.01
        """Ascent step per batch, per unit of loss (nats), >= 0."""

        adjustment: float = 0.0
        """C of C / sqrt(n_g), in units of the loss, >= 0: raises groups that overfit more."""

        def __post_init__(self) -> None:
            super().__post_init__()
            check_number("step", self.step, at_least=0)
            check_number("adjustment", self.adjustment, at_least=0)

    log_weight_G: Tensor
    margin_G: Tensor

    def __init__(
        self, counts_G: Tensor, config: Config | None = None, *, patterns_GM: Tensor | None = None
    ) -> None:
        super().__init__(counts_G, config, patterns_GM=patterns_GM, start="uniform")
        self.config = config or self.Config()
        margin_G = self.config.adjustment / self.counts_G.sqrt()
        self.register_buffer("margin_G", margin_G, persistent=False)
        self.register_buffer("log_weight_G", self.weight_G.log())

    def update(self, loss_G: Tensor, count_G: Tensor) -> None:
        risk_G = loss_G + self.margin_G
        self.log_weight_G = ascend(self.log_weight_G, risk_G, count_G > 0, self.config.step)
        self.weight_G = self.log_weight_G.exp()
