"""TokenEncoder: the encoders of all kinds of a cohort as one.

T tokens, D width, M modalities, B patients of a batch.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from remind.cohort import Batch, TabularSchema
from remind.cohort.summary import SUMMARY
from remind.encoders.codes import CodesEncoder
from remind.encoders.image import PixelEncoder
from remind.encoders.plan import Plan, PlannedEncoder
from remind.encoders.series import SeriesEncoder
from remind.encoders.signal import SignalEncoder
from remind.encoders.summary import SummaryEncoder
from remind.encoders.tabular import TabularEncoder
from remind.encoders.text import TextEncoder
from remind.encoders.tokens import Tokens
from remind.encoders.vector import VectorEncoder
from remind.transfer import to_device

ENCODERS: dict[str, Callable[..., PlannedEncoder]] = {
    "tabular": TabularEncoder,
    "vector": VectorEncoder,
    "series": SeriesEncoder,
    "codes": CodesEncoder,
    "text": TextEncoder,
    "image": PixelEncoder,
    "volume": PixelEncoder,
    "signal": SignalEncoder,
    SUMMARY: SummaryEncoder,
}


def trained(schemas: dict[str, Any], seen_M: np.ndarray) -> dict[str, Any]:
    """The schemas without modalities that no training patient was observed in.

    Their encoders would never learn anything, and yet take part in every step of the optimizer.
    Tables keep them, for all of their columns lie in one array.

    Args:
        schemas: kind name -> schema, as in ``Encoding.schemas``.
        seen_M: bool, whether any training patient was observed in each modality.
    """
    left = {}
    for kind, schema in schemas.items():
        if not isinstance(schema, TabularSchema):
            items = tuple(item for item in schema.modalities if seen_M[item.index])
            schema = replace(schema, modalities=items)
            if not items:
                continue
        left[kind] = schema
    return left


class TokenEncoder(nn.Module):
    """Tokens of the observed modalities of a batch; an unobserved one costs nothing.

    Every token gets the embedding of its modality.

    Args:
        schemas: kind name -> schema, as in ``Encoding.schemas``.
        width: D.
        num_modalities: M.
        rank: of the embedding of one number.

    Raises:
        KeyError: a kind without an encoder.
    """

    def __init__(
        self, schemas: dict[str, Any], *, width: int, num_modalities: int, rank: int = 16
    ) -> None:
        super().__init__()
        self.kinds = nn.ModuleDict(
            {
                kind: ENCODERS[kind](schema, width=width, num_modalities=num_modalities, rank=rank)
                for kind, schema in schemas.items()
            }
        )
        self.modality_MD = nn.Parameter(torch.zeros(num_modalities, width))

    def plan(self, batch: Batch) -> Plan:
        """Find where the tokens of a batch on the host come from."""
        return Plan.of(self._by_name(), batch.values, batch.present_BM)

    def forward(self, batch: Batch, plan: Plan | None = None) -> Tokens:
        """Encode a batch: packed tokens, patient by patient; as planned if there is a plan."""
        if plan is None:
            plan = to_device(self.plan(batch.on_host()), batch.present_BM.device)
        tokens = plan.encode(self._by_name(), batch.values)
        modality_TD = self.modality_MD.index_select(0, tokens.modality_T)
        return tokens._replace(x_TD=tokens.x_TD + modality_TD)

    def _by_name(self) -> dict[str, PlannedEncoder]:
        return dict(cast(Iterable[tuple[str, PlannedEncoder]], self.kinds.items()))
