"""Time series to tokens: a set of events by attention, or summary statistics.

T tokens, D width, V events or statistics, d width of an event, R rows of a table, C columns of
statistics, r rank, M modalities, B patients of a batch, S patients with the modality.
"""

from torch import Tensor, nn

from remind.cohort.kinds.series import EventBatch
from remind.cohort.kinds.series_schema import SeriesModality
from remind.cohort.kinds.tabular import CellBatch
from remind.cohort.summary import SummarySchema
from remind.encoders.events import EVENT_WIDTH, EventPool, seen_events
from remind.encoders.modalities import ModalityEncoders
from remind.encoders.series_values import ValueTable
from remind.encoders.summary import SummaryEncoder
from remind.encoders.tokens import Tokens


class SeriesEncoder(ModalityEncoders):
    """Encoders of the series."""

    def make_part(
        self, item: SeriesModality, *, width: int, num_modalities: int, rank: int
    ) -> nn.Module:
        """Make the encoder of one series."""
        make = {"attention": EventEncoder, "summary": StatisticEncoder}[item.encoder]
        return make(item, width=width, num_modalities=num_modalities, rank=rank)


class EventEncoder(nn.Module):
    """Q tokens of one series: what was measured and when, as a set.

    The embedding of a measurement is the point between two rows of its variable's part of a table,
    piecewise linear in the value (see `ValueTable`).

    Args:
        item: the series.
        width, num_modalities, rank: as above.
    """

    def __init__(self, item: SeriesModality, *, width: int, num_modalities: int, rank: int) -> None:
        super().__init__()
        self.modality = item.index
        self.values = ValueTable(item.variables, width=EVENT_WIDTH, rank=rank)
        self.pool = EventPool(
            item.index,
            item.count,
            is_timed=True,
            width=width,
            num_modalities=num_modalities,
            num_tokens=item.num_tokens,
        )

    def forward(self, values: EventBatch, present_BM: Tensor) -> Tokens:
        """Encode the series of a batch."""
        seen = seen_events(values.owner_V, self.modality, present_BM)
        row_V, frac_V = values.row_V[seen].long(), values.frac_V[seen]
        x_Vd = self.values(row_V, frac_V)
        return self.pool(x_Vd, values.place_V2[seen], values.owner_V[seen], present_BM)


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

    def forward(self, values: CellBatch, present_BM: Tensor) -> Tokens:
        """Encode the series of those who are observed in it."""
        seen = seen_events(values.owner_V, self.modality, present_BM)
        columns = {name: column[seen] for name, column in vars(values).items()}
        return super().forward(CellBatch(**columns), present_BM)
