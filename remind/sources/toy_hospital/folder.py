"""The folder of the hospital: tables, files, cohort.toml, README.txt.

N stays, V rows of a long table.
"""

from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from remind.errors import InputError
from remind.sources.manifest import Manifest
from remind.sources.toy_hospital import tables
from remind.sources.toy_hospital.files import write_dicom, write_nifti, write_png, write_wfdb
from remind.sources.toy_hospital.latent import Stays, draw_stays
from remind.sources.toy_hospital.notes import notes
from remind.sources.toy_hospital.pictures import chest_xrays, head_cts
from remind.sources.toy_hospital.waves import LEADS, RATE_HZ, ecgs

OPTIONS = ("patients", "seed")
LEAST_PATIENTS, LEAST_NEW, NEW_SHARE = 40, 10, 0.05
NEW, CHEST, HEAD, HEART = "new", "chest_xrays", "head_cts", "ecgs"  # folders
DICOM_SHARE, INVERTED_SHARE = 0.4, 0.2  # of radiographs; of those that are DICOM
SPAN = 256  # pictures drawn at once


def write(folder: Path, *, patients: int = 1000, seed: int = 0) -> Manifest:
    """Fill an empty folder with the hospital; the same seed gives the same bytes.

    Args:
        folder: that exists.
        patients: stays to train on, at least 40; a twentieth as many come on top as new ones.
        seed: of everything, at least 0.

    Returns:
        What was made.

    Raises:
        InputError: an option out of range, or a package that writes images is not installed.
    """
    for name, value, least in (("patients", patients, LEAST_PATIENTS), ("seed", seed, 0)):
        if value < least:
            raise InputError(f"toy-hospital: {name} must be at least {least}, got {value}")
    num_new = max(LEAST_NEW, round(NEW_SHARE * patients))
    stays = draw_stays(patients + num_new, seed)
    is_new_N = np.arange(len(stays)) >= patients
    place_N = np.array([folder / NEW if is_new else folder for is_new in is_new_N], dtype=object)
    for place in (folder, folder / NEW):
        for name in (CHEST, HEAD, HEART):
            (place / name).mkdir(parents=True)
    table, long_tables = _tables(stays, place_N)
    _write_tables(folder, table.loc[~is_new_N], long_tables)
    _write_tables(folder / NEW, table.loc[is_new_N].drop(columns="died"), long_tables)
    _write_words(folder, {"patients": patients, "new": num_new, "seed": seed})
    options = {"patients": patients, "seed": seed}
    manifest = Manifest(source="toy-hospital", unit="stays", options=options)
    manifest.step("stays drawn", patients + num_new)
    manifest.step("stays whose outcome is known; the others are in new/", patients)
    return manifest


def _tables(stays: Stays, place_N: np.ndarray) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """The table of stays, and those with any number of rows per stay; writes the files they name.

    A long table has the row of its stay as index.

    Args:
        stays: all.
        place_N: the folder of each.
    """
    admission, vitals = tables.admission(stays), tables.vitals(stays)
    id_N = np.array([f"S{number:06d}" for number in range(1, len(stays) + 1)], dtype=object)
    heart_rate_N = vitals["heart_rate"].fillna(80.0).to_numpy()
    head = pd.DataFrame({"stay_id": id_N, "subject_id": 10_000 + stays.person_N})
    head["died"] = stays.died_N
    files = {
        "head_ct": _write_cts(stays, id_N, place_N),
        "ecg": _write_ecgs(stays, id_N, place_N, heart_rate_N),
        "echo_embedding": pd.Series(tables.echo(stays), dtype=object),
    }
    long_tables = {
        "labs.csv": tables.labs(stays),
        "diagnoses.csv": tables.diagnoses(stays),
        "drugs.parquet": tables.drugs(stays),
        "notes.parquet": notes(stays, admission),
        "chest_xrays.csv": _write_xrays(stays, id_N, place_N),
    }
    for frame in long_tables.values():
        frame.insert(0, "stay_id", id_N[frame.index])
    return pd.concat([head, admission, vitals, pd.DataFrame(files)], axis=1), long_tables


