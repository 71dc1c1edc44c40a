"""The tables of EMBED in SQL: images that count, densities, and the tables of the cohort.

An exam is a pair (empi_anon, acc_anon): patient and accession. Density is a property of the exam,
so that the clinical table is joined on this pair and never on its side, half of which is empty.
"""

from pathlib import Path

from remind.errors import InputError
from remind.sources.raw import RawTables, quoted

METADATA, CLINICAL = "EMBED_OpenData_metadata", "EMBED_OpenData_clinical"
FOLDERS = ("", "tables/")  # below the root
UNITS = {"exam": "exams", "breast": "breasts"}
TYPES = {"cview": "cview", "2D": "ffdm"}  # FinalImageType -> first part of the modality's name
VIEWS = ("CC", "MLO")  # exactly: XCCL, ML, … are other views
MODALITIES = tuple(f"{kind}_{view.lower()}" for kind in TYPES.values() for view in VIEWS)
ABSENT_FILES = "absent_files.csv"
CHOICE = (
    "one image is taken per exam, side, type and view: a full view before a spot or magnification "
    "view, then the first acquired, then the first by path"
)

Steps = list[tuple[str, int]]


def read_images(tables: RawTables, per: str) -> tuple[Steps, dict[str, int]]:
    """Make the table `image`, a row per file.

    Its columns: exam, unit, person, accession, date, side, modality (null for other types, views
    and unknown sides), is_spot, time, raw (path as given) and tail (path from cohort_1 on).

    Returns:
        The first step of the flow, and counts of images.

    Raises:
        InputError: no such table or column.
    """
    view = tables.view(
        _name(tables, METADATA),
        {
            **dict.fromkeys(("empi_anon", "acc_anon", "study_date_anon"), "VARCHAR"),
            **dict.fromkeys(("anon_dicom_path", "FinalImageType"), "VARCHAR"),
            **dict.fromkeys(("ViewPosition", "ImageLateralityFinal"), "VARCHAR"),
            **dict.fromkeys(("spot_mag", "AcquisitionTime", "SeriesTime"), "DOUBLE?"),
        },
        optional=("study_date_anon", "spot_mag", "AcquisitionTime", "SeriesTime"),
    )
    _as_number_text(tables)
    unit = "exam" if per == "exam" else "exam || '_' || side"
    tables.execute(f"""
        CREATE TABLE image AS
        WITH named AS (
            SELECT id_text(empi_anon) AS person, id_text(acc_anon) AS accession,
                person || '_' || accession AS exam, study_date_anon[:10] AS date,
                {_case("FinalImageType", TYPES)} AS kind,
                {_case("ViewPosition", {view: view.lower() for view in VIEWS})} AS looks,
                {_case("ImageLateralityFinal", {"L": "L", "R": "R"})} AS side,
                coalesce(spot_mag, 0) <> 0 AS is_spot,
                coalesce(AcquisitionTime, SeriesTime) AS time,
                nullif(trim(anon_dicom_path), '') AS raw,
                coalesce(nullif(regexp_extract(raw, '.*(cohort_[0-9]+/.*)', 1), ''),
                    ltrim(raw, '/')) AS tail
            FROM "{view}"
        )
        SELECT *, {unit} AS unit,
            CASE WHEN side IS NOT NULL THEN kind || '_' || looks END AS modality
        FROM named
    """)
    count = {
        name: tables.number(f"SELECT count(*) FROM image WHERE {where}")
        for name, where in {
            "rows": "true",
            "rows without patient or accession": "exam IS NULL",
            "of other types": "kind IS NULL",
            "of other views": "kind IS NOT NULL AND looks IS NULL",
            "of no or both sides": "kind || looks IS NOT NULL AND side IS NULL",
            "without a path": "modality IS NOT NULL AND raw IS NULL",
        }.items()
    }
    num = tables.number("SELECT count(DISTINCT unit) FROM image")
    return [(f"in {METADATA}", num)], count


