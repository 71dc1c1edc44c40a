"""Run folders without a fit: files with the layout that fit, evaluate and diagnose write."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tomli_w

from remind.cohort import Bands, Groups
from remind.evaluation import evaluate, write_predictions
from remind.evaluation.calibration import calibration
from remind.evaluation.conformal import conformal

MODALITIES = ("vitals", "labs", "<script>alert(1)</script>", "x-ray & co", "$codes$")
SHARES = (0.97, 0.9, 0.8, 0.25, 0.1)


def make_run(
    folder: Path,
    *,
    method: str = "default",
    noise: float = 0.6,
    num: int = 800,
    shares: tuple[float, ...] = SHARES,
    modalities: tuple[str, ...] = MODALITIES,
    fingerprint: str = "f" * 64,
    split: str = "test",
    with_predictions: bool = True,
    diagnosis: dict[str, Any] | None = None,
    manifest: dict[str, Any] | None = None,
) -> Path:
    """Write a run of a method whose errors grow with `noise`; patients are the same for all."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    present_NM = rng.random((2 * num, len(modalities))) < shares
    present_NM[:, 0] |= ~present_NM.any(axis=1)
    groups = Groups.fit(present_NM[:num], modalities, Bands())
    frame = predictions(groups, present_NM[num:], method, noise, split)
    evaluation = evaluate(frame, cohort="ward <1>", bands=Bands(), num_boot=30)
    cohort_folder = folder.parent / f"{folder.name}-cohort"
    cohort_folder.mkdir()
    if manifest is not None:
        (cohort_folder / "manifest.json").write_text(json.dumps(manifest))
    cohort = {"name": "ward <1>", "source": "ward", "path": "", "fingerprint": fingerprint}
    config = {"method": method, "seed": 0, "objective": "erm", "cohort": cohort}
    config["versions"] = {"python": "3.11.7", "numpy": "2.4.6"}
    (folder / "config.toml").write_text(tomli_w.dumps(config), encoding="utf-8")
    spec = {"cohort": {"name": "ward <1>", "label": "died", "task": "binary", "id": "id"}}
    encoding = {"groups": groups.to_dict(), "classes": ["0", "1"]}
    origin = {"source": "ward", "root": str(cohort_folder)}
    _write(folder / "encoding.json", {"spec": spec, **origin, "encoding": encoding})
    _write(folder / "evaluation.json", evaluation)
    if with_predictions:
        write_predictions(frame, folder / "predictions.parquet")
    if diagnosis is not None:
        _write(folder / "diagnosis.json", diagnosis)
    return folder


def predictions(
    groups: Groups, present_NM: np.ndarray, method: str, noise: float, split: str
) -> pd.DataFrame:
    """A table of predictions; labels do not depend on the method."""
    num = len(present_NM)
    rng = np.random.default_rng(1)
    logit_N = rng.normal(-0.8, 1.4, num)
    label_N = (rng.random(num) < 1 / (1 + np.exp(-logit_N))).astype(int)
    error_N = np.random.default_rng(len(method)).normal(size=num)
    prob_N = 1 / (1 + np.exp(-(logit_N + noise * error_N)))
    ids = [f"p{i}" for i in range(num)]
    return pd.DataFrame(
        {
            "id": ids,
            "person": ids,
            "label": label_N.astype(str),
            "prob_0": 1 - prob_N,
            "prob_1": prob_N,
            "group": groups.names(present_NM),
            "n_train": groups.n_train(present_NM),
            "band": groups.band(present_NM),
            "split": split,
            "method": method,
            "seed": 0,
        }
    )


def make_diagnosis(seed: int = 0) -> dict[str, Any]:
    """Every part of a diagnosis, with figures of the right layout and no meaning."""
    rng = np.random.default_rng(seed)
    present_NM = rng.random((1500, len(MODALITIES))) < SHARES
    present_NM[:, 0] |= ~present_NM.any(axis=1)
    groups = Groups.fit(present_NM, MODALITIES, Bands())
    frame = predictions(groups, present_NM, "default", 0.6, "test")
    names = groups.names(groups.patterns_GM)
    counts = groups.counts_G.tolist()
    bands = groups.bands.of(groups.counts_G).tolist()
    return {
        "cohort": "ward <1>",
        "split": "test",
        "method": "default",
        "n": 1500,
        "calibration": {"split": "test", **calibration(frame, num_boot=20)},
        "conformal": {"split": "test", **conformal(frame[:700], frame[700:])},
        "gradients": _gradients(names, counts, bands),
        "concept_shift": _concept_shift(names[:4]),
        "routing": _routing(names, counts),
        "group_weights": _weights(names, counts),
        "attributable": _attributable(),
        "long_tail": _long_tail(counts),
        "acquisition": _acquisition(names),
        "absent": {},
        "seconds": {},
    }


def figure(value: float, half: float) -> dict[str, Any]:
    """A value and its interval."""
    return {"value": value, "ci": [value - half, value + half]}


