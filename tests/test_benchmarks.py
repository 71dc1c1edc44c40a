"""The benchmarks: splits that are fair, fits that are kept, reports that can be parsed."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import claims, common, support2, synthetic
from remind.benchmark.contenders import check_sets, settings_for
from remind.cohort import Cohort, read_cohort
from remind.errors import InputError
from remind.methods import METHODS
from tests.cohort.make import write_cohort

FAST = ["--set", "lightgbm:trees=3", "--num-boot", "20", "--edges", "5,20"]


@pytest.fixture(scope="module")
def cohort_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort of 120 patients, two rows per person."""
    return write_cohort(tmp_path_factory.mktemp("cohort"), n=120)


@pytest.fixture
def num_fits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one entry per fit."""
    fitted: list[str] = []
    fit_run = common.fit_run

    def counted(cohort: Cohort, *rest: object) -> object:
        fitted.append(cohort.fingerprint)
        return fit_run(cohort, *rest)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(common, "fit_run", counted)
    return fitted


def run(cohort: Path, out: Path, *more: str, methods: str = "lightgbm") -> list[str]:
    """The arguments of a small cross-validation."""
    small = ["--folds", "2", "--seeds", "1", "--out", str(out), "--methods", methods]
    return [str(cohort), *small, *FAST, *more]


def test_every_patient_is_predicted_once_and_kept_fits_are_reused(
    cohort_folder: Path, tmp_path: Path, num_fits: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert support2.main(run(cohort_folder, tmp_path, "--json")) == 0
    first = json.loads(capsys.readouterr().out)
    files = sorted(tmp_path.iterdir())
    frame = pd.concat([pd.read_parquet(file) for file in files])
    assert len(num_fits) == len(files) == 2
    assert sorted(frame["id"]) == sorted(read_cohort(cohort_folder).ids)
    blocks = first["methods"]["lightgbm"]["blocks"]
    assert sum(values["n"] for name, values in blocks.items() if name != "all") == 120

    files[0].unlink()  # as if it had been killed after one fit, in the middle of another
    (tmp_path / f".{files[0].stem}-abc.parquet").write_bytes(b"half")
    assert support2.main(run(cohort_folder, tmp_path, "--report")) == 0
    assert "lightgbm: not shown, 1 of 2 fits are there" in capsys.readouterr().out
    assert support2.main(run(cohort_folder, tmp_path, "--json")) == 0
    assert len(num_fits) == 3
    again = json.loads(capsys.readouterr().out)
    del first["methods"]["lightgbm"]["seconds_per_fit"]
    del again["methods"]["lightgbm"]["seconds_per_fit"]
    assert again == first

    assert support2.main(run(cohort_folder, tmp_path, "--json")) == 0
    assert len(num_fits) == 3
    assert support2.main(run(cohort_folder, tmp_path, "--set", "lightgbm:trees=2")) == 0
    assert len(num_fits) == 5


def test_folds_keep_persons_together_and_differ_between_seeds(cohort_folder: Path) -> None:
    cohort = read_cohort(cohort_folder)
    splits = [
        np.stack([fold.split for fold in support2.cross_validation(cohort, 3, seed)])  # pyright: ignore
        for seed in (0, 1)
    ]
    assert (splits[0] != splits[1]).any()
    for split_FN in splits:
        assert ((split_FN == "test").sum(axis=0) == 1).all()
        assert ((split_FN == "val").sum(axis=1) > 0).all()
        assert ((split_FN == "val").sum(axis=1) <= 12).all()
        for split_N in split_FN:
            assert (pd.Series(split_N).groupby(cohort.person).nunique() == 1).all()


def test_default_is_compared_with_the_others_in_every_block(
    cohort_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = [f"default:{setting}" for setting in ("epochs=1", "width=8", "hidden=8", "members=2")]
    sets = [word for setting in small for word in ("--set", setting)]
    command = run(cohort_folder, tmp_path, *sets, methods="default,lightgbm")
    assert support2.main([*command, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result["default_minus"]) == {"lightgbm"}
    for block, values in result["default_minus"]["lightgbm"].items():
        own, other = (result["methods"][m]["blocks"][block] for m in ("default", "lightgbm"))
        expected = own["log_loss"] - other["log_loss"]
        assert values["log_loss"]["difference"] == pytest.approx(expected)
    assert support2.main([*command, "--report"]) == 0
    assert "| all | default - lightgbm |" in capsys.readouterr().out


def test_synthetic_reports_the_share_of_the_gap_that_is_closed(
    tmp_path: Path, num_fits: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    sets = [
        word
        for setting in ("epochs=1", "width=8", "hidden=8", "bands_head=20", "bands_medium=5")
        for word in ("--set", setting)
    ]
    command = ["--seeds", "2", "--num-patients", "300", "--kappas", "1", "--out", str(tmp_path)]
    command += ["--methods", "transformer,default,low_rank", "--objectives", "erm", *sets]
    assert synthetic.main([*command, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["kappas"]["1"]["contenders"]
    assert list(shown) == ["transformer+erm", "default+erm", "low_rank"]
    base, ours, _ = (shown[name]["blocks"]["all"] for name in shown)
    assert ours["gap_closed"] == pytest.approx(1 - ours["excess"] / base["excess"])
    assert base["gap_closed"] == 0
    left, right = (values["per_seed"] for values in (ours, base))
    difference = np.subtract(left, right)
    assert ours["minus_transformer+erm"]["per_seed"] == pytest.approx(difference)
    standard_error = abs(difference[0] - difference[1]) / 2
    assert ours["minus_transformer+erm"]["se"] == pytest.approx(standard_error)
    assert synthetic.main(command) == 0
    assert "kappa = 1: excess log loss" in capsys.readouterr().out
    assert len(num_fits) == 6


def test_claims_finds_causes_and_separates_the_parts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The effects of a 2x2 follow from its cells; what is found is kept with the fit."""
    command = ["--kappas", "1", "--tails", "1", "--seeds", "2", "--num-patients", "700"]
    command += ["--out", str(tmp_path), "--set", "epochs=1", "--set", "width=8"]
    command += ["--set", "members=2"]
    assert claims.main([*command, "--json"]) == 0
    cell = json.loads(capsys.readouterr().out)["cells"]["kappa1-tail1"]
    none, dro, moe, both = (cell["excess"][arm]["all"]["mean"] for arm in claims.ARMS)
    effect = {name: values["all"]["mean"] for name, values in cell["effects"].items()}
    assert effect["moe"] == pytest.approx((moe + both - none - dro) / 2)
    assert effect["dro"] == pytest.approx((dro + both - none - moe) / 2)
    assert effect["interaction"] == pytest.approx(both - moe - dro + none)
    assert cell["found"]["rho"]["seeds"] == 2
    low, high = cell["found"]["rho"]["ci"]
    assert low < cell["found"]["rho"]["mean"] < high
    assert claims.main([*command, "--report", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cells"]["kappa1-tail1"] == cell


def test_settings_reach_whom_they_are_for() -> None:
    base = METHODS["default"].default_settings()
    sets = ["epochs=3", "default:width=16", "none:width=24", "none+erm:hidden=8"]
    assert settings_for("default+erm", base, sets).model.width == 16
    assert settings_for("none+erm", base, sets).model.hidden == 8
    assert settings_for("default+erm", base, sets).train.epochs == 3  # pyright: ignore
    with pytest.raises(InputError, match='is for "lightbgm", which does not take part; did you'):
        check_sets(["lightbgm:trees=3"], ["lightgbm", "tabm"])
