"""A generated MIMIC-IV release of any size, for the benchmark `prepare_scale`.

labevents and chartevents have the columns and the order of the real files, the other tables are as
small as they may be. A person in three has a stay in intensive care; most laboratory rows are of
other years, most rows of the flowsheet are of items that no modality takes, as it is in truth.
"""

import gzip
import shutil
import tempfile
from pathlib import Path

from remind.cohort.extras import require

BLOCK = 2_000_000  # rows written at once
ROWS_PER_STAY = 4600  # of chartevents, as in release 3.1
PERSONS_PER_STAY = 3
LABS: dict[int, tuple[float, str]] = {
    **{50813: (2.0, "mmol/L"), 50820: (7.3, "units"), 51222: (11.0, "g/dL"), 51221: (33.0, "%")},
    **{51301: (10.0, "K/uL"), 51265: (210.0, "K/uL"), 50912: (1.3, "mg/dL")},
    **{51006: (25.0, "mg/dL"), 50983: (139.0, "mEq/L"), 50971: (4.2, "mEq/L")},
    **{50902: (104.0, "mEq/L"), 50882: (24.0, "mEq/L"), 50931: (140.0, "mg/dL")},
    **dict.fromkeys((51678, 50934, 50947, 50920, 51464, 51466, 51486), (1.0, "")),
}
"""Item → its middle value and unit; those of the last line are of no modality."""
VITALS: dict[int, tuple[float, str]] = {
    **{220045: (84, "bpm"), 220179: (122, "mmHg"), 220180: (66, "mmHg"), 220181: (82, "mmHg")},
    **{220210: (19, "insp/min"), 220277: (90, "%"), 223761: (98, "°F")},
    **{220739: (3, ""), 223900: (4, ""), 223901: (5, "")},
}
OTHER_CHARTS = (225054, 223769, 223956, 224866, 227341, 220047, 220056, 223751, 224054, 224650)
SHARE_LISTED = 30  # percent of chartevents

COLUMNS = {
    "icu/inputevents": (
        "subject_id,hadm_id,stay_id,caregiver_id,starttime,endtime,storetime,itemid,amount,"
        "amountuom,rate,rateuom,orderid,linkorderid,ordercategoryname,secondaryordercategoryname,"
        "ordercomponenttypedescription,ordercategorydescription,patientweight,totalamount,"
        "totalamountuom,isopenbag,continueinnextdept,statusdescription,originalamount,originalrate"
    ),
    "icu/outputevents": (
        "subject_id,hadm_id,stay_id,caregiver_id,charttime,storetime,itemid,value,valueuom"
    ),
    "icu/procedureevents": (
        "subject_id,hadm_id,stay_id,caregiver_id,starttime,endtime,storetime,itemid,value,valueuom,"
        "location,locationcategory,orderid,linkorderid,ordercategoryname,ordercategorydescription,"
        "patientweight,isopenbag,continueinnextdept,statusdescription,originalamount,originalrate"
    ),
    "hosp/microbiologyevents": (
        "microevent_id,subject_id,hadm_id,micro_specimen_id,order_provider_id,chartdate,charttime,"
        "spec_itemid,spec_type_desc,test_seq,storedate,storetime,test_itemid,test_name,org_itemid,"
        "org_name,isolate_num,quantity,ab_itemid,ab_name,dilution_text,dilution_comparison,"
        "dilution_value,interpretation,comments"
    ),
    "hosp/prescriptions": (
        "subject_id,hadm_id,pharmacy_id,poe_id,poe_seq,order_provider_id,starttime,stoptime,"
        "drug_type,drug,formulary_drug_cd,gsn,ndc,prod_strength,form_rx,dose_val_rx,dose_unit_rx,"
        "form_val_disp,form_unit_disp,doses_per_24_hrs,route"
    ),
    "hosp/diagnoses_icd": "subject_id,hadm_id,seq_num,icd_code,icd_version",
    "hosp/procedures_icd": "subject_id,hadm_id,seq_num,chartdate,icd_code,icd_version",
    "hosp/services": "subject_id,hadm_id,transfertime,prev_service,curr_service",
    "hosp/transfers": "subject_id,hadm_id,transfer_id,eventtype,careunit,intime,outtime",
    "hosp/omr": "subject_id,chartdate,seq_num,result_name,result_value",
    "hosp/d_icd_diagnoses": "icd_code,icd_version,long_title",
    "hosp/d_icd_procedures": "icd_code,icd_version,long_title",
}
"""Tables that are there without a row."""

