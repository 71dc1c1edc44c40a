"""Several processes against one: the same model, what an epoch costs, and what a dead rank costs.

    python benchmarks/distributed.py [--json] [--cohort support2] [--epochs 4] [--lr 2e-3]

Every fit is `remind fit --devices N` in processes of one thread that speak through gloo. A model is
compared with that of one process: the largest difference of the losses of an epoch (training and
validation, relative) and of a weight. Rounding grows while a model trains, the more the larger the
step, since a token's choice of experts flips; how far it brings one process from itself is measured
beside it, with two threads instead of one. Dropout is off, since each rank draws its own. At the
end one of two ranks is killed (SIGKILL, after half of the epochs) and both start again from the
last checkpoint; their model is compared with that of two ranks that nobody killed.

An epoch takes N processes less time only where there are N cores: on fewer the ratio is what
speaking to each other costs.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors.torch import load_file

from benchmarks.speed import arguments, show

STRATEGIES = ("ddp", "fsdp")
LOSSES = ("train_loss", "val_log_loss")
RANKS_KILLED = 2
CONTROL = "2 threads"
ENVIRON = {"OMP_WAIT_POLICY": "passive", "TORCH_CPP_LOG_LEVEL": "ERROR"}


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What a fit by some ranks took, and how far its model is from that of one process.

    Args:
        ranks, strategy: that fitted it; of one process "", or "2 threads".
        epoch_seconds: median over epochs.
        ratio: of it to that of one process.
        loss_difference: largest of a loss of an epoch, relative.
        weight_difference: largest of a weight.
        checkpoint_bytes: of the last checkpoint.
        most_bytes: of its largest file; what a rank writes at most.
    """

    ranks: int
    strategy: str
    epoch_seconds: float
    ratio: float
    loss_difference: float
    weight_difference: float
    checkpoint_bytes: int
    most_bytes: int


@dataclass(frozen=True, kw_only=True)
class Restarted:
    """What a dead rank cost.

    Args:
        strategy: of two ranks.
        restart_seconds: from SIGKILL to the next checkpoint.
        epoch_seconds: of the epoch that this includes.
        weight_difference: largest of a weight to that of ranks that nobody killed.
    """

    strategy: str
    restart_seconds: float
    epoch_seconds: float
    weight_difference: float


