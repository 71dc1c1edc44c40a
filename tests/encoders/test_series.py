"""Series to tokens: sets of events, or of statistics, and nothing else of them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from remind.cohort import Cohort, Encoding, read_cohort
from remind.cohort.kinds.series_variables import SeriesVariable
from remind.encoders.series_values import ValueTable
from tests.cohort.make_events import patients, write
from tests.encoders.event_laws import (
    auroc_of_a_short_fit,
    changed,
    check_batch_composition,
    check_gradients,
    check_hidden_items_are_not_read,
    doubled,
    setting,
    tokens_of,
)

SECTIONS = """
[modalities.labs]
kind = "series"
table = "labs.parquet"
num_tokens = 3

[modalities.drips]
kind = "series"
table = "drips.parquet"
encoder = "summary"

[modalities.vents]
kind = "series"
table = "vents.parquet"
"""
ROWS = st.lists(st.integers(0, 11), min_size=1, max_size=6)


def events(seed: int, num: int, n: int = 12) -> pd.DataFrame:
    """Numbers and words of some patients, the first of whom has at least one event."""
    rng = np.random.default_rng(seed)
    variable = rng.choice(["hr", "map", "rhythm"], num)
    value = rng.normal(size=num).round(3).astype(str).astype(object)
    value[variable == "rhythm"] = rng.choice(["sinus", "af"], (variable == "rhythm").sum())
    pid = np.append(0, rng.integers(0, n, num - 1))
    return pd.DataFrame(
        {"pid": pid, "time": rng.uniform(0, 48, num), "variable": variable, "value": value}
    )


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Three series, two of which are attended to; not everyone has each."""
    folder = write(tmp_path_factory.mktemp("series"), SECTIONS, patients(12))
    for seed, name in enumerate(("labs", "drips", "vents")):
        events(seed, 60 if name == "labs" else 25).to_parquet(folder / f"{name}.parquet")
    return read_cohort(folder)


@settings(max_examples=15, deadline=None)
@given(rows=ROWS)
def test_the_company_in_a_batch_is_irrelevant(rows: list[int], cohort: Cohort) -> None:
    encoder, encoded = setting(cohort, "series")
    check_batch_composition(encoder, encoded, "series", rows)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999))
def test_the_order_of_events_is_irrelevant(seed: int, cohort: Cohort) -> None:
    encoder, encoded = setting(cohort, "series")
    batch = encoded.batch(np.arange(12))
    values = doubled(batch.values["series"])
    x_TD = encoder(values, batch.present_BM).x_TD
    shuffle = torch.Generator().manual_seed(seed)
    for name, item in values.items():
        order_V = torch.randperm(len(item.owner_V), generator=shuffle)
        order_V = order_V[item.owner_V[order_V].argsort(stable=True)]  # patients stay in order
        values[name] = changed(item, lambda values, order_V=order_V: values[order_V])
    torch.testing.assert_close(encoder(values, batch.present_BM).x_TD, x_TD)


@settings(max_examples=10, deadline=None)
@given(rows=st.lists(st.integers(0, 11), min_size=4, max_size=8).map(lambda rows: [0, *rows]))
def test_what_is_not_present_cannot_matter(rows: list[int], cohort: Cohort) -> None:
    encoder, encoded = setting(cohort, "series")
    check_hidden_items_are_not_read(encoder, encoded, "series", rows)


def test_the_gradient_reaches_every_parameter(cohort: Cohort) -> None:
    encoder, encoded = setting(cohort, "series")
    check_gradients(encoder, encoded, "series")


def test_every_observed_series_has_its_tokens(cohort: Cohort) -> None:
    """Three of labs, one of a summary, two by default; a batch of nobody has none."""
    encoder, encoded = setting(cohort, "series")
    tokens = tokens_of(encoder, encoded, "series", list(range(12)))
    expected = encoded.present_NM[:, 1:].sum(0) * [3, 1, 2]
    assert torch.bincount(tokens.modality_T)[1:].tolist() == expected.tolist()
    assert tokens_of(encoder, encoded, "series", []).x_TD.shape == (0, 6)