PERSONS = f"""
    SELECT p, 10000032 + 37 * p AS subject_id, 20000000 + p AS hadm_id, 30000000 + p AS stay_id,
        TIMESTAMP '2110-01-01' + to_minutes((p * 7919 % 25000) * 1440 + p * 104729 % 1440) AS admit,
        admit + INTERVAL 3 HOUR AS intime, intime + to_hours(60 + p * 31 % 130) AS outtime,
        outtime + INTERVAL 20 HOUR AS disch, p % {PERSONS_PER_STAY} = 0 AS has_stay,
        p % 9 = 0 AS died
    FROM range({{num_persons}}) AS persons(p)
"""

SMALL = {
    "hosp/patients": """
        SELECT subject_id, CASE WHEN p % 2 = 0 THEN 'F' ELSE 'M' END AS gender,
            30 + p % 60 AS anchor_age, year(admit) AS anchor_year,
            '2011 - 2013' AS anchor_year_group, CASE WHEN died THEN disch::DATE END AS dod
        FROM ({persons})
    """,
    "hosp/admissions": """
        SELECT subject_id, hadm_id, admit AS admittime, disch AS dischtime,
            CASE WHEN died THEN disch END AS deathtime, 'URGENT' AS admission_type,
            'P03YMR' AS admit_provider_id, 'EMERGENCY ROOM' AS admission_location,
            CASE WHEN died THEN 'DIED' ELSE 'HOME' END AS discharge_location,
            'Medicare' AS insurance, 'English' AS language, 'MARRIED' AS marital_status,
            'WHITE' AS race, NULL AS edregtime, NULL AS edouttime, died::INT AS hospital_expire_flag
        FROM ({persons})
    """,
    "icu/icustays": """
        SELECT subject_id, hadm_id, stay_id,
            'Medical Intensive Care Unit (MICU)' AS first_careunit, first_careunit AS last_careunit,
            intime, outtime, date_diff('minute', intime, outtime) / 1440 AS los
        FROM ({persons}) WHERE has_stay
    """,
    "hosp/d_labitems": """
        SELECT unnest({labs}) AS itemid, 'Lab ' || itemid AS label, 'Blood' AS fluid,
            'Chemistry' AS category
    """,
    "icu/d_items": """
        SELECT unnest({charts}) AS itemid, 'Item ' || itemid AS label, label AS abbreviation,
            'chartevents' AS linksto, 'Routine Vital Signs' AS category, NULL AS unitname,
            'Numeric' AS param_type, NULL AS lownormalvalue, NULL AS highnormalvalue
    """,
}

# h is a random number of the row; what is drawn from it are parts of it that have no bit in common
LAB_ROWS = """
    SELECT i + 1 AS labevent_id, subject_id,
        CASE WHEN is_near AND h % 4 > 0 THEN hadm_id END AS hadm_id,
        1000000 + i // 12 AS specimen_id, ({labs})[1 + (h >> 8) % {num_labs}] AS itemid,
        CASE WHEN h % 3 = 0 THEN 'P03YMR' END AS order_provider_id,
        CASE WHEN is_near THEN admit + to_minutes(((h >> 20) % 10000))
            ELSE admit - to_minutes(((h >> 20) % 1000000)) END AS charttime,
        CASE WHEN h % 20 > 0 THEN charttime + to_minutes(20 + ((h >> 44) % 300)) END
            AS storetime,
        CASE WHEN h % 100 = 0 THEN '<0.1' ELSE printf('%.2f', number) END AS value,
        CASE WHEN h % 100 > 0 THEN round(number, 2) END AS valuenum,
        nullif(({lab_units})[1 + (h >> 8) % {num_labs}], '') AS valueuom,
        4.6 AS ref_range_lower, 60.1 AS ref_range_upper,
        CASE WHEN h % 3 = 1 THEN 'abnormal' END AS flag, 'ROUTINE' AS priority, NULL AS comments
    FROM (
        SELECT i, (hash(i) >> 1)::BIGINT AS h, (h >> 4) % 100 < 30 AS is_near,
            ({lab_means})[1 + (h >> 8) % {num_labs}] * (0.9 + (h >> 50) % 200 / 1000.0) AS number,
            persons.*
        FROM range({start}, {stop}) AS rows(i)
        JOIN ({persons}) AS persons ON persons.p = i * {num_persons} // {num_rows}
    ) ORDER BY i
"""
CHART_ROWS = """
    SELECT subject_id, hadm_id, stay_id, 6000 + (h % 900)::INT AS caregiver_id,
        intime + to_minutes(((h >> 20) % date_diff('minute', intime, outtime)))
            AS charttime,
        charttime + to_minutes(((h >> 44) % 40)) AS storetime,
        CASE WHEN is_listed THEN ({listed})[1 + (h >> 8) % {num_listed}]
            ELSE ({others})[1 + (h >> 8) % {num_others}] END AS itemid,
        CASE WHEN is_listed THEN number::VARCHAR ELSE 'Atrial demand' END AS value,
        CASE WHEN is_listed THEN number END AS valuenum,
        CASE WHEN is_listed THEN nullif(({units})[1 + (h >> 8) % {num_listed}], '') END
            AS valueuom, 0 AS warning
    FROM (
        SELECT i, (hash(i + 1000000000) >> 1)::BIGINT AS h, (h >> 4) % 100 < {share} AS is_listed,
            ({means})[1 + (h >> 8) % {num_listed}] + (h >> 50) % 2 AS number, persons.*
        FROM range({start}, {stop}) AS rows(i)
        JOIN ({persons}) AS persons
            ON persons.p = {persons_per_stay} * (i * {num_stays} // {num_rows})
    ) ORDER BY i
"""


