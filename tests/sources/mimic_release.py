"""A generated folder with the layout, columns and quirks of the real MIMIC-IV modules.

No row is of a real person. The sicker have worse values, so that a short fit learns something.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from remind.sources.toy_hospital.files import write_wfdb
from tests.sources.mimic_columns import CHEXPERT
from tests.sources.mimic_events import dictionaries, events
from tests.sources.mimic_people import Rows, Stay, people
from tests.sources.mimic_wards import x_ray_labels

LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")
DATES = ("dod", "chartdate", "storedate")
SHARE_X_RAY, SHARE_ECG = 0.5, 0.6
METADATA = (
    "dicom_id subject_id study_id PerformedProcedureStepDescription ViewPosition Rows Columns"
    " StudyDate StudyTime ProcedureCodeSequence_CodeMeaning ViewCodeSequence_CodeMeaning"
    " PatientOrientationCodeSequence_CodeMeaning"
)
REPORTS = " ".join(f"report_{number}" for number in range(18))
MEASURED = (
    f"subject_id study_id cart_id ecg_time {REPORTS} bandwidth filtering"
    " rr_interval p_onset p_end qrs_onset qrs_end t_end p_axis qrs_axis t_axis"
)
RECORDS = "subject_id study_id file_name ecg_time path"
NOT_FOUND = 29999  # by the machine


@dataclass(frozen=True, kw_only=True)
class Release:
    """Where the modules of a release are, as the options of `remind prepare mimic-iv` want them."""

    root: Path
    ed: Path
    note: Path
    cxr: Path
    ecg: Path
    tables: dict[str, pd.DataFrame]
    """Name in the release ("hosp/labevents") → what its file holds."""

    @property
    def options(self) -> dict[str, Path]:
        """All modules by the name of their option."""
        return {name: getattr(self, name) for name in ("root", "ed", "note", "cxr", "ecg")}

    def file(self, table: str, format: str = "csv.gz") -> Path:
        """The file of a table."""
        return self._place(table) / f"{table}.{format}"

    def _place(self, table: str) -> Path:
        module = table.split("/")[0]
        return {"ed": self.ed, "note": self.note}.get(module, self.root)

    def write(self, table: str, frame: pd.DataFrame, format: str = "csv.gz") -> None:
        """Write a table, or write it anew."""
        write_table(self.file(table, format), frame)


def write_release(
    folder: Path,
    *,
    num_patients: int = 60,
    seed: int = 0,
    version: str = "3.1",
    format: str = "csv.gz",
) -> Release:
    """Write all modules below a folder.

    Args:
        folder: new or empty.
        num_patients: persons; each has one to three admissions with no, one or two stays.
        seed: of everything.
        version: "2.2" writes what differed then: names of columns, of languages.
        format: "csv.gz", "csv" or "parquet", of the tables of hosp, icu, ed and note.
    """
    rows = Rows(np.random.default_rng(seed))
    stays = list(people(rows, num_patients, version))
    for stay in stays:
        events(rows, stay)
    dictionaries(rows)
    tables = _with_quirks(rows.tables(), rows.rng, version)
    release = Release(
        root=folder / "mimiciv" / version,
        ed=folder / "mimic-iv-ed" / "2.2",
        note=folder / "mimic-iv-note" / "2.2",
        cxr=folder / "mimic-cxr-jpg" / "2.1.0",
        ecg=folder / "mimic-iv-ecg" / "1.0",
        tables=tables,
    )
    for table, frame in tables.items():
        release.write(table, frame, format)
    (release.root / "CHANGELOG.txt").write_text(f"# MIMIC-IV\n\n## MIMIC-IV v{version}\n")
    (release.root / "LICENSE.txt").write_text("generated\n")
    _write_x_rays(release.cxr, stays, np.random.default_rng([seed, 1]))
    _write_ecgs(release.ecg, stays, np.random.default_rng([seed, 2]))
    return release


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Write a table by the suffix of its path; Parquet has typed dates, CSV has text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        dates = {
            name: pd.to_datetime(frame[name]).dt.date.astype(object)
            for name in DATES
            if name in frame
        }
        frame.assign(**dates).to_parquet(path, index=False)
        return
    gzip = {"method": "gzip", "compresslevel": 1, "mtime": 0}
    compression = gzip if path.suffix == ".gz" else None
    frame.to_csv(path, index=False, date_format="%Y-%m-%d %H:%M:%S", compression=compression)


def _with_quirks(
    tables: dict[str, pd.DataFrame], rng: np.random.Generator, version: str
) -> dict[str, pd.DataFrame]:
    """Duplicate rows, rows out of order, a stay without an end, names of an older version."""
    charts, labs = tables["icu/chartevents"], tables["hosp/labevents"]
    again = charts.sample(frac=0.02, random_state=1)
    tables["icu/chartevents"] = pd.concat([charts, again]).sample(frac=1, random_state=2)
    again = labs.sample(frac=0.01, random_state=3)
    again["labevent_id"] += 50_000_000
    tables["hosp/labevents"] = pd.concat([labs, again]).sort_values("labevent_id")
    stays = tables["icu/icustays"]
    last = stays.index[int(rng.integers(len(stays)))]
    stays.loc[last, ["outtime", "los"]] = [pd.NaT, pd.NA]
    if version.startswith("2"):
        upper = {"originalamount": "ORIGINALAMOUNT", "originalrate": "ORIGINALRATE"}
        tables["icu/procedureevents"] = tables["icu/procedureevents"].rename(columns=upper)
    return tables


def _write_x_rays(root: Path, stays: list[Stay], rng: np.random.Generator) -> None:
    """MIMIC-CXR-JPG: files by person and study, four tables beside them."""
    metadata, labels, splits = [], [], []
    for stay in stays:
        if rng.random() > SHARE_X_RAY:
            continue
        study = 50_000_000 + stay.stay_id % 10_000_000
        taken = pd.Timestamp(stay.intime + 60 * int(rng.integers(-600, 3600)), unit="s")
        labels.append([stay.subject_id, study, *x_ray_labels(rng, stay.severity)])
        for view in ("AP",) if rng.random() < 0.7 else ("PA", "LATERAL"):
            dicom = "-".join(f"{rng.integers(2**32):08x}" for _ in range(5))
            date = int(taken.strftime("%Y%m%d"))
            time = float(taken.strftime("%H%M%S")) + 0.5  # leading zeros are lost: 00:27:18 is 2718
            facts = [dicom, stay.subject_id, study, "CHEST (PORTABLE AP)", view, 48, 40, date, time]
            metadata.append([*facts, "CHEST (PORTABLE AP)", view.lower(), "Erect"])
            splits.append([dicom, study, stay.subject_id, "train"])
            person = f"p{stay.subject_id}"
            file = root / "files" / person[:3] / person / f"s{study}" / f"{dicom}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            grey = rng.normal(110 + 40 * stay.severity, 30, (48, 40)).clip(0, 255)
            Image.fromarray(grey.astype(np.uint8)).save(file)
    for name, header, content in (
        ("2.0.0-metadata", METADATA.split(), metadata),
        ("2.0.0-chexpert", ["subject_id", "study_id", *CHEXPERT], labels),
        ("2.0.0-negbio", ["subject_id", "study_id", *CHEXPERT], labels),
        ("2.0.0-split", ["dicom_id", "study_id", "subject_id", "split"], splits),
    ):
        frame = pd.DataFrame(content, columns=pd.Index(header))
        write_table(root / f"mimic-cxr-{name}.csv.gz", frame)


def _write_ecgs(root: Path, stays: list[Stay], rng: np.random.Generator) -> None:
    """MIMIC-IV-ECG: records of twelve leads, a list of them, what the machine measured."""
    records, measured = [], []
    for stay in stays:
        if rng.random() > SHARE_ECG:
            continue
        study = 40_000_000 + stay.stay_id % 10_000_000
        taken = pd.Timestamp(stay.intime + 60 * int(rng.integers(-600, 3600)), unit="s")
        person = f"p{stay.subject_id}"
        path = f"files/{person[:5]}/{person}/s{study}/{study}"
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        wave = 0.2 * rng.normal(size=(len(LEADS), 500)) + 0.1 * stay.severity
        write_wfdb(root / path, wave.astype(np.float32), rate_hz=500, leads=LEADS)
        records.append([stay.subject_id, study, study, taken, path])
        rate = max(40.0, 84 + 10 * stay.severity + rng.normal(0, 5))
        axis = NOT_FOUND if rng.random() < 0.1 else 40
        reports = ["Sinus rhythm", "Abnormal ECG, unconfirmed", *[None] * 16]
        numbers = [round(60_000 / rate), axis, axis, 180, 180 + round(90 + rng.normal(0, 9)), 560]
        facts = [stay.subject_id, study, 6848296, taken, *reports, "0.005-150 Hz", "60 Hz notch"]
        measured.append([*facts, *numbers, axis, 13, 42])
    for name, header, content in (
        ("record_list", RECORDS, records),
        ("machine_measurements", MEASURED, measured),
    ):
        frame = pd.DataFrame(content, columns=pd.Index(header.split()))
        write_table(root / f"{name}.csv", frame)
