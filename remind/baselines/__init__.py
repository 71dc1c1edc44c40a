"""The peers, each behind the interface of our model."""

from remind.baselines.flat import FlatMethod
from remind.baselines.lightgbm import LightGBMConfig, LightGBMPredictor, fit_lightgbm
from remind.baselines.tabm import TabMConfig, TabMPredictor, fit_tabm

LIGHTGBM = FlatMethod(
    name="lightgbm",
    config=LightGBMConfig(),
    fit_flat=fit_lightgbm,
    load_flat=lambda folder, encoding, _: LightGBMPredictor.load(folder, encoding),
)
TABM = FlatMethod(name="tabm", config=TabMConfig(), fit_flat=fit_tabm, load_flat=TabMPredictor.load)

__all__ = ["LIGHTGBM", "TABM", "FlatMethod", "LightGBMConfig", "TabMConfig"]
