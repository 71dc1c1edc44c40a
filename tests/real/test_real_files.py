"""Open real files that packages of the extra "dev" ship: DICOM, NIfTI, an ECG, photographs, notes.

pydicom carries CT, MR, ultrasound and more in most transfer syntaxes, and a 12-lead ECG; nibabel an
MR volume; scikit-learn photographs, and descriptions of its data in English.
"""

import warnings
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
import sklearn.datasets

from remind.cohort import Cohort, describe, read_cohort
from remind.errors import InputError
from remind.methods import METHODS
from remind.sources.toy_hospital.files import write_wfdb
from remind.training import fit_run, open_run, with_overrides

DICOM = Path(str(resources.files("pydicom"))) / "data" / "test_files"
SCOUTS = DICOM / "dicomdirtests" / "98892003" / "MR700"
ANATOMY = Path(str(resources.files("nibabel"))) / "tests" / "data" / "anatomical.nii"
PHOTOGRAPHS = Path(str(resources.files("sklearn"))) / "datasets" / "images"
IMAGES = [
    *(DICOM / f"{name}.dcm" for name in ("CT_small", "MR_small", "MR_small_RLE", "image_dfl")),
    *(DICOM / f"{name}.dcm" for name in ("examples_palette", "examples_rgb_color", "SC_rgb_rle")),
    PHOTOGRAPHS / "china.jpg",
    PHOTOGRAPHS / "flower.jpg",
]
LEADS = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
ECG_HZ = 1000
NUM = 48

HEAD = """\
[cohort]
name = "real"
table = "patients.parquet"
id = "id"
label = "label"
task = "binary"

[split]
column = "split"

[modalities.cells]
kind = "tabular"
columns = ["mean radius", "mean texture"]

"""
PICTURES = """\
[modalities.pictures]
kind = "image"
column = "image"
size = [32, 32]
on_invalid = "missing"
"""
OTHERS = """\
[modalities.volume]
kind = "volume"
column = "volume"
size = [8, 16, 16]

[modalities.ecg]
kind = "signal"
column = "ecg"
leads = ["I", "V1", "V6"]
rate = 50.0
seconds = 2.0

[modalities.notes]
kind = "text"
column = "note"
"""


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REMIND_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def patients(num: int) -> pd.DataFrame:
    """The first patients of the Wisconsin breast cancer data, two of their measurements."""
    data = sklearn.datasets.load_breast_cancer(as_frame=True)
    frame = data.frame[["mean radius", "mean texture"]].iloc[:num].copy()
    split = np.array(["train", "train", "train", "val", "test"])[np.arange(num) % 5]
    return frame.assign(id=range(num), label=data.target.iloc[:num], split=split)


def write_cohort(folder: Path, frame: pd.DataFrame, toml: str) -> Path:
    (folder / "cohort.toml").write_text(toml)
    frame.to_parquet(folder / "patients.parquet")
    return folder


def ecg_pieces(folder: Path, num: int) -> list[str]:
    """WFDB records of 2 s out of the rhythm strip that pydicom ships."""
    dataset = pydicom.dcmread(DICOM / "waveform_ecg.dcm")
    first = dataset.WaveformSequence[0]
    names = [item.ChannelSourceSequence[0].CodeMeaning for item in first.ChannelDefinitionSequence]
    lead_of = {str(name).split()[1]: place for place, name in enumerate(names)}
    wave_SL = dataset.waveform_array(0) / 1000  # microvolts
    assert first.SamplingFrequency == ECG_HZ
    wave_LS = wave_SL[:, [lead_of[lead] for lead in LEADS]].T
    starts = np.linspace(0, wave_LS.shape[1] - 2 * ECG_HZ, num).astype(int)
    for number, start in enumerate(starts.tolist()):
        piece_LS = wave_LS[:, start : start + 2 * ECG_HZ]
        write_wfdb(folder / f"ecg{number}", piece_LS, rate_hz=ECG_HZ, leads=LEADS)
    return [f"ecg{number}" for number in range(num)]


