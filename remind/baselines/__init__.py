"""The peers, each behind the interface of our model."""

from remind.baselines.flat import FlatMethod
from remind.baselines.lightgbm import LightGBMConfig, LightGBMPredictor, fit_lightgbm
from remind.baselines.tabm import TabMConfig, TabMPredictor, fit_tabm
from remind.training import Method
from remind.training.search import Choice, Range

LIGHTGBM = FlatMethod(
    name="lightgbm",
    config=LightGBMConfig(),
    fit_flat=fit_lightgbm,
    load_flat=lambda folder, encoding, _: LightGBMPredictor.load(folder, encoding),
    space={
        "learning_rate": Range(low=0.01, high=0.1, log=True),
        "leaves": Range(low=4, high=64, log=True, whole=True),
        "min_leaf": Range(low=5, high=100, log=True, whole=True),
        "subsample": Range(low=0.5, high=1.0),
        "column_subsample": Range(low=0.2, high=1.0),
    },
)
TABM = FlatMethod(
    name="tabm",
    config=TabMConfig(),
    fit_flat=fit_tabm,
    load_flat=TabMPredictor.load,
    space={
        "lr": Range(low=3e-4, high=5e-3, log=True),
        "weight_decay": Range(low=1e-5, high=1e-1, log=True),
        "dropout": Range(low=0.0, high=0.4),
        "width": Choice((128, 256, 512)),
        "layers": Range(low=1, high=4, whole=True),
    },
)

BASELINES: dict[str, Method] = {method.name: method for method in (LIGHTGBM, TABM)}

__all__ = ["BASELINES", "LIGHTGBM", "TABM", "FlatMethod", "LightGBMConfig", "TabMConfig"]
