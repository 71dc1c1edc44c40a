"""Every image that cannot be used is named in one sentence, or counts as missing."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from remind.cohort import read_cohort
from remind.cohort.describe import describe
from remind.cohort.kinds.decoding import FileDecoder
from remind.cohort.store import RecordStore
from remind.errors import InputError
from remind.terminal import description
from tests.cohort.make_files import (
    DICOM_FILES,
    blob_images,
    save_nifti,
    save_npy,
    save_png,
    write_files_cohort,
)

SECTION = 'kind = "image"\nsize = [8, 8]\n'


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMIND_CACHE", str(tmp_path / "cache"))


def truncated(file: Path, source: Path) -> None:
    data = source.read_bytes()
    file.write_bytes(data[: len(data) * 2 // 3])


def noise_png(file: Path) -> Path:
    return save_png(file, np.random.default_rng(0).integers(0, 255, (40, 40)).astype(np.uint8))


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "absent": (lambda file: None, "which does not exist: correct the path"),
    "empty": (lambda file: file.touch(), "which is empty"),
    "text": (lambda file: file.write_text("hello"), "which is neither PNG, JPEG, DICOM nor NPY"),
    "truncated PNG": (
        lambda file: truncated(file, noise_png(file.with_name("whole.png"))),
        "which is damaged or truncated (",
    ),
    "truncated DICOM": (
        lambda file: truncated(file, DICOM_FILES / "MR_small.dcm"),
        "which is damaged or truncated (The number of bytes of pixel data is less than expected",
    ),
    "no decoder": (
        lambda file: file.write_bytes((DICOM_FILES / "MR_small_jpeg_ls_lossless.dcm").read_bytes()),
        'which is compressed as "JPEG-LS Lossless Image Compression", for which no decoder is '
        "installed: pip install pyjpegls, or convert it to an uncompressed transfer syntax",
    ),
    "decoder of other bits": (
        lambda file: file.write_bytes((DICOM_FILES / "JPGExtended.dcm").read_bytes()),
        'which is compressed as "JPEG Extended (Process 2 and 4)" and cannot be decompressed (',
    ),
    "report": (
        lambda file: file.write_bytes((DICOM_FILES / "test-SR.dcm").read_bytes()),
        "which is a DICOM file without an image",
    ),
    "infinite": (
        lambda file: save_npy(file, np.full((9, 9), np.inf)),
        "which holds NaN or infinity: write finite intensities",
    ),
    "four axes": (
        lambda file: save_npy(file, np.zeros((2, 3, 9, 9))),
        "which holds an array of 2 x 3 x 9 x 9, expected an image",
    ),
    "objects": (
        lambda file: save_npy(file, np.array([{}])),
        "which is not a whole NPY file of numbers",
    ),
    "folder": (lambda file: file.mkdir(), "which cannot be read: Is a directory"),
    "volume": (
        lambda file: save_nifti(file.with_suffix(".nii"), np.zeros((4, 4, 4), np.int16)).rename(
            file
        ),
        'which is neither PNG, JPEG, DICOM nor NPY: NIfTI is a modality of kind "volume"',
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_is_named_or_left_out(name: str, tmp_path: Path) -> None:
    make, reason = BAD[name]
    names = blob_images(tmp_path, 10)
    names[7] = f"{names[6]};bad"
    make(tmp_path / "bad")
    folder = write_files_cohort(tmp_path, names, SECTION)
    filters = list(warnings.filters)
    with pytest.raises(InputError) as caught:
        read_cohort(folder)
    assert warnings.filters == filters  # those of readers are back
    sentence = f'{folder / "patients.parquet"}, row 8: column "path" names bad, {reason}'
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)
    lenient = (folder / "cohort.toml").read_text() + 'on_invalid = "missing"\n'
    (folder / "cohort.toml").write_text(lenient)
    cohort = read_cohort(folder)
    assert cohort.values["pictures"].items.counts_N.tolist() == [1] * 10  # of two, the good one
    (told,) = cohort.invalid["pictures"]
    assert told.startswith(sentence)


TOML_ERRORS = {
    'column = "path"\ntable = "long.csv"': "needs either a column of paths or a table of them",
    'column = "path"\nuntil = 3': "has until, which needs a table: remove it",
    'table = "long.csv"\nuntil = 3': "has since or until, which needs time: name the column of",
    'table = "long.csv"\ntime = "t"': "has time, which has a meaning with since or until only",
    'column = "path"\nsize = [64]': "size needs 2 numbers above 0, got [64]",
    'column = "path"\nwindow = [40.0, 0.0]': "window needs a centre and a width above 0",
    'column = "path"\nnetwork = "resnet81"': 'network "resnet81" is unknown; did you mean "resnet1',
    'column = "path"\ntrain = false': "train = false needs weights",
    'column = "path"\nweights = "w.pt"': "weights need a network of MONAI",
}


@pytest.mark.parametrize("keys", TOML_ERRORS)
def test_a_mistake_in_the_section_is_named(keys: str, tmp_path: Path) -> None:
    folder = write_files_cohort(tmp_path, blob_images(tmp_path, 5), SECTION.replace("size", "#"))
    toml = (folder / "cohort.toml").read_text().replace('column = "path"', keys)
    (folder / "cohort.toml").write_text(toml)
    with pytest.raises(InputError) as caught:
        read_cohort(folder)
    assert "[modalities.pictures]" in str(caught.value)
    assert TOML_ERRORS[keys] in str(caught.value)


def test_numbers_and_spacing_are_asked_for_in_words(tmp_path: Path) -> None:
    folder = write_files_cohort(tmp_path, [1.5, 2.5, 3.5], SECTION)
    with pytest.raises(InputError, match="holds values of type double, expected paths of files"):
        read_cohort(folder)
    section = SECTION + "spacing_mm = [1.0, 1.0]\n"
    folder = write_files_cohort(tmp_path, blob_images(tmp_path, 5), section)
    with pytest.raises(InputError, match="does not say its pixel spacing, which spacing_mm needs"):
        read_cohort(folder)


@pytest.mark.parametrize("split", ["val = 0.2", 'column = "split"'])
def test_a_patient_of_whom_only_bad_images_are_there_is_left_out(
    split: str, tmp_path: Path
) -> None:
    """A folder of damaged files stops nobody who asked for "missing"; a bare row still does."""
    files = [str(tmp_path / name) for name in blob_images(tmp_path, 30)]
    for i in (4, 9):
        Path(files[i]).write_bytes(b"no picture")
    frame = pd.DataFrame({"id": [f"p{i}" for i in range(30)], "y": [i % 2 for i in range(30)]})
    frame["split"] = ["train", "val", "test"] * 10
    frame["path"] = [*files[:29], f"{files[4]};{files[29]}"]  # of the last, one is left
    frame.to_parquet(tmp_path / "patients.parquet")
    roles = 'name = "x"\ntable = "patients.parquet"\nid = "id"\nlabel = "y"\ntask = "binary"\n'
    section = f'[modalities.pictures]\n{SECTION}column = "path"\non_invalid = "missing"\n'
    (tmp_path / "cohort.toml").write_text(f"[cohort]\n{roles}[split]\n{split}\n{section}")
    cohort = read_cohort(tmp_path)
    assert cohort.left_out == ("p4", "p9")
    assert cohort.ids.tolist() == [f"p{i}" for i in range(30) if i not in (4, 9)]
    assert cohort.present_NM.all()
    assert len(cohort.invalid["pictures"]) == 3
    shown = io.StringIO()
    facts = describe(cohort)
    assert facts["left_out"] == ["p4", "p9"]
    Console(file=shown, width=200).print(description(facts))
    assert "2 patients are left out, for all that they have is invalid (id p4" in shown.getvalue()
    frame.loc[3, "path"] = ""
    frame.to_parquet(tmp_path / "patients.parquet")
    with pytest.raises(InputError, match=r"row 4: one patient has no modality at all \(id p3\)"):
        read_cohort(tmp_path)


def test_whatever_a_reader_raises_is_said_of_the_file(tmp_path: Path) -> None:
    """A reader of files is not to be trusted: one file never ends the reading of the others."""

    def decode(path: Path) -> tuple[np.ndarray, dict[str, str]]:
        if path.name == "0.png":
            raise TypeError("object of type 'DSfloat' has no len()")
        return np.zeros(2, np.float32), {}

    paths = [tmp_path / name for name in blob_images(tmp_path, 2)]
    store = RecordStore("odd", (2,), np.float32)
    bad, good = FileDecoder(store=store, parts=lambda path: [path], decode=decode).keys(paths)
    assert str(bad) == "is damaged or truncated (object of type 'DSfloat' has no len())"
    assert isinstance(good, str)


def test_files_of_a_table_are_of_the_hours_asked_for(tmp_path: Path) -> None:
    """A file outside of them is not even opened; a row without a file needs no time."""
    names = blob_images(tmp_path, 10)
    folder = write_files_cohort(tmp_path, names, SECTION)
    rows = [(i, name, 1.0 + i) for i, name in enumerate(names)]
    rows += [(0, "gone.png", -0.5), (1, "gone.png", 99.0), (2, None, None), (3, names[0], 0.0)]
    long = pd.DataFrame(rows, columns=["pid", "file", "hours"])
    long.to_csv(folder / "long.csv", index=False)
    keys = 'table = "long.csv"\npath = "file"\ntime = "hours"\nsince = 0\nuntil = 9\n'
    toml = (folder / "cohort.toml").read_text().replace('column = "path"\n', keys)
    (folder / "cohort.toml").write_text(toml)
    counts = read_cohort(folder).values["pictures"].items.counts_N
    assert counts.tolist() == [1, 1, 1, 2, 1, 1, 1, 1, 1, 0]
    long.astype({"hours": object}).replace({"hours": {2.0: "noon"}}).to_csv(
        folder / "long.csv", index=False
    )
    with pytest.raises(InputError, match='row 2: the time "hours" is "noon", which is not a num'):
        read_cohort(folder)
    (folder / "cohort.toml").write_text(toml + 'on_invalid = "missing"\n')
    assert read_cohort(folder).values["pictures"].items.counts_N.tolist() == [1, 0, *counts[2:]]
