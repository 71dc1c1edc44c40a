"""Modalities of files (images, volumes, signals): what their encoders share.

D width, M modalities, V files of a modality in a batch, P places of each, d width of a place.
"""

from abc import abstractmethod

from torch import Tensor, nn

from remind.cohort.kinds.files import FileBatch, FileModality
from remind.encoders.items import ItemPlan
from remind.encoders.places import PlacePool
from remind.encoders.plan import PlannedEncoder
from remind.encoders.tokens import Tokens


class FileModalityEncoder(PlannedEncoder):
    """Tokens of one modality; only files of patients that are observed in it are looked at.

    Args:
        item: what training found of it.
        network: from files to what is at their places.
        item_width: d.
        width: D.
        num_modalities: M of the cohort.
    """

    def __init__(
        self,
        item: FileModality,
        network: nn.Module,
        *,
        item_width: int,
        width: int,
        num_modalities: int,
    ) -> None:
        super().__init__()
        self.network = network
        self.pool = PlacePool(
            item, item_width=item_width, width=width, num_modalities=num_modalities
        )

    def plan(self, values: FileBatch, present_BM: Tensor) -> ItemPlan:
        """Find the files that are looked at."""
        return self.pool.plan(values.owner_V, present_BM)

    def encode(self, values: FileBatch, plan: ItemPlan) -> Tokens:
        """Encode the observed files of a batch."""
        return self.pool(self.look(values.x_V.index_select(0, plan.item_V)), plan)

    @abstractmethod
    def look(self, x_V: Tensor) -> Tensor:
        """What is at the places (V, P, d) of files that are observed."""
