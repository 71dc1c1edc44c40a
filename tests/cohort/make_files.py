"""Small real files of every format, and cohorts of them whose label only the files know."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pydicom
import pydicom.data
from PIL import Image

with warnings.catch_warnings():  # of pandas, about how wfdb uses it
    warnings.simplefilter("ignore")
    import wfdb

DICOM_FILES = Path(pydicom.data.__file__).parent / "test_files"

TOML = """\
[cohort]
name = "files"
table = "patients.parquet"
id = "pid"
label = "died"
task = "binary"

[split]
column = "split"

[modalities.ward]
kind = "tabular"
columns = ["noise"]

[modalities.pictures]
"""


def cohort_frame(num: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Patients with a column of noise, a label and a split, and their labels."""
    rng = np.random.default_rng(seed)
    label_N = rng.permutation(np.arange(num) % 2)
    split = np.array(["train", "train", "train", "val", "test"])[np.arange(num) % 5]
    noise = rng.normal(size=num).round(3)
    frame = pd.DataFrame({"pid": range(num), "died": label_N, "noise": noise, "split": split})
    return frame, label_N


def write_files_cohort(
    folder: Path, paths: Sequence[object], section: str, *, num: int = 0, seed: int = 0
) -> Path:
    """A cohort whose modality `pictures` has a column of these paths; `section` is its TOML."""
    frame, _ = cohort_frame(num or len(paths), seed)
    folder.mkdir(parents=True, exist_ok=True)
    frame["path"] = list(paths)
    frame.to_parquet(folder / "patients.parquet")
    (folder / "cohort.toml").write_text(TOML + section + 'column = "path"\n')
    return folder


def blob_images(folder: Path, num: int, seed: int = 0) -> list[str]:
    """Noisy 8-bit images of 32 x 32; those of label 1 have a bright blob somewhere."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    _, label_N = cohort_frame(num, seed)
    for i, label in enumerate(label_N):
        image_HW = rng.normal(110, 20, (32, 32))
        row, column = rng.integers(4, 22, 2)
        image_HW[row : row + 6, column : column + 6] += 60 * label
        save_png(folder / f"{i}.png", image_HW.clip(0, 255).astype(np.uint8))
    return [f"{i}.png" for i in range(num)]


def blob_volumes(folder: Path, num: int, seed: int = 0) -> list[str]:
    """Noisy volumes of 16 x 16 x 16; those of label 1 have a bright blob somewhere."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    _, label_N = cohort_frame(num, seed)
    for i, label in enumerate(label_N):
        values = rng.normal(0, 10, (16, 16, 16))
        a, b, c = rng.integers(2, 10, 3)
        values[a : a + 4, b : b + 4, c : c + 4] += 30 * label
        save_nifti(folder / f"{i}.nii.gz", values.astype(np.int16))
    return [f"{i}.nii.gz" for i in range(num)]


def beating_signals(folder: Path, num: int, suffix: str = "", seed: int = 0) -> list[str]:
    """Two leads of 4 s at 100 Hz, as WFDB or .npy: 60 beats per minute, or 100 for label 1."""
    rng = np.random.default_rng(seed)
    _, label_N = cohort_frame(num, seed)
    for i, label in enumerate(label_N):
        beats_hz = rng.normal(5 / 3 if label else 1.0, 0.1)
        phase_S = (np.arange(400) / 100 + rng.random()) * beats_hz % 1
        beat_S = np.exp(-(((phase_S - 0.5) / 0.03) ** 2))
        leads_LS = np.stack([beat_S, 0.5 * beat_S]) + rng.normal(0, 0.1, (2, 400))
        if suffix == ".npy":
            save_npy(folder / f"r{i}.npy", leads_LS)
        else:
            save_wfdb(folder, f"r{i}", leads_LS, ["I", "II"], 100)
    return [f"r{i}{suffix}" for i in range(num)]


def save_png(file: Path, values: np.ndarray) -> Path:
    """8 or 16 bits, grey or colour."""
    Image.fromarray(values).save(file)
    return file


def save_npy(file: Path, values: np.ndarray) -> Path:
    """An NPY file of any name."""
    with file.open("wb") as stream:
        np.save(stream, values)
    return file


def save_nifti(file: Path, values: np.ndarray, affine: np.ndarray | None = None) -> Path:
    """A NIfTI file of values along x, y, z."""
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine), file)
    return file


def save_wfdb(
    folder: Path, name: str, leads_LS: np.ndarray, names: Sequence[str], rate: float, unit="mV"
) -> Path:
    """A WFDB record with a 16-bit signal file."""
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wfdb.wrsamp(
            name,
            fs=rate,
            units=[unit] * len(names),
            sig_name=list(names),
            p_signal=leads_LS.T,
            fmt=["16"] * len(names),
            write_dir=str(folder),
        )
    return folder / name


def save_frames(
    folder: Path, name: str, leads: Mapping[str, np.ndarray], frame_rate: float
) -> None:
    """A WFDB record of frames, in which a lead has as many samples as its length is a multiple."""
    shortest = min(map(len, leads.values()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wfdb.wrsamp(
            name,
            fs=frame_rate,
            units=["mV"] * len(leads),
            sig_name=list(leads),
            e_p_signal=list(leads.values()),
            samps_per_frame=[len(values_S) // shortest for values_S in leads.values()],
            fmt=["16"] * len(leads),
            adc_gain=[1000.0] * len(leads),
            baseline=[0] * len(leads),
            write_dir=str(folder),
        )


def dicom(name: str) -> pydicom.Dataset:
    """One of the DICOM files that pydicom ships."""
    return pydicom.dcmread(DICOM_FILES / name)


def save_series(folder: Path, values: np.ndarray, spacing_mm: Sequence[float]) -> Path:
    """Axial CT slices (D, H, W) in HU, in files whose names are not in the order of space."""
    folder.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(0).permutation(len(values))
    for place, number in enumerate(order):
        slice_ = dicom("CT_small.dcm")
        slice_.Rows, slice_.Columns = values.shape[1:]
        slice_.RescaleIntercept, slice_.RescaleSlope = -1024, 1
        slice_.PixelData = (values[place] + 1024).astype(np.int16).tobytes()
        slice_.PixelSpacing = list(spacing_mm[1:])
        slice_.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        slice_.ImagePositionPatient = [0, 0, 10 + place * spacing_mm[0]]
        slice_.InstanceNumber = int(number)
        slice_.save_as(folder / f"{number}.dcm")
    return folder
