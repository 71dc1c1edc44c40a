"""People, admissions and stays of a generated MIMIC-IV release: who is how ill, and who dies."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tests.sources.mimic_columns import COLUMNS, DIAGNOSES

LENGTHS = (0.2, 0.65, 0.15)  # shares of short, middling and long stays
UNITS = (
    "Medical Intensive Care Unit (MICU)",
    "Cardiac Vascular Intensive Care Unit (CVICU)",
    "Trauma SICU (TSICU)",
)
HOUR, MINUTE = 3600, 60  # seconds
MISSING = np.iinfo(np.int64).min  # NaT


class Rows:
    """Rows of all tables as they come; a column that is not given is null."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self._values: dict[str, dict[str, list[Any]]] = {
            table: defaultdict(list) for table in COLUMNS
        }
        self._num: dict[str, int] = dict.fromkeys(COLUMNS, 0)
        self._last = {"id": 20_000_000}

    def add(self, table: str, **columns: Any) -> None:
        """Add one row, or as many as the longest list has; single values are repeated."""
        num = max((len(v) for v in columns.values() if _is_many(v)), default=1)
        values = self._values[table]
        names = COLUMNS[table].split()
        assert set(columns) <= set(names), f"{table}: {set(columns) - set(names)}"
        for name in names:
            value = columns.get(name)
            values[name].extend(value if _is_many(value) else [value] * num)
        self._num[table] += num

    def new_id(self) -> int:
        """A number that no other thing has."""
        self._last["id"] += 7
        return self._last["id"]

    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables, typed: whole numbers, numbers, times, dates as text, text."""
        return {
            table: _typed(
                pd.DataFrame(
                    {c: pd.Series(values[c], dtype=object) for c in COLUMNS[table].split()}
                )
            )
            for table, values in self._values.items()
        }


@dataclass(frozen=True, kw_only=True)
class Stay:
    """A stay in intensive care, and what is needed to make its rows; times in seconds from 1970."""

    subject_id: int
    hadm_id: int
    stay_id: int
    severity: float
    intime: int
    outtime: int
    admittime: int
    dischtime: int
    gender: str


def people(rows: Rows, num_patients: int, version: str) -> Iterator[Stay]:
    """Add patients, admissions, stays and what goes with them; yield the stays."""
    rng = rows.rng
    for number in range(num_patients):
        subject = 10_000_032 + 397 * number
        year = int(rng.integers(2110, 2190))
        tendency = rng.normal(0, 0.6)
        gender = "FM"[int(rng.integers(2))]
        admitted = int(pd.Timestamp(year, 1, 1).timestamp()) + seconds(rng.uniform(0, 8000))
        death: int | None = None
        for _ in range(1 + int(rng.random() < 0.4) + int(rng.random() < 0.2)):
            severity = tendency + rng.normal(0, 0.8)
            facts, death = _admission(rows, subject, admitted, severity, version)
            yield from _stays(rows, facts, severity, gender)
            if death is not None:
                break
            admitted = facts["dischtime"] + seconds(24 * rng.choice([6.0, 21.0, 70.0, 220.0]))
        if death is None and rng.random() < 0.25 + 0.2 * (tendency > 0):
            death = facts["dischtime"] + seconds(24 * rng.exponential(60) + 24)
        rows.add(
            "hosp/patients",
            subject_id=subject,
            gender=gender,
            anchor_age=int(rng.choice([*range(18, 90), 91, 91, 91])),
            anchor_year=year,
            anchor_year_group="2011 - 2013" if number % 3 else "2017 - 2019",
            dod=None if death is None else day(death),
        )


def _admission(
    rows: Rows, subject: int, admitted: int, severity: float, version: str
) -> tuple[dict[str, Any], int | None]:
    """One admission with its ward tables, and the time of death in it if there was one."""
    rng = rows.rng
    is_dead = rng.random() < 1 / (1 + np.exp(1.3 - 2.5 * severity))
    left = admitted + seconds(rng.uniform(60, 340))
    facts = {"subject_id": subject, "hadm_id": rows.new_id()}
    english = "ENGLISH" if version.startswith("2") else "English"
    through_ed = rng.random() < 0.7
    rows.add(
        "hosp/admissions",
        **facts,
        admittime=admitted,
        dischtime=left,
        deathtime=left if is_dead and rng.random() < 0.97 else None,
        admission_type=rng.choice(["EW EMER.", "URGENT", "ELECTIVE", "OBSERVATION ADMIT"]),
        admit_provider_id="P03YMR",
        admission_location="EMERGENCY ROOM" if through_ed else "TRANSFER FROM HOSPITAL",
        discharge_location="DIED" if is_dead else rng.choice(["HOME", "SKILLED NURSING FACILITY"]),
        insurance=rng.choice(["Medicare", "Medicaid", "Other"]),
        language=english if rng.random() < 0.9 else ("?" if english == "ENGLISH" else None),
        marital_status=rng.choice(["MARRIED", "SINGLE", None]),
        race=rng.choice(["WHITE", "BLACK/CAPE VERDEAN", "UNKNOWN"]),
        edregtime=admitted - seconds(5) if through_ed else None,
        edouttime=admitted + seconds(1) if through_ed else None,
        hospital_expire_flag=int(is_dead),
    )
    facts |= {"admittime": admitted, "dischtime": left, "through_ed": through_ed}
    _after_the_fact(rows, facts, severity)
    return facts, left if is_dead else None


def _after_the_fact(rows: Rows, facts: dict[str, Any], severity: float) -> None:
    """What is coded and written at discharge."""
    rng = rows.rng
    ids = {"subject_id": facts["subject_id"], "hadm_id": facts["hadm_id"]}
    num_codes = int(np.clip(rng.poisson(4 + 2 * max(severity, 0)), 1, len(DIAGNOSES)))
    chosen = [DIAGNOSES[i] for i in rng.choice(len(DIAGNOSES), num_codes, replace=False)]
    codes = {"icd_code": [c for c, _ in chosen], "icd_version": [v for _, v in chosen]}
    sequence = list(range(1, num_codes + 1))
    rows.add("hosp/diagnoses_icd", **ids, seq_num=sequence, **codes)
    admitted = day(facts["admittime"])
    procedures = {"icd_code": ["3897", "5A1945Z"], "icd_version": [9, 10]}
    rows.add("hosp/procedures_icd", **ids, seq_num=[1, 2], chartdate=admitted, **procedures)
    rows.add("hosp/drgcodes", **ids, drg_type="HCFA", drg_code="864", description="FEVER")
    rows.add("hosp/hcpcsevents", **ids, chartdate=admitted, hcpcs_cd="93454", seq_num=1)
    rows.add("hosp/services", **ids, transfertime=facts["admittime"], curr_service="MED")
    moved = {"transfer_id": rows.new_id(), "eventtype": "discharge", "intime": facts["dischtime"]}
    rows.add("hosp/transfers", **ids, **moved)
    for name, value in (("Weight (Lbs)", "160.5"), ("Blood Pressure", "130/80")):
        earlier = day(facts["admittime"] - seconds(24 * 40))
        omr = {"chartdate": earlier, "seq_num": 1, "result_name": name, "result_value": value}
        rows.add("hosp/omr", subject_id=ids["subject_id"], **omr)
    text = 'Name:  ___\n\nHistory, "quoted", with commas.\n' + ("DIED" if severity > 1 else "home")
    written = facts["dischtime"] + seconds(20)
    note = f"{ids['subject_id']}-DS-{len(sequence)}{ids['hadm_id'] % 100}"
    times = {"charttime": facts["dischtime"] // 86400 * 86400, "storetime": written}
    rows.add("note/discharge", note_id=note, **ids, note_type="DS", note_seq=2, **times, text=text)
    rows.add("note/discharge_detail", note_id=note, subject_id=ids["subject_id"], field_ordinal=1)


def _stays(rows: Rows, facts: dict[str, Any], severity: float, gender: str) -> Iterator[Stay]:
    """No, one or two stays within an admission."""
    rng = rows.rng
    intime = facts["admittime"] + seconds(rng.uniform(0.5, 6))
    for _ in range(int(rng.choice([0, 1, 1, 1, 1, 1, 1, 1, 2, 2]))):
        length = rng.choice(
            [rng.uniform(8, 44), rng.uniform(50, 130), rng.uniform(170, 240)], p=LENGTHS
        )
        outtime = min(intime + seconds(length), facts["dischtime"])
        if (outtime - intime) < seconds(4):
            return
        stay = 10_000_000 + rows.new_id()
        rows.add(
            "icu/icustays",
            subject_id=facts["subject_id"],
            hadm_id=facts["hadm_id"],
            stay_id=stay,
            first_careunit=rng.choice(UNITS),
            last_careunit=rng.choice(UNITS),
            intime=intime,
            outtime=outtime,
            los=(outtime - intime) / 86400,
        )
        yield Stay(
            stay_id=stay,
            severity=severity,
            intime=intime,
            outtime=outtime,
            gender=gender,
            **{k: facts[k] for k in ("subject_id", "hadm_id", "admittime", "dischtime")},
        )
        intime = outtime + seconds(rng.uniform(10, 30))


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns by what they hold; one without any value is text."""
    for name in frame:
        if name.endswith("time"):
            whole = [MISSING if value is None else int(value) for value in frame[name]]
            frame[name] = np.array(whole, np.int64).astype("datetime64[s]").astype("datetime64[us]")
        elif frame[name].isna().all():
            frame[name] = frame[name].astype("string")
        else:
            frame[name] = frame[name].convert_dtypes()
    return frame


def _is_many(value: Any) -> bool:
    return isinstance(value, list | np.ndarray | pd.Index | pd.Series)


def seconds(hours: float) -> int:
    """A span in whole seconds, as the release has them."""
    return int(hours * HOUR)


def day(at: int) -> str:
    """The date of a time."""
    return str(np.datetime64(at, "s"))[:10]
