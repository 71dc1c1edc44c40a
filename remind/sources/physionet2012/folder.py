"""The main table and cohort.toml."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tomli_w

from remind.sources.limits import KEPT
from remind.sources.raw import RawTables, scan

VAL, TEST = 0.1, 0.2
NUMBERS = {"age_years": "age_years", "height_cm": "height", "weight_kg": "weight"}
WORDS = {
    "sex": ("sex", {0: "female", 1: "male"}),
    "icu_type": (
        "icu_type",
        {1: "coronary care", 2: "cardiac surgery recovery", 3: "medical", 4: "surgical"},
    ),
}
TABULAR = {
    "demographics": ["age_years", "sex"],
    "anthropometry": ["height_cm", "weight_kg"],
    "unit": ["icu_type"],
}
COMMENT = "# Death in hospital. Made by: remind prepare physionet2012; manifest.json says how.\n"
BY_SET = (
    "# To test on set b as the challenge did, write under [split] instead of the fractions:\n"
    '# column = "split_by_set"\n'
)


def write_main_table(tables: RawTables, values: Path, folder: Path, seed: int) -> bool:
    """Write patients.parquet, a row per record.

    Args:
        tables: with the table `unit`.
        values: what describes records, as `limits.judge` wrote it.
        folder: of the cohort.
        seed: of the records of set a that `split_by_set` holds for validation.

    Returns:
        Whether it has the column `split_by_set`: set a trains, others test.
    """
    has_sets = tables.number('SELECT count(DISTINCT "set") FROM unit WHERE "set" <> \'a\'') > 0
    has_sets = has_sets and tables.number("SELECT count(*) FROM unit WHERE \"set\" = 'a'") > 0
    columns = [f"{_value(quantity)} AS {name}" for name, quantity in NUMBERS.items()]
    columns += [_words(name, quantity, words) for name, (quantity, words) in WORDS.items()]
    split = ", part AS split_by_set" if has_sets else ""
    tables.connection.register("part", _parts(tables, seed))
    tables.write(
        f"""
        SELECT unit.record AS record_id, died AS died_in_hospital, "set", d.* EXCLUDE (id){split}
        FROM unit LEFT JOIN part USING (record) LEFT JOIN (
            SELECT id, {", ".join(columns)} FROM {scan(values)} WHERE fate = '{KEPT}' GROUP BY id
        ) AS d ON d.id = unit.record ORDER BY unit.record
        """,
        folder / "patients.parquet",
    )
    return has_sets


def write_toml(
    folder: Path, series: dict[str, dict[str, Any]], seed: int, *, has_sets: bool
) -> None:
    """Write cohort.toml."""
    tabular = {name: {"kind": "tabular", "columns": columns} for name, columns in TABULAR.items()}
    data = {
        "cohort": {
            "name": "physionet2012",
            "table": "patients.parquet",
            "id": "record_id",
            "label": "died_in_hospital",
            "task": "binary",
        },
        "split": {"val": VAL, "test": TEST, "seed": seed},
        "modalities": {**tabular, **series},
    }
    comment = COMMENT + (BY_SET if has_sets else "")
    (folder / "cohort.toml").write_text(f"{comment}\n{tomli_w.dumps(data)}", encoding="utf-8")


def _parts(tables: RawTables, seed: int) -> pa.Table:
    """Columns record and part: a share of `VAL` of set a is for validation."""
    units = tables.execute('SELECT record, "set" FROM unit ORDER BY record')
    own = [record for record, name in units if name == "a"]
    num_val = round(VAL * len(own))
    held = set(np.random.default_rng(seed).permutation(own)[:num_val].tolist())
    parts = ["test" if name != "a" else "val" if r in held else "train" for r, name in units]
    records = pa.array([record for record, _ in units], pa.int64())
    return pa.table({"record": records, "part": pa.array(parts, pa.string())})


def _value(quantity: str) -> str:
    return f"max(value) FILTER (quantity = '{quantity}')"


def _words(name: str, quantity: str, words: dict[int, str]) -> str:
    cases = " ".join(f"WHEN {code} THEN '{word}'" for code, word in words.items())
    return f"CASE {_value(quantity)} {cases} END AS {name}"