def paragraphs() -> list[str]:
    """English prose: the descriptions of scikit-learn's data."""
    loaders = (sklearn.datasets.load_breast_cancer, sklearn.datasets.load_diabetes)
    text = "\n\n".join(str(load()["DESCR"]) for load in loaders)
    return [part for part in text.split("\n\n") if len(part) > 60]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("real")
    rng = np.random.default_rng(0)
    pools = {
        "image": [str(path) for path in IMAGES],
        "volume": [str(ANATOMY), str(DICOM / "rtdose.dcm")],
        "ecg": ecg_pieces(place, 6),
        "note": paragraphs(),
    }
    frame = patients(NUM)
    for name, pool in pools.items():
        own = pd.Series([pool[i % len(pool)] for i in range(NUM)], index=frame.index, dtype=object)
        frame[name] = own.where((np.arange(NUM) < 6) | (rng.random(NUM) < 0.6), None)
    return write_cohort(place, frame, HEAD + PICTURES + OTHERS.split("[modalities.notes]")[0])


@pytest.fixture(scope="module")
def cohort(folder: Path) -> Cohort:
    return read_cohort(folder)


def test_every_dicom_file_is_an_image_or_is_refused_in_a_sentence(tmp_path: Path) -> None:
    files = sorted(DICOM.glob("*.dcm"))
    assert len(files) > 60
    frame = patients(len(files)).assign(image=[str(file) for file in files])
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # of pydicom, about files that are bad on purpose
        cohort = read_cohort(write_cohort(tmp_path, frame, HEAD + PICTURES))
    observed = {
        file.name for file, is_there in zip(files, cohort.present_NM[:, 1], strict=True) if is_there
    }
    refused = cohort.invalid["pictures"]
    assert len(observed) + len(refused) == len(files)
    for sentence in refused:
        assert 'column "image" names' in sentence
        assert "\n" not in sentence
        assert "Traceback" not in sentence
    for part in ("rtplan.dcm", "reportsi.dcm", "waveform_ecg.dcm"):
        assert any(part in s and "is a DICOM file without an image" in s for s in refused)
    assert {file.name for file in IMAGES[:7]} <= observed


def test_scouts_of_several_directions_are_no_volume(tmp_path: Path) -> None:
    frame = patients(10).assign(volume=[str(ANATOMY)] * 9 + [str(SCOUTS)])
    toml = HEAD + OTHERS.split("[modalities.ecg]")[0]
    with pytest.raises(InputError, match=r"row 10: .* has slices of different orientations"):
        read_cohort(write_cohort(tmp_path, frame, toml))


def test_what_the_files_are_is_described(cohort: Cohort) -> None:
    facts = {item["name"]: item["facts"] for item in describe(cohort)["modalities"]}
    assert set(facts["pictures"]["type"]) == {"dicom", "jpeg"}
    assert {"CT", "MR", "US"} <= set(facts["pictures"]["modality"])
    assert set(facts["volume"]["type"]) == {"nifti", "dicom"}
    assert facts["ecg"]["rate_hz"] == {"1000.0": 6}
    assert not cohort.invalid


def test_a_cohort_of_real_files_is_fitted_kept_and_predicted(
    folder: Path, cohort: Cohort, tmp_path: Path
) -> None:
    keys = ["epochs=2", "width=16", "hidden=16", "members=2"]
    settings = with_overrides(METHODS["default"].default_settings(), keys)
    run = fit_run(folder, METHODS["default"], settings, tmp_path / "run")
    frame = run.predictions("test", cohort)
    assert np.isfinite(frame[["prob_0", "prob_1"]].to_numpy()).all()
    again = open_run(tmp_path / "run", METHODS)
    pd.testing.assert_frame_equal(again.predictions("test", again.cohort()), frame)
