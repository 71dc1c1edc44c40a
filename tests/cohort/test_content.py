"""Cropping to content: the breast stays whole, what is burned in goes, other images stay."""

# H, W rows and columns

from pathlib import Path

import numpy as np
import pytest

from remind.cohort import load_spec, read_cohort
from remind.cohort.formats.content import crop_to_content
from remind.errors import InputError
from tests.cohort.make_files import save_png, write_files_cohort


def breast(height: int, width: int) -> np.ndarray:
    """An even half ellipse at the left edge, black around it (H, W, 1)."""
    row_HW, column_HW = np.mgrid[:height, :width]
    inside_HW = ((row_HW / height - 0.5) / 0.3) ** 2 + (column_HW / width / 0.5) ** 2 < 1
    return (0.4 * inside_HW[:, :, None]).astype(np.float32)


@pytest.mark.parametrize(("height", "width"), [(200, 160), (1601, 1203)])
def test_the_breast_is_left_and_what_is_burned_in_goes(height: int, width: int) -> None:
    clean_HWC = breast(height, width)
    burned_HWC = clean_HWC.copy()
    unit = height // 100
    burned_HWC[22 * unit : 26 * unit, -40 * unit : -20 * unit] = 1  # within the box of the breast
    burned_HWC[2 * unit : 8 * unit, 4 * unit : 30 * unit : 2] = 1
    edge = 3 * unit
    burned_HWC[:edge], burned_HWC[-edge:], burned_HWC[:, -edge:] = 1, 1, 1
    found, expected = crop_to_content(burned_HWC), crop_to_content(clean_HWC)
    np.testing.assert_array_equal(found, expected)
    assert found.sum() == pytest.approx(clean_HWC.sum(), rel=1e-5)
    is_row, is_column = (clean_HWC.any(axis=(axis, 2)) for axis in (1, 0))
    assert is_row.sum() <= found.shape[0] < is_row.sum() + 0.06 * height
    assert is_column.sum() <= found.shape[1] < is_column.sum() + 0.06 * height


def test_a_frame_at_the_chest_wall_is_no_part_of_the_breast() -> None:
    framed_HWC = breast(200, 160)
    framed_HWC[:, :5] = 1
    assert crop_to_content(framed_HWC).max() == pytest.approx(0.4)


def test_more_background_changes_nothing() -> None:
    clean_HWC = breast(200, 160)
    wider_HWC = np.pad(clean_HWC, [(40, 30), (0, 90), (0, 0)])
    np.testing.assert_array_equal(crop_to_content(wider_HWC), crop_to_content(clean_HWC))


def test_an_image_without_background_or_content_is_left_as_it_is() -> None:
    rng = np.random.default_rng(0)
    full_HWC = rng.uniform(0.3, 1, (60, 50, 3)).astype(np.float32)
    black_HWC = np.zeros((60, 50, 1), np.float32)
    for image_HWC in (full_HWC, black_HWC):
        np.testing.assert_array_equal(crop_to_content(image_HWC), image_HWC)
    speck_HWC = black_HWC.copy()
    speck_HWC[10, 20] = 1
    assert crop_to_content(speck_HWC).sum() == 1


def test_crop_is_a_key_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record of the whole image and one of its content are kept side by side."""
    monkeypatch.setenv("REMIND_CACHE", str(tmp_path / "cache"))
    save_png(tmp_path / "a.png", (breast(60, 50)[:, :, 0] * 255).astype(np.uint8))
    section = 'kind = "image"\nsize = [16, 16]\nkeep_aspect = false\n'
    means = []
    for number, crop in enumerate(("", 'crop = "content"\n')):
        folder = tmp_path / str(number)
        write_files_cohort(folder, [str(tmp_path / "a.png")] * 10, section + crop)
        raw = read_cohort(folder).values["pictures"]
        means.append(raw.store.read(raw.items.columns["place"]).mean())
    assert means[1] > 2 * means[0]
    write_files_cohort(tmp_path / "2", ["a.png"] * 10, section + 'crop = "breast"\n')
    with pytest.raises(InputError, match=r"crop should be 'content', got 'breast'"):
        load_spec(tmp_path / "2")
