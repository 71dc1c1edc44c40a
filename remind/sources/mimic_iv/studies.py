"""Studies of the admission that were there at the prediction: reports, chest X-rays, ECGs."""

import logging
import re
from pathlib import Path
from typing import Any

from remind.sources.mimic_iv.events import count
from remind.sources.mimic_iv.measurements import HOURS
from remind.sources.mimic_iv.quantities import Rule, items
from remind.sources.mimic_iv.release import MODULES, Release
from remind.sources.mimic_iv.wide import pivot, unpivoted
from remind.sources.raw import scan

REPORTS = "note/radiology"
X_RAYS = "cxr/mimic-cxr-2.0.0-metadata"
LABELS = "cxr/mimic-cxr-2.0.0-chexpert"
RECORDS = "ecg/record_list"
MACHINE = "ecg/machine_measurements"
FRONTAL = ("AP", "PA")
FINDINGS = (
    *("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum"),
    *("Fracture", "Lung Lesion", "Lung Opacity", "No Finding", "Pleural Effusion"),
    *("Pleural Other", "Pneumonia", "Pneumothorax", "Support Devices"),
)
LOG = logging.getLogger(__name__)
LEADS = ["I", "II", "III", "aVR", "aVL", "aVF", *(f"V{number}" for number in range(1, 7))]
REPORT_HOURS = 24
"""From a chest X-ray to its report, on which CheXpert's labels rest: our choice, as a rule it is
final within the day. MIMIC-CXR has neither its time nor a key to the reports of MIMIC-IV-Note."""
IMAGE_SIZE = [224, 224]
ECG_RATE_HZ, ECG_SECONDS = 100.0, 10.0


def write_reports(release: Release, folder: Path) -> dict[str, dict[str, Any]]:
    """Write the radiology reports that were stored before the prediction.

    Returns:
        Sections of cohort.toml by the name of their modality.

    Raises:
        InputError: a column is not there, or a table cannot be read.
    """
    if not release.has(REPORTS, "radiology reports are never observed"):
        return {}
    tables = release.tables
    view = release.view(
        REPORTS,
        {
            "note_id": "VARCHAR",
            "subject_id": "BIGINT",
            **dict.fromkeys(("charttime", "storetime"), "TIMESTAMP"),
            "text": "VARCHAR",
        },
    )
    found = tables.work / "reports.parquet"
    with release.reading(REPORTS):
        tables.write(
            f"""
            SELECT u.stay_id, {HOURS.format(time="e.charttime")} AS time, note_id, text
            FROM "{view}" AS e JOIN unit AS u ON e.subject_id = u.subject_id
            WHERE e.charttime >= u.start AND e.charttime <= u.until
                AND coalesce(e.storetime, e.charttime) <= u.until
            """,
            found,
            row_group=1 << 13,
        )
    source = f"FROM {scan(found)}"
    blank = "trim(coalesce(text, ''), e' \\t\\r\\n') = ''"
    empty = tables.number(f"SELECT count(*) {source} WHERE {blank}")
    num = tables.number(f"SELECT count(*) {source}")
    once = f"SELECT DISTINCT stay_id, time, note_id, text {source} WHERE NOT ({blank})"
    tables.execute(f"CREATE TABLE report AS {once}")
    kept = tables.number("SELECT count(*) FROM report")
    count(release, "radiology", kept=kept, empty=empty, repeated=num - empty - kept)
    if not kept:
        release.manifest.absent["radiology"] = "no report was there in time"
        return {}
    query = "SELECT stay_id, time, text FROM report ORDER BY stay_id, time, note_id"
    tables.write(query, folder / "radiology.parquet", row_group=1 << 13)
    section = {"kind": "text", "table": "radiology.parquet", "text": "text", "time": "time"}
    return {"radiology": section}


