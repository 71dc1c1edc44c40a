"""Images of every format become records once, and every bad one is named."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from remind.cohort import (
    Cohort,
    Encoding,
    cohort_from_frame,
    describe,
    flat_table,
    load_spec,
    read_cohort,
    read_table_for_prediction,
)
from remind.cohort.kinds import decoding, image
from remind.cohort.kinds.image import ImageSpec, decode_image
from tests.cohort.make_files import (
    DICOM_FILES,
    blob_images,
    dicom,
    save_png,
    write_files_cohort,
)

WHITE = 65535
SECTION = 'kind = "image"\nsize = [8, 8]\n'


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMIND_CACHE", str(tmp_path / "cache"))


def record(file: Path, **keys: object) -> np.ndarray:
    """The record of a file as intensities in [0, 1]."""
    spec = ImageSpec.model_validate({"kind": "image", "column": "x", **keys})
    return decode_image(spec, file)[0].astype(np.float64) / WHITE


def pictures(folder: Path, num: int = 20, section: str = SECTION) -> Cohort:
    return read_cohort(write_files_cohort(folder, blob_images(folder, num), section))


def count_decoding(monkeypatch: pytest.MonkeyPatch, at_most: float = np.inf) -> list[str]:
    """The names of files that are decoded from now on; more than `at_most` is a kill."""
    seen: list[str] = []

    def decode(spec: ImageSpec, path: Path) -> tuple[np.ndarray, dict]:
        seen.append(path.name)
        if len(seen) > at_most:
            raise KeyboardInterrupt
        return decode_image(spec, path)

    monkeypatch.setattr(image, "decode_image", decode)
    return seen


def test_monochrome1_is_monochrome2_turned_over(tmp_path: Path) -> None:
    before = dicom("examples_overlay.dcm")
    for window in ("dicom", "full", [450.0, 200.0]):
        bright = record(DICOM_FILES / "examples_overlay.dcm", window=window)
        before.PhotometricInterpretation = "MONOCHROME1"
        before.save_as(tmp_path / "dark.dcm")
        dark = record(tmp_path / "dark.dcm", window=window, keep_aspect=True)
        inside = slice(13, 51)  # 300 x 484 in 64 x 64: the rows that are not padding
        np.testing.assert_allclose(bright[:, inside], 1 - dark[:, inside], atol=2 / WHITE)
        assert bright.std() > 0.01


def test_dicom_values_are_rescaled_before_the_window(tmp_path: Path) -> None:
    """Against the formula of DICOM PS3.3, C.11.2.1.2.1 on the stored numbers."""
    dataset = dicom("CT_small.dcm")
    stored = dataset.pixel_array.astype(np.float64)
    dataset.RescaleSlope, dataset.RescaleIntercept = 2, -500
    dataset.WindowCenter, dataset.WindowWidth = [300, 40], [1500, 80]
    dataset.save_as(tmp_path / "ct.dcm")
    hu = 2 * stored - 500
    for window, low, width in (("dicom", 300 - 0.5 - 1499 / 2, 1499), ([40.0, 400.0], -160, 400)):
        unit = ((hu - low) / width).clip(0, 1)
        assert 0.05 < unit.mean() < 0.95
        found = record(tmp_path / "ct.dcm", size=[128, 128], window=window)[0]
        np.testing.assert_allclose(found, unit, atol=2 / WHITE)
    full = record(tmp_path / "ct.dcm", size=[128, 128], window="full")[0]
    np.testing.assert_allclose(full, (stored + 32768) / 65535, atol=2 / WHITE)


def test_sixteen_bits_stay_sixteen_bits(tmp_path: Path) -> None:
    values = (np.arange(64).reshape(8, 8) + 30000).astype(np.uint16)
    save_png(tmp_path / "deep.png", values)
    np.save(tmp_path / "deep.npy", values)
    for name in ("deep.png", "deep.npy"):
        kept = record(tmp_path / name, size=[8, 8])[0] * WHITE
        np.testing.assert_array_equal(kept.round(), values)


def test_formats_agree_on_grey_and_colour(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    smooth = np.kron(rng.integers(0, 256, (4, 4, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    files = {name: tmp_path / f"c.{name}" for name in ("png", "jpeg", "npy", "rgba.png")}
    save_png(files["png"], smooth)
    Image.fromarray(smooth).save(files["jpeg"], quality=98, subsampling=0)
    np.save(files["npy"], np.moveaxis(smooth, 2, 0))
    save_png(files["rgba.png"], np.dstack([smooth, np.full((64, 64), 77, np.uint8)]))
    colour = np.moveaxis(smooth, 2, 0) / 255
    luma = np.tensordot([0.299, 0.587, 0.114], colour, 1)
    for name, file in files.items():
        tolerance = 0.03 if name == "jpeg" else 2 / WHITE
        np.testing.assert_allclose(record(file, channels=3), colour, atol=tolerance)
        np.testing.assert_allclose(record(file)[0], luma, atol=tolerance)
    save_png(tmp_path / "grey.png", smooth[:, :, 0])
    np.testing.assert_array_equal(
        record(tmp_path / "grey.png", channels=3), np.repeat(record(tmp_path / "grey.png"), 3, 0)
    )


def test_ybr_palettes_and_compressed_dicom_are_decoded() -> None:
    rgb = record(DICOM_FILES / "SC_rgb_dcmtk_+eb+cr.dcm", channels=3)
    for name in ("SC_rgb_jpeg_dcmtk.dcm", "SC_ybr_full_422_uncompressed.dcm", "SC_rgb_rle.dcm"):
        assert np.abs(record(DICOM_FILES / name, channels=3) - rgb).mean() < 0.02
    palette = record(DICOM_FILES / "examples_palette.dcm", channels=3)
    assert palette.std(axis=0).max() > 0.1
    np.testing.assert_array_equal(
        record(DICOM_FILES / "MR_small_RLE.dcm"), record(DICOM_FILES / "MR_small.dcm")
    )


def test_grids_stretch_pad_or_keep_millimetres(tmp_path: Path) -> None:
    wide = np.full((10, 20), 255, np.uint8)
    save_png(tmp_path / "wide.png", wide)
    padded = record(tmp_path / "wide.png", size=[20, 20])[0]
    assert padded.sum(axis=0).tolist() == [10.0] * 20
    assert padded.any(axis=1).tolist() == [False] * 5 + [True] * 10 + [False] * 5
    assert record(tmp_path / "wide.png", size=[20, 20], keep_aspect=False).min() == 1.0
    dataset = dicom("MR_small.dcm")  # 64 x 64 at 0.3125 mm
    whole = record(DICOM_FILES / "MR_small.dcm", size=[64, 64])[0]
    cropped = record(DICOM_FILES / "MR_small.dcm", size=[32, 40], spacing_mm=[0.3125, 0.3125])[0]
    np.testing.assert_array_equal(cropped, whole[16:48, 12:52])
    dataset.PixelSpacing = [0.625, 0.3125]
    dataset.save_as(tmp_path / "tall.dcm")
    tall = record(tmp_path / "tall.dcm", size=[128, 64], spacing_mm=[0.3125, 0.3125])[0]
    pairs = (tall[0::2] + tall[1::2])[1:-1] / 2  # each a quarter of a row beside a row of `whole`
    expected = 0.75 * whole[1:-1] + 0.125 * (whole[:-2] + whole[2:])
    np.testing.assert_allclose(pairs, expected, atol=2 / WHITE)


def test_a_second_reading_decodes_nothing_and_a_changed_file_alone_is_decoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = pictures(tmp_path)
    seen = count_decoding(monkeypatch)
    again = read_cohort(tmp_path)
    assert seen == []
    assert again.fingerprint == before.fingerprint
    save_png(tmp_path / "3.png", np.zeros((32, 32), np.uint8))
    changed = read_cohort(tmp_path)
    assert seen == ["3.png"]
    assert changed.fingerprint != before.fingerprint
    assert_records_are_those_of(changed, "pictures", tmp_path)
    other = (tmp_path / "cohort.toml").read_text().replace("[8, 8]", "[8, 9]")
    (tmp_path / "cohort.toml").write_text(other)
    resized = read_cohort(tmp_path)
    assert len(seen) == 21  # other records, so all files anew
    assert resized.fingerprint != changed.fingerprint


def assert_records_are_those_of(cohort: Cohort, name: str, folder: Path) -> None:
    raw = cohort.values[name]
    records = raw.store.read(raw.items.columns["place"])[:, 0] / WHITE
    for i in range(len(cohort)):
        np.testing.assert_array_equal(records[i], record(folder / f"{i}.png", size=[8, 8])[0])


def test_a_killed_reading_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "CHUNK_FILES", 4)
    folder = write_files_cohort(tmp_path, blob_images(tmp_path, 20), SECTION)
    with monkeypatch.context() as patch:
        count_decoding(patch, at_most=10)
        with pytest.raises(KeyboardInterrupt):
            read_cohort(folder)
    seen = count_decoding(monkeypatch)
    cohort = read_cohort(folder)
    assert 8 <= len(seen) <= 12
    assert_records_are_those_of(cohort, "pictures", tmp_path)


def test_cells_hold_one_path_several_or_none(tmp_path: Path) -> None:
    names = blob_images(tmp_path, 6)
    texts = [f"{names[0]}; {names[1]};", names[2], " ", None, names[2], f"{names[5]};{names[5]}"]
    lists = [[names[1], names[0]], [names[2]], [], None, [names[2]], [names[5], names[5]]]
    cohorts = [
        read_cohort(write_files_cohort(tmp_path, cells, SECTION)) for cells in (texts, lists)
    ]
    long = pd.DataFrame(
        {"pid": [9, 0, 5, 1, 4, 0, 5], "path": [names[i] for i in (3, 0, 5, 2, 2, 1, 5)]}
    )
    long.to_csv(tmp_path / "long.csv", index=False)
    toml = (tmp_path / "cohort.toml").read_text().replace('column = "path"', 'table = "long.csv"')
    (tmp_path / "cohort.toml").write_text(toml)
    cohorts.append(read_cohort(tmp_path))
    for cohort in cohorts:
        assert cohort.values["pictures"].items.counts_N.tolist() == [2, 1, 0, 0, 1, 2]
        assert cohort.present_NM[:, 1].tolist() == [True, True, False, False, True, True]
        assert cohort.fingerprint == cohorts[0].fingerprint  # the order of images is irrelevant
    facts = describe(cohorts[0])["modalities"][1]["facts"]
    assert (facts["files"], facts["distinct"]) == (6, 4)
    assert facts["per_patient"] == {"min": 1, "median": 1.5, "max": 2}
    assert facts["type"] == {"png": 4}
    assert (facts["shape"], facts["bits"]) == ({"32 x 32": 4}, {"8": 4})


def test_the_schema_knows_training_rows_alone_and_comes_back_from_json(tmp_path: Path) -> None:
    cohort = pictures(tmp_path)
    train = cohort.rows("train")
    encoding = Encoding.fit(cohort, train)
    (item,) = encoding.schemas["image"].modalities
    records = np.stack([record(tmp_path / f"{i}.png", size=[8, 8]) for i in train])
    np.testing.assert_allclose(item.pixel_mean, records.mean(), rtol=1e-6)
    np.testing.assert_allclose(item.pixel_std, records.std(), rtol=1e-6)
    for i, moves in ((int(cohort.rows("test")[0]), False), (int(train[0]), True)):
        save_png(tmp_path / f"{i}.png", np.full((32, 32), 255, np.uint8))
        other = read_cohort(tmp_path)
        assert (Encoding.fit(other, train).to_dict() != encoding.to_dict()) == moves
    again = Encoding.from_dict(json.loads(json.dumps(encoding.to_dict())))
    assert again.schemas["image"] == encoding.schemas["image"]


def test_batches_hold_the_observed_images_of_their_patients_standardised(tmp_path: Path) -> None:
    names = blob_images(tmp_path, 20)
    cells = [None if i % 3 == 0 else f"{names[i]};{names[i - 1]}" for i in range(20)]
    cohort = read_cohort(write_files_cohort(tmp_path, cells, SECTION))
    encoding = Encoding.fit(cohort, cohort.rows("train"))
    (item,) = encoding.schemas["image"].modalities
    rows = np.array([5, 3, 4, 5])
    batch = encoding.transform(cohort).batch(rows).values["image"]["pictures"]
    assert batch.owner_V.tolist() == [0, 0, 2, 2, 3, 3]
    expected = {i: record(tmp_path / names[i], size=[8, 8]) for i in (3, 4, 5)}
    found = batch.x_V.numpy() * item.pixel_std[0] + item.pixel_mean[0]
    for place, either in ((0, (5, 4)), (2, (4, 3)), (4, (5, 4))):
        orders = [[expected[i] for i in pair] for pair in (either, either[::-1])]
        assert any(np.allclose(found[place : place + 2], order, atol=1e-5) for order in orders)
    part = encoding.transform(cohort.select(rows)).batch(np.arange(4)).values["image"]["pictures"]
    np.testing.assert_array_equal(part.x_V, batch.x_V)
    hidden = replace(cohort, present_NM=cohort.present_NM & np.array([True, False]))
    empty = encoding.transform(hidden).batch(rows).values["image"]["pictures"]
    assert empty.x_V.shape == (0, 1, 8, 8)
    flat = flat_table(encoding, cohort)
    assert np.isnan(flat.x_NF[3, 1:]).all()
    assert flat.x_NF[5, flat.names.index("pictures_files")] == 2
    mean = np.mean([expected[5], expected[4]])
    assert flat.x_NF[5, flat.names.index("pictures_mean")] == pytest.approx(mean, abs=1e-5)
    cell = np.mean([expected[5][0, 2, 7], expected[4][0, 2, 7]])
    assert flat.x_NF[5, flat.names.index("pictures_cell_2_7")] == pytest.approx(cell, abs=1e-5)


def test_a_table_to_predict_may_lack_the_images_or_bring_its_own(tmp_path: Path) -> None:
    cohort = pictures(tmp_path / "train")
    encoding, spec = Encoding.fit(cohort, cohort.rows("train")), load_spec(tmp_path / "train")
    frame = pd.DataFrame({"pid": [1, 2], "noise": [0.5, 1.0]})
    without = cohort_from_frame(frame, spec, encoding=encoding)
    assert without.present_NM.tolist() == [[True, False]] * 2
    assert encoding.transform(without).batch(np.arange(2)).values["image"][
        "pictures"
    ].x_V.shape == (*(0, 1, 8, 8),)
    blob_images(tmp_path / "new", 2, seed=9)
    frame.assign(path=["1.png", None]).to_csv(tmp_path / "new" / "t.csv", index=False)
    new = read_table_for_prediction(spec, tmp_path / "new" / "t.csv", encoding=encoding)
    assert new.present_NM.tolist() == [[True, True], [True, False]]
    raw = new.values["pictures"]
    np.testing.assert_array_equal(
        raw.store.read(raw.items.columns["place"])[0] / WHITE,
        record(tmp_path / "new" / "1.png", size=[8, 8]),
    )
