"""What a preparation did, written beside the cohort: manifest.json."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
HASHED_AT_ONCE = 1 << 22  # bytes


@dataclass(frozen=True, kw_only=True)
class FlowStep:
    """One step of the CONSORT flow: who is left, and how many the step took away."""

    step: str
    """What was asked of the units, as in "adult patients"."""

    num_left: int
    num_excluded: int = 0


@dataclass(kw_only=True)
class Manifest:
    """What a cohort was made of and how, so that it can be made again.

    Attributes:
        source: name of the source, as in `remind prepare`.
        unit: what a row of the cohort is, as in "ICU stays".
        version: of the release that was read, None if it does not say.
        options: every option by name, those left at their defaults too.
        flow: the steps from all units to those of the cohort.
        tables: the files read: name in the release → path below the root, bytes, sha256, rows.
        absent: what of the release was not there → what it means for the cohort.
        code_lists: lists of codes that the cohort rests on, by name.
        counts: other figures, by name, as published beside counted.
        notes: what a reader must know, a sentence each.
    """

    source: str
    unit: str
    version: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    flow: list[FlowStep] = field(default_factory=list)
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    code_lists: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def step(self, what: str, num_left: int) -> None:
        """Add a step of the flow; what it excluded follows from the step before."""
        before = self.flow[-1].num_left if self.flow else num_left
        self.flow.append(FlowStep(step=what, num_left=num_left, num_excluded=before - num_left))

    @property
    def emptied_by(self) -> str | None:
        """The step of the flow that lost the last unit; None while some are left."""
        if self.flow[-1].num_left:
            return None
        return next(step.step for step in self.flow if not step.num_left)

    def write(self, folder: Path) -> None:
        """Write manifest.json into the folder."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False, default=str)
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def flow_lines(manifest: Manifest) -> Iterable[str]:
    """The flow, what was absent and the notes, as lines for the terminal."""
    width = max((len(f"{step.num_left:,}") for step in manifest.flow), default=0)
    for step in manifest.flow:
        took = f"  (−{step.num_excluded:,})" if step.num_excluded else ""
        yield f"{step.num_left:>{width},}  {step.step}{took}"
    for what, meaning in manifest.absent.items():
        yield f"{what} is absent: {meaning}"
    yield from manifest.notes


def sha256_of(path: Path) -> str:
    """Checksum of a file of any size, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASHED_AT_ONCE):
            digest.update(block)
    return digest.hexdigest()
