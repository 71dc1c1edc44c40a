"""Volumes of every format lie the same way, whatever way their files do."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import RLELossless

from remind.cohort import Encoding, describe, flat_table, read_cohort
from remind.cohort.formats import FormatError
from remind.cohort.formats.geometry import canonical, resample, stretched
from remind.cohort.kinds.image import ImageSpec, decode_image
from remind.cohort.kinds.volume import VolumeSpec, decode_volume
from remind.errors import InputError
from tests.cohort.make_files import (
    DICOM_FILES,
    blob_volumes,
    dicom,
    save_nifti,
    save_npy,
    save_series,
    write_files_cohort,
)

WHITE = 65535
SECTION = 'kind = "volume"\nsize = [4, 6, 8]\n'


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMIND_CACHE", str(tmp_path / "cache"))


def record(path: Path, **keys: object) -> np.ndarray:
    """The record (D, H, W) of a file or folder as intensities in [0, 1]."""
    spec = VolumeSpec.model_validate({"kind": "volume", "column": "x", **keys})
    return decode_volume(spec, path)[0][0].astype(np.float64) / WHITE


def hounsfield(shape: Sequence[int] = (5, 6, 7)) -> np.ndarray:
    """Random HU (D, H, W), indices growing to superior, posterior and left as in axial CT."""
    return np.random.default_rng(0).integers(-1000, 1000, tuple(shape)).astype(np.int16)


def test_nifti_and_a_dicom_series_of_one_patient_are_one_record(tmp_path: Path) -> None:
    values = hounsfield()
    series = save_series(tmp_path / "series", values, (2.0, 0.5, 0.75))
    (series / "README.txt").write_text("not a slice")
    (series / "._0.dcm").write_bytes(b"\0\5\x16\7" + bytes(200))  # what macOS leaves on a disk
    (series / "DICOMDIR").write_bytes((DICOM_FILES / "CT_small.dcm").read_bytes())
    lps = np.diag([-0.75, -0.5, 2.0, 1])  # x to the left, y to posterior
    nifti = save_nifti(tmp_path / "same.nii.gz", values.transpose(2, 1, 0), lps)
    expected = ((values[:, ::-1, ::-1] + 160) / 400.0).clip(0, 1)
    for path in (series, nifti):
        found = record(path, size=[5, 6, 7], window=[40.0, 400.0])
        np.testing.assert_allclose(found, expected, atol=2 / WHITE)
    keys = {"size": [6, 4, 4], "window": [0.0, 2000.0], "spacing_mm": [1.0, 1.0, 1.0]}
    at_1_mm = record(nifti, **keys)
    np.testing.assert_allclose(record(series, **keys), at_1_mm, atol=2 / WHITE)
    assert at_1_mm[:, 3].max() == 0.0  # 3 mm of rows in 4: a row of padding
    assert at_1_mm[:, 1:3].min() > 0.0


@settings(deadline=None)
@given(axes=st.permutations([0, 1, 2]), signs=st.tuples(*[st.sampled_from([-1, 1])] * 3))
def test_every_orientation_of_a_volume_is_turned_to_one(
    axes: list[int], signs: tuple[int, int, int]
) -> None:
    """Axis a of the file runs along world axis axes[a], in the direction of signs[a]."""
    world = np.random.default_rng(0).normal(size=(3, 4, 5))  # right, anterior, superior
    values = world.transpose(axes)
    affine = np.zeros((3, 3))
    for a, sign in enumerate(signs):
        affine[axes[a], a] = sign * (1 + axes[a])
        values = np.flip(values, a) if sign < 0 else values
    turned, spacing_mm = canonical(values, affine)
    np.testing.assert_array_equal(turned, world.transpose(2, 1, 0))
    assert spacing_mm == (3.0, 2.0, 1.0)


@settings(deadline=None)
@given(num=st.integers(1, 12), wanted=st.integers(1, 30), seed=st.integers(0, 999))
def test_resampling_interpolates_between_places_and_averages_over_them(
    num: int, wanted: int, seed: int
) -> None:
    values = np.random.default_rng(seed).random(num)
    found = resample(values, [wanted], stretched([num], [wanted]))
    place = (np.arange(wanted) + 0.5) * num / wanted - 0.5
    if wanted >= num:
        np.testing.assert_allclose(found, np.interp(place, np.arange(num), values), atol=1e-5)
    assert values.min() - 1e-6 <= found.min() <= found.max() <= values.max() + 1e-6
    np.testing.assert_allclose(resample(np.ones(num), [wanted], [num / wanted]), 1.0, atol=1e-6)
    wide = resample(values, [3 * num], [1.0])
    np.testing.assert_allclose(wide, np.pad(values, num), atol=1e-6)


def test_a_volume_without_a_window_is_scaled_by_its_own_percentiles(tmp_path: Path) -> None:
    values = np.arange(1000.0).reshape(10, 10, 10)
    values[0, 0, 0], values[9, 9, 9] = -1e6, 1e6
    save_npy(tmp_path / "v.npy", values)
    found = record(tmp_path / "v.npy", size=[10, 10, 10])
    low, high = np.percentile(values, [0.5, 99.5])
    np.testing.assert_allclose(found, ((values - low) / (high - low)).clip(0, 1), atol=2 / WHITE)


def test_frames_of_one_dicom_file_are_slices(tmp_path: Path) -> None:
    dataset = dicom("rtdose.dcm")  # 15 frames of 10 x 10
    found = record(DICOM_FILES / "rtdose.dcm", size=[15, 10, 10])
    stored = dataset.pixel_array.astype(np.float64)
    low, high = np.percentile(stored, [0.5, 99.5])
    expected = ((stored - low) / (high - low)).clip(0, 1)[:, ::-1, ::-1]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_spacing_of_one_number_is_unknown(tmp_path: Path) -> None:
    dataset = dicom("CT_small.dcm")
    dataset.PixelSpacing = 0.5
    dataset.save_as(tmp_path / "ct.dcm")
    image = ImageSpec.model_validate({"kind": "image", "column": "x"})
    assert "spacing_mm" not in decode_image(image, tmp_path / "ct.dcm")[1]
    assert record(tmp_path / "ct.dcm", size=[1, 8, 8]).max() > 0
    with pytest.raises(FormatError, match="does not say its pixel spacing, which spacing_mm needs"):
        record(tmp_path / "ct.dcm", spacing_mm=[1.0, 1.0, 1.0])


def test_of_an_image_of_many_frames_only_the_first_is_decoded(tmp_path: Path) -> None:
    dataset = dicom("CT_small.dcm")
    dataset.compress(RLELossless)
    (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
    dataset.save_as(tmp_path / "one.dcm")
    dataset.NumberOfFrames, dataset.PixelData = 2, encapsulate([frame, b"no frame at all!"])
    dataset.save_as(tmp_path / "two.dcm")
    image = ImageSpec.model_validate({"kind": "image", "column": "x", "size": [10, 10]})
    found = [decode_image(image, tmp_path / f"{name}.dcm")[0] for name in ("one", "two")]
    np.testing.assert_array_equal(found[0], found[1])
    with pytest.raises(FormatError, match="cannot be decompressed"):
        record(tmp_path / "two.dcm")


def other_series(folder: Path) -> None:
    dataset = dicom("CT_small.dcm")
    dataset.SeriesInstanceUID = "1.2.3"
    dataset.save_as(folder / "other.dcm")


def same_place(folder: Path) -> None:
    (folder / "again.dcm").write_bytes((folder / "0.dcm").read_bytes())


def tilted(folder: Path) -> None:
    import pydicom

    dataset = pydicom.dcmread(folder / "0.dcm")
    dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    dataset.save_as(folder / "0.dcm")


def half(folder: Path) -> None:
    content = (folder / "1.dcm").read_bytes()
    (folder / "1.dcm").write_bytes(content[: len(content) - 2000])


def bad_series(change: Callable[[Path], None]) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        change(save_series(path, hounsfield((3, 4, 4)), (1.0, 1.0, 1.0)))

    return make


def truncated(path: Path) -> None:
    file = save_nifti(path.with_suffix(".nii.gz"), hounsfield((20, 20, 20)))
    file.write_bytes(file.read_bytes()[:5000])
    file.rename(path)


BAD: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "4-D NIfTI": (
        "bad.nii",
        lambda path: save_nifti(path, np.zeros((4, 4, 4, 3), np.int16)),
        "which is 4-D (4 x 4 x 4 x 3): give one 3-D volume per file",
    ),
    "4-D NPY": ("bad", lambda path: save_npy(path, np.zeros((2, 2, 2, 2))), "which is 4-D"),
    "NaN": (
        "bad.nii",
        lambda path: save_nifti(path, np.full((4, 4, 4), np.nan, np.float32)),
        "which holds NaN or infinity",
    ),
    "complex": (
        "bad.nii",
        lambda path: save_nifti(path, np.zeros((4, 4, 4), np.complex64)),
        "which holds values of type complex64, expected real numbers",
    ),
    "truncated": ("bad.nii.gz", truncated, "which is damaged or truncated ("),
    "absent": ("bad", lambda path: None, "which does not exist"),
    "nothing in the folder": ("bad", Path.mkdir, "which is a folder without a DICOM file"),
    "two series": (
        "bad",
        bad_series(other_series),
        "which holds 2 series (0.dcm and other.dcm differ): give each its own folder",
    ),
    "4-D series": (
        "bad",
        bad_series(same_place),
        "which holds several slices at one position (0.dcm and again.dcm), so it is 4-D",
    ),
    "localizer": (
        "bad",
        bad_series(tilted),
        "which has slices of different orientations (0.dcm and 1.dcm): leave out the localizers",
    ),
    "damaged slice": (
        "bad",
        bad_series(half),
        "which holds 1.dcm, which is a DICOM file without an image",
    ),
    "missing slice": (
        "bad",
        lambda path: (save_series(path, hounsfield(), (3.0, 1.0, 1.0)) / "4.dcm").unlink(),
        "which lacks slices: two (",
    ),
    "colour": (
        "bad",
        lambda path: path.write_bytes((DICOM_FILES / "SC_rgb_rle.dcm").read_bytes()),
        "which holds colour, expected a grey volume",
    ),
    "picture": ("bad", lambda path: path.write_bytes(b"\x89PNG" + bytes(500)), "which is neither"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_volume_is_named_or_counts_as_missing(name: str, tmp_path: Path) -> None:
    file, make, reason = BAD[name]
    names = blob_volumes(tmp_path, 5)
    make(tmp_path / file)
    folder = write_files_cohort(tmp_path, [*names[:4], file], SECTION)
    with pytest.raises(InputError) as caught:
        read_cohort(folder)
    sentence = f'{folder / "patients.parquet"}, row 5: column "path" names {file}, {reason}'
    assert str(caught.value).startswith(sentence)
    lenient = (folder / "cohort.toml").read_text() + 'on_invalid = "missing"\n'
    (folder / "cohort.toml").write_text(lenient)
    assert read_cohort(folder).present_NM[:, 1].tolist() == [True] * 4 + [False]


def test_a_slice_that_changes_makes_another_volume(tmp_path: Path) -> None:
    names = [*blob_volumes(tmp_path, 4), "series"]
    save_series(tmp_path / "series", hounsfield(), (1.0, 1.0, 1.0))
    folder = write_files_cohort(tmp_path, names, SECTION)
    before = read_cohort(folder)
    assert read_cohort(folder).fingerprint == before.fingerprint
    (tmp_path / "series" / "1.dcm").unlink()  # the last in space: none is missing between
    assert read_cohort(folder).fingerprint != before.fingerprint
    facts = describe(before)["modalities"][1]["facts"]
    assert facts["type"] == {"nifti": 4, "dicom": 1}
    assert facts["shape"] == {"16 x 16 x 16": 4, "5 x 6 x 7": 1}
    assert facts["record"] == [1, 4, 6, 8]


def test_plain_columns_are_a_coarse_volume_and_its_intensities(tmp_path: Path) -> None:
    folder = write_files_cohort(tmp_path, blob_volumes(tmp_path, 10), SECTION)
    cohort = read_cohort(folder)
    encoding = Encoding.fit(cohort, cohort.rows("train"))
    flat = flat_table(encoding, cohort)
    batch = encoding.transform(cohort).batch(np.array([3])).values["volume"]["pictures"]
    assert batch.x_V.shape == (1, 1, 4, 6, 8)
    (item,) = encoding.schemas["volume"].modalities
    unit = batch.x_V.numpy()[0, 0] * item.pixel_std[0] + item.pixel_mean[0]
    assert flat.x_NF[3, flat.names.index("pictures_std")] == pytest.approx(unit.std(), abs=1e-5)
    assert flat.x_NF[3, flat.names.index("pictures_p90")] == pytest.approx(
        np.percentile(unit, 90), abs=1e-5
    )
    columns = [name for name in flat.names if name.startswith("pictures_cell_")]
    assert len(columns) == 4 * 4 * 4
    means = flat.x_NF[3, [flat.names.index(name) for name in columns]]
    assert means.mean() == pytest.approx(unit.mean(), abs=0.02)
