"""A whole training step of `default` beside those of Flex-MoE and FuseMoE, and SUPPORT2 fits.

    OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive python benchmarks/train_step.py [--json] [--rounds 10]
    OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive python benchmarks/train_step.py --fits [--json]

Steps: 512 patients x 20 modalities (vectors of 16 values), 30% observed, width 128, 16 experts,
top-2, hidden 256, one block each; loss, backward, clipping, AdamW and average, in turn. The peers
send tokens to experts by a loop over experts, as their public code does, and by our grouped way.
Our model is shown as `default` is (8 members of an ensemble), with one member as the peers have
one, and as a transformer of one readout. --fits times whole fits on SUPPORT2 (early stopping
included) of default, LightGBM and TabM.
"""

import time
from dataclasses import dataclass, replace

from torch import nn

from benchmarks.speed import Drawn, arguments, draw, in_turn, show, side_by_side, trainee
from remind.baselines.flex_moe import FLEX_MOE
from remind.baselines.fuse_moe import FUSE_MOE
from remind.fusion import Model, ModelConfig
from remind.methods import DEFAULT, METHODS
from remind.sources import open_cohort
from remind.training import NeuralMethod, fit_run

M, B, OBSERVED = 20, 512, 0.3
SIZE = {"width": 128, "experts": 16, "top_k": 2, "hidden": 256, "blocks": 1}
OURS: dict[str, dict[str, object]] = {
    "default": {},
    "default, one member": {"members": 1},
    "default, as a transformer": {"fusion": "transformer", "group_pooling": False},
}
PEERS: tuple[NeuralMethod, ...] = (FLEX_MOE, FUSE_MOE)
FITTED = ("default", "lightgbm", "tabm")


@dataclass(frozen=True, kw_only=True)
class Result:
    """Seconds of a step of each model, and those of the peers over that of `default`."""

    seconds: dict[str, float]
    ratio: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Fits:
    """Seconds of whole fits on SUPPORT2."""

    fit_seconds: dict[str, float]


def contenders(drawn: Drawn) -> dict[str, nn.Module]:
    """Every model of equal width, experts and hidden width."""
    config: ModelConfig = replace(DEFAULT.model_config, **SIZE)
    models: dict[str, nn.Module] = {
        name: Model(drawn.encoding, 2, replace(config, **change)) for name, change in OURS.items()
    }
    for peer in PEERS:
        for way in ("loop", "grouped"):
            peer_config = replace(peer.model_config, **SIZE, dispatch=way)
            models[f"{peer.name}, {way}"] = peer.build(drawn.encoding, 2, peer_config)
    return models


def measure(rounds: int) -> Result:
    """Time steps of all models in turn."""
    drawn = draw(num_modalities=M, num_patients=B, observed=OBSERVED)
    work = {
        name: in_turn(drawn.batches, trainee(model, drawn.encoding).step)
        for name, model in contenders(drawn).items()
    }
    seconds = side_by_side(work, rounds)
    ratio = {name: value / seconds["default"] for name, value in seconds.items()}
    return Result(seconds=seconds, ratio=ratio)


def fit_all() -> Fits:
    """Time whole fits, one after the other."""
    cohort, seconds = open_cohort("support2"), {}
    for name in FITTED:
        start = time.perf_counter()
        fit_run(cohort, METHODS[name])
        seconds[name] = time.perf_counter() - start
    return Fits(fit_seconds=seconds)


def lines(result: Result | Fits) -> list[str]:
    """A line per model."""
    if isinstance(result, Fits):
        return [f"{name:28s} {value:8.1f} s" for name, value in result.fit_seconds.items()]
    return [
        f"{name:28s} {1e3 * value:8.1f} ms {result.ratio[name]:6.2f} x default"
        for name, value in result.seconds.items()
    ]


def main() -> None:
    """Print the table, or one JSON object."""
    given = arguments("Cost of a training step.", 10, fits=False)
    show(fit_all() if given.fits else measure(given.rounds), given.json, lines)


if __name__ == "__main__":
    main()
