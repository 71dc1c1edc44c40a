"""TokenEncoder: the encoders of all kinds of a cohort as one.

T tokens, D width, M modalities, B patients of a batch.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from remind.cohort import Batch, TabularSchema
from remind.cohort.summary import SUMMARY
from remind.encoders.codes import CodesEncoder
from remind.encoders.image import PixelEncoder
from remind.encoders.plan import Plan
from remind.encoders.series import SeriesEncoder
from remind.encoders.signal import SignalEncoder
from remind.encoders.summary import SummaryEncoder
from remind.encoders.tabular import TabularEncoder
from remind.encoders.text import TextEncoder
from remind.encoders.tokens import Tokens, merge
from remind.encoders.vector import VectorEncoder

ENCODERS: dict[str, type[nn.Module]] = {
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

PLANNED = (TabularEncoder, VectorEncoder)  # whose tokens follow from presence alone


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

    def plan(self, present_BM: Tensor) -> Plan:
        """Find where the tokens of a batch come from.

        Args:
            present_BM: on the host.
        """
        kinds = {
            name: encoder.plan(present_BM)
            for name, encoder in self.kinds.items()
            if isinstance(encoder, PLANNED)
        }
        return Plan.of(kinds, is_whole=len(kinds) == len(self.kinds))

    def forward(self, batch: Batch, plan: Plan | None = None) -> Tokens:
        """Encode a batch: packed tokens, patient by patient; as planned if there is a plan."""
        if plan is None:
            plan = self.plan(batch.on_host().present_BM).to(batch.present_BM.device)
        parts = [
            encoder(batch.values[name], batch.present_BM, plan.kinds[name])
            if name in plan.kinds
            else encoder(batch.values[name], batch.present_BM)
            for name, encoder in self.kinds.items()
        ]
        tokens = _join(parts, plan)
        modality_TD = self.modality_MD.index_select(0, tokens.modality_T)
        return tokens._replace(x_TD=tokens.x_TD + modality_TD)


def _join(parts: list[Tokens], plan: Plan) -> Tokens:
    if plan.order_T is None or plan.owner_T is None or plan.modality_T is None:
        return merge(parts)
    x_TD = torch.cat([part.x_TD for part in parts]).index_select(0, plan.order_T)
    return Tokens(x_TD, plan.owner_T, plan.modality_T)
