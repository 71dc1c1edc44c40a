"""TabM on the flattened table: the strongest tabular deep learner known to us (package ``tabm``).

Gorishniy et al. 2025, with piecewise-linear embeddings of numbers (version B) and the recipe of its
authors: normal scores of quantiles, AdamW at 2e-3 with weight decay 3e-4, gradients of norm 1 at
most, the mean of the members' losses, early stopping on validation log loss. Size and patience are
theirs too. Left open there and filled here: a missing number becomes the training mean and sets an
indicator.

N patients, F flat columns (Q numeric), K members, C classes.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from sklearn.preprocessing import QuantileTransformer
from torch import Tensor, nn

from remind.cohort import Cohort, Encoding, FlatTable, flat_table
from remind.errors import InputError
from remind.objectives.checks import check_number, check_whole
from remind.run_files import WEIGHTS
from remind.training.predict import device_of, pick_device
from remind.training.seeds import seeded

JITTER = 1e-5  # of a column's deviation, breaks ties before quantiles are taken


@dataclass(frozen=True, kw_only=True)
class TabMConfig:
    """Settings of TabM.

    Attributes:
        members: implicit ensemble members, K.
        width: of the hidden layers.
        layers: number of hidden layers.
        dropout: share of activations dropped in training.
        bins: intervals of the embedding of a number.
        embedding: width of the embedding of a number.
        lr: learning rate.
        weight_decay: of AdamW.
        batch_size: patients per step.
        epochs: most epochs.
        patience: epochs without improvement in validation before training stops.
    """

    members: int = 32
    width: int = 512
    layers: int = 2
    dropout: float = 0.1
    bins: int = 48
    embedding: int = 16
    lr: float = 2e-3
    weight_decay: float = 3e-4
    batch_size: int = 256
    epochs: int = 100
    patience: int = 16

    def __post_init__(self) -> None:
        for name in ("members", "width", "layers", "embedding", "batch_size", "epochs"):
            check_whole(name, getattr(self, name), at_least=1)
        check_whole("bins", self.bins, at_least=2)
        check_whole("patience", self.patience, at_least=1)
        check_number("lr", self.lr, above=0)
        check_number("weight_decay", self.weight_decay, at_least=0)
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout must be in [0, 1), got {self.dropout}")


class Flat:
    """The flattened table as TabM takes it: normal scores of quantiles, indicators and categories.

    Args:
        mean_Q: training means of the numeric columns, float64.
        has_missing_Q: whether a column was ever missing in training, and so gets an indicator.
        quantiles: the fitted transformer; None without numeric columns.
        cardinality_X: codes of each indicator and category, those of missing values included.
    """

    def __init__(
        self,
        mean_Q: np.ndarray,
        has_missing_Q: np.ndarray,
        quantiles: Any,
        cardinality_X: np.ndarray,
    ) -> None:
        self.mean_Q = mean_Q
        self.has_missing_Q = has_missing_Q
        self.quantiles = quantiles
        self.cardinality_X = cardinality_X

    @classmethod
    def fit(cls, table: FlatTable, rows: np.ndarray, seed: int) -> Self:
        """Learn means and quantiles from the given (training) rows."""
        number_NQ = _numbers(table)[rows]
        mean_Q = np.nan_to_num(_nan_mean(number_NQ))
        filled_NQ = np.where(np.isnan(number_NQ), mean_Q, number_NQ)
        quantiles = None
        if filled_NQ.shape[1]:
            quantiles = _transformer(max(min(len(filled_NQ) // 30, 1000), 10))
            jitter_NQ = np.random.default_rng(seed).normal(0, JITTER, filled_NQ.shape)
            quantiles.fit(filled_NQ + jitter_NQ * filled_NQ.std(0).clip(1e-12))
        has_missing_Q = np.isnan(number_NQ).any(0)
        cardinality_X = [2] * int(has_missing_Q.sum()) + [num + 1 for num in table.cardinalities]
        return cls(
            mean_Q, np.asarray(has_missing_Q), quantiles, np.array(cardinality_X, dtype=np.int64)
        )

    def transform(self, table: FlatTable) -> tuple[Tensor, Tensor]:
        """Return scores float32 (N, Q), and codes int64 (N, X) of indicators and categories."""
        number_NQ = _numbers(table)
        is_missing_NQ = np.isnan(number_NQ)
        score_NQ = np.where(is_missing_NQ, self.mean_Q, number_NQ)
        if self.quantiles is not None:
            score_NQ = self.quantiles.transform(score_NQ)
        category_NX = table.x_NF[:, table.categorical]
        missing_X = np.array(table.cardinalities, dtype=np.float32)
        category_NX = np.where(np.isnan(category_NX), missing_X, category_NX)
        code_NX = np.concatenate([is_missing_NQ[:, self.has_missing_Q], category_NX], axis=1)
        return (
            torch.from_numpy(score_NQ.astype(np.float32)),
            torch.from_numpy(code_NX.astype(np.int64)),
        )

    def state(self) -> dict[str, np.ndarray]:
        """Arrays that ``load`` takes."""
        state = {
            "mean_Q": self.mean_Q,
            "has_missing_Q": self.has_missing_Q,
            "cardinality_X": self.cardinality_X,
        }
        if self.quantiles is not None:
            state["quantiles_PQ"] = self.quantiles.quantiles_
            state["references_P"] = self.quantiles.references_
        return state

    @classmethod
    def load(cls, state: dict[str, np.ndarray]) -> Self:
        """The table of ``state``."""
        quantiles = None
        if "references_P" in state:
            quantiles = _transformer(len(state["references_P"]))
            quantiles.quantiles_ = state["quantiles_PQ"]
            quantiles.references_ = state["references_P"]
            quantiles.n_quantiles_, quantiles.n_features_in_ = state["quantiles_PQ"].shape
        return cls(state["mean_Q"], state["has_missing_Q"], quantiles, state["cardinality_X"])


class TabMPredictor:
    """A trained network and the table that it reads through.

    Args:
        network: of the package ``tabm``.
        flat: quantiles and means of the training rows.
        bins: edges of the embedding's intervals, one tensor per numeric column.
        encoding: of the training rows.
        config: of the network.
    """

    def __init__(
        self,
        network: nn.Module,
        flat: Flat,
        bins: list[Tensor],
        encoding: Encoding,
        config: TabMConfig,
    ) -> None:
        self.network = network
        self.flat = flat
        self.bins = bins
        self.encoding = encoding
        self.config = config

    def predict_proba(self, cohort: Cohort) -> np.ndarray:
        """Return probabilities (N, C)."""
        number_NQ, code_NX = self.flat.transform(flat_table(self.encoding, cohort))
        parts = zip(number_NQ.split(4096), code_NX.split(4096), strict=True)
        prob_NC = torch.cat([_probabilities(self.network, *part) for part in parts])
        return prob_NC.double().cpu().numpy()

    def save(self, folder: Path) -> None:
        """Write weights, quantiles and bins."""
        arrays = {f"flat.{name}": torch.from_numpy(a) for name, a in self.flat.state().items()}
        edges = {f"bins.{index}": edges for index, edges in enumerate(self.bins)}
        weights = {f"network.{name}": w for name, w in self.network.state_dict().items()}
        tensors = {**arrays, **edges, **weights}
        save_file({name: t.contiguous() for name, t in tensors.items()}, folder / WEIGHTS)

    @classmethod
    def load(cls, folder: Path, encoding: Encoding, config: TabMConfig) -> Self:
        """Read what ``save`` wrote."""
        stored = load_file(folder / WEIGHTS)
        parts: dict[str, dict[str, Tensor]] = {"flat": {}, "bins": {}, "network": {}}
        for name, tensor in stored.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        flat = Flat.load({name: tensor.numpy() for name, tensor in parts["flat"].items()})
        bins = [parts["bins"][str(index)] for index in range(len(parts["bins"]))]
        network = _network(bins, flat, len(encoding.classes), config)
        network.load_state_dict(parts["network"])
        return cls(network.to(pick_device("auto")), flat, bins, encoding, config)


def fit_tabm(
    cohort: Cohort,
    encoding: Encoding,
    config: TabMConfig,
    *,
    train_rows: np.ndarray,
    val_rows: np.ndarray,
    seed: int,
) -> TabMPredictor:
    """Fit on training rows, on CUDA where there is one; validation rows choose the epoch.

    Raises:
        InputError: the package is not installed.
    """
    _packages()
    table = flat_table(encoding, cohort)
    flat = Flat.fit(table, train_rows, seed)
    number_NQ, code_NX = flat.transform(table)
    bins = _bins(number_NQ[torch.from_numpy(train_rows)], config.bins)
    label_N = torch.from_numpy(cohort.label_N)
    with seeded(seed):
        network = _network(bins, flat, len(encoding.classes), config).to(pick_device("auto"))
        _train(network, (number_NQ, code_NX, label_N), config, train_rows, val_rows, seed)
    return TabMPredictor(network, flat, bins, encoding, config)


def _transformer(num_quantiles: int) -> Any:
    """Return an unfitted transformer; Any, for its type is not complete."""
    no_subsample: Any = None
    return QuantileTransformer(
        n_quantiles=num_quantiles, output_distribution="normal", subsample=no_subsample
    )


def _packages() -> tuple[Any, Any]:
    try:
        import rtdl_num_embeddings
        import tabm
    except ImportError as error:
        raise InputError(
            'the method "tabm" needs the packages tabm and rtdl_num_embeddings: '
            "pip install 'remind-med[tabm]'"
        ) from error
    return tabm, rtdl_num_embeddings


def _nan_mean(number_NQ: np.ndarray) -> np.ndarray:
    count_Q = (~np.isnan(number_NQ)).sum(0)
    return np.nansum(number_NQ, axis=0) / count_Q.clip(1)


def _numbers(table: FlatTable) -> np.ndarray:
    """Return the numeric columns float64 (N, Q), NaN where missing."""
    return np.delete(table.x_NF, table.categorical, axis=1).astype(np.float64)


def _bins(number_NQ: Tensor, num_bins: int) -> list[Tensor]:
    """Return the edges of every column; one without spread gets the interval around its value."""
    _, embeddings = _packages()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*two bin edges.*")
        spread_Q = (number_NQ != number_NQ[0]).any(0)
        num_bins = min(num_bins, len(number_NQ) - 1)  # as many as so few patients can fill
        spread = number_NQ[:, spread_Q]
        found = iter(embeddings.compute_bins(spread, n_bins=num_bins) if spread_Q.any() else ())
    return [
        next(found) if has_spread else number_NQ[0, q] + torch.tensor([-1.0, 1.0])
        for q, has_spread in enumerate(spread_Q.tolist())
    ]


def _network(bins: list[Tensor], flat: Flat, num_classes: int, config: TabMConfig) -> nn.Module:
    tabm, embeddings = _packages()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*two bin edges.*")
        numbers = (
            embeddings.PiecewiseLinearEmbeddings(
                bins, config.embedding, activation=False, version="B"
            )
            if bins
            else None
        )
        return tabm.TabM.make(
            n_num_features=len(bins),
            cat_cardinalities=flat.cardinality_X.tolist(),
            d_out=num_classes,
            num_embeddings=numbers,
            k=config.members,
            n_blocks=config.layers,
            d_block=config.width,
            dropout=config.dropout,
        )


def _train(
    network: nn.Module,
    data: tuple[Tensor, Tensor, Tensor],
    config: TabMConfig,
    train_rows: np.ndarray,
    val_rows: np.ndarray,
    seed: int,
) -> None:
    """Minimize the mean of the members' losses; keep the epoch that is best in validation."""
    device = device_of(network)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.lr, weight_decay=config.weight_decay
    )
    best, best_state, bad_epochs = float("inf"), network.state_dict(), 0
    for epoch in range(config.epochs):
        order = np.random.default_rng([seed, epoch]).permutation(train_rows)
        network.train()
        for rows in torch.from_numpy(order).split(config.batch_size):
            number_BQ, code_BX, label_B = (tensor[rows] for tensor in data)
            logits_BKC = _logits(network, number_BQ, code_BX)
            label_P = label_B.to(device).repeat_interleave(logits_BKC.shape[1])
            optimizer.zero_grad()
            F.cross_entropy(logits_BKC.flatten(0, 1), label_P).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
        if len(val_rows) == 0:
            best_state = network.state_dict()
            continue
        loss = _validate(network, data, torch.from_numpy(val_rows))
        bad_epochs = 0 if loss < best else bad_epochs + 1
        if loss < best:
            best = loss
            best_state = {name: w.clone() for name, w in network.state_dict().items()}
        if bad_epochs >= config.patience:
            break
    network.load_state_dict(best_state)


def _validate(network: nn.Module, data: tuple[Tensor, Tensor, Tensor], rows: Tensor) -> float:
    number_NQ, code_NX, label_N = (tensor[rows] for tensor in data)
    prob_NC = _probabilities(network, number_NQ, code_NX)
    return float(F.nll_loss(prob_NC.clamp_min(1e-12).log(), label_N.to(prob_NC.device)))


def _logits(network: nn.Module, number_NQ: Tensor, code_NX: Tensor) -> Tensor:
    """Return the logits (N, K, C); the package takes None where there are no columns."""
    device = device_of(network)
    return network(*(x.to(device) if x.shape[1] else None for x in (number_NQ, code_NX)))


def _probabilities(network: nn.Module, number_NQ: Tensor, code_NX: Tensor) -> Tensor:
    """Return the mean of the members' probabilities (N, C)."""
    network.eval()
    with torch.inference_mode():
        return _logits(network, number_NQ, code_NX).softmax(-1).mean(1)
