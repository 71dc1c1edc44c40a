"""The units of the cohort: who is in it, from when to when rows are read, and the label.

The table `unit` has a row per stay. Its `start` is when the person came to the hospital (the
emergency department counts), `until` when the prediction is made, and `since` from when on series
are read: at the window all since `start`; at discharge those of the last `window` hours of the ICU
stay and what follows.
"""

from remind.sources.mimic_iv.release import Release
from remind.sources.mimic_iv.tasks import Task

ADULT_YEARS = 18
DIAGNOSES = "hosp/diagnoses_icd"
TEXTS = (
    *("admission_type", "admission_location", "insurance", "language", "marital_status", "race"),
)


def make_units(release: Release, task: Task, window: float) -> None:
    """Make the tables `admission`, `diagnosis` and `unit`, and the flow of the manifest.

    Raises:
        InputError: a table or column is not there or cannot be read.
    """
    _read_admissions(release)
    _read_diagnoses(release)
    _read_candidates(release)
    tables, manifest = release.tables, release.manifest
    tables.execute(f"CREATE TABLE labelled AS SELECT *, {task.sql} AS label FROM candidate")
    kept: list[str] = []
    manifest.step("ICU stays", tables.number("SELECT count(*) FROM candidate"))
    for what, condition in _conditions(task, window):
        kept.append(f"coalesce({condition}, false)")
        where = " AND ".join(kept)
        manifest.step(what, tables.number(f"SELECT count(*) FROM labelled WHERE {where}"))
    until, since = _period(task, window)
    tables.execute(f"""
        CREATE TABLE unit AS
        SELECT *, {until} AS until, {since} AS since FROM labelled WHERE {" AND ".join(kept)}
    """)
    manifest.counts["stays whose label is"] = {
        str(label): n
        for label, n in tables.execute("SELECT label, count(*) FROM unit GROUP BY 1 ORDER BY 1")
    }


def _conditions(task: Task, window: float) -> list[tuple[str, str]]:
    """What the units must be, in the order of the flow, and SQL that says so."""
    known = [
        ("with a patient and an admission", "admittime IS NOT NULL AND anchor_age IS NOT NULL"),
        (f"of adults ({ADULT_YEARS} years and older)", f"age_years >= {ADULT_YEARS}"),
        ("that are the first of their admission", "place = 1"),
    ]
    if task.moment == "window":
        asked = [
            (
                f"that last at least {window:g} hours",
                f"date_diff('second', intime, outtime) >= {window} * 3600",
            ),
            (
                "whose patient is alive and in the hospital at the prediction",
                f"least(dischtime, coalesce(deathtime, dischtime)) >= {_after(window)}",
            ),
        ]
    else:
        asked = [
            ("that end", "outtime IS NOT NULL"),
            (
                "whose patient leaves the hospital alive",
                "hospital_expire_flag = 0 AND deathtime IS NULL"
                " AND coalesce(dod >= dischtime::DATE, true)",
            ),
        ]
    return [*known, *asked, ("whose label is known", "label IS NOT NULL")]


def _period(task: Task, window: float) -> tuple[str, str]:
    """SQL of `until` and `since`."""
    if task.moment == "window":
        return _after(window), "start"
    return "dischtime", f"greatest(start, outtime - {_hours(window)})"


def _after(window: float) -> str:
    return f"intime + {_hours(window)}"


def _hours(window: float) -> str:
    return f"to_microseconds({round(window * 3600 * 10**6)})"


def _read_admissions(release: Release) -> None:
    view = release.view(
        "hosp/admissions",
        {
            **dict.fromkeys(("subject_id", "hadm_id"), "BIGINT"),
            **dict.fromkeys(("admittime", "dischtime", "deathtime", "edregtime"), "TIMESTAMP"),
            **dict.fromkeys(TEXTS, "VARCHAR"),
            "hospital_expire_flag": "INTEGER",
        },
    )
    words = ", ".join(f"nullif(nullif(upper(trim({name})), ''), '?') AS {name}" for name in TEXTS)
    with release.reading("hosp/admissions"):
        release.tables.execute(f"""
            CREATE TABLE admission AS SELECT * REPLACE ({words}) FROM "{view}" AS a
            QUALIFY row_number() OVER (PARTITION BY hadm_id ORDER BY a) = 1
        """)


def _read_diagnoses(release: Release) -> None:
    tables = release.tables
    types = {"hadm_id": "BIGINT", "seq_num": "INTEGER", "icd_code": "VARCHAR"}
    types["icd_version"] = "INTEGER"
    columns = ", ".join(f"{name} {kind}" for name, kind in types.items())
    tables.execute(f"CREATE TABLE diagnosis ({columns})")
    if not release.has(DIAGNOSES, "earlier diagnoses are never observed, nor can a phenotype be"):
        return
    view = release.view(DIAGNOSES, types)
    with release.reading(DIAGNOSES):
        tables.execute(f"""
            INSERT INTO diagnosis BY NAME SELECT DISTINCT hadm_id, seq_num, icd_version,
                upper(replace(trim(icd_code), '.', '')) AS icd_code
            FROM "{view}" WHERE icd_code IS NOT NULL
        """)


def _read_candidates(release: Release) -> None:
    """Make `candidate`: a row per ICU stay with its admission and its patient."""
    times = {"intime": "TIMESTAMP", "outtime": "TIMESTAMP"}
    ids = dict.fromkeys(("subject_id", "hadm_id", "stay_id"), "BIGINT")
    stays = release.view("icu/icustays", {**ids, **times, "first_careunit": "VARCHAR"})
    with release.reading("icu/icustays"):
        release.tables.execute(f"""
            CREATE TABLE stay AS SELECT *,
                row_number() OVER (PARTITION BY hadm_id ORDER BY intime, stay_id) AS place
            FROM (
                FROM "{stays}" AS s WHERE stay_id IS NOT NULL AND intime IS NOT NULL
                QUALIFY row_number() OVER (PARTITION BY stay_id ORDER BY s) = 1
            )
        """)
    patients = release.view(
        "hosp/patients",
        {
            "subject_id": "BIGINT",
            **dict.fromkeys(("gender", "anchor_year_group"), "VARCHAR"),
            **dict.fromkeys(("anchor_age", "anchor_year"), "INTEGER"),
            "dod": "DATE",
        },
    )
    with release.reading("hosp/patients"):
        release.tables.execute(f"""
            CREATE TABLE patient AS SELECT * FROM "{patients}" AS p
            QUALIFY row_number() OVER (PARTITION BY subject_id ORDER BY p) = 1
        """)
    release.tables.execute("""
        CREATE TABLE candidate AS
        SELECT stay.*, admission.* EXCLUDE (subject_id, hadm_id),
            patient.* EXCLUDE (subject_id),
            anchor_age + year(admittime) - anchor_year AS age_years,
            least(admittime, coalesce(edregtime, admittime), intime) AS start
        FROM stay LEFT JOIN admission ON stay.hadm_id = admission.hadm_id
            AND stay.subject_id = admission.subject_id
        LEFT JOIN patient ON stay.subject_id = patient.subject_id
    """)