def write_x_rays(release: Release, folder: Path) -> dict[str, dict[str, Any]]:
    """Write the paths of frontal chest X-rays; without any file, labels of the last one reported.

    Returns:
        Sections of cohort.toml; the labels are in the table `wide_cxr`.

    Raises:
        InputError: a column is not there, or a table cannot be read.
    """
    absent = "chest X-rays are never observed"
    if not release.has(X_RAYS, absent):
        return {}
    tables = release.tables
    view = release.view(
        X_RAYS,
        {
            "subject_id": "BIGINT",
            "study_id": "BIGINT",
            "dicom_id": "VARCHAR",
            "ViewPosition": "VARCHAR",
            "StudyDate": "BIGINT",
            "StudyTime": "DOUBLE",
        },
    )
    with release.reading(X_RAYS):
        tables.execute(f"""
            CREATE TABLE x_ray AS
            WITH dated AS (
                SELECT *, strptime(
                    StudyDate::VARCHAR || lpad(floor(StudyTime)::BIGINT::VARCHAR, 6, '0'),
                    '%Y%m%d%H%M%S') AS taken
                FROM "{view}" WHERE StudyDate IS NOT NULL AND StudyTime IS NOT NULL
            )
            SELECT DISTINCT u.stay_id, u.subject_id, e.study_id, e.dicom_id,
                {HOURS.format(time="e.taken")} AS time,
                coalesce(ViewPosition IN {FRONTAL}, false) AS is_frontal,
                taken + INTERVAL {REPORT_HOURS} HOUR <= u.until AS is_reported
            FROM dated AS e JOIN unit AS u ON e.subject_id = u.subject_id
            WHERE taken >= u.start AND taken <= u.until
        """)
    num = tables.number("SELECT count(*) FROM x_ray")
    frontal = tables.number("SELECT count(*) FROM x_ray WHERE is_frontal")
    paths = _image_paths(release)
    kept = len(paths)
    count(release, "chest_xray", kept=kept, other_views=num - frontal, no_file=frontal - kept)
    if not kept:
        release.manifest.absent[f"{MODULES['cxr']} files"] = (
            "no image is below the folder: CheXpert's labels stand for chest X-rays"
        )
        return _read_findings(release)
    tables.execute("CREATE TABLE image (stay_id BIGINT, time DOUBLE, path VARCHAR)")
    tables.insert("image", paths)
    tables.write("FROM image ORDER BY ALL", folder / "chest_xray.parquet")
    return {
        "chest_xray": {
            "kind": "image",
            "table": "chest_xray.parquet",
            "size": IMAGE_SIZE,
            "on_invalid": "missing",
        }
    }


