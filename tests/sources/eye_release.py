"""Small eye-imaging sets of the shapes that public ones have, with files that show their label."""

# H, W rows and columns, D slices

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from tests.cohort.make_files import save_nifti

FPRM_LAYOUT = """\
[cohort]
name = "fprm"
table = "labels.csv"
id = ["patient", "eye"]
label = "diagnosis"
task = "multiclass"
positive = "glaucoma"
group_by = "patient"

[labels]
"0" = "healthy"
"1" = "glaucoma"
"2" = "glaucoma"

[split]
column = "fold"
values = {training = "train", validation = "val", test = "test"}

[modalities.fundus]
kind = "image"
column = "fundus"
folder = "images"
channels = 3
size = [32, 32]
crop = "content"

[modalities.oct]
kind = "volume"
column = "oct"
folder = "images"
size = [8, 16, 16]

[modalities.angiography]
kind = "image"
pattern = "images/ffa/{patient}/{eye}_*.png"
most = 3
size = [16, 16]

[modalities.clinical]
kind = "tabular"
columns = ["age", "pressure_mmhg", "eye"]
"""


def fprm_release(root: Path, num_patients: int, seed: int = 0) -> Path:
    """Both eyes of patients: fundus (most), OCT (half), angiography (some), age and pressure.

    Labels 0, 1, 2; folds training, validation, test; ids with leading zeros.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(num_patients):
        patient = f"{number:04d}"
        fold = ("training", "training", "training", "validation", "test")[number % 5]
        for eye in ("OD", "OS"):
            label = (number + (eye == "OS")) % 3
            row = {"patient": patient, "eye": eye, "diagnosis": label, "fold": fold}
            row |= {"age": 40 + number % 30, "pressure_mmhg": "" if number % 4 == 0 else 15 + label}
            if number % 7:
                row["fundus"] = f"fundus/{patient}_{eye}.jpg"
                save_fundus(root / "images" / row["fundus"], 0.3 + 0.2 * label, rng)
            if number % 2:
                row["oct"] = f"oct/{patient}_{eye}.nii.gz"
                save_oct(root / "images" / row["oct"], label, rng)
            for frame in range(number % 5):
                file = root / "images" / "ffa" / patient / f"{eye}_{5 * frame}.png"
                save_fundus(file, 0.2 + 0.1 * label, rng)
            rows.append(row)
    write_csv(root / "labels.csv", rows)
    (root / "layout.toml").write_text(FPRM_LAYOUT)
    return root


def write_csv(file: Path, rows: list[dict]) -> None:
    """Rows of any keys; what a row lacks is empty."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)


def save_fundus(file: Path, light: float, rng: np.random.Generator) -> None:
    """A disc on black; PNG or JPEG by its name."""
    row_HW, column_HW = np.mgrid[:40, :48]
    is_eye_HW = (row_HW - 20) ** 2 + (column_HW - 24) ** 2 < 18**2
    shown_HW = is_eye_HW * (light + rng.normal(0, 0.03, (40, 48)))
    colour = shown_HW[:, :, None] * [1.0, 0.5, 0.3]
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((colour.clip(0, 1) * 255).astype(np.uint8)).save(file)


def save_oct(file: Path, label: int, rng: np.random.Generator) -> None:
    """Layers in noise; one more with each label."""
    values = rng.normal(20, 5, (16, 24, 6))
    values[:, 8 : 10 + 2 * label] += 60
    file.parent.mkdir(parents=True, exist_ok=True)
    save_nifti(file, values.astype(np.int16))
