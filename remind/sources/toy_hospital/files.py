"""Files in the formats of a hospital: PNG, DICOM, NIfTI, WFDB; the same bytes for the same values.

H, W rows and columns, D slices, L leads, S samples.
"""

import gzip
from pathlib import Path
from typing import Any

import numpy as np

from remind.cohort.extras import require

ASKED_BY = 'the source "toy-hospital"'
STORED_BITS = 12  # of a DICOM pixel
UID_ROOT = "1.2.826.0.1.3680043.8.498."  # pydicom's, free to use
CHEST_MM, VOXEL_MM = 5.0, (6.0, 6.0, 9.0)
UNITS_PER_MV = 1000


def write_png(file: Path, light_HW: np.ndarray) -> None:
    """Brightness in 0..1 as 16-bit grey PNG."""
    pixels = (light_HW * 65535).round().astype(np.uint16)
    require("PIL.Image", "image", ASKED_BY).fromarray(pixels).save(file)


def write_dicom(file: Path, light_HW: np.ndarray, *, patient: str, is_inverted: bool) -> None:
    """Brightness in 0..1 as a 12-bit radiograph; inverted ones are MONOCHROME1."""
    pydicom = require("pydicom", "image", ASKED_BY)
    white = 2**STORED_BITS - 1
    shown_HW = 1 - light_HW if is_inverted else light_HW
    dataset = pydicom.Dataset()
    dataset.SOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    names = {"SOPInstanceUID": "", "SeriesInstanceUID": "series", "StudyInstanceUID": "study"}
    for name, part in names.items():
        uid = pydicom.uid.generate_uid(UID_ROOT, entropy_srcs=[patient, file.name, part])
        setattr(dataset, name, uid)
    dataset.update(_chest_facts(pydicom, patient))
    dataset.PhotometricInterpretation = "MONOCHROME1" if is_inverted else "MONOCHROME2"
    dataset.Rows, dataset.Columns = light_HW.shape
    dataset.PixelData = (shown_HW * white).round().astype("<u2").tobytes()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)


def write_nifti(file: Path, volume_DHW: np.ndarray) -> None:
    """Hounsfield units as int16 NIfTI (.nii.gz), axes right, anterior, superior."""
    nibabel = require("nibabel", "image", ASKED_BY)
    affine = np.diag([*VOXEL_MM, 1.0])
    image = nibabel.Nifti1Image(np.transpose(volume_DHW, (2, 1, 0)), affine)
    image.header.set_xyzt_units("mm")
    file.write_bytes(gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))


def write_wfdb(file: Path, wave_LS: np.ndarray, *, rate_hz: int, leads: tuple[str, ...]) -> None:
    """Millivolts as a WFDB record, a header and a signal file of format 16.

    Args:
        file: of the record, without suffix.
        wave_LS: the samples.
        rate_hz: samples per second.
        leads: their names.
    """
    stored_LS = (wave_LS * UNITS_PER_MV).round().clip(-32767, 32767).astype("<i2")
    file.with_suffix(".dat").write_bytes(np.ascontiguousarray(stored_LS.T).tobytes())
    lines = [f"{file.name} {len(leads)} {rate_hz} {wave_LS.shape[1]}"]
    for lead, values_S in zip(leads, stored_LS, strict=True):
        checksum = int(values_S.sum(dtype=np.int64).astype(np.int16))
        gain = f"{UNITS_PER_MV}(0)/mV"
        lines.append(f"{file.name}.dat 16 {gain} 16 0 {values_S[0]} {checksum} 0 {lead}")
    file.with_suffix(".hea").write_text("\n".join(lines) + "\n", encoding="ascii")


def _chest_facts(pydicom: Any, patient: str) -> Any:
    """What all radiographs say of themselves."""
    facts = pydicom.Dataset()
    facts.PatientID = patient
    facts.PatientName = "Toy^Hospital"
    facts.Modality = "DX"
    facts.BodyPartExamined = "CHEST"
    facts.SamplesPerPixel = 1
    facts.BitsAllocated, facts.BitsStored, facts.HighBit = 16, STORED_BITS, STORED_BITS - 1
    facts.PixelRepresentation = 0
    facts.RescaleIntercept, facts.RescaleSlope = 0, 1
    facts.WindowCenter, facts.WindowWidth = 2 ** (STORED_BITS - 1), 2**STORED_BITS
    facts.ImagerPixelSpacing = [CHEST_MM, CHEST_MM]
    return facts
