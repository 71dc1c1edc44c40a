"""A small cohort on disk with events in long tables beside it."""

from pathlib import Path

import numpy as np
import pandas as pd

from remind.cohort import Cohort, Encoding, read_cohort, read_table_for_prediction

TOML = """\
[cohort]
name = "events"
table = "patients.csv"
id = "pid"
label = "died"
task = "binary"

[split]
column = "split"

[modalities.vitals]
kind = "tabular"
columns = ["hr"]
"""


def patients(n: int = 10) -> pd.DataFrame:
    """Patients 0 to n - 1, of whom the last two are in val and test, observed in a number."""
    split = np.full(n, "train", dtype=object)
    split[-2:] = ["val", "test"]
    return pd.DataFrame(
        {
            "pid": np.arange(n),
            "died": np.arange(n) % 2,
            "hr": 60.0 + np.arange(n),
            "split": split,
        }
    )


def write(folder: Path, section: str, frame: pd.DataFrame | None = None) -> Path:
    """Write the cohort with one more section of modalities, and its table."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cohort.toml").write_text(f"{TOML}\n{section}")
    (patients() if frame is None else frame).to_csv(folder / "patients.csv", index=False)
    return folder


def predicted(folder: Path, encoding: Encoding, n: int = 10) -> Cohort:
    """Patients to predict, whose tables lie in a folder of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    patients(n)[["pid", "hr"]].to_csv(folder / "new.csv", index=False)
    spec = read_cohort(folder.parent / "cohort").spec
    return read_table_for_prediction(spec, folder / "new.csv", encoding=encoding)
