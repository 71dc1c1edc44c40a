"""How the cost of a training step grows: with modalities, groups, experts and patients.

    OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive python benchmarks/scaling.py [--json] [--rounds 10]

`default`, the whole step (loss, backward, clipping, AdamW, average), every series in one process,
its members in turn. 20 modalities of vectors of 16 values, 30% observed, 256 patients, where not
said otherwise. Along M six modalities are observed on average. The claims: a step with 1,000,000
groups takes at most 1.1 times that with 100, and 40 modalities more that no training patient is
observed in at most 1.05 times. The latter is a case of subsets (a modality left to validation and
test patients): a cohort in which nobody at all is observed in one is refused when it is read. So
beside it stand 40 modalities more that 1% of the patients each are observed in, drawn among
2,000 training patients. Memory of a million groups: 8 numbers and their averages and moments,
twice.
"""

from dataclasses import dataclass, replace

from benchmarks.speed import Drawn, arguments, draw, in_turn, show, side_by_side, trainee
from remind.fusion import Model, ModelConfig
from remind.methods import DEFAULT

MODALITIES = (4, 8, 16, 32, 64)
GROUPS = (10, 100, 10_000, 1_000_000)
EXPERTS = (8, 32, 128, 256)
PATIENTS = (64, 256, 1024)
UNOBSERVED = RARE = 40  # modalities more
M, B, OBSERVED = 20, 256, 0.3


@dataclass(frozen=True, kw_only=True)
class Result:
    """Seconds of a step along each series."""

    modalities: dict[str, float]
    groups: dict[str, float]
    experts: dict[str, float]
    patients: dict[str, float]
    unobserved: dict[str, float]
    rare: dict[str, float]
    ratio_groups: float
    ratio_unobserved: float
    ratio_rare: float


def series(members: dict[str, tuple[Drawn, ModelConfig]], rounds: int) -> dict[str, float]:
    """Seconds of a step of each member."""
    work = {}
    for name, (drawn, config) in members.items():
        one = trainee(Model(drawn.encoding, 2, config), drawn.encoding)
        work[name] = in_turn(drawn.batches, one.step)
    return side_by_side(work, rounds)


def usual(
    num_groups: int | None = None, *, patients: int = B, num_unobserved: int = 0, num_rare: int = 0
) -> Drawn:
    """The patients of all series but the first."""
    return draw(
        num_modalities=M,
        num_patients=patients,
        observed=OBSERVED,
        num_groups=num_groups,
        num_unobserved=num_unobserved,
        num_rare=num_rare,
    )


def measure(rounds: int, largest: int) -> Result:
    """Time all series."""
    config = DEFAULT.model_config
    along_modalities = {
        str(m): (draw(num_modalities=m, num_patients=B, observed=min(1.0, 6 / m)), config)
        for m in MODALITIES
    }
    along_groups = {str(g): (usual(g), config) for g in GROUPS if g <= largest}
    along_experts = {str(e): (usual(100), replace(config, experts=e)) for e in EXPERTS}
    along_patients = {str(b): (usual(100, patients=b), config) for b in PATIENTS}
    along_unobserved = {str(n): (usual(100, num_unobserved=n), config) for n in (0, UNOBSERVED)}
    along_rare = {str(n): (usual(2000, num_rare=n), config) for n in (0, RARE)}
    groups = series(along_groups, rounds)
    unobserved, rare = series(along_unobserved, rounds), series(along_rare, rounds)
    return Result(
        modalities=series(along_modalities, rounds),
        groups=groups,
        experts=series(along_experts, rounds),
        patients=series(along_patients, rounds),
        unobserved=unobserved,
        rare=rare,
        ratio_groups=list(groups.values())[-1] / groups["100"],
        ratio_unobserved=unobserved[str(UNOBSERVED)] / unobserved["0"],
        ratio_rare=rare[str(RARE)] / rare["0"],
    )


def lines(result: Result) -> list[str]:
    """The series, one a line."""
    names = ("modalities", "groups", "experts", "patients", "unobserved", "rare")
    shown = []
    for name in names:
        values = getattr(result, name).items()
        shown.append(f"{name:11s}" + "".join(f"{key:>9s} {1e3 * s:6.1f} ms" for key, s in values))
    shown.append(f"most groups / 100 groups: {result.ratio_groups:.2f}")
    shown.append(f"{UNOBSERVED} not observed in training / none: {result.ratio_unobserved:.2f}")
    shown.append(f"{RARE} observed in 1% each / none: {result.ratio_rare:.2f}")
    return shown


def main() -> None:
    """Print the series, or one JSON object."""
    given = arguments("Growth of a training step.", 10, groups=GROUPS[-1])
    show(measure(given.rounds, given.groups), given.json, lines)


if __name__ == "__main__":
    main()
