"""Summaries to tokens: the table of `remind.cohort.summary`, of which only unusual cells are read.

T tokens, D width, V cells, R rows of the table, C columns, M modalities, B patients of a batch.
"""

import torch
from torch import Tensor

from remind.cohort.kinds.tabular import CellBatch
from remind.cohort.summary import SummarySchema
from remind.encoders.plan import PlannedEncoder
from remind.encoders.tabular import TabularEncoder, TabularPlan, sum_of_points
from remind.encoders.tokens import Tokens, observed


class SummaryEncoder(PlannedEncoder):
    """One token per observed modality that has columns, as `TabularEncoder` makes them:

        token(m) = sum_{c in m} usual_c + sum_{c in m, not as usual} (cell_c - usual_c)

    with cell_c between two rows of the table, and usual_c the row of the column's usual value, 0 if
    it has none. The first sum is the same for all patients, so that what is usual costs nothing.

    Args:
        schema: columns of the training rows.
        width: D.
        num_modalities: M of the cohort.
        rank: r of the embedding of one number.
    """

    usual_C: Tensor
    usual_R: Tensor
    modality_C: Tensor

    def __init__(
        self, schema: SummarySchema, *, width: int, num_modalities: int, rank: int = 16
    ) -> None:
        super().__init__()
        self.tabular = TabularEncoder(schema, width=width, num_modalities=num_modalities, rank=rank)
        num_rows_C = torch.tensor([column.num_rows for column in schema.columns])
        num_rows_C[-1] += 1  # the spare row
        modality_C = torch.from_numpy(schema.column_modality_C)
        buffers = {
            "usual_C": (usual_C := torch.tensor(schema.usual)),
            "usual_R": usual_C.repeat_interleave(num_rows_C),
            "modality_C": modality_C,
        }
        for name, tensor in buffers.items():
            self.register_buffer(name, tensor, persistent=False)
        self._host_modality_R = modality_C.repeat_interleave(num_rows_C)  # stays on the host

    def plan(self, values: CellBatch, present_BM: Tensor) -> TabularPlan:
        """Find the tokens and the cells that are read."""
        owner_T, modality_T = observed(present_BM & self.tabular.host_has_columns_M)
        modality_V = self.modality_of(values)
        cell_V = present_BM[values.owner_V, modality_V].nonzero().squeeze(1)
        return TabularPlan.of(
            owner_T, modality_T, cell_V, values.owner_V[cell_V], modality_V[cell_V]
        )

    def modality_of(self, values: CellBatch) -> Tensor:
        """The modality of each cell on the host, int64."""
        return self._host_modality_R[values.row_V.long()]

    def encode(self, values: CellBatch, plan: TabularPlan) -> Tokens:
        """Encode the observed modalities of a batch."""
        row_V = values.row_V.index_select(0, plan.cell_V).long()
        frac_V = values.frac_V.index_select(0, plan.cell_V)
        table_RD = self.tabular.table()
        usual_CD = _rows(table_RD, self.usual_C)
        base_MD = table_RD.new_zeros(self.tabular.num_modalities, table_RD.shape[1])
        base_MD = base_MD.index_add(0, self.modality_C, usual_CD)
        table_RD = table_RD - _rows(table_RD, self.usual_R)
        x_TD = sum_of_points(table_RD, row_V, frac_V, plan.start_T)
        base_TD = base_MD.index_select(0, plan.modality_T)
        return Tokens(x_TD + base_TD, plan.owner_T, plan.modality_T)


def _rows(table_RD: Tensor, row_X: Tensor) -> Tensor:
    """Rows of the table, zeros for row -1."""
    return table_RD[row_X.clamp(min=0)] * (row_X >= 0).unsqueeze(1)
