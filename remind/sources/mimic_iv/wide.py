"""Tables with a column per quantity, and what is known at admission: columns of the main table."""

from remind.sources.mimic_iv.quantities import KEPT, Rule, items, judge
from remind.sources.mimic_iv.release import Release
from remind.sources.raw import scan

TRIAGE = "ed/triage"
EDSTAYS = "ed/edstays"
OMR = "hosp/omr"
EXPECTED_HOURS = 24  # before an admission, of a stay in the ED that names none

DEMOGRAPHICS = {
    "age_years": "age_years",
    "sex": "gender",
    **{
        name: name
        for name in (
            *("race", "language", "marital_status", "insurance", "admission_type"),
            *("admission_location", "first_careunit"),
        )
    },
    "hours_before_icu": "date_diff('second', start, intime) / 3600.0",
}
AT_DISCHARGE = {
    "icu_days": "date_diff('second', intime, outtime) / 86400.0",
    "hospital_days": "date_diff('second', admittime, dischtime) / 86400.0",
}


def pivot(release: Release, rules: list[Rule], table: str, raw: str) -> list[str]:
    """Make a table `wide_…` with a row per stay and a column per quantity of a table.

    Args:
        raw: query as `judge` takes it, at most one row per stay and item.

    Returns:
        The columns.
    """
    tables, short = release.tables, table.replace("/", "_")
    values = tables.work / f"{short}_values.parquet"
    counts = release.manifest.counts.setdefault("quantities", {})
    for quantity, fate, number in judge(tables, rules, table, raw, values):
        counts.setdefault(quantity, {})[fate] = number
    names = dict.fromkeys(rule.quantity for rule in rules if rule.table == table)
    picked = ", ".join(f"max(value) FILTER (quantity = '{name}') AS {name}" for name in names)
    tables.execute(f"""
        CREATE TABLE wide_{short} AS SELECT stay_id, {picked}
        FROM {scan(values)} WHERE fate = '{KEPT}' GROUP BY stay_id
    """)
    return list(names)


def read_triage(release: Release, rules: list[Rule]) -> list[str]:
    """Make `arrival` and `wide_ed_triage`: of the stay in the ED that led to the admission.

    Returns:
        The columns of the modality triage.

    Raises:
        InputError: a column is not there, or a table cannot be read.
    """
    for name in (EDSTAYS, TRIAGE):
        if not release.has(name, "triage and chief complaint are never observed"):
            return []
    tables = release.tables
    ids = dict.fromkeys(("subject_id", "hadm_id", "stay_id"), "BIGINT")
    stays = release.view(EDSTAYS, {**ids, "intime": "TIMESTAMP", "arrival_transport": "VARCHAR"})
    columns = dict.fromkeys(items(rules, TRIAGE), "VARCHAR")
    triage = release.view(TRIAGE, {"stay_id": "BIGINT", **columns, "chiefcomplaint": "VARCHAR"})
    with release.reading(TRIAGE):
        tables.execute(f"""
            CREATE TABLE triage AS
            SELECT u.stay_id, {", ".join(columns)},
                nullif(upper(trim(arrival_transport)), '') AS arrival_transport,
                nullif(trim(chiefcomplaint), '') AS chief_complaint
            FROM "{stays}" AS e JOIN unit AS u ON e.subject_id = u.subject_id
                AND (e.hadm_id = u.hadm_id OR (e.hadm_id IS NULL AND e.intime <= u.admittime
                    AND e.intime >= u.admittime - INTERVAL {EXPECTED_HOURS} HOUR))
            JOIN "{triage}" AS t ON t.stay_id = e.stay_id
            WHERE e.intime <= u.until
            QUALIFY row_number() OVER (
                PARTITION BY u.stay_id ORDER BY e.intime DESC, e.stay_id, t) = 1
        """)
    tables.execute("""
        CREATE TABLE arrival AS SELECT stay_id, arrival_transport, chief_complaint FROM triage
    """)
    return [*pivot(release, rules, TRIAGE, unpivoted("triage", list(columns))), "arrival_transport"]


def read_outpatient(release: Release, rules: list[Rule]) -> list[str]:
    """Make `wide_hosp_omr`: the last weight, height and the like before the day of arrival.

    Returns:
        The columns of the modality outpatient.

    Raises:
        InputError: a column is not there, or the table cannot be read.
    """
    if not release.has(OMR, "outpatient measurements are never observed"):
        return []
    view = release.view(
        OMR,
        {
            "subject_id": "BIGINT",
            "chartdate": "DATE",
            "seq_num": "INTEGER",
            **dict.fromkeys(("result_name", "result_value"), "VARCHAR"),
        },
    )
    known = ", ".join(f"'{name}'" for name in items(rules, OMR))
    with release.reading(OMR):
        release.tables.execute(f"""
            CREATE TABLE outpatient AS
            SELECT u.stay_id, trim(o.result_name) AS item, o.result_value AS written
            FROM "{view}" AS o JOIN unit AS u ON o.subject_id = u.subject_id
            WHERE item IN ({known}) AND o.chartdate < u.start::DATE
            QUALIFY row_number() OVER (
                PARTITION BY u.stay_id, item ORDER BY o.chartdate DESC, o.seq_num, written) = 1
        """)
    raw = """
        SELECT stay_id, item, 0 AS hours, NULL::DOUBLE AS number, written,
            NULL::VARCHAR AS reported FROM outpatient
    """
    return pivot(release, rules, OMR, raw)


def unpivoted(table: str, columns: list[str]) -> str:
    """A query, as `judge` takes it, over a table with a column of text per quantity."""
    return f"""
        SELECT stay_id, item, 0 AS hours, NULL::DOUBLE AS number, written,
            NULL::VARCHAR AS reported
        FROM (UNPIVOT {table} ON {", ".join(columns)} INTO NAME item VALUE written)
    """
