"""The peers, each behind the interface of our model."""

from remind.baselines.catboost import CatBoostConfig, CatBoostPredictor, fit_catboost
from remind.baselines.early import EARLY
from remind.baselines.flat import FlatMethod
from remind.baselines.flex_moe import FLEX_MOE
from remind.baselines.fuse_moe import FUSE_MOE
from remind.baselines.i2moe import I2MOE
from remind.baselines.late import LATE
from remind.baselines.lightgbm import LightGBMConfig, LightGBMPredictor, fit_lightgbm
from remind.baselines.low_rank import LOW_RANK
from remind.baselines.m3care import M3CARE
from remind.baselines.mmformer import MMFORMER
from remind.baselines.muse import MUSE
from remind.baselines.shaspec import SHASPEC
from remind.baselines.tabm import TabMConfig, TabMPredictor, fit_tabm
from remind.baselines.xgboost import XGBoostConfig, XGBoostPredictor, fit_xgboost
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
XGBOOST = FlatMethod(
    name="xgboost",
    config=XGBoostConfig(),
    fit_flat=fit_xgboost,
    load_flat=lambda folder, encoding, _: XGBoostPredictor.load(folder, encoding),
    space={
        "learning_rate": Range(low=0.01, high=0.1, log=True),
        "depth": Range(low=2, high=8, whole=True),
        "min_child_weight": Range(low=1.0, high=30.0, log=True),
        "l2": Range(low=0.1, high=10.0, log=True),
        "subsample": Range(low=0.5, high=1.0),
        "column_subsample": Range(low=0.2, high=1.0),
    },
)
CATBOOST = FlatMethod(
    name="catboost",
    config=CatBoostConfig(),
    fit_flat=fit_catboost,
    load_flat=lambda folder, encoding, _: CatBoostPredictor.load(folder, encoding),
    space={
        "learning_rate": Range(low=0.01, high=0.1, log=True),
        "depth": Range(low=3, high=8, whole=True),
        "l2": Range(low=1.0, high=30.0, log=True),
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
        "members": Choice((16, 32)),
        "width": Choice((128, 256, 512)),
        "layers": Range(low=1, high=4, whole=True),
    },
)

BASELINES: dict[str, Method] = {
    method.name: method
    for method in (
        LIGHTGBM,
        XGBOOST,
        CATBOOST,
        TABM,
        EARLY,
        LATE,
        LOW_RANK,
        MMFORMER,
        SHASPEC,
        FLEX_MOE,
        FUSE_MOE,
        M3CARE,
        MUSE,
        I2MOE,
    )
}

__all__ = ["BASELINES", "LIGHTGBM", "TABM", "FlatMethod", "LightGBMConfig", "TabMConfig"]
