"""A small schema of every kind of column, random batches of it, and a plain padded oracle.

B patients, M modalities, C tabular columns, R rows of the embedding table, D width.
"""

from dataclasses import replace
from statistics import NormalDist

import torch
from torch import Tensor

from remind.cohort import (
    Batch,
    Groups,
    TabularBatch,
    TabularColumn,
    TabularSchema,
    VectorModality,
    VectorSchema,
)
from remind.encoders import TabularEncoder

MODALITIES = ("vitals", "ecg", "labs", "mri")
NUMBERS = {  # name -> (modality, knots); "never" has no value in training
    "hr": (0, (40.0, 60.0, 90.0, 140.0)),
    "lactate": (2, (0.5, 1.0, 2.0, 8.0, 30.0)),
    "ventilated": (2, (0.0, 1.0)),
    "constant": (2, (7.0,)),
    "never": (2, ()),
}
CATEGORIES = {"ward": (0, ("icu", "medicine", "surgery")), "code": (2, ("a", "b"))}
ORDER = ("hr", "ward", "lactate", "ventilated", "code", "constant", "never")


def tabular_schema() -> TabularSchema:
    """Vitals and labs: seven columns, numbers and categories in turn."""
    columns, first_row = [], 0
    for name in ORDER:
        if name in NUMBERS:
            modality, knots = NUMBERS[name]
            column = TabularColumn(
                name=name, modality=modality, kind="numeric", first_row=first_row, knots=knots
            )
        else:
            modality, categories = CATEGORIES[name]
            column = TabularColumn(
                name=name,
                modality=modality,
                kind="categorical",
                first_row=first_row,
                categories=categories,
            )
        columns.append(column)
        first_row += column.num_rows
    return TabularSchema(columns=tuple(columns))


def vector_schema() -> VectorSchema:
    """ECG of 3 and MRI of 2 numbers."""
    ecg = VectorModality(name="ecg", index=1, mean=(0.0,) * 3, std=(1.0,) * 3)
    mri = VectorModality(name="mri", index=3, mean=(0.0,) * 2, std=(1.0,) * 2)
    return VectorSchema(modalities=(ecg, mri))


def random_presence(num_patients: int, seed: int) -> Tensor:
    """Which of the four modalities are observed, bool (B, M); some patients may have none."""
    random = torch.Generator().manual_seed(seed)
    return torch.rand(num_patients, 4, generator=random) < 0.6


def random_batch(present_BM: Tensor, seed: int, groups: Groups | None = None) -> Batch:
    """Random float64 values for observed and unobserved modalities alike."""
    random = torch.Generator().manual_seed(seed)
    size = len(present_BM)
    rows, fracs = [], []
    for column in tabular_schema().columns:
        place_B = torch.randint(column.num_rows, (size,), generator=random)
        frac_B = torch.rand(size, dtype=torch.float64, generator=random)
        rows.append(column.first_row + place_B)
        fracs.append(torch.where(place_B < len(column.knots) - 1, frac_B, 0.0))
    group_B = torch.from_numpy(groups.ids(present_BM.numpy())) if groups else None
    return Batch(
        values={
            "tabular": TabularBatch(
                row_BC=torch.stack(rows, 1).int(), frac_BC=torch.stack(fracs, 1)
            ),
            "vector": {
                name: torch.randn(size, dim, dtype=torch.float64, generator=random)
                for name, dim in (("ecg", 3), ("mri", 2))
            },
        },
        present_BM=present_BM,
        label_B=torch.zeros(size, dtype=torch.int64),
        group_B=torch.full((size,), -1) if group_B is None else group_B,
    )


def select(batch: Batch, rows: Tensor) -> Batch:
    """Some patients of a batch, in the order given."""
    tabular = batch.values["tabular"]
    values = {
        "tabular": TabularBatch(row_BC=tabular.row_BC[rows], frac_BC=tabular.frac_BC[rows]),
        "vector": {name: x_BF[rows] for name, x_BF in batch.values["vector"].items()},
    }
    present_BM, label_B, group_B = batch.present_BM, batch.label_B, batch.group_B
    return Batch(values, present_BM[rows], label_B[rows], group_B[rows])


def spoil_unobserved(batch: Batch) -> Batch:
    """The same patients with rubbish where nothing was observed: other rows, NaN and infinity."""
    tabular = batch.values["tabular"]
    hidden_BC = ~batch.present_BM[:, tabular_schema().column_modality_C]
    row_BC = torch.where(hidden_BC, tabular_schema().num_rows - 2, tabular.row_BC)
    frac_BC = tabular.frac_BC.masked_fill(hidden_BC, torch.nan)
    vectors = {
        name: batch.values["vector"][name].masked_fill(~batch.present_BM[:, m : m + 1], rubbish)
        for name, m, rubbish in (("ecg", 1, torch.nan), ("mri", 3, torch.inf))
    }
    values = {"tabular": TabularBatch(row_BC=row_BC, frac_BC=frac_BC), "vector": vectors}
    return replace(batch, values=values)


def plain_table(encoder: TabularEncoder) -> Tensor:
    """The rows (R, D) of the embedding table, one after the other from their definition."""
    rows, n, other = [], 0, 0
    for column in tabular_schema().columns:
        if column.kind == "categorical":
            rows += encoder.other_rows[other : other + column.num_rows]
            other += column.num_rows
            continue
        project_rD, bend_r = encoder.project_NrD[n], torch.zeros_like(encoder.slope_N1r[n, 0])
        for j, score in enumerate(plain_scores(len(column.knots))):
            bend_r = bend_r + encoder.bend_NJr[n, j] if j else bend_r
            value_r = score * encoder.slope_N1r[n, 0] + encoder.offset_N1r[n, 0] + bend_r
            rows.append(value_r @ project_rD)
        rows.append(encoder.missing_N1r[n, 0] @ project_rD)
        n += 1
    return torch.stack([*rows, encoder.other_rows[other]])


def plain_scores(num_knots: int) -> list[float]:
    """The normal scores of the quantiles at which the knots lie."""
    if num_knots <= 2:
        return [[], [0.0], [-1.0, 1.0]][num_knots]
    shares = [j / (num_knots - 1) for j in range(num_knots)]
    return [NormalDist().inv_cdf(min(max(share, 0.002), 0.998)) for share in shares]


def plain_tokens(encoder: TabularEncoder, batch: Batch) -> Tensor:
    """Tokens (B, M, D), padded: zeros where a modality is unobserved, one sum after the other."""
    table_RD, tabular = plain_table(encoder), batch.values["tabular"]
    x_BMD = []
    for b, present_M in enumerate(batch.present_BM.tolist()):
        x_MD = [0 * table_RD[0] for _ in present_M]
        for c, column in enumerate(tabular_schema().columns):
            row, frac = int(tabular.row_BC[b, c]), tabular.frac_BC[b, c]
            if present_M[column.modality]:
                token_D = (1 - frac) * table_RD[row] + frac * table_RD[row + 1]
                x_MD[column.modality] = x_MD[column.modality] + token_D
        x_BMD.append(torch.stack(x_MD))
    return torch.stack(x_BMD)
