"""Time series to tokens: a set of events by attention, or summary statistics.

T tokens, D width, V events or statistics, d width of an event, R rows of a table, C columns of
statistics, r rank, M modalities, B patients of a batch, S patients with the modality.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remind.cohort.kinds.series import EventBatch, StatisticBatch
from remind.cohort.kinds.series_schema import SeriesModality, SeriesSchema
from remind.encoders.events import EVENT_WIDTH, EventPool, seen_events
from remind.encoders.series_values import ValueTable
from remind.encoders.tabular import TabularEncoder
from remind.encoders.tokens import Tokens, merge


class SeriesEncoder(nn.Module):
    """A few tokens per observed series.

    Args:
        schema: variables, knots and times of the training rows.
        width: D.
        num_modalities: M of the cohort.
        rank: r of the embedding of one number.
    """

    def __init__(
        self, schema: SeriesSchema, *, width: int, num_modalities: int, rank: int = 16
    ) -> None:
        super().__init__()
        self.names = [item.name for item in schema.modalities]
        encoders = {"attention": EventEncoder, "summary": StatisticEncoder}
        self.encoders = nn.ModuleList(
            encoders[item.encoder](item, width=width, num_modalities=num_modalities, rank=rank)
            for item in schema.modalities
        )

    def forward(self, values: dict[str, EventBatch | StatisticBatch], present_BM: Tensor) -> Tokens:
        """Encode the observed series of a batch."""
        return merge(
            [
                encoder(values[name], present_BM)
                for name, encoder in zip(self.names, self.encoders, strict=True)
            ]
        )


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


class StatisticEncoder(nn.Module):
    """One token of one series: the token of a table with a column per variable and statistic.

    A statistic that is not there counts as missing there, but costs nothing here:

        token = sum_c row[missing_c] + sum_{v} (row[value_v] - row[missing_c(v)])

    with the rows of `TabularEncoder`.

    Args:
        item: the series.
        width, num_modalities, rank: as above.
    """

    missing_C: Tensor
    missing_R: Tensor

    def __init__(self, item: SeriesModality, *, width: int, num_modalities: int, rank: int) -> None:
        super().__init__()
        self.modality = item.index
        schema = item.summary_schema
        self.tabular = TabularEncoder(schema, width=width, num_modalities=num_modalities, rank=rank)
        missing_C = torch.tensor([column.missing_row for column in schema.columns])
        num_rows_C = torch.tensor([column.num_rows for column in schema.columns])
        self.register_buffer("missing_C", missing_C, persistent=False)
        self.register_buffer("missing_R", missing_C.repeat_interleave(num_rows_C), persistent=False)

    def forward(self, values: StatisticBatch, present_BM: Tensor) -> Tokens:
        """Encode the series of a batch."""
        owner_S = present_BM[:, self.modality].nonzero().squeeze(1)
        seen = seen_events(values.owner_V, self.modality, present_BM)
        row_V, frac_V = values.row_V[seen].long(), values.frac_V[seen]
        table_RD = self.tabular.table()
        x_SD = F.embedding_bag(
            torch.stack([row_V, row_V + 1, self.missing_R[row_V]], dim=1).flatten(),
            table_RD,
            3 * torch.searchsorted(values.owner_V[seen], owner_S),
            mode="sum",
            per_sample_weights=torch.stack([1 - frac_V, frac_V, -torch.ones_like(frac_V)], 1)
            .flatten()
            .to(table_RD.dtype),
        )
        x_SD = x_SD + table_RD[self.missing_C].sum(0)
        return Tokens(x_SD, owner_S, torch.full_like(owner_S, self.modality))
