"""What preparations of raw releases refuse alike."""

from collections.abc import Sequence
from pathlib import Path

from remind.errors import InputError, did_you_mean
from remind.sources.manifest import Manifest


def check_seed(source: str, seed: int) -> None:
    """Raise an InputError if a seed is below 0."""
    if seed < 0:
        raise InputError(f"{source}: --seed must be at least 0, got {seed}")


def split_task(source: str, name: str, window: float, tasks: Sequence[str]) -> tuple[str, str]:
    """The parts of a task's name before and after its colon, the latter "" without one.

    Raises:
        InputError: the window is not above 0 hours, or there is no such task.
    """
    if not window > 0:
        raise InputError(f"{source}: --window must be above 0 hours, got {window:g}")
    base, _, detail = name.partition(":")
    if base not in tasks:
        raise InputError(
            f'{source}: --task "{name}" is none of {", ".join(tasks)}{did_you_mean(base, tasks)}'
        )
    return base, detail


def refuse_detail(source: str, base: str, detail: str) -> None:
    """Raise an InputError if something follows the colon of a task that takes nothing there."""
    if detail:
        raise InputError(f'{source}: --task {base} takes nothing after a colon, got "{detail}"')


def days_of_stay(source: str, detail: str, window: float, default: float, example: int) -> float:
    """Days of the task length-of-stay, which the window must not know already.

    Args:
        source: name of the source.
        detail: what follows the colon.
        window: hours before the prediction.
        default: days if nothing follows.
        example: days of the message.

    Raises:
        InputError: it is no number, or not beyond the window.
    """
    try:
        days = float(detail or default)
    except ValueError as error:
        raise InputError(
            f'{source}: --task length-of-stay:{detail} needs days, as in "length-of-stay:{example}"'
        ) from error
    if not days * 24 > window:
        name = f"length-of-stay:{detail}" if detail else "length-of-stay"
        raise InputError(
            f"{source}: --task {name} asks for stays longer than {days:g} days, which --window "
            f"{window:g} hours knows already: give a shorter window, or --task length-of-stay:DAYS"
        )
    return days


def require_stays(manifest: Manifest, root: Path) -> None:
    """Raise an InputError, which names the step that lost the last one, if no stay is left."""
    step = manifest.emptied_by
    if step is not None:
        raise InputError(
            f"{root}: no stay is left at the step {step!r}: give --root a whole release, or "
            "another --task or --window"
        )
