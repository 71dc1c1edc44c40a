"""Time series to tokens: a set of events by attention, or summary statistics.

T tokens, D width, V events or statistics, d width of an event, R rows of a table, C columns of
statistics, r rank, M modalities, B patients of a batch, S patients with the modality.
"""

import torch
from torch import Tensor

from remind.cohort.kinds.series import EventBatch
from remind.cohort.kinds.series_schema import SeriesModality
from remind.cohort.kinds.tabular import CellBatch
from remind.cohort.summary import SummarySchema
from remind.encoders.events import EVENT_WIDTH, EventPool
from remind.encoders.items import ItemPlan
from remind.encoders.modalities import ModalityEncoders
from remind.encoders.plan import PlannedEncoder
from remind.encoders.series_values import ValueTable
from remind.encoders.summary import SummaryEncoder
from remind.encoders.tokens import Tokens


class SeriesEncoder(ModalityEncoders):
    """Encoders of the series."""

    def make_part(
        self, item: SeriesModality, *, width: int, num_modalities: int, rank: int
    ) -> PlannedEncoder:
        """Make the encoder of one series."""
        make = {"attention": EventEncoder, "summary": StatisticEncoder}[item.encoder]
        return make(item, width=width, num_modalities=num_modalities, rank=rank)


class EventEncoder(PlannedEncoder):
    """Q tokens of one series: what was measured and when, as a set.

    The embedding of a measurement is the point between two rows of its variable's part of a table,
    piecewise linear in the value (see `ValueTable`).

    Args:
        item: the series.
        width, num_modalities, rank: as above.
    """

    def __init__(self, item: SeriesModality, *, width: int, num_modalities: int, rank: int) -> None:
        super().__init__()
        self.values = ValueTable(item.variables, width=EVENT_WIDTH, rank=rank)
        self.pool = EventPool(
            item.index,
            item.count,
            is_timed=True,
            width=width,
            num_tokens=item.num_tokens,
        )

    def plan(self, values: EventBatch, present_BM: Tensor) -> ItemPlan:
        """Find the events that are read."""
        return self.pool.plan(values.owner_V, present_BM)

    def encode(self, values: EventBatch, plan: ItemPlan) -> Tokens:
        """Encode the series of a batch."""
        row_V, frac_V, place_V2 = (
            column.index_select(0, plan.item_V)
            for column in (values.row_V, values.frac_V, values.place_V2)
        )
        return self.pool(self.values(row_V.long(), frac_V), place_V2, plan)


class StatisticEncoder(SummaryEncoder):
    """One token of one series: the token of a table with a column per variable and statistic.

    A statistic that is not there counts as missing there, but costs nothing here: missing is what
    is usual of it.

    Args:
        item: the series.
        width, num_modalities, rank: as above.
    """

    def __init__(self, item: SeriesModality, *, width: int, num_modalities: int, rank: int) -> None:
        usual = tuple(column.missing_row for column in item.summary)
        schema = SummarySchema(columns=item.summary, usual=usual)
        super().__init__(schema, width=width, num_modalities=num_modalities, rank=rank)
        self.modality = item.index

    def modality_of(self, values: CellBatch) -> Tensor:
        """That of the series, whatever the rows of those who are not observed in it are."""
        return torch.full_like(values.owner_V, self.modality)
