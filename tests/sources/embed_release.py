"""A small release of EMBED: its columns, its quirks, and mammograms that show their density."""

# H, W rows and columns

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image, ImageDraw
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation, RLELossless

PREFIX = "/mnt/NAS2/mammo/anon_dicom/"
METADATA_COLUMNS = (
    *("", "empi_anon", "acc_anon", "cohort_num", "study_date_anon", "StudyDescription"),
    *("SeriesDescription", "FinalImageType", "ImageLateralityFinal", "ViewPosition", "spot_mag"),
    *("AcquisitionTime", "SeriesTime", "PhotometricInterpretation", "Manufacturer", "Rows"),
    *("Columns", "num_roi", "ROI_coords", "anon_dicom_path", "png_path"),
)
CLINICAL_COLUMNS = (
    *("", "empi_anon", "acc_anon", "study_date_anon", "desc", "numfind", "side", "asses"),
    *("tissueden", "age_at_study", "ETHNICITY_DESC", "path_severity"),
)
HEIGHT, WIDTH = 120, 96
ENCODINGS = [  # photometric interpretation, bits stored, compressed
    (photometric, bits, is_compressed)
    for photometric in ("MONOCHROME2", "MONOCHROME1")
    for bits in (12, 16)
    for is_compressed in (False, True)
]


@dataclass
class Release:
    """Rows to write, and the folder that they go to with the files they name."""

    root: Path
    metadata: list[dict[str, Any]] = field(default_factory=list)
    clinical: list[dict[str, Any]] = field(default_factory=list)

    def image(
        self,
        exam: tuple[int, int],
        kind: str = "2D",
        view: str = "CC",
        side: str = "L",
        *,
        light: float = 0.4,
        is_there: bool = True,
        name: str | None = None,
        **cells: Any,
    ) -> Path:
        """Add a row of the metadata and, unless it is absent, its DICOM file."""
        number = len(self.metadata)
        empi, acc = exam
        tail = f"cohort_{1 + empi % 2}/{empi}/1.2.{acc}/1.2.{acc}.{view}/{name or number}.dcm"
        file = self.root / "images" / tail
        photometric, bits, is_compressed = ENCODINGS[number % len(ENCODINGS)]
        if is_there:
            shown_HW = mammogram(light, side, f"{side} {view}", seed=number)
            write_dicom(file, shown_HW, photometric, bits, is_compressed=is_compressed)
        self.metadata.append(
            {
                "": number,
                "empi_anon": empi,
                "acc_anon": float(acc),  # pandas made numbers with a point of them
                "cohort_num": 1 + empi % 2,
                "study_date_anon": "2014-03-09 00:00:00",
                "FinalImageType": kind,
                "ImageLateralityFinal": side,
                "ViewPosition": view,
                "AcquisitionTime": 93015.0 + number,
                "PhotometricInterpretation": photometric,
                "ROI_coords": "((1, 2, 3, 4),)",
                "anon_dicom_path": PREFIX + tail,
                **cells,
            }
        )
        return file

    def finding(self, exam: tuple[int, int], density: object, side: str = "") -> None:
        """Add a row of the clinical table; half of them have no side."""
        row = {"empi_anon": exam[0], "acc_anon": exam[1], "side": side, "tissueden": density}
        row |= {"": len(self.clinical), "desc": 'MG Screening, "bilateral"', "numfind": 1}
        self.clinical.append(row)

    def write(self) -> Path:
        """Write both tables."""
        folder = self.root / "tables"
        folder.mkdir(parents=True, exist_ok=True)
        for name, columns, rows in (
            ("metadata", METADATA_COLUMNS, self.metadata),
            ("clinical", CLINICAL_COLUMNS, self.clinical),
        ):
            with (folder / f"EMBED_OpenData_{name}.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows(rows)
        return self.root


def typical_release(root: Path, num_patients: int, seed: int = 0) -> Path:
    """Patients with one or two exams, in the combinations that the release has most of."""
    rng = np.random.default_rng(seed)
    release = Release(root)
    for patient in range(num_patients):
        for visit in range(1 + patient % 2):
            exam = (10_000_000 + patient, 8_099_128_854_000_000 + 10 * patient + visit)
            grade = 1 + (patient + visit) % 4
            release.finding(exam, float(grade), side=("L", "")[patient % 2])
            kinds = ("2D", "cview") if rng.random() < 0.4 else ("2D",)
            views = ("CC", "MLO") if rng.random() < 0.9 else ("CC",)
            for kind in kinds:
                for view in views:
                    for side in "LR":
                        light = 0.15 + 0.15 * grade
                        release.image(exam, kind, view, side, light=light)
    return release.write()


def mammogram(light: float, side: str, text: str, seed: int = 0) -> np.ndarray:
    """A breast at the chest wall in [0, 1], with burned-in text and a white frame (H, W)."""
    rng = np.random.default_rng(seed)
    row_HW, column_HW = np.mgrid[:HEIGHT, :WIDTH]
    inside_HW = ((row_HW - 60) / 40) ** 2 + (column_HW / 50) ** 2 < 1
    shown_HW = np.where(inside_HW, light + rng.normal(0, 0.02, inside_HW.shape), 0.0)
    shown_HW = shown_HW if side == "L" else shown_HW[:, ::-1]
    picture = Image.new("L", (WIDTH, HEIGHT))
    ImageDraw.Draw(picture).text((40 if side == "L" else 12, 6), text, fill=255)
    shown_HW = np.maximum(shown_HW, np.asarray(picture) / 255)
    shown_HW[:2], shown_HW[-2:], shown_HW[:, :2], shown_HW[:, -2:] = 1, 1, 1, 1
    return shown_HW.clip(0, 1)


def write_dicom(
    file: Path, shown_HW: np.ndarray, photometric: str, bits: int, *, is_compressed: bool
) -> None:
    """Brightness in [0, 1] as a mammogram of these bits, behind a window that shows all of it."""
    white = 2**bits - 1
    stored_HW = 1 - shown_HW if photometric == "MONOCHROME1" else shown_HW
    dataset = pydicom.Dataset()
    dataset.SOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    dataset.SOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=[str(file)])
    dataset.Modality, dataset.PatientID = "MG", file.parts[-4]
    dataset.Rows, dataset.Columns = shown_HW.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    dataset.PhotometricInterpretation = photometric
    dataset.VOILUTFunction = "LINEAR_EXACT"
    dataset.WindowCenter, dataset.WindowWidth = str(white / 2), str(white)
    dataset.ImagerPixelSpacing = [0.07, 0.07]
    dataset.PixelData = (stored_HW * white).round().astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    if is_compressed:
        dataset.compress(RLELossless)
    file.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
