"""The stage before training: no label is read, what depends on what is learned, nothing is lost."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from remind.cohort import Cohort, Encoding, cohort_from_frame, spec_from_dict
from remind.errors import InputError
from remind.methods import METHODS
from remind.sources import open_cohort, toy_hospital
from remind.training import PlainProgress, Run, fit_run, with_overrides
from remind.training.pretrain import pretrain
from tests.training.toy import same_bytes, toy_cohort, toy_method

SMALL = ["width=16", "hidden=16", "experts=2", "members=2", "teacher=0", "epochs=2", "device=cpu"]


class Told(PlainProgress):
    """Notes the losses, and interrupts after some epochs of the stage, or of training.

    Training of no epoch is over when it begins.
    """

    def __init__(self, *, stop: int = 0, stop_training: int | None = None) -> None:
        super().__init__()
        self.losses: list[float] = []
        self.stop, self.stop_training = stop, stop_training

    def start(self, num_epochs: int, num_done: int) -> None:
        super().start(num_epochs, num_done)
        if self.stop_training == 0:
            raise KeyboardInterrupt

    def on_pretrain(self, epoch: int, total: int, loss: float) -> None:
        super().on_pretrain(epoch, total, loss)
        self.losses.append(loss)
        if epoch == self.stop:
            raise KeyboardInterrupt

    def on_epoch(self, metrics: Any) -> None:
        if metrics["epoch"] == self.stop_training:
            raise KeyboardInterrupt


def fitted(
    cohort: Cohort,
    *sets: str,
    method: str = "default",
    out: Path | None = None,
    progress: PlainProgress | None = None,
    resume: bool = False,
) -> Run:
    chosen = METHODS[method]
    small = [pair for pair in SMALL if method == "default" or pair.startswith(("width", "epochs"))]
    settings = with_overrides(chosen.default_settings(), [*small, *sets])
    return fit_run(cohort, chosen, settings, out, progress=progress, resume=resume)


def views(dependence: float, *, n: int = 1500, flip: bool = False) -> Cohort:
    """Three modalities of four numbers each, which share a part of their variance."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(n, 4))
    frame = pd.DataFrame({"id": np.arange(n), "y": (shared[:, 0] > 0).astype(int)})
    frame["y"] = 1 - frame["y"] if flip else frame["y"]
    frame["split"] = np.where(np.arange(n) % 5, "train", "val")
    modalities = {}
    for name in "abc":
        own = rng.normal(size=(n, 4))
        x = dependence**0.5 * shared + (1 - dependence) ** 0.5 * own
        columns = [f"{name}{i}" for i in range(4)]
        frame[columns] = x
        modalities[name] = {"kind": "tabular", "columns": columns}
    cohort = {"name": "v", "table": "v.csv", "id": "id", "label": "y", "task": "binary"}
    content = {"cohort": cohort, "split": {"column": "split"}, "modalities": modalities}
    return cohort_from_frame(frame, spec_from_dict(content, root=Path(), source="test"))


def pretrained(
    cohort: Cohort, *sets: str, scale: float = 1.0
) -> tuple[dict[str, torch.Tensor], list[float]]:
    """The weights after the stage alone, and its losses; `scale` is of the modalities' rate."""
    method, told = METHODS["default"], Told()
    settings = with_overrides(method.default_settings(), [*SMALL, *sets])
    rows = cohort.rows("train")
    encoding = Encoding.fit(cohort, rows)
    torch.manual_seed(0)
    model = method.build(encoding, 2, settings.model)
    model.encoder.modality_MD.lr_scale = scale  # pyright: ignore[reportAttributeAccessIssue]
    assert settings.train is not None
    before = torch.get_rng_state()
    pretrain(model, encoding.transform(cohort), rows, settings.train, seed=0, progress=told)
    assert torch.equal(before, torch.get_rng_state())
    return model.state_dict(), told.losses


def test_no_label_is_read_and_the_classifier_stays() -> None:
    """The same weights whatever the labels are; those of the head are as they were built."""
    weights, _ = pretrained(views(0.5), "pretrain=2")
    flipped, _ = pretrained(views(0.5, flip=True), "pretrain=2")
    untouched, _ = pretrained(views(0.5), "pretrain=0")
    changed = {name for name, x in weights.items() if not torch.equal(x, untouched[name])}
    for name, x in weights.items():
        assert torch.equal(x, flipped[name]), name
    assert not {"fusion.head_KDC", "fusion.bias_KC"} & changed
    assert any(name.startswith("encoder.") for name in changed)
    assert any(name.startswith("fusion.layers.") for name in changed)


