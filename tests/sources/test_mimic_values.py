"""Numbers of MIMIC-IV: comparators, units, words, outliers and duplicates, read and counted."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.sources.mimic_release import Release
from tests.sources.mimic_shared import (
    candidates,
    copy_of,
    main_table,
    plain_cohort,
    prepared,
    release_of,
)

LABS: list[tuple[int, str, float | None, str | None, str, float | str]] = [
    (51003, "<0.01", None, "ng/mL", "troponin_t", 0.01),
    (50813, ">20", None, "mmol/L", "lactate", 20.0),
    (50813, " <=0.5 ", None, "mmol/L", "lactate", 0.5),
    (50912, "___", None, "mg/dL", "creatinine", "no number"),
    (50912, "HEMOLYZED", None, "mg/dL", "creatinine", "no number"),
    (50912, "176.8", 176.8, "umol/L", "creatinine", 2.0),
    (50912, "1.7", 1.7, "MG/DL", "creatinine", 1.7),
    (50931, "5.5", 5.5, "stones", "glucose", "another unit"),
    (50983, "9999", 9999.0, "mEq/L", "sodium", "outside the limits"),
    (50889, "3.5", 3.5, "mg/dL", "crp", 35.0),
    (50889, "41", 41.0, None, "crp", 41.0),
    (51492, "NEG", None, "mg/dL", "urine_protein", 0.0),
]
CHARTS: list[tuple[int, str, float | None, str | None, str, float | str]] = [
    (223761, "101.3", 101.3, "°F", "temperature", 38.5),
    (223761, "36.9", 36.9, "°F", "temperature", 36.9),
    (223762, "38.1", 38.1, "°C", "temperature", 38.1),
    (223762, "99.5", 99.5, "°C", "temperature", 37.5),
    (223835, "0.45", 0.45, None, "fio2", 45.0),
    (223835, "60", 60.0, None, "fio2", 60.0),
    (220045, "0", 0.0, "bpm", "heart_rate", "outside the limits"),
    (220045, "999999", 999999.0, "bpm", "heart_rate", "outside the limits"),
    (226531, "220.5", 220.5, None, "weight", 100.0174),
    (223900, "Oriented", 5.0, None, "gcs_verbal", 5.0),
    (223900, "No Response-ETT", 1.0, None, "gcs_verbal", "not assessed"),
]
"""Item, value, valuenum, unit of planted rows → quantity, and its value or what becomes of it."""


@pytest.fixture
def release(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Release:
    return copy_of(release_of(tmp_path_factory, 20), tmp_path / "release")


def fates(counts: dict[str, Any]) -> pd.Series:
    """(quantity, fate) → rows, of the counts of a manifest."""
    return pd.Series(
        {
            (quantity, fate): number
            for quantity, own in counts["quantities"].items()
            for fate, number in own.items()
        }
    )


def test_every_planted_row_has_the_value_or_the_fate_that_it_should(
    release: Release, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """No laboratory row has an admission here: rows are found by person, the counts as before."""
    folder, plain = plain_cohort(tmp_path_factory)
    stay = candidates(release.tables).loc[main_table(folder).index].iloc[0]
    own = {"subject_id": stay["subject_id"], "hadm_id": stay["hadm_id"]}
    start = stay["intime"].floor("min") + pd.Timedelta(hours=20)
    expected: dict[tuple[str, str], int] = {}
    values = {}
    for table, planted in (("hosp/labevents", LABS), ("icu/chartevents", CHARTS)):
        rows = []
        for number, (item, text, numeric, unit, quantity, fate) in enumerate(planted):
            at = start + pd.Timedelta(minutes=7 * number)
            row = {**own, "itemid": item, "charttime": at, "value": text, "valuenum": numeric}
            row |= {"valueuom": unit, "storetime": at}
            row |= {"labevent_id": number} if table == "hosp/labevents" else {"warning": 0}
            if table == "icu/chartevents":
                row["stay_id"] = stay.name
            rows += [row, row | ({"labevent_id": -number} if "labevent_id" in row else {})]
            what = fate if isinstance(fate, str) else "kept"
            for one in (what, "duplicates"):
                expected[quantity, one] = expected.get((quantity, one), 0) + 1
            if what == "kept":
                hours = (at - stay["intime"]) / pd.Timedelta(hours=1)
                values[quantity, round(hours, 3)] = fate
        frame = release.tables[table]
        both = pd.concat([frame, pd.DataFrame(rows)])[list(frame.columns)]
        release.write(table, both.assign(hadm_id=None) if table == "hosp/labevents" else both)
    after = prepared(release, tmp_path / "after", modules=False)
    more = fates(after.counts).sub(fates(plain.counts), fill_value=0).astype(int)
    assert more[more != 0].to_dict() == expected
    series = [
        frame[frame["stay_id"] == stay.name]
        for file in (tmp_path / "after").glob("*.parquet")
        if "variable" in (frame := pd.read_parquet(file))
    ]
    found = pd.concat(series)
    found = {
        (variable, round(hours, 3)): value
        for variable, hours, value in found[["variable", "time", "value"]].to_numpy()
    }
    assert {key: float(found[key]) for key in values} == {
        key: pytest.approx(value, rel=1e-3) for key, value in values.items()
    }


def test_fates_are_those_of_a_plain_recount(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Heart rates: within the window, once, plausible."""
    folder, manifest = plain_cohort(tmp_path_factory)
    tables = release_of(tmp_path_factory, 20).tables
    stays = candidates(tables).loc[main_table(folder).index]
    charts = tables["icu/chartevents"]
    rates = charts[charts["itemid"] == 220045].merge(
        stays["intime"], left_on="stay_id", right_index=True
    )
    hours = (rates["charttime"] - rates["intime"]) / pd.Timedelta(hours=1)
    rates = rates[(hours >= 0) & (hours <= 48)]
    once = rates.drop_duplicates(["stay_id", "charttime", "valuenum"])
    is_plausible = once["valuenum"].between(1, 350)
    assert manifest.counts["quantities"]["heart_rate"] == {
        "kept": is_plausible.sum(),
        "duplicates": len(rates) - len(once),
        "outside the limits": (~is_plausible).sum(),
    }
    vitals = pd.read_parquet(folder / "vitals.parquet")
    assert (vitals["variable"] == "heart_rate").sum() == is_plausible.sum()


