"""Tabular modalities to tokens: all columns of all of them in one sparse sum.

A number's embedding is piecewise linear in its value (Gorishniy et al. 2022), written as
interpolation between two rows of a table, so that its cost does not grow with the number of knots;
a modality's token is the sum over its columns:

    token(m) = sum_{c in m} (1 - frac_c) table[row_c] + frac_c table[row_c + 1]

One ``embedding_bag`` computes every token of a batch; columns of unobserved modalities are not
touched.

T tokens, D width, R rows of the table, C columns (N numeric, J rows of the longest), r rank,
V observed values, B patients, M modalities.
"""

from typing import Any, NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import norm
from torch import Tensor, nn

from remind.cohort import TabularBatch, TabularColumn, TabularSchema
from remind.encoders.plan import PlannedEncoder
from remind.encoders.tokens import Tokens, observed

OUTER_QUANTILE = 0.002  # knots beyond it get its normal score, so that no outlier dominates


class TabularPlan(NamedTuple):
    """Where tabular tokens come from.

    Attributes:
        owner_T, modality_T: of each token, int64.
        cell_V: place of each value that is read among all: in the flattened (B, C) arrays, or in
            the list of those that are kept.
        start_T: first of the pairs of rows of each token, two for a value.
    """

    owner_T: Tensor
    modality_T: Tensor
    cell_V: Tensor
    start_T: Tensor

    @classmethod
    def of(
        cls,
        owner_T: Tensor,
        modality_T: Tensor,
        cell_V: Tensor,
        owner_V: Tensor,
        modality_V: Tensor,
    ) -> Self:
        """Give each token the values of its patient and modality, which lie in that order."""
        num_modalities = int(modality_T.max()) + 1 if len(modality_T) else 1
        start_T = torch.searchsorted(
            owner_V * num_modalities + modality_V, owner_T * num_modalities + modality_T
        )
        return cls(owner_T, modality_T, cell_V, 2 * start_T)