@dataclass(frozen=True, kw_only=True)
class Result:
    """All fits."""

    cohort: str
    lr: float
    cores: int
    fits: list[Fitted]
    restarts: list[Restarted]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The fits to compare, each in a folder of its own."""

    cohort: str
    epochs: int
    lr: float
    width: int
    folder: Path

    def run(self, ranks: int, strategy: str, name: str = "") -> Path:
        """The folder of a fit."""
        return self.folder / f"{name}{ranks}{strategy.replace(' ', '-')}"

    def command(self, ranks: int, strategy: str, run: Path) -> list[str]:
        """Its command line."""
        line = [sys.executable, "-m", "remind.cli", "fit", self.cohort, "--out", str(run)]
        line += ["--objective", "group_dro"]
        line += ["--devices", str(ranks)] if ranks > 1 else []
        settings = {
            "epochs": self.epochs,
            "lr": self.lr,
            "width": self.width,
            "patience": 0,
            "dropout": 0,
            "modality_dropout": 0.1,
            "pretrain": 2,  # rounding grows with the steps: what is compared are the steps
            "device": "cpu",
            "strategy": strategy if strategy in STRATEGIES else "ddp",
        }
        return line + [
            word for key, value in settings.items() for word in ("--set", f"{key}={value}")
        ]

    def fit(self, ranks: int, strategy: str) -> Path:
        """Fit, and return the folder."""
        run = self.run(ranks, strategy)
        threads = 2 if strategy == CONTROL else 1
        with _started(self.command(ranks, strategy, run), threads) as process:
            _finish(process)
        return run


def measure(plan: Plan, numbers: list[int]) -> Result:
    """Fit with one process, with several, and with a killed one."""
    alone = plan.fit(1, "")
    fits = [_fitted(alone, alone, 1, ""), _fitted(plan.fit(1, CONTROL), alone, 1, CONTROL)]
    for ranks in numbers:
        for strategy in STRATEGIES:
            fits.append(_fitted(plan.fit(ranks, strategy), alone, ranks, strategy))
            _tell(fits[-1])
    restarts = []
    for strategy in STRATEGIES:
        whole = plan.run(RANKS_KILLED, strategy)
        if not whole.exists():
            plan.fit(RANKS_KILLED, strategy)
        restarts.append(_restarted(plan, strategy, whole))
        _tell(restarts[-1])
    return Result(cohort=plan.cohort, lr=plan.lr, cores=_cores(), fits=fits, restarts=restarts)


def _fitted(run: Path, alone: Path, ranks: int, strategy: str) -> Fitted:
    own, other = _metrics(run), _metrics(alone)
    assert len(own) == len(other)
    seconds, base = (statistics.median(m["seconds"] for m in lines) for lines in (own, other))
    files = [file.stat().st_size for file in _checkpoint(run).iterdir()]
    return Fitted(
        ranks=ranks,
        strategy=strategy,
        epoch_seconds=seconds,
        ratio=seconds / base,
        loss_difference=max(
            abs(a[key] / b[key] - 1) for a, b in zip(own, other, strict=True) for key in LOSSES
        ),
        weight_difference=_difference(run, alone),
        checkpoint_bytes=sum(files),
        most_bytes=max(files),
    )


def _restarted(plan: Plan, strategy: str, whole: Path) -> Restarted:
    """Kill the last rank after half of the epochs, and wait for the end."""
    run, half = plan.run(RANKS_KILLED, strategy, "killed"), plan.epochs // 2
    line = [*plan.command(RANKS_KILLED, strategy, run), "--restarts", "1"]
    with _started(line) as process:
        _wait_for(_checkpoint(run, half), process)
        os.kill(_pid_of_rank(process, RANKS_KILLED - 1), signal.SIGKILL)
        start, done = time.perf_counter(), _last_epoch(run)
        _wait_for(_checkpoint(run, done + 1), process)
        seconds = time.perf_counter() - start
        _finish(process)
    return Restarted(
        strategy=strategy,
        restart_seconds=seconds,
        epoch_seconds=_metrics(run)[done]["seconds"],
        weight_difference=_difference(run, whole),
    )


@contextmanager
def _started(line: list[str], threads: int = 1) -> Iterator[subprocess.Popen[str]]:
    """A command whose errors go to a file, so that no pipe is full."""
    environ = {**os.environ, **ENVIRON, "OMP_NUM_THREADS": str(threads)}
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(line, env=environ, stdout=errors, stderr=errors, text=True) as process,
    ):
        try:
            yield process
        except RuntimeError as error:
            errors.seek(0)
            raise RuntimeError(f"{error}:\n{errors.read()}") from error
        finally:
            process.terminate()  # nothing, if it has ended


def _finish(process: subprocess.Popen[str]) -> None:
    if process.wait():
        raise RuntimeError(f"a fit ended with status {process.returncode}")


def _wait_for(folder: Path, process: subprocess.Popen[str]) -> None:
    while not folder.exists():
        if process.poll() is not None:
            raise RuntimeError(f"a fit ended before {folder.name}")
        time.sleep(0.01)


def _pid_of_rank(launcher: subprocess.Popen[str], rank: int) -> int:
    """Of the children of a launcher."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    name = f"RANK={rank}".encode()
    (pid,) = [p for p in children if name in Path(f"/proc/{p}/environ").read_bytes().split(b"\0")]
    return int(pid)


def _metrics(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def _checkpoint(run: Path, epoch: int | None = None) -> Path:
    return run / f"checkpoints/epoch-{_last_epoch(run) if epoch is None else epoch:04d}"


def _last_epoch(run: Path) -> int:
    return max(int(path.name[-4:]) for path in (run / "checkpoints").glob("epoch-*"))


def _difference(run: Path, other: Path) -> float:
    own, theirs = (load_file(folder / "model.safetensors") for folder in (run, other))
    return max(float((own[name] - theirs[name]).abs().max()) for name in own)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _tell(done: Fitted | Restarted) -> None:
    print(asdict(done), file=sys.stderr)


def lines(result: Result) -> list[str]:
    """A line per fit."""
    return [
        *(
            f"{fit.ranks} {fit.strategy:10s}{fit.epoch_seconds:7.2f} s per epoch, "
            f"x {fit.ratio:.2f}; losses {fit.loss_difference:.1e}, "
            f"weights {fit.weight_difference:.1e}; checkpoint "
            f"{fit.checkpoint_bytes / 2**20:.2f} MiB, largest file {fit.most_bytes / 2**20:.2f}"
            for fit in result.fits
        ),
        *(
            f"killed, {done.strategy}: {done.restart_seconds:.1f} s to the next epoch's end, "
            f"{done.epoch_seconds:.1f} of them the epoch; weights {done.weight_difference:.1e}"
            for done in result.restarts
        ),
    ]


def main() -> None:
    """Print the fits, or one JSON object."""
    given = arguments(
        "Several processes against one.",
        0,
        cohort="support2",
        epochs=4,
        lr=2e-3,
        ranks="2,4",
        width=64,
    )
    if given.epochs < 2:
        raise SystemExit("epochs must be at least 2: a rank is killed after half of them")
    with tempfile.TemporaryDirectory() as name:
        plan = Plan(
            cohort=given.cohort,
            epochs=given.epochs,
            lr=given.lr,
            width=given.width,
            folder=Path(name),
        )
        result = measure(plan, [int(number) for number in given.ranks.split(",")])
    show(result, given.json, lines)


if __name__ == "__main__":
    main()