NEVER = 1e6
INFUSIONS: dict[str, tuple[list[tuple[int, float, float, float | None]], list[list[float]]]] = {
    # a bolus while it runs
    "insulin_rate": (
        [(223258, 1, 2, 5), (223258, 2, 6, 4), (223258, 3, 3.1, None)],
        [[1, 5], [2, 4], [6, 0]],
    ),
    # one within another
    "crystalloid_rate": (
        [(225158, 1, 20, 50), (225158, 5, 6, 900)],
        [[1, 50], [5, 900], [6, 50], [20, 0]],
    ),
    # another item of the quantity goes on, at last beyond the prediction
    "phenylephrine": (
        [(221749, 1, 5, 2), (229630, 5, 9, 3), (229632, 8, NEVER, 4)],
        [[1, 2], [5, 3], [8, 4]],
    ),
    # two items end together
    "fentanyl": ([(221744, 1, 3, 30), (225942, 2, 3, 40)], [[1, 30], [2, 40], [3, 0]]),
    # one runs when series begin
    "propofol": ([(222168, -9, 4, 20), (222168, -12, -9, 30)], [[0, 20], [4, 0]]),
    # one has ended when series begin
    "midazolam": ([(221668, -9, -2, 3)], []),
}
"""Quantity → item, start, end and rate of infusions of a stay; hours and values of the series."""
UNITS = {"insulin_rate": "units/hour", "crystalloid_rate": "mL/hour", "fentanyl": "mcg/hour"}


def test_a_rate_holds_until_no_infusion_of_its_quantity_goes_on(
    release: Release, tmp_path: Path
) -> None:
    """Hours are counted from when series begin, two days before the end of the ICU stay."""
    stays = candidates(release.tables)
    is_long = stays["outtime"] - stays["intime"] > pd.Timedelta(hours=72)
    is_alive = (stays["hospital_expire_flag"] == 0) & stays["deathtime"].isna()
    stay = stays[is_long & is_alive & stays["is_first"] & stays["dod"].isna()].iloc[0]
    since = stay["outtime"] - pd.Timedelta(hours=48)
    ids = {"subject_id": stay["subject_id"], "hadm_id": stay["hadm_id"], "stay_id": stay.name}
    rows = [
        {**ids, "itemid": item, "starttime": begins, "endtime": ends, "rate": rate, "amount": 9.0}
        | {"rateuom": UNITS.get(quantity, "mcg/kg/min") if rate else None, "amountuom": "units"}
        for quantity, (infusions, _) in INFUSIONS.items()
        for item, begins, ends, rate in infusions
    ]
    given = pd.DataFrame(rows, columns=list(release.tables["icu/inputevents"].columns))
    for name in ("starttime", "endtime"):
        given[name] = since + pd.to_timedelta(given[name] * 60, unit="min").dt.round("min")
    release.write("icu/inputevents", given)
    for name in ("hosp/labevents", "icu/chartevents"):
        release.file(name).unlink()
    prepared(release, tmp_path / "out", modules=False, task="mortality-30d")
    found = pd.concat(
        pd.read_parquet(tmp_path / "out" / f"{name}.parquet")
        for name in ("inputs", "vasopressors", "sedatives")
    )
    assert set(found["stay_id"]) == {stay.name}
    found["time"] -= (since - stay["intime"]) / pd.Timedelta(hours=1)
    for quantity, (_, expected) in INFUSIONS.items():
        own = found.loc[found["variable"] == quantity, ["time", "value"]].sort_values("time")
        assert own.round(2).to_numpy().tolist() == expected, quantity
    bolus = found[found["variable"] == "insulin"]
    assert bolus[["time", "value"]].round(2).to_numpy().tolist() == [[3.1, 9.0]]
