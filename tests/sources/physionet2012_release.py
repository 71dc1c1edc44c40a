"""Folders of PhysioNet Challenge 2012 with its layout and quirks; every number is drawn.

set-a/132539.txt and the like hold "Time,Parameter,Value": first what describes the record at 00:00,
then measurements up to 48:00. The iller have a faster heart, more lactate and a lower GCS.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

HEADER = "Time,Parameter,Value"
OUTCOMES = "RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death"
DESCRIPTORS = ("RecordID", "Age", "Gender", "Height", "ICUType", "Weight")
# parameter -> chance that a record has it, value of a healthy one, what illness adds, spread
PARAMETERS: dict[str, tuple[float, float, float, float]] = {
    "HR": (0.99, 80, 12, 6),
    "RespRate": (0.3, 18, 3, 2),
    "Temp": (0.98, 37, 0.2, 0.3),
    "SaO2": (0.4, 97, -1, 1),
    "SysABP": (0.7, 125, -8, 8),
    "DiasABP": (0.7, 60, -4, 5),
    "MAP": (0.7, 80, -5, 6),
    "NISysABP": (0.8, 125, -8, 8),
    "NIDiasABP": (0.8, 60, -4, 5),
    "NIMAP": (0.8, 80, -5, 6),
    "GCS": (0.95, 13, -2, 0.5),
    "pH": (0.7, 7.4, -0.05, 0.02),
    "PaO2": (0.7, 120, -5, 15),
    "PaCO2": (0.7, 40, 2, 4),
    "FiO2": (0.6, 0.5, 0.05, 0.05),
    "HCT": (0.95, 32, -1, 2),
    "Platelets": (0.95, 200, -20, 30),
    "WBC": (0.95, 11, 2, 2),
    "Na": (0.95, 139, 0, 3),
    "K": (0.95, 4.1, 0.2, 0.3),
    "Mg": (0.9, 2, 0, 0.2),
    "HCO3": (0.95, 24, -1, 2),
    "BUN": (0.95, 22, 8, 4),
    "Creatinine": (0.95, 1.2, 0.4, 0.1),
    "Glucose": (0.95, 130, 10, 20),
    "ALP": (0.4, 90, 10, 20),
    "ALT": (0.4, 60, 20, 15),
    "AST": (0.4, 70, 25, 15),
    "Bilirubin": (0.4, 1.0, 0.5, 0.2),
    "Albumin": (0.4, 3.1, -0.3, 0.2),
    "Lactate": (0.5, 1.8, 1.2, 0.3),
    "Cholesterol": (0.1, 160, -10, 20),
    "TroponinI": (0.1, 1, 2, 0.5),
    "TroponinT": (0.2, 0.1, 0.2, 0.05),
    "MechVent": (0.6, 1, 0, 0),
    "Urine": (0.97, 120, -20, 30),
    "Weight": (0.7, 82, 0, 1),
}
DIGITS = {"pH": 2, "FiO2": 2, "Temp": 1, "Creatinine": 1, "Lactate": 1, "K": 1, "Bilirubin": 1}
LIMITS = {"GCS": (3, 15), "SaO2": (60, 100), "FiO2": (0.21, 1), "MechVent": (1, 1)}


@dataclass
class Release:
    """A folder that was written.

    Args:
        root: of the release.
        rows: record → its rows as they are in its file, without the header.
        died: record → death in hospital.
        sets: record → "a" or "b".
    """

    root: Path
    rows: dict[int, list[str]] = field(default_factory=dict)
    died: dict[int, int] = field(default_factory=dict)
    sets: dict[int, str] = field(default_factory=dict)

    def file(self, record: int) -> Path:
        return self.root / f"set-{self.sets[record]}" / f"{record}.txt"

    def write_record(self, record: int) -> None:
        self.file(record).write_text("\n".join([HEADER, *self.rows[record], ""]))

    def write_outcomes(self, seed: int = 0) -> None:
        """Outcomes files; all but the deaths depend on the seed."""
        rng = np.random.default_rng(seed)
        for name in sorted(set(self.sets.values())):
            lines = [OUTCOMES]
            for record in (r for r in self.died if self.sets[r] == name):
                saps, sofa, days = rng.integers(0, 34), rng.integers(-1, 22), rng.integers(2, 90)
                survival = int(rng.integers(2, 60)) if self.died[record] else -1
                lines.append(f"{record},{saps},{sofa},{days},{survival},{self.died[record]}")
            (self.root / f"Outcomes-{name}.txt").write_text("\n".join([*lines, ""]))


def write_release(root: Path, *, num_records: int = 60, seed: int = 0) -> Release:
    """Write sets a and b, half of the records each."""
    rng = np.random.default_rng(seed)
    release = Release(root=root)
    numbers = 132539 + 7 * np.arange(num_records)
    for place, record in enumerate(numbers.tolist()):
        illness = rng.standard_normal()
        release.sets[record] = "a" if place < num_records // 2 else "b"
        release.died[record] = int(illness + 0.3 * rng.standard_normal() > 0.7)
        release.rows[record] = _rows(record, illness, rng)
    for name in ("a", "b"):
        (root / f"set-{name}").mkdir(parents=True)
    for record in release.rows:
        release.write_record(record)
    release.write_outcomes()
    return release


def _rows(record: int, illness: float, rng: np.random.Generator) -> list[str]:
    height = -1 if rng.random() < 0.5 else round(rng.normal(170, 10), 1)
    weight = -1 if rng.random() < 0.1 else round(rng.normal(82, 15), 1)
    described = [record, rng.integers(16, 91), rng.integers(0, 2), height, rng.integers(1, 5)]
    rows = [
        f"00:00,{name},{value}"
        for name, value in zip(DESCRIPTORS, [*described, weight], strict=True)
    ]
    events: list[tuple[int, str]] = []
    for name, (share, healthy, adds, spread) in PARAMETERS.items():
        if rng.random() > share:
            continue
        for minute in np.sort(rng.integers(7, 48 * 60 + 1, 1 + rng.poisson(3))).tolist():
            value = healthy + adds * illness + spread * rng.standard_normal()
            value = np.clip(value, *LIMITS.get(name, (0.01, np.inf))).round(DIGITS.get(name, 0))
            events.append((minute, f"{minute // 60:02d}:{minute % 60:02d},{name},{value:g}"))
    return rows + [row for _, row in sorted(events)]