def read_densities(tables: RawTables) -> Steps:
    """Make the table `density`, a row per exam: its grade 1 to 4, null if missing or male.

    Rows of one exam that disagree (one per finding) count as the densest of them.

    Returns:
        The steps of the flow.

    Raises:
        InputError: no such table or column.
    """
    view = tables.view(
        _name(tables, CLINICAL),
        {"empi_anon": "VARCHAR", "acc_anon": "VARCHAR", "tissueden": "DOUBLE?"},
    )
    tables.execute(f"""
        CREATE TABLE density AS
        SELECT id_text(empi_anon) || '_' || id_text(acc_anon) AS exam,
            max(tissueden) FILTER (tissueden IN (1, 2, 3, 4))::INTEGER AS grade,
            count(tissueden) > 0 AS is_recorded,
            count(DISTINCT tissueden) FILTER (tissueden IN (1, 2, 3, 4)) > 1 AS is_disputed
        FROM "{view}" GROUP BY exam HAVING exam IS NOT NULL
    """)
    asked = {
        f"with a row in {CLINICAL}": "true",
        "with a density": "is_recorded",
        "with a density of A to D (5 is a male breast)": "grade IS NOT NULL",
    }
    query = "SELECT count(DISTINCT unit) FROM image JOIN density USING (exam) WHERE "
    return [(what, tables.number(query + where)) for what, where in asked.items()]


def choose_images(tables: RawTables) -> tuple[Steps, dict[str, int]]:
    """Make the table `chosen`: the images of the cohort by the rule `CHOICE`.

    `sought` (the images of exams with a density) and `found` (tail → path) are there.

    Returns:
        The last steps of the flow, and counts of images.
    """
    tables.execute("""
        CREATE TABLE chosen AS
        SELECT unit, exam, person, accession, date, side, modality, is_spot, path
        FROM sought JOIN found USING (tail)
        QUALIFY row_number() OVER (
            PARTITION BY unit, side, modality ORDER BY is_spot, time NULLS LAST, tail
        ) = 1
    """)
    steps = [
        ("with a 2D or C-view image of the view CC or MLO", _distinct_units(tables, "sought")),
        ("of which an image is below the root", _distinct_units(tables, "chosen")),
    ]
    num_found = tables.number("SELECT count(*) FROM sought JOIN found USING (tail)")
    num = tables.number("SELECT count(*) FROM chosen")
    spot = tables.number("SELECT count(*) FROM chosen WHERE is_spot")
    return steps, {
        "further images of a view": num_found - num,
        "in the cohort": num,
        "in the cohort, of spot or magnification views": spot,
    }


def write_tables(tables: RawTables, folder: Path, per: str) -> None:
    """Write patients.parquet, a table of paths per modality and, if need be, absent_files.csv."""
    side = ", min(side) AS side" if per == "breast" else ""
    tables.execute(f"""
        CREATE TABLE unit AS
        SELECT unit AS {per}_id, min(person) AS empi_anon, min(accession) AS acc_anon,
            min(date) AS study_date_anon{side}, chr(64 + min(grade)) AS density
        FROM chosen JOIN density USING (exam) GROUP BY unit
    """)
    tables.write(f"SELECT * FROM unit ORDER BY {per}_id", folder / "patients.parquet")
    for name in MODALITIES:
        rows = f"FROM chosen WHERE modality = '{name}'"
        if tables.number(f"SELECT count(*) {rows}"):
            query = f"SELECT unit AS {per}_id, side, path {rows} ORDER BY unit, side"
            tables.write(query, folder / f"{name}.parquet")
    absent = "FROM sought WHERE NOT EXISTS (SELECT 1 FROM found WHERE found.tail = sought.tail)"
    if tables.number(f"SELECT count(*) {absent}"):
        target = quoted(folder / ABSENT_FILES)
        tables.execute(
            f"COPY (SELECT unit AS {per}_id, side, modality, raw AS anon_dicom_path {absent} "
            f"ORDER BY ALL) TO '{target}' (HEADER)"
        )


def _distinct_units(tables: RawTables, table: str) -> int:
    return tables.number(f"SELECT count(DISTINCT unit) FROM {table}")


def _name(tables: RawTables, name: str) -> str:
    """A table's name below the root."""
    for folder in FOLDERS:
        if tables.find(folder + name) is not None:
            return folder + name
    raise InputError(
        f"neither {tables.root} nor its folder tables has {name} (.csv, .csv.gz or .parquet): "
        f"give --root the folder of {tables.title}"
    )


def _as_number_text(tables: RawTables) -> None:
    """Ids as whole numbers where they are numbers: some copies hold 9.5E+15 or 95.0."""
    tables.execute(
        "CREATE OR REPLACE MACRO id_text(x) AS "
        "coalesce(TRY_CAST(x AS DECIMAL(38, 0))::VARCHAR, nullif(trim(x), ''))"
    )


def _case(column: str, names: dict[str, str]) -> str:
    """SQL that gives values of a column other names, and null to all others."""
    whens = " ".join(f"WHEN '{value}' THEN '{name}'" for value, name in names.items())
    return f'CASE trim("{column}") {whens} END'