def _write_tables(folder: Path, table: pd.DataFrame, long_tables: dict[str, pd.DataFrame]) -> None:
    _write_table(folder / "patients.parquet", table)
    for name, frame in long_tables.items():
        _write_table(folder / name, frame.loc[frame.index.isin(table.index)])


def _write_table(file: Path, frame: pd.DataFrame) -> None:
    if file.suffix == ".csv":
        frame.to_csv(file, index=False, lineterminator="\n")
        return
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata()
    pq.write_table(table, file)


def _write_xrays(stays: Stays, id_N: np.ndarray, place_N: np.ndarray) -> pd.DataFrame:
    """The path of each radiograph by row of its stay; PNG or DICOM, one to three where any."""
    rng = stays.random("chest radiographs")
    rows = np.flatnonzero(stays.present("chest_xray"))
    row_V = np.repeat(rows, 1 + rng.binomial(2, 0.25, len(rows)))
    is_dicom_V = rng.random(len(row_V)) < DICOM_SHARE
    is_inverted_V = rng.random(len(row_V)) < INVERTED_SHARE
    number_V = pd.Series(row_V).groupby(row_V).cumcount() + 1
    suffix_V = np.where(is_dicom_V, "dcm", "png")
    path_V = [
        f"{CHEST}/{id_N[row]}_{number}.{suffix}"
        for row, number, suffix in zip(row_V, number_V, suffix_V, strict=True)
    ]
    light_VHW = _in_spans(chest_xrays, stays.illness("chest_xray")[row_V], rng)
    for row, path, light_HW, is_inverted in zip(
        row_V, path_V, light_VHW, is_inverted_V, strict=True
    ):
        file = place_N[row] / path
        if file.suffix == ".dcm":
            write_dicom(file, light_HW, patient=id_N[row], is_inverted=bool(is_inverted))
        else:
            write_png(file, light_HW)
    return pd.DataFrame({"path": path_V}, index=row_V)


def _write_cts(stays: Stays, id_N: np.ndarray, place_N: np.ndarray) -> pd.Series:
    """The path of each stay's head CT, if there is one."""
    rows = np.flatnonzero(stays.present("head_ct"))
    z_V = stays.illness("head_ct")[rows]
    volume_VDHW = _in_spans(head_cts, z_V, stays.random("head CTs"))
    paths = pd.Series([None] * len(stays), dtype=object)
    for row, volume_DHW in zip(rows.tolist(), volume_VDHW, strict=True):
        paths[row] = f"{HEAD}/{id_N[row]}.nii.gz"
        write_nifti(place_N[row] / paths[row], volume_DHW)
    return paths


def _write_ecgs(
    stays: Stays, id_N: np.ndarray, place_N: np.ndarray, heart_rate_N: np.ndarray
) -> pd.Series:
    """The WFDB record of each stay's ECG, if there is one."""
    rows = np.flatnonzero(stays.present("ecg"))
    wave_VLS = ecgs(stays.illness("ecg")[rows], heart_rate_N[rows], stays.random("ECGs"))
    paths = pd.Series([None] * len(stays), dtype=object)
    for row, wave_LS in zip(rows.tolist(), wave_VLS, strict=True):
        paths[row] = f"{HEART}/{id_N[row]}"
        write_wfdb(place_N[row] / paths[row], wave_LS, rate_hz=RATE_HZ, leads=LEADS)
    return paths


def _in_spans(
    draw: Callable[[np.ndarray, np.random.Generator], np.ndarray],
    z_V: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw a part after the other, which bounds the memory that drawing takes."""
    return np.concatenate([draw(z_V[at : at + SPAN], rng) for at in range(0, len(z_V), SPAN)])


def _write_words(folder: Path, numbers: dict[str, int]) -> None:
    """cohort.toml and README.txt, as they lie beside this file."""
    own = resources.files("remind.sources.toy_hospital")
    for name in ("cohort.toml", "README.txt"):
        text = (own / name).read_text(encoding="utf-8")
        for key, number in numbers.items():
            text = text.replace(f"<{key}>", f"{number:,}" if key != "seed" else str(number))
        (folder / name).write_text(text, encoding="utf-8")
