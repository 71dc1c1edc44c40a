"""A small cohort on disk, for any test that needs one."""

from pathlib import Path

import numpy as np
import pandas as pd

TOML = """\
[cohort]
name = "small"
table = "patients.{suffix}"
id = "pid"
label = "died"
task = "binary"
group_by = "person"

[split]
column = "split"

[modalities.vitals]
kind = "tabular"
columns = ["hr", "ward"]

[modalities.labs]
kind = "tabular"
columns = ["lactate", "crp", "ventilated"]

[modalities.ecg]
kind = "vector"
column = "ecg"
"""


def small_frame(n: int = 60, seed: int = 0, dim: int = 4) -> pd.DataFrame:
    """Patients with two tabular modalities, one vector and missing values; 60/20/20 split.

    The first four are observed in everything, have both labels and are in train.
    """
    rng = np.random.default_rng(seed)
    split = np.array(["train", "train", "train", "val", "test"])[np.arange(n) % 5]
    split[:4] = "train"
    frame = pd.DataFrame(
        {
            "pid": [f"{i:04d}" for i in range(n)],
            "person": np.arange(n) // 2 * 10,
            "died": np.where(np.arange(n) < 4, np.arange(n) % 2, rng.integers(0, 2, n)),
            "hr": rng.normal(80, 12, n).round(3),
            "ward": rng.choice(["icu", "surgery", "medicine"], n),
            "lactate": rng.gamma(2.0, 1.0, n).round(3),
            "crp": rng.normal(20, 5, n).round(3),
            "ventilated": rng.integers(0, 2, n).astype(float),
            "ecg": list(rng.normal(size=(n, dim)).astype(np.float32)),
        }
    )
    frame["split"] = pd.Series(split).groupby(frame["person"]).transform("first")
    late = np.arange(n) >= 4
    no_labs, no_ecg = late & (rng.random(n) < 0.4), late & (rng.random(n) < 0.5)
    no_vitals = late & ~no_labs & (rng.random(n) < 0.3)
    frame.loc[no_labs, ["lactate", "crp", "ventilated"]] = np.nan
    frame.loc[late & (rng.random(n) < 0.2), "crp"] = np.nan
    frame.loc[no_vitals, "hr"] = np.nan
    frame.loc[no_vitals, "ward"] = None
    frame["ecg"] = frame["ecg"].where(~no_ecg, None)
    return frame


def write_cohort(
    folder: Path, n: int = 60, seed: int = 0, *, suffix: str = "parquet", toml: str = TOML
) -> Path:
    """Write `cohort.toml` and its table into a folder; return the folder."""
    return write_frame(folder, small_frame(n, seed), suffix=suffix, toml=toml)


def write_frame(
    folder: Path, frame: pd.DataFrame, *, suffix: str = "parquet", toml: str = TOML
) -> Path:
    """Write a frame as the cohort's table; in a CSV the vectors become paths of NPY files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cohort.toml").write_text(toml.replace("{suffix}", suffix))
    write_table(folder / f"patients.{suffix}", frame)
    return folder


def write_table(file: Path, frame: pd.DataFrame) -> Path:
    """Write one table."""
    if file.suffix == ".parquet":
        frame.to_parquet(file)
        return file
    if "ecg" in frame:
        frame = frame.assign(
            ecg=[_write_vector(file.parent, i, v) for i, v in enumerate(frame["ecg"])]
        )
    frame.to_csv(file, index=False)
    return file


def _write_vector(folder: Path, i: int, vector: np.ndarray | None) -> str:
    if vector is None:
        return ""
    np.save(folder / f"ecg{i}.npy", vector)
    return f"ecg{i}.npy"
