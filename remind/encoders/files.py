"""Modalities of files (images, volumes, signals): what their encoders share.

D width, V files of a modality in a batch, P places of each that a network describes, d width of a
place.
"""

from abc import abstractmethod

from torch import Tensor, nn

from remind.cohort.kinds.files import FileBatch, FileModality
from remind.encoders.items import ItemPlan, ItemPool
from remind.encoders.plan import PlannedEncoder
from remind.encoders.tokens import Tokens

GAIN = 2.0  # brings tokens, means over many places, to the scale of those of a vector


class FileModalityEncoder(PlannedEncoder):
    """A few tokens per patient: all places of all the patient's files, pooled by attention.

    Only files of patients that are observed in the modality are looked at; their order is
    irrelevant.

    Args:
        item: what training found of it.
        network: from files to what is at their places.
        item_width: d.
        width: D.
    """

    def __init__(
        self, item: FileModality, network: nn.Module, *, item_width: int, width: int
    ) -> None:
        super().__init__()
        self.network = network
        self.pool = ItemPool(
            item.index, item_width=item_width, width=width, num_tokens=item.num_tokens
        )
        self.pool.project_QdD.data *= GAIN

    def plan(self, values: FileBatch, present_BM: Tensor) -> ItemPlan:
        """Find the files that are looked at."""
        return self.pool.plan(values.owner_V, present_BM)

    def encode(self, values: FileBatch, plan: ItemPlan) -> Tokens:
        """Encode the observed files of a batch."""
        x_VPd = self.look(values.x_V.index_select(0, plan.item_V))
        return self.pool(x_VPd.flatten(0, 1), plan.repeat(x_VPd.shape[1]))

    @abstractmethod
    def look(self, x_V: Tensor) -> Tensor:
        """What is at the places (V, P, d) of files that are observed."""
