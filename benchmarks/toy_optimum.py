"""What each kind of the toy hospital is worth at best: the yardstick of `benchmarks/ablation.py`.

    python benchmarks/toy_optimum.py [--stays 40000] [--seed 1]

Nothing is fitted to files: a logistic regression on many stays reads the illness that each
measured modality shows, and who was measured in what; its form is that of the generator
(`remind.sources.toy_hospital.latent`), so with many stays it is the best there is, up to what the
absence of a modality says beyond a shift. Of codes, illness is only known as far as the number of
different severe ones tells it; of the other modalities it is taken to be known. The AUROC is that
of the other half of the stays. No fit can beat it by more than chance, and what a kind is worth to
a real fit nears its loss here as stays become more.

N stays, M modalities, F features.
"""

import argparse
import tomllib
from collections.abc import Sequence
from importlib import resources

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from benchmarks.common import at_least
from remind.benchmark.tables import figure, markdown_table
from remind.sources.toy_hospital import tables
from remind.sources.toy_hospital.latent import NAMES, Stays, draw_stays

ALL = "all"


def kinds() -> dict[str, list[int]]:
    """Kind -> places in `NAMES` of its modalities."""
    own = resources.files("remind.sources.toy_hospital") / "cohort.toml"
    modalities = tomllib.loads(own.read_text(encoding="utf-8"))["modalities"]
    places: dict[str, list[int]] = {}
    for m, name in enumerate(NAMES):
        places.setdefault(modalities[name]["kind"], []).append(m)
    return places


def shown_illness(stays: Stays) -> np.ndarray:
    """What the files can tell of z at best (N, M); of codes, the mean z of stays with as many."""
    z_NM = stays.z_NM.copy()
    for name, table, lines in (
        ("diagnoses", tables.diagnoses, tables.SEVERE_DIAGNOSES),
        ("drugs", tables.drugs, tables.SEVERE_DRUGS),
    ):
        frame = table(stays)
        severe = [code for line in lines for code in line.split()]
        rows = frame.index.to_numpy()[np.isin(frame["code"].to_numpy(str), severe)]
        num_N = np.bincount(rows, minlength=len(stays))
        num_N[~stays.present(name)] = num_N.max() + 1
        total = np.bincount(num_N, weights=stays.illness(name))
        mean = total / np.maximum(np.bincount(num_N), 1)
        z_NM[:, NAMES.index(name)] = mean[num_N]
    return z_NM


def optimum(stays: Stays) -> dict[str, dict[str, float]]:
    """Part -> AUROC `without` it and of it `alone`; of all parts, that with everything."""
    seen_NM = shown_illness(stays) * stays.present_NM
    parts = kinds()
    everything = list(range(len(NAMES)))

    def auroc(places: Sequence[int]) -> float:
        x_NF = np.hstack([seen_NM[:, places], stays.present_NM[:, places]])
        half = len(stays) // 2
        model = LogisticRegression(C=10.0, max_iter=1000).fit(x_NF[:half], stays.died_N[:half])
        score_N = model.decision_function(x_NF[half:])
        return float(roc_auc_score(stays.died_N[half:], score_N))

    best = auroc(everything)
    result = {ALL: {"without": best, "alone": best}}
    for kind, places in parts.items():
        rest = [m for m in everything if m not in places]
        result[kind] = {"without": auroc(rest), "alone": auroc(places)}
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description="What each kind is worth at best.")
    parser.add_argument("--stays", type=at_least(1000), default=40_000, help="to draw")
    parser.add_argument("--seed", type=at_least(0), default=1, help="of the hospital")
    arguments = parser.parse_args(argv)
    result = optimum(draw_stays(arguments.stays, arguments.seed))
    best = result.pop(ALL)["without"]
    rows = [
        [
            kind,
            figure(values["alone"]),
            figure(values["without"]),
            figure(best - values["without"], sign=True),
        ]
        for kind, values in result.items()
    ]
    print(f"AUROC with everything: {figure(best)}\n")
    print(markdown_table(["kind", "alone", "without", "difference"], rows), end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