def _gradients(names: list[str], counts: list[int], bands: list[str]) -> dict[str, Any]:
    rho = {"rho": 0.4, "ci": [0.2, 0.6], "p": 0.0001, "n": len(names)}
    band = {"groups": 3, "cosine": 0.5, "expected": 0.6, "difference": -0.1, "ci": [-0.3, 0.1]}
    block = {
        "size": rho,
        "size_beyond_chance": {**rho, "rho": 0.1, "ci": [-0.1, 0.3]},
        "below_chance": {"groups": 3, "n": 40, "share": 0.075, "ci": [0.02, 0.2]},
        "bands": dict.fromkeys(("head", "medium", "tail"), band),
        "groups": [
            {
                "group": name,
                "n_train": n,
                "band": of,
                "cosine": None if at == 3 else 0.3,
                "expected": 0.4,
                "range": [0.1, 0.7],
                "p": 0.3,
            }
            for at, (name, n, of) in enumerate(zip(names, counts, bands, strict=True))
        ],
        "matrix": {
            "groups": names[:3],
            "cosine": [[1, 0.2, None], [0.2, 1, -0.4], [None, -0.4, 1]],
        },
    }
    return {"split": "train", "n": 1500, "trained": block, "initial": block}


def _concept_shift(names: list[str]) -> dict[str, Any]:
    num = len(names)
    pair = {"a": names[0], "b": names[1], "excess": 0.02, "p": 0.04, "q": 0.2}
    return {
        "groups": [
            {"group": name, "n": 80, "cluster": 1, "excess": 0.01, "ci": None} for name in names
        ],
        "excess": [[0.01 * (a - b) for b in range(num)] for a in range(num)],
        "leaves": list(range(num))[::-1],
        "pairs": [pair],
        "overall": {"excess": 0.01, "ci": None, "p": 0.3, "pairs": 6, "significant": 0},
    }


def _routing(names: list[str], counts: list[int]) -> dict[str, Any]:
    by_band = {"all": 0.1, "head": 0.1, "medium": 0.1, "tail": None, "unseen": None}
    groups = [
        {"group": name, "n_train": n, "n": n // 4, "gates": [0.7, 0.3, 0.0]}
        for name, n in zip(names, counts, strict=True)
    ]
    mixture = {
        "name": "blocks.0",
        "information": {"nats": 0.1, "ci": [0.05, 0.2], "p": 0.005, "share": 0.1},
        "balance": {"effective": 2.5, "of": 3, "largest": 0.7, "idle": 1},
        "specialisation": {"patient": 1.5, "group": 2.0},
        "group_part": by_band,
        "gate": by_band,
        "similarity": {"rho": 0.2, "p": 0.01, "n": 20},
        "groups": groups,
    }
    return {"split": "test", "n": 1500, "mixtures": [mixture]}


def _weights(names: list[str], counts: list[int]) -> dict[str, Any]:
    updates = {"update": [0, 8, 16], "entropy": [3.0, 2.0, 0.1], "max_weight": [0.05, 0.5, 0.97]}
    updates |= {"tail_mass": [0.4, 0.2, 0.0], "moved": [0.0, 0.4, 0.9]}
    group = {"group": names[0], "n_train": counts[0], "share": 0.2, "weight": 0.97, "ratio": 4.85}
    return {
        "objective": "group_dro",
        "moves": True,
        "health": f'one-hot: "{names[0]}" holds 97.0% of the weight; lower the step',
        "verdict": "one-hot",
        "updates": updates,
        "epochs": [],
        "groups": [group],
    }


def _attributable() -> dict[str, Any]:
    keys = ("gap", "information", "patients", "function", "model", "common_excess")
    parts = {key: figure(0.01 * at, 0.05) for at, key in enumerate(keys)}
    block = {"n": 90, "covered": 0.9, "log_loss": {"parts": parts}}
    return {"bands": {"medium": block, "tail": block, "unseen": None}, "groups": []}


def _long_tail(counts: list[int]) -> dict[str, Any]:
    band = {"groups": 4, "n": 300, "share": 0.2, "observed": 0.2, "ci": [0.15, 0.25]}
    return {
        "n": sum(counts),
        "num_groups": len(counts),
        "gini": 0.6,
        "effective_groups": 12.3,
        "rank_size": [
            {"n": n, "first": at + 1, "last": at + 1} for at, n in enumerate(sorted(counts)[::-1])
        ],
        "limits": {"head": 100, "medium": 20},
        "bands": dict.fromkeys(("head", "medium", "tail", "unseen"), band),
        "unseen": {
            "expected": 0.012,
            "ci": [0.008, 0.019],
            "split": "test",
            "observed": 0.01,
            "observed_ci": [0.006, 0.017],
        },
    }


def _acquisition(names: list[str]) -> dict[str, Any]:
    hidden = {"n": 50, "expected": 0.02, "realised": figure(0.015, 0.01)}
    gain = {"modality": MODALITIES[2], "gain": 0.03, "ci": [0.01, 0.05], "evidence": 40.0}
    return {
        "groups": [{"group": names[0], "n_train": 90, "n": 20, "gains": [gain]}],
        "modalities": [
            {"modality": "vitals", "lacking": 0, "gain": None, "hidden": hidden},
            {"modality": MODALITIES[2], "lacking": 30, "gain": 0.03, "hidden": None},
        ],
        "validation": {
            "pearson": figure(0.1, 0.05),
            "groups": None,
            "bins": [hidden, {**hidden, "expected": 0.04}],
        },
    }


def _write(file: Path, data: Any) -> None:
    file.write_text(json.dumps(data, allow_nan=False), encoding="utf-8")
