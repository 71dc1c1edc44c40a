"""Progress of long work: a bar on a terminal, plain lines elsewhere, both on stderr."""

import sys
from collections.abc import Mapping
from typing import Any, Protocol, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar


class Progress(Protocol):
    """Who is told how training goes."""

    def on_pretrain(self, epoch: int, total: int, loss: float) -> None:
        """An epoch of the stage before training is done; its mean loss."""
        ...

    def start(self, total: int, done: int) -> None:
        """`total` epochs at most, of which `done` were done before."""
        ...

    def on_epoch(self, metrics: Mapping[str, Any]) -> None:
        """An epoch is done: its line of metrics.jsonl."""
        ...

    def finish(self) -> None:
        """No more epochs, for whatever reason."""
        ...


class PlainProgress:
    """A line per epoch.

    Args:
        stream: where to; stderr if None.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.total = 0

    def on_pretrain(self, epoch: int, total: int, loss: float) -> None:
        print(f"pretraining {epoch}/{total}: loss {loss:.4f}", file=self.stream, flush=True)

    def start(self, total: int, done: int) -> None:
        self.total = total
        if done:
            print(f"continuing after epoch {done} of {total}", file=self.stream, flush=True)

    def on_epoch(self, metrics: Mapping[str, Any]) -> None:
        line = f"epoch {metrics['epoch']}/{self.total}: {describe_epoch(metrics)}"
        print(f"{line}, {metrics['seconds']:.1f} s", file=self.stream, flush=True)

    def finish(self) -> None:
        pass


class RichProgress:
    """A bar.

    Args:
        title: what is going on.
        console: where to; stderr if None.
    """

    def __init__(self, title: str = "training", console: Console | None = None) -> None:
        self.title = title
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[losses]}"),
            console=console or Console(stderr=True),
        )
        self.before: TaskID | None = None

    def on_pretrain(self, epoch: int, total: int, loss: float) -> None:
        if self.before is None:
            self.before = self.bar.add_task("pretraining", total=total, losses="")
            self.bar.start()
        self.bar.update(self.before, completed=epoch, losses=f"loss {loss:.4f}")

    def start(self, total: int, done: int) -> None:
        self.task = self.bar.add_task(self.title, total=total, completed=done, losses="")
        self.bar.start()

    def on_epoch(self, metrics: Mapping[str, Any]) -> None:
        self.bar.update(self.task, completed=metrics["epoch"], losses=describe_epoch(metrics))

    def finish(self) -> None:
        self.bar.stop()


def make_progress(title: str = "training") -> Progress:
    """A bar if stderr is a terminal, lines otherwise."""
    return RichProgress(title) if sys.stderr.isatty() else PlainProgress()


def describe_epoch(metrics: Mapping[str, Any]) -> str:
    """The losses of an epoch in words."""
    losses = f"training loss {metrics['train_loss']:.4f}"
    if metrics["val_log_loss"] is None:
        return losses
    return f"{losses}, validation log loss {metrics['val_log_loss']:.4f}"
