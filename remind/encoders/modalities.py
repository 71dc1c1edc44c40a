"""Kinds whose modalities have an encoder each.

D width, B patients, M modalities.
"""

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, cast

from torch import Tensor, nn

from remind.encoders.plan import Plan, PlannedEncoder
from remind.encoders.tokens import Tokens


class ModalityEncoders(PlannedEncoder):
    """A few tokens per patient and observed modality of a kind.

    Args:
        schema: of all modalities of the kind.
        width: D.
        num_modalities: M of the cohort.
        rank: of the embedding of one number; unused by most, for all encoders are built alike.
    """

    def __init__(self, schema: Any, *, width: int, num_modalities: int, rank: int = 16) -> None:
        super().__init__()
        self.names = [item.name for item in schema.modalities]
        self.parts = nn.ModuleList(
            self.make_part(item, width=width, num_modalities=num_modalities, rank=rank)
            for item in schema.modalities
        )

    @abstractmethod
    def make_part(self, item: Any, *, width: int, num_modalities: int, rank: int) -> PlannedEncoder:
        """Make the encoder of one modality."""

    def plan(self, values: dict[str, Any], present_BM: Tensor) -> Plan:
        """Join the plans of the modalities."""
        return Plan.of(self._by_name(), values, present_BM)

    def encode(self, values: dict[str, Any], plan: Plan) -> Tokens:
        """Encode modality by modality."""
        return plan.encode(self._by_name(), values)

    def _by_name(self) -> dict[str, PlannedEncoder]:
        parts = cast(Iterable[PlannedEncoder], self.parts)
        return dict(zip(self.names, parts, strict=True))
