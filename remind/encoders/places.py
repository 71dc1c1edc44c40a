"""Places of images and signals to the tokens of one modality, by attention.

T tokens, D width, M modalities, B patients of a batch, V images or signals, P places of each that a
network describes, d width of a place, I items (all places of all).
"""

import torch
from torch import Tensor, nn

from remind.cohort.kinds.files import FileModality
from remind.encoders.items import ItemPlan, ItemPool
from remind.encoders.tokens import Tokens

GAIN = 2.0  # brings tokens, means over many places, to the scale of those of a vector


class PlacePool(nn.Module):
    """A few tokens per patient that is observed in the modality; the order of V is irrelevant.

    Args:
        item: what training found of the modality.
        item_width: d.
        width: D.
        num_modalities: M of the cohort.
    """

    def __init__(
        self, item: FileModality, *, item_width: int, width: int, num_modalities: int
    ) -> None:
        super().__init__()
        self.index = item.index
        self.pool = ItemPool(
            [item.index],
            item_width=item_width,
            width=width,
            num_modalities=num_modalities,
            num_tokens=item.num_tokens,
        )
        self.pool.project_QdD.data *= GAIN

    def plan(self, owner_V: Tensor, present_BM: Tensor) -> ItemPlan:
        """Find the images or signals that are looked at; ``owner_V`` says whose, on the host."""
        return self.pool.plan(owner_V, torch.full_like(owner_V, self.index), present_BM)

    def forward(self, x_VPd: Tensor, plan: ItemPlan) -> Tokens:
        """Pool the places of each patient's, in the order of the plan."""
        return self.pool(x_VPd.flatten(0, 1), plan.repeat(x_VPd.shape[1]))