class TabularEncoder(PlannedEncoder):
    """One token per observed tabular modality.

    The rows of a numeric column are low-rank, a function from the value to R^r and one matrix of
    the column to R^D,

        table[knot j] = (score_j slope + offset + sum_{i <= j} bend_i) P,

    where score_j is the normal score of the knot's place among the knots (its training quantile,
    where no two quantiles coincide). The bends start at zero: the model starts linear in the normal
    scores and bends where the data ask for it. A missing value
    (inside an observed modality), a category and an unknown category have rows of their own. That
    of an unknown category is zero, for training never meets one: it adds nothing to the token.

    Args:
        schema: columns and knots of the training rows.
        width: D.
        num_modalities: M of the cohort.
        rank: r.
    """

    score_NJ1: Tensor
    is_bend_NJ1: Tensor
    is_missing_NJ1: Tensor
    source_R: Tensor

    def __init__(
        self, schema: TabularSchema, *, width: int, num_modalities: int, rank: int = 16
    ) -> None:
        super().__init__()
        self.num_modalities = num_modalities
        self._kept: tuple[list[tuple[int, int]], Tensor] | None = None  # weights, their table
        numeric = [column for column in schema.columns if column.kind == "numeric"]
        num_columns = len(schema.columns)
        score_NJ, kind_NJ = _knots(numeric)
        self.register_buffer("score_NJ1", score_NJ.unsqueeze(-1), persistent=False)
        self.register_buffer("is_bend_NJ1", (kind_NJ == _BEND).unsqueeze(-1), persistent=False)
        self.register_buffer(
            "is_missing_NJ1", (kind_NJ == _MISSING).unsqueeze(-1), persistent=False
        )
        self.register_buffer("source_R", _sources(schema, kind_NJ.shape[1]), persistent=False)
        self._host_modality_C = torch.from_numpy(schema.column_modality_C)  # these stay on the host
        self.host_has_columns_M = torch.zeros(num_modalities, dtype=torch.bool)
        self.host_has_columns_M[self._host_modality_C] = True
        self.slope_N1r = _uniform(len(numeric), 1, rank, fan_in=rank)
        self.offset_N1r = _uniform(len(numeric), 1, rank, fan_in=rank)
        self.bend_NJr = nn.Parameter(torch.zeros(*kind_NJ.shape, rank))
        self.missing_N1r = _uniform(len(numeric), 1, rank, fan_in=rank)
        self.project_NrD = _uniform(len(numeric), rank, width, fan_in=num_columns * rank)
        num_other = schema.num_rows - sum(column.num_rows for column in numeric)
        self.other_rows = _uniform(num_other, width, fan_in=9 * num_columns)
        unknown = [column.unknown_row for column in schema.columns if column.kind == "categorical"]
        self.other_rows.data[self.source_R[unknown] - kind_NJ.numel()] = 0.0

    def table(self) -> Tensor:
        """Return the rows (R, D) of all columns.

        In evaluation mode, where no gradient follows, it is computed anew only when the weights
        have changed.
        """
        if not self._may_keep():
            return self._table()
        state = [(x.data_ptr(), x._version) for x in self.parameters()]
        kept = self._kept
        if kept is None or kept[0] != state:
            kept = self._kept = (state, self._table())
        return kept[1]

    def train(self, mode: bool = True) -> Self:
        """Set the mode as ever, and forget the table."""
        self._kept = None
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the table out of copies."""
        return {**self.__dict__, "_kept": None}

    def _may_keep(self) -> bool:
        """Whether nothing but the weights decides on the table, and they tell when they change."""
        if self.training or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return False
        weight = self.other_rows
        return not (weight.is_inference() or torch.is_autocast_enabled(weight.device.type))

    def _table(self) -> Tensor:
        bend_NJr = (self.bend_NJr * self.is_bend_NJ1).cumsum(1)
        value_NJr = self.score_NJ1 * self.slope_N1r + self.offset_N1r + bend_NJr
        value_NJr = torch.where(self.is_missing_NJ1, self.missing_N1r, value_NJr)
        rows = torch.cat([(value_NJr @ self.project_NrD).flatten(0, 1), self.other_rows])
        return rows.index_select(0, self.source_R)

    def plan(self, values: Any, present_BM: Tensor) -> TabularPlan:
        """Find the tokens and the observed values of a batch, whatever the values are."""
        column_modality_C = self._host_modality_C
        owner_T, modality_T = observed(present_BM & self.host_has_columns_M)
        present_BC = present_BM.index_select(1, column_modality_C)
        owner_V, column_V = present_BC.nonzero(as_tuple=True)
        cell_V = owner_V * len(column_modality_C) + column_V
        return TabularPlan.of(owner_T, modality_T, cell_V, owner_V, column_modality_C[column_V])

    def encode(self, values: TabularBatch, plan: TabularPlan) -> Tokens:
        """Encode the observed modalities of a batch."""
        row_V = values.row_BC.flatten().index_select(0, plan.cell_V).long()
        frac_V = values.frac_BC.flatten().index_select(0, plan.cell_V)
        x_TD = sum_of_points(self.table(), row_V, frac_V, plan.start_T)
        return Tokens(x_TD, plan.owner_T, plan.modality_T)


def sum_of_points(table_RD: Tensor, row_V: Tensor, frac_V: Tensor, start_T: Tensor) -> Tensor:
    """Return for each token the sum (T, D) of its points between a row of a table and the next.

    Args:
        table_RD: the rows.
        row_V, frac_V: of each point, int64 and float.
        start_T: first of the pairs of rows of each token, two for a point.
    """
    return F.embedding_bag(
        torch.stack([row_V, row_V + 1], dim=1).flatten(),
        table_RD,
        start_T,
        mode="sum",
        per_sample_weights=torch.stack([1 - frac_V, frac_V], dim=1).flatten().to(table_RD.dtype),
    )


_BEND, _MISSING = 1, 2


def _uniform(*shape: int, fan_in: int) -> nn.Parameter:
    """Return a parameter drawn uniformly in +-1 / sqrt(fan_in)."""
    return nn.Parameter(torch.empty(*shape).uniform_(-1, 1) / max(fan_in, 1) ** 0.5)


def _knots(columns: list[TabularColumn]) -> tuple[Tensor, Tensor]:
    """Return normal scores (N, J) and whether a place is a bend, the missing row or neither."""
    longest = max((column.num_rows for column in columns), default=0)
    score_NJ = np.zeros((len(columns), longest), dtype=np.float32)
    kind_NJ = np.zeros((len(columns), longest), dtype=np.int64)
    for n, column in enumerate(columns):
        num_knots = len(column.knots)
        if num_knots > 1:
            quantile = np.linspace(0, 1, num_knots).clip(OUTER_QUANTILE, 1 - OUTER_QUANTILE)
            score_NJ[n, :num_knots] = norm.ppf(quantile) if num_knots > 2 else (-1, 1)
        kind_NJ[n, 1:num_knots] = _BEND
        kind_NJ[n, num_knots] = _MISSING
    return torch.from_numpy(score_NJ), torch.from_numpy(kind_NJ)


def _sources(schema: TabularSchema, longest: int) -> Tensor:
    """Return where each row of the table (R,) lies: numeric columns padded to J, then the rest."""
    sources, numeric = [], 0
    rest = longest * sum(column.kind == "numeric" for column in schema.columns)
    for column in schema.columns:
        if column.kind == "numeric":
            sources.append(np.arange(column.num_rows) + numeric * longest)
            numeric += 1
        else:
            sources.append(np.arange(column.num_rows) + rest)
            rest += column.num_rows
    spare = np.arange(rest, rest + 1)
    return torch.from_numpy(np.concatenate([*sources, spare]))
