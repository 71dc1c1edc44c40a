"""Measurements of a series to embeddings, piecewise linear in a number.

U variables (N numeric, J knots of the longest), R rows of the table, d width, r rank, V events.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import norm
from torch import Tensor, nn

from remind.cohort.kinds.series_variables import SeriesVariable
from remind.encoders.tabular import OUTER_QUANTILE


class ValueTable(nn.Module):
    """Embeddings of measurements: a table (R, d) of the knots and categories of variables.

    A numeric variable is a function from the value to R^r and one matrix to R^d,

        row[knot j] = (score_j slope + offset + sum_{i <= j} bend_i) P,

    with the normal score of the knot's place among the knots; bends start at zero (as in
    `TabularEncoder`). Every category has a row of its own. That of an unknown category starts at
    zero. That of an unknown variable is zero: such an event says only that, and when, it was.

    Args:
        variables: in the order of their rows.
        width: d.
        rank: r.
    """

    score_NJ1: Tensor
    is_bend_NJ1: Tensor
    source_R: Tensor

    def __init__(self, variables: Sequence[SeriesVariable], *, width: int, rank: int) -> None:
        super().__init__()
        numeric = [variable for variable in variables if variable.kind == "numeric"]
        coded = [variable for variable in variables if variable.kind == "categorical"]
        longest = max((variable.num_rows for variable in numeric), default=0)
        score_NJ = np.zeros((len(numeric), longest), np.float32)
        is_bend_NJ = np.zeros((len(numeric), longest), bool)
        for n, variable in enumerate(numeric):
            score_NJ[n, : variable.num_rows] = _normal_scores(variable.num_rows)
            is_bend_NJ[n, 1 : variable.num_rows] = True
        self.register_buffer("score_NJ1", torch.from_numpy(score_NJ)[:, :, None], persistent=False)
        self.register_buffer(
            "is_bend_NJ1", torch.from_numpy(is_bend_NJ)[:, :, None], persistent=False
        )
        self.register_buffer("source_R", _sources(variables, longest), persistent=False)
        self.slope_N1r = nn.Parameter(_uniform(len(numeric), 1, rank))
        self.offset_N1r = nn.Parameter(_uniform(len(numeric), 1, rank))
        self.bend_NJr = nn.Parameter(torch.zeros(len(numeric), longest, rank))
        self.project_Nrd = nn.Parameter(_uniform(len(numeric), rank, width) / (3 * rank) ** 0.5)
        self.category_rows = nn.Parameter(
            _uniform(sum(variable.num_rows for variable in coded), width) * (2 / 3) ** 0.5
        )
        unknown = np.cumsum([variable.num_rows for variable in coded], dtype=np.int64) - 1
        self.category_rows.data[unknown] = 0.0

    def forward(self, row_V: Tensor, frac_V: Tensor) -> Tensor:
        """Return the points (V, d) between a row and the next."""
        table_Rd = self.table()
        return F.embedding_bag(
            torch.stack([row_V, row_V + 1], dim=1),
            table_Rd,
            mode="sum",
            per_sample_weights=torch.stack([1 - frac_V, frac_V], dim=1).to(table_Rd.dtype),
        )

    def table(self) -> Tensor:
        """Return the rows; those of an unknown variable and a spare one are at the end."""
        bend_NJr = (self.bend_NJr * self.is_bend_NJ1).cumsum(1)
        value_NJr = self.score_NJ1 * self.slope_N1r + self.offset_N1r + bend_NJr
        numeric_rows = (value_NJr @ self.project_Nrd).flatten(0, 1)
        rows = torch.cat([numeric_rows, self.category_rows]).index_select(0, self.source_R)
        return F.pad(rows, (0, 0, 0, 2))


def _uniform(*shape: int) -> Tensor:
    """Uniform numbers of variance 1."""
    return torch.empty(*shape).uniform_(-1, 1) * 3**0.5


def _normal_scores(num_knots: int) -> np.ndarray:
    """Normal scores of the places of knots among themselves; (-1, 1) of two, 0 of one."""
    if num_knots <= 2:
        return np.array([[0.0], [-1.0, 1.0]][num_knots - 1])
    return norm.ppf(np.linspace(0, 1, num_knots).clip(OUTER_QUANTILE, 1 - OUTER_QUANTILE))


def _sources(variables: Sequence[SeriesVariable], longest: int) -> Tensor:
    """Return where the rows lie: numeric variables, each of the longest's length, then the rest."""
    sources, n = [np.empty(0, np.int64)], 0
    rest = longest * sum(variable.kind == "numeric" for variable in variables)
    for variable in variables:
        if variable.kind == "numeric":
            sources.append(np.arange(variable.num_rows) + n * longest)
            n += 1
        else:
            sources.append(np.arange(variable.num_rows) + rest)
            rest += variable.num_rows
    return torch.from_numpy(np.concatenate(sources))
