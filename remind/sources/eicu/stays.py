"""The units of the cohort: who is in it, from when to when rows are read, and the label.

The table `unit` has a row per unit stay. Offsets are minutes from the admission to the unit:
`since` is when the person came to the hospital, `until` when the prediction is made.
"""

from remind.sources.eicu.release import ID, Release
from remind.sources.eicu.tasks import Task

ADULT_YEARS = 18
OLDEST_YEARS = 90  # stands for "> 89", which hides the age
PUBLISHED = {"unit stays published (2.0)": 200_859, "persons published (2.0)": 139_367}
TEXTS = (
    *("gender", "age", "ethnicity", "hospitaladmitsource", "hospitaldischargestatus"),
    *("unittype", "unitadmitsource", "unitstaytype", "unitdischargestatus", "uniquepid"),
)
COLUMNS = {
    **dict.fromkeys((ID, "patienthealthsystemstayid", "hospitalid"), "BIGINT"),
    **dict.fromkeys(TEXTS, "VARCHAR"),
    **dict.fromkeys(("admissionheight", "admissionweight"), "VARCHAR"),
    **dict.fromkeys(
        ("hospitaladmitoffset", "hospitaldischargeoffset", "unitdischargeoffset"), "BIGINT?"
    ),
    "unitvisitnumber": "INTEGER?",
}


def make_units(release: Release, task: Task, window: float) -> None:
    """Make the table `unit`, and the flow of the manifest.

    Raises:
        InputError: the table or a column is not there or cannot be read.
    """
    _read_candidates(release)
    tables, manifest = release.tables, release.manifest
    stays, persons = tables.execute("SELECT count(*), count(DISTINCT uniquepid) FROM candidate")[0]
    manifest.counts["release"] = {"unit stays": stays, "persons": persons, **PUBLISHED}
    manifest.step("unit stays", stays)
    tables.execute(f"CREATE TABLE labelled AS SELECT *, {task.sql} AS label FROM candidate")
    kept: list[str] = []
    for what, condition in _conditions(window):
        kept.append(f"coalesce({condition}, false)")
        where = " AND ".join(kept)
        manifest.step(what, tables.number(f"SELECT count(*) FROM labelled WHERE {where}"))
    tables.execute(f"""
        CREATE TABLE unit AS
        SELECT * EXCLUDE (age), {ID} AS id, {window * 60} AS until,
            least(coalesce(hospitaladmitoffset, 0), 0) AS since
        FROM labelled WHERE {" AND ".join(kept)}
    """)
    manifest.counts["stays whose label is"] = {
        str(label): number
        for label, number in tables.execute(
            "SELECT label, count(*) FROM unit GROUP BY 1 ORDER BY 1"
        )
    }


def _conditions(window: float) -> list[tuple[str, str]]:
    """What the units must be, in the order of the flow, and SQL that says so."""
    return [
        ("with a person and an end", "uniquepid IS NOT NULL AND unitdischargeoffset IS NOT NULL"),
        (f"of adults ({ADULT_YEARS} years and older)", f"age_years >= {ADULT_YEARS}"),
        ("that are the first of their hospital stay", "unitvisitnumber = 1 AND place = 1"),
        (f"that last at least {window:g} hours", f"unitdischargeoffset >= {window} * 60"),
        (
            "whose person is in the hospital at the prediction",
            f"coalesce(hospitaldischargeoffset, unitdischargeoffset) >= {window} * 60",
        ),
        ("whose label is known", "label IS NOT NULL"),
    ]


def _read_candidates(release: Release) -> None:
    """Make `candidate`, a row per unit stay; empty texts are null."""
    view = release.view("patient", COLUMNS)
    words = ", ".join(f"nullif(trim({name}), '') AS {name}" for name in TEXTS)
    with release.reading("patient"):
        release.tables.execute(f"""
            CREATE TABLE candidate AS
            WITH once AS (
                SELECT * REPLACE ({words}) FROM "{view}" AS p WHERE {ID} IS NOT NULL
                QUALIFY row_number() OVER (PARTITION BY {ID} ORDER BY p) = 1
            )
            SELECT *, CASE WHEN age LIKE '>%' THEN {OLDEST_YEARS} ELSE TRY_CAST(age AS INTEGER) END
                AS age_years,
                row_number() OVER (
                    PARTITION BY patienthealthsystemstayid
                    ORDER BY unitvisitnumber NULLS LAST, hospitaladmitoffset DESC, {ID}
                ) AS place
            FROM once
        """)
