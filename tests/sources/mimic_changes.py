"""Changes of a generated MIMIC-IV release that nobody can know of when the prediction is made.

Each takes a table and when each person is predicted for the last time, and gives it back with
what lies after that changed; the number of rows it changed is told, so that no test passes on none.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

Table = pd.DataFrame
Change = Callable[[Table, pd.Series], tuple[Table, int]]


def later(*times: str, values: tuple[str, ...]) -> Change:
    """Change the values of rows whose first known time is after the last prediction.

    Args:
        times: columns, the first that is not null counts.
        values: columns to change.
    """

    def change(table: Table, last: pd.Series) -> tuple[Table, int]:
        known = pd.to_datetime(table[times[0]])
        for time in times[1:]:
            known = known.fillna(pd.to_datetime(table[time]))
        is_later = known > table["subject_id"].map(last)
        return _changed(table, is_later, values), int(is_later.sum())

    return change


def longer(start: str, end: str, amounts: tuple[str, ...]) -> Change:
    """Let what runs at the last prediction run twice as long, at the same rate."""

    def change(table: Table, last: pd.Series) -> tuple[Table, int]:
        at = table["subject_id"].map(last)
        runs = (table[start] <= at) & (table[end] > at)
        table = table.copy()
        for name in amounts:
            table.loc[runs, name] = table.loc[runs, name] * 2
        table.loc[runs, end] += table.loc[runs, end] - table.loc[runs, start]
        return table, int(runs.sum())

    return change


def of_admissions(admissions: Table, values: tuple[str, ...]) -> Change:
    """Change what is coded or written at a discharge with or after the last prediction."""

    def change(table: Table, last: pd.Series) -> tuple[Table, int]:
        end = table["hadm_id"].map(admissions.set_index("hadm_id")["dischtime"])
        is_later = end >= table["subject_id"].map(last)
        return _changed(table, is_later, values), int(is_later.sum())

    return change


def outcome(table: Table, last: pd.Series) -> tuple[Table, int]:
    """Turn around who dies in hospital, when and to where each is discharged."""
    is_later = table["dischtime"] > table["subject_id"].map(last)
    table = table.copy()
    died = table["hospital_expire_flag"] == 1
    table.loc[is_later, "dischtime"] += pd.Timedelta(days=2)
    table.loc[is_later & died, "deathtime"] = pd.NaT
    table.loc[is_later & ~died, "deathtime"] = table.loc[is_later & ~died, "dischtime"]
    table.loc[is_later, "hospital_expire_flag"] = 1 - table.loc[is_later, "hospital_expire_flag"]
    table.loc[is_later, "discharge_location"] = np.where(died[is_later], "HOME", "DIED")
    return table, int(is_later.sum())


def date_of_death(table: Table, last: pd.Series) -> tuple[Table, int]:
    """Let the dead of later live, and the others die on the day after the last prediction."""
    at = table["subject_id"].map(last)
    dies = pd.to_datetime(table["dod"])
    is_free = at.notna() & ~(dies < at)
    day_after = (at + pd.Timedelta(days=1)).dt.strftime("%Y-%m-%d").where(dies.isna())
    table = table.copy()
    table["dod"] = table["dod"].where(~is_free, day_after)
    return table, int(is_free.sum())


def end_of_stay(table: Table, last: pd.Series) -> tuple[Table, int]:
    """Let stays that go on at the last prediction end a day later, in another unit."""
    at = table["subject_id"].map(last)
    is_later = (table["intime"] < at) & (table["outtime"] > at)
    table = table.copy()
    table.loc[is_later, "outtime"] += pd.Timedelta(days=1)
    table.loc[is_later, "los"] += 1.0
    table.loc[is_later, "last_careunit"] = "Coronary Care Unit (CCU)"
    return table, int(is_later.sum())


def changes(admissions: Table) -> dict[str, list[Change]]:
    """Table → what can happen to it after the last prediction."""
    number = ("value", "valuenum")
    given = ("amount", "rate", "itemid")
    return {
        "hosp/admissions": [outcome],
        "hosp/patients": [date_of_death],
        "icu/icustays": [end_of_stay],
        "hosp/diagnoses_icd": [of_admissions(admissions, ("icd_code",))],
        "hosp/procedures_icd": [of_admissions(admissions, ("icd_code",))],
        "hosp/drgcodes": [of_admissions(admissions, ("drg_code",))],
        "hosp/hcpcsevents": [of_admissions(admissions, ("hcpcs_cd",))],
        "note/discharge": [of_admissions(admissions, ("text",))],
        "hosp/labevents": [later("storetime", "charttime", values=(*number, "itemid", "flag"))],
        "icu/chartevents": [later("charttime", values=(*number, "itemid"))],
        "icu/outputevents": [later("charttime", values=("value", "itemid"))],
        "icu/inputevents": [
            later("starttime", values=given),
            longer("starttime", "endtime", ("amount",)),
        ],
        "icu/procedureevents": [
            later("starttime", values=("itemid", "value")),
            longer("starttime", "endtime", ("value",)),
        ],
        "hosp/prescriptions": [
            later("starttime", values=("drug", "dose_val_rx")),
            longer("starttime", "stoptime", ()),
        ],
        "hosp/microbiologyevents": [
            later("storetime", "storedate", values=("org_name", "interpretation", "comments"))
        ],
        "note/radiology": [later("storetime", "charttime", values=("text",))],
        "hosp/omr": [later("chartdate", values=("result_value",))],
        "hosp/services": [later("transfertime", values=("curr_service",))],
        "ed/vitalsign": [later("charttime", values=("heartrate", "temperature"))],
        "ed/edstays": [later("intime", values=("arrival_transport", "disposition"))],
    }


def _changed(table: Table, rows: pd.Series, columns: tuple[str, ...]) -> Table:
    """The table with other values in some rows, of the same type."""
    table = table.copy()
    for name in columns:
        old = table.loc[rows, name]
        if name == "itemid":
            table.loc[rows, name] = old.sample(frac=1, random_state=0).to_numpy()
        elif pd.api.types.is_numeric_dtype(old.dtype):
            table.loc[rows, name] = old * 3 + 1
        elif name == "value":
            table.loc[rows, name] = "7"
        else:
            table.loc[rows, name] = "changed afterwards"
    return table