def write_ecgs(
    release: Release, rules: list[Rule], folder: Path
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Write the paths of ECG records, and make `wide_ecg_…` of the last one's measurements.

    Returns:
        Sections of cohort.toml, and the columns of the modality of measurements.

    Raises:
        InputError: a column is not there, or a table cannot be read.
    """
    sections: dict[str, dict[str, Any]] = {}
    if release.has(RECORDS, "ECG waveforms are never observed"):
        sections = _write_records(release, folder)
    if not release.has(MACHINE, "measurements of ECGs are never observed"):
        return sections, []
    columns = items(rules, MACHINE)
    view = release.view(
        MACHINE,
        {
            **dict.fromkeys(("subject_id", "study_id"), "BIGINT"),
            "ecg_time": "TIMESTAMP",
            **dict.fromkeys(columns, "VARCHAR"),
        },
    )
    with release.reading(MACHINE):
        release.tables.execute(f"""
            CREATE TABLE ecg AS SELECT u.stay_id, {", ".join(columns)}
            FROM "{view}" AS e JOIN unit AS u ON e.subject_id = u.subject_id
            WHERE ecg_time >= u.start AND ecg_time <= u.until
            QUALIFY row_number() OVER (
                PARTITION BY u.stay_id ORDER BY ecg_time DESC, study_id) = 1
        """)
    return sections, pivot(release, rules, MACHINE, unpivoted("ecg", columns))


def _image_paths(release: Release) -> list[tuple[int, float, str]]:
    """Stay, hours and absolute path of the frontal images that are there."""
    _, root = release.place(X_RAYS) or ("", Path())
    LOG.info("looking for the images below %s", root)
    rows = release.tables.execute(
        "SELECT stay_id, time, subject_id, study_id, dicom_id FROM x_ray WHERE is_frontal"
    )
    paths = []
    for stay, time, subject, study, dicom in rows:
        person = f"p{subject}"
        path = root.absolute() / "files" / person[:3] / person / f"s{study}" / f"{dicom}.jpg"
        if path.is_file():
            paths.append((stay, time, str(path)))
    return paths


def _read_findings(release: Release) -> dict[str, dict[str, Any]]:
    """Make `wide_cxr`: the labels of the last study whose report was written, in words."""
    if not release.has(LABELS, "chest X-rays are never observed"):
        return {}
    view = release.view(LABELS, {"study_id": "BIGINT", **dict.fromkeys(FINDINGS, "DOUBLE?")})
    words = "CASE \"{0}\" WHEN 1 THEN 'present' WHEN 0 THEN 'absent' WHEN -1 THEN 'uncertain' END"
    columns = {finding: finding_column(finding) for finding in FINDINGS}
    picked = ", ".join(f"{words.format(name)} AS {column}" for name, column in columns.items())
    with release.reading(LABELS):
        release.tables.execute(f"""
            CREATE TABLE wide_cxr AS SELECT stay_id, {picked}
            FROM x_ray JOIN "{view}" USING (study_id) WHERE is_reported
            QUALIFY row_number() OVER (PARTITION BY stay_id ORDER BY time DESC, study_id) = 1
        """)
    release.manifest.notes.append(
        f"CheXpert's labels are of chest X-rays that were taken {REPORT_HOURS} hours before the "
        "prediction or earlier, for they rest on reports whose time MIMIC-CXR does not say"
    )
    return {"chest_xray_findings": {"kind": "tabular", "columns": list(columns.values())}}


def finding_column(finding: str) -> str:
    """Column of the main table, as in "cxr_pleural_effusion"."""
    return "cxr_" + re.sub(r"\W+", "_", finding.lower())


def _write_records(release: Release, folder: Path) -> dict[str, dict[str, Any]]:
    """Paths of the records of the admission that are there."""
    tables = release.tables
    view = release.view(
        RECORDS, {"subject_id": "BIGINT", "ecg_time": "TIMESTAMP", "path": "VARCHAR"}
    )
    with release.reading(RECORDS):
        rows = tables.execute(f"""
            SELECT DISTINCT u.stay_id, {HOURS.format(time="ecg_time")} AS time, trim(path)
            FROM "{view}" AS e JOIN unit AS u ON e.subject_id = u.subject_id
            WHERE ecg_time >= u.start AND ecg_time <= u.until AND path IS NOT NULL
        """)
    _, root = release.place(RECORDS) or ("", Path())
    LOG.info("looking for the records below %s", root)
    paths = [(stay, time, str(root.absolute() / path)) for stay, time, path in rows]
    found = [row for row in paths if Path(f"{row[2]}.hea").is_file()]
    count(release, "ecg_waveform", kept=len(found), no_file=len(paths) - len(found))
    if not found:
        release.manifest.absent[f"{MODULES['ecg']} files"] = "ECG waveforms are never observed"
        return {}
    tables.execute("CREATE TABLE record (stay_id BIGINT, time DOUBLE, path VARCHAR)")
    tables.insert("record", found)
    tables.write("FROM record ORDER BY ALL", folder / "ecg_waveform.parquet")
    return {
        "ecg_waveform": {
            "kind": "signal",
            "table": "ecg_waveform.parquet",
            "leads": LEADS,
            "rate": ECG_RATE_HZ,
            "seconds": ECG_SECONDS,
            "on_invalid": "missing",
        }
    }