def test_a_summary_is_the_token_of_a_full_table(cohort: Cohort) -> None:
    """What is not there costs nothing, and counts as missing all the same."""
    encoder, encoded = setting(cohort, "series")
    batch = encoded.batch(np.arange(12)).values["series"]["drips"]
    table_RD = encoder.parts[1].tabular.table()
    columns = Encoding.fit(cohort, cohort.rows("train")).schemas["series"].find("drips").summary
    tokens = tokens_of(encoder, encoded, "series", list(range(12)))
    for patient in np.flatnonzero(encoded.present_NM[:, 2]):
        x_D = torch.zeros(6).double()
        own = batch.owner_V == int(patient)
        rows, fracs = batch.row_V[own].tolist(), batch.frac_V[own].double()
        for column in columns:
            inside = [
                k for k, row in enumerate(rows) if 0 <= row - column.first_row < column.num_rows
            ]
            row, frac = (rows[inside[0]], fracs[inside[0]]) if inside else (column.missing_row, 0.0)
            x_D = x_D + (1 - frac) * table_RD[row] + frac * table_RD[row + 1]
        found = tokens.x_TD[(tokens.owner_T == int(patient)) & (tokens.modality_T == 2)]
        torch.testing.assert_close(found[0], x_D)


def test_an_embedding_of_a_value_bends_only_at_its_knots() -> None:
    """Linear between knots; zero for a variable, and at first for a category, never seen."""
    knots = SeriesVariable(
        name="hr", kind="numeric", first_row=0, num_patients=1, knots=(1, 2, 4, 8)
    )
    words = SeriesVariable(
        name="rhythm", kind="categorical", first_row=4, num_patients=1, categories=("af", "sinus")
    )
    torch.manual_seed(0)
    table = ValueTable([knots, words], width=5, rank=3)
    frac_V = torch.tensor([0.0, 0.25, 0.5, 1.0])
    x_Vd = table(torch.full((4,), 1), frac_V)
    start_d, end_d = table(torch.tensor([1, 2]), torch.zeros(2))
    torch.testing.assert_close(x_Vd, start_d + frac_V[:, None] * (end_d - start_d))
    others = table(torch.tensor([4, 5, 6, 7]), torch.zeros(4))
    assert (others[:2].abs().sum(1) > 0).all()
    assert (others[2:] == 0).all()


@pytest.mark.parametrize("encoder", ["attention", "summary"])
def test_the_signal_of_a_series_is_learned(encoder: str, tmp_path: Path) -> None:
    """The last value of one variable decides; nothing else in the cohort says anything."""
    n, rng = 400, np.random.default_rng(0)
    frame = pd.DataFrame({"pid": range(n), "hr": rng.normal(size=n)})
    table = pd.DataFrame(
        {
            "pid": rng.integers(0, n, 20 * n),
            "time": rng.uniform(0, 48, 20 * n),
            "variable": rng.choice(["lactate", "sodium", "potassium"], 20 * n),
        }
    )
    sick = rng.normal(size=n)
    noise = rng.normal(size=len(table))
    table["value"] = np.where(
        table["variable"] == "lactate", sick[table["pid"]] + 0.5 * noise, noise
    )
    frame["died"] = (sick + 0.3 * rng.normal(size=n) > 0).astype(int)
    frame["split"] = rng.choice(["train", "val", "test"], n, p=[0.6, 0.15, 0.25])
    keys = f'[modalities.labs]\nkind = "series"\ntable = "labs.parquet"\nencoder = "{encoder}"\n'
    folder = write(tmp_path, keys, frame)
    table.to_parquet(folder / "labs.parquet")
    assert auroc_of_a_short_fit(folder) > 0.85
