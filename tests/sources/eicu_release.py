"""Folders of eICU-CRD with its tables, columns and quirks; every number and name is drawn.

Columns are those of version 2.0 (eicu-code, build-db). Offsets are minutes from the admission to
the unit. The iller have a faster heart, a lower pressure, more lactate and more vasopressors.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from tests.sources.eicu_tables import COLUMNS, DRUGS, HISTORY, LABS, PERIODIC, TREATMENTS

ENDS_HOURS = (20, 120)  # of the unit stay


@dataclass
class Release:
    """A folder that was written.

    Args:
        root: of the release.
        tables: name → its rows, as they are in the file.
    """

    root: Path
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)

    def file(self, name: str) -> Path:
        return self.root / f"{name}.csv.gz"

    def write(self, name: str) -> None:
        compression = {"method": "gzip", "mtime": 0, "compresslevel": 1}
        self.tables[name].to_csv(self.file(name), index=False, compression=compression)


def write_release(root: Path, *, num_persons: int = 60, seed: int = 0) -> Release:
    """Write a release; a third of the persons have a second unit stay, some in the same hospital.

    File names are written as in the demo: camel case.
    """
    rng = np.random.default_rng(seed)
    release = Release(root=root)
    root.mkdir(parents=True)
    patient, illness = _patients(rng, num_persons)
    rows: dict[str, list[tuple[object, ...]]] = {name: [] for name in COLUMNS}
    for stay, z in zip(patient.itertuples(), illness, strict=True):
        _add_stay(rows, rng, int(stay.patientunitstayid), z, int(stay.unitdischargeoffset))
    rows["hospital"] = [
        (59, "<100", "f", "Midwest"),
        (73, ">= 500", "t", "South"),
        (84, "", "f", ""),
    ]
    rows["apachePatientResult"] = [
        (7 * number, stay, "critical care medicine", "", 40, 52, "IVa", 0.1 * abs(z), "ALIVE")
        for number, (stay, z) in enumerate(zip(patient["patientunitstayid"], illness, strict=True))
    ]
    for name, columns in COLUMNS.items():
        release.tables[name] = pd.DataFrame(rows[name], columns=list(columns))
    release.tables["patient"] = patient
    for name in ("lab", "nurseCharting"):  # rows that are there twice
        table = release.tables[name]
        release.tables[name] = pd.concat([table, table.head(3)])
    for name in release.tables:
        release.write(name)
    return release


def _patients(rng: np.random.Generator, num_persons: int) -> tuple[pd.DataFrame, list[float]]:
    rows, illness = [], []
    stay, hospital_stay = 141_000, 128_000
    for person in range(num_persons):
        num = 1 + int(rng.random() < 0.33)
        same_hospital = rng.random() < 0.5
        z = float(rng.standard_normal())
        for visit in range(num):
            stay += int(rng.integers(1, 9))
            hospital_stay += int(visit == 0 or not same_hospital)
            number = 1 + visit if same_hospital else 1
            rows.append(_patient(rng, person, stay, hospital_stay, number, z))
            illness.append(z)
    frame = pd.DataFrame(rows)
    frame.loc[1, "age"], frame.loc[2, "age"], frame.loc[3, "age"] = "> 89", "17", ""
    frame.loc[4, ["gender", "admissionheight", "admissionweight"]] = ["Unknown", "70", "0.0"]
    frame.loc[5, "hospitaldischargestatus"] = ""
    return frame, illness


def _patient(
    rng: np.random.Generator, person: int, stay: int, hospital_stay: int, visit: int, z: float
) -> dict[str, object]:
    end = int(60 * rng.uniform(*ENDS_HOURS))
    died_in_unit = z > 1.1
    died = died_in_unit or z + 0.3 * rng.standard_normal() > 0.6
    status = {True: "Expired", False: "Alive"}
    return {
        "patientunitstayid": stay,
        "patienthealthsystemstayid": hospital_stay,
        "gender": rng.choice(["Male", "Female"]),
        "age": str(rng.integers(18, 89)),
        "ethnicity": rng.choice(["Caucasian", "African American", "Other/Unknown", ""]),
        "hospitalid": rng.choice([59, 73, 84]),
        "wardid": rng.integers(80, 120),
        "apacheadmissiondx": rng.choice(["Sepsis, pulmonary", "CHF, congestive heart failure"]),
        "admissionheight": f"{rng.normal(170, 10):.1f}",
        "hospitaladmittime24": "15:54:00",
        "hospitaladmitoffset": -int(rng.integers(0, 2000)),
        "hospitaladmitsource": rng.choice(["Emergency Department", "Floor", ""]),
        "hospitaldischargeyear": rng.choice([2014, 2015]),
        "hospitaldischargetime24": "03:50:00",
        "hospitaldischargeoffset": end if died_in_unit else end + int(rng.integers(0, 9000)),
        "hospitaldischargelocation": "Death" if died else "Home",
        "hospitaldischargestatus": status[bool(died)],
        "unittype": rng.choice(["Med-Surg ICU", "MICU", "Cardiac ICU"]),
        "unitadmittime24": "15:54:00",
        "unitadmitsource": rng.choice(["Emergency Department", "Operating Room"]),
        "unitvisitnumber": visit,
        "unitstaytype": "admit" if visit == 1 else "readmit",
        "admissionweight": f"{rng.normal(82, 15):.2f}",
        "dischargeweight": f"{rng.normal(82, 15):.2f}",
        "unitdischargetime24": "18:55:00",
        "unitdischargeoffset": end,
        "unitdischargelocation": "Death" if died_in_unit else "Floor",
        "unitdischargestatus": status[died_in_unit],
        "uniquepid": f"002-{10_000 + person}",
    }


def _add_stay(
    rows: dict[str, list[tuple[object, ...]]],
    rng: np.random.Generator,
    stay: int,
    z: float,
    end: int,
) -> None:
    """Add the rows of a stay to all tables of events."""

    def add(name: str, *values: object) -> None:
        rows[name].append((len(rows[name]) + 1, stay, *values))

    def offsets(mean: float) -> list[int]:
        return np.sort(rng.integers(-120, end + 1, 1 + rng.poisson(mean))).tolist()

    for at in range(0, min(end, 40 * 60), 60 if rng.random() < 0.5 else 30):
        values = [f"{low + add_z * z + rng.normal():.0f}" for low, add_z in PERIODIC.values()]
        st = ["", "", ""] if rng.random() < 0.5 else ["0.1", "-0.2", "0"]
        add("vitalPeriodic", at, "37.1" if rng.random() < 0.3 else "", *values, *st, "")
    for at in offsets(8):
        cuff = [f"{low - 6 * z + rng.normal():.0f}" for low in (120, 60, 80)]
        add("vitalAperiodic", at, *cuff, "", *(["5.1", "2.4"] if z > 0 else ["", ""]), *[""] * 4)
    for name, (kind, unit, low, add_z, share) in LABS.items():
        for at in offsets(2) if rng.random() < share else []:
            value = max(low + add_z * z + 0.1 * low * rng.standard_normal(), 0.2)
            written = (f"{value:.4f}", f"{value:.1f}", unit, unit, at + int(rng.integers(0, 90)))
            add("lab", at, kind, name, *written)
    for at in offsets(6):
        for label, value in (("Motor", 6), ("Verbal", 4), ("Eyes", 4), ("GCS Total", 14)):
            noted = "Unable to score due to medication" if rng.random() < 0.1 else max(value - z, 1)
            number = noted if isinstance(noted, str) else f"{noted:.0f}"
            add("nurseCharting", at, at, "Scores", "Glasgow coma score", label, number)
        warm = ("Temperature (F)", "98.6") if rng.random() < 0.5 else ("Temperature (C)", "37.2")
        for label, name, number in (
            ("Heart Rate", "Heart Rate", f"{85 + 12 * z:.0f}"),
            ("Temperature", *warm),
            ("O2 L/%", "O2 L/%", str(rng.choice(["2", "4", "40", "100"]))),
            ("Pain Score/Goal", "Pain Score", "3"),
            ("Pain Score/Goal", "Pain Goal", "2"),
        ):
            add("nurseCharting", at, at + 5, "Vital Signs", label, name, number)
    for at in offsets(4) if z > -0.3 else []:
        for label, value in (("FiO2", "0.5"), ("PEEP", "5"), ("Tidal Volume (set)", "450")):
            add("respiratoryCharting", at, at, "respFlowSettings", label, value)
        add("respiratoryCharting", at, at + 2, "respFlowSettings", "RT Vent On/Off", "Continued")
    for at in offsets(4) if z > 0 else []:
        rate = "OFF" if rng.random() < 0.1 else f"{abs(5 + 3 * z):.1f}"
        add("infusionDrug", at, "Norepinephrine (mcg/min)", rate, "", "", "", "82")
        add("infusionDrug", at, "Propofol (ml/hr)", "12", "12", "1000", "100", "")
    for at in offsets(5):
        totals = ("0.0000", f"{abs(90 - 20 * z):.4f}", "0.0000", "-90.0000", at)
        path = "flowsheet|Flowsheet Cell Labels|I&O|Output (ml)|Urine"
        add("intakeOutput", at, *totals, path, "Urine", f"{abs(90 - 20 * z):.4f}", "90")
        path = "flowsheet|Flowsheet Cell Labels|I&O|Intake (ml)|Crystalloids"
        add("intakeOutput", at, *totals, path, "Crystalloids", "100.0000", "100")
    for at in offsets(3):
        number, name = DRUGS[int(rng.integers(len(DRUGS)))]
        order = (at, at + 30, "No", str(rng.choice(["No", "Yes"])), name, number)
        add("medication", *order, "1 EA", "IV", "Daily", "", "No", end, 0)
        path = TREATMENTS[int(rng.integers(len(TREATMENTS)))]
        add("treatment", at, path, str(rng.choice(["True", "False"])))
        add("diagnosis", str(rng.choice(["True", "False"])), at, path, "518.81, J96.00", "Primary")
    number, name = DRUGS[0]
    add(
        "admissionDrug",
        10,
        12,
        "Admission",
        "hospitalist",
        "THCP",
        "",
        "",
        name,
        "",
        "",
        "",
        number,
    )
    dx = (
        "admission diagnosis|All Diagnosis|Non-operative|Diagnosis|Respiratory|Pneumonia, bacterial"
    )
    add("admissionDx", 15, dx, "Pneumonia, bacterial", "Pneumonia, bacterial")
    for path in HISTORY[: int(rng.integers(1, 4))]:
        add("pastHistory", 20, 25, "Admission", path, path.rpartition("/")[2], "")
        form = f"notes/Progress Notes/Past History/{path.rpartition('/')[2]}"
        add("note", 30, 35, "Admission", form, path.rpartition("/")[2], "")
    for at in offsets(0.5):
        add(
            "microLab",
            at,
            "Blood, Venipuncture",
            "Staphylococcus aureus",
            "vancomycin",
            "Sensitive",
        )