def write_release(folder: Path, lab_rows: int, chart_rows: int) -> None:
    """Write a release with so many rows of labevents and chartevents; the same bytes every time.

    Args:
        folder: made; nothing is there before all of it is written.
        lab_rows: rows of hosp/labevents.
        chart_rows: rows of icu/chartevents.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="unfinished-", dir=folder.parent))
    num_stays = max(30, chart_rows // ROWS_PER_STAY)
    num_persons = PERSONS_PER_STAY * num_stays
    persons = PERSONS.format(num_persons=num_persons)
    common = {"persons": persons, "num_persons": num_persons, "num_stays": num_stays}
    common |= {"labs": list(LABS), "num_labs": len(LABS)}
    common |= {"lab_means": [mean for mean, _ in LABS.values()]}
    common |= {"lab_units": [unit for _, unit in LABS.values()]}
    common |= {"charts": [*VITALS, *OTHER_CHARTS], "share": SHARE_LISTED}
    common |= {"listed": list(VITALS), "num_listed": len(VITALS)}
    common |= {"means": [mean for mean, _ in VITALS.values()]}
    common |= {"units": [unit for _, unit in VITALS.values()]}
    common |= {"others": list(OTHER_CHARTS), "num_others": len(OTHER_CHARTS)}
    common |= {"persons_per_stay": PERSONS_PER_STAY}
    try:
        for table, header in COLUMNS.items():
            _write_text(work / f"{table}.csv.gz", header)
        for table, query in SMALL.items():
            _write_rows(work / f"{table}.csv.gz", query, 1, common)
        _write_rows(work / "hosp/labevents.csv.gz", LAB_ROWS, lab_rows, common)
        _write_rows(work / "icu/chartevents.csv.gz", CHART_ROWS, chart_rows, common)
        (work / "CHANGELOG.txt").write_text("MIMIC-IV v3.1, generated\n")
        work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _write_text(file: Path, header: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(file, "wt") as content:
        content.write(header + "\n")


def _write_rows(file: Path, query: str, num_rows: int, values: dict[str, object]) -> None:
    """Write rows block by block as one gzip stream; DuckDB's own compression is ten times slower.

    Args:
        file: .csv.gz.
        query: with the fields `start`, `stop`, `num_rows` and those of `values`.
        num_rows: in all.
        values: of the fields.
    """
    duckdb = require("duckdb", "prepare", "the benchmark prepare_scale")
    connection = duckdb.connect(config={"memory_limit": "2GB"})
    file.parent.mkdir(parents=True, exist_ok=True)
    plain = file.with_suffix(".block")
    with gzip.GzipFile(file, "wb", compresslevel=1, mtime=0) as content:
        for start in range(0, num_rows, BLOCK):
            stop = min(start + BLOCK, num_rows)
            rows = query.format(start=start, stop=stop, num_rows=num_rows, **values)
            header = "HEADER" if start == 0 else "HEADER false"
            connection.execute(
                f"COPY ({rows}) TO '{plain}'"
                f" (FORMAT csv, {header}, TIMESTAMPFORMAT '%Y-%m-%d %H:%M:%S')"
            )
            with plain.open("rb") as block:
                shutil.copyfileobj(block, content, 1 << 22)
    plain.unlink()