def test_weights_that_were_trained_before_learn_at_their_own_rate() -> None:
    change = []
    for scale in (1.0, 0.01):
        weights, _ = pretrained(views(0.5), "pretrain=1", "batch_size=1500", scale=scale)
        change.append(float(weights["encoder.modality_MD"].abs().max()))  # it starts at zero
    assert change[1] == pytest.approx(0.01 * change[0], rel=1e-3)


def test_what_depends_on_others_is_learned_and_noise_is_not() -> None:
    """What the others tell is explained; of noise only what is usual of a modality."""
    _, alike = pretrained(views(1.0), "pretrain=20", "width=64")
    _, apart = pretrained(views(0.0), "pretrain=20", "width=64")
    assert alike[-1] < 0.2 * alike[0]
    assert alike[-1] < 0.5 * apart[-1]


@pytest.mark.parametrize(
    "sets", [[], ["objective=jtt", "first_epochs=4"]], ids=["once", "and started afresh"]
)
@pytest.mark.parametrize(
    "stop", [{"stop": 2}, {"stop_training": 0}, {"stop_training": 1}, {"stop_training": 3}]
)
def test_a_resumed_run_is_the_uninterrupted_one(
    stop: dict[str, int], sets: list[str], tmp_path: Path
) -> None:
    """What is done of the stage alone is lost; the whole of it is not."""
    cohort, sets = toy_cohort(), [*sets, "pretrain=3", "epochs=4"]
    fitted(cohort, *sets, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fitted(cohort, *sets, out=tmp_path / "resumed", progress=Told(**stop))
    again = Told()
    fitted(cohort, *sets, out=tmp_path / "resumed", progress=again, resume=True)
    assert len(again.losses) == (3 if "stop" in stop else 0)
    for name in ("model.safetensors", "config.toml"):
        assert same_bytes(tmp_path / "whole" / name, tmp_path / "resumed" / name)


@pytest.mark.parametrize("method", ["default", "transformer", "flex_moe", "late_fusion"])
def test_every_kind_and_fusion_can(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy_hospital.write(tmp_path, patients=40, seed=0)
    monkeypatch.setenv("REMIND_CACHE", str(tmp_path / "cache"))
    told = Told()
    sets = ["pretrain=3", "batch_tokens=100", "epochs=1"]
    fitted(open_cohort(tmp_path), *sets, method=method, progress=told)
    assert len(told.losses) == 3
    assert told.losses[2] < told.losses[0]


def test_mixed_precision_learns_the_same_but_for_rounding() -> None:
    """The losses of bfloat16 are taken in 32 bits."""
    _, ours = pretrained(views(0.9), "pretrain=2", "precision=bf16-mixed")
    _, theirs = pretrained(views(0.9), "pretrain=2")
    assert ours != theirs
    assert ours == pytest.approx(theirs, rel=0.05)


def test_patients_with_one_modality_each_have_nothing_to_tell() -> None:
    """Nothing can be hidden: no loss, no step into nowhere, and training goes on."""
    cohort = views(0.5, n=200)
    cohort.present_NM[:, 1:] = False
    told = Told()
    run = fitted(cohort, "pretrain=2", progress=told)
    assert told.losses == [0.0, 0.0]
    assert np.isfinite(run.predict(cohort)["prob_1"]).all()


def test_a_model_without_tokens_is_refused() -> None:
    method = toy_method()
    settings = with_overrides(method.default_settings(), ["pretrain=1"])
    with pytest.raises(InputError, match="this method has no tokens to pretrain: set pretrain=0"):
        fit_run(toy_cohort(), method, settings)


def test_a_loss_that_is_not_finite_is_one_sentence() -> None:
    with pytest.raises(InputError, match=r"the loss of pretraining became nan: lower the learning"):
        fitted(views(0.5, n=200), "pretrain=3", "lr=1e30", "clip=0")


def test_a_table_by_rows_is_pretrained_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its gradients are sparse, which the optimizer takes of what is marked alone."""
    cohort = views(0.5, n=300)
    cohort.present_NM[::3, 0] = False
    dense, _ = pretrained(cohort, "pretrain=2", "batch_size=600")
    monkeypatch.setattr("remind.fusion.moe.code.MANY", 1)
    by_rows, _ = pretrained(cohort, "pretrain=2", "batch_size=600")
    for name, x in dense.items():
        torch.testing.assert_close(by_rows[name], x, rtol=1e-3, atol=1e-5, msg=name)
