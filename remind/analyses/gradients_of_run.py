"""Gradient consistency of a run: as trained, and as initialised."""

# N patients, G groups, F families

from typing import Any

import numpy as np
from torch import nn

from remind.analyses.association import rank_correlation
from remind.analyses.gradients import SAMPLE, Consistency, gradient_consistency
from remind.analyses.neural import encoded_rows, loss_of, network_of
from remind.analyses.options import Options
from remind.analyses.persons import one_row_per_person
from remind.cohort import BAND_NAMES, Cohort, Encoded
from remind.evaluation.bootstrap import interval
from remind.evaluation.proportions import wilson
from remind.methods import METHODS
from remind.training import NeuralMethod, Run
from remind.training.seeds import seeded

SHOWN = 40
"""Groups of the matrix, the largest; thousands are no picture."""
DIGITS = 5


def gradients(run: Run, cohort: Cohort, options: Options) -> dict[str, Any]:
    """Cosine of every group's gradient with the overall one, before and after training.

    The patients are those of training, whatever the split of the options: a training step is made
    of them, and a group's size is counted in them. Of a person with several rows one is used, drawn
    at random: ``n`` and ``n_train`` count these, bands are those of all rows.

    Returns:
        JSON: ``split``, ``n``, ``parameters`` (numbers of a gradient by family), ``projection``
        (``dims``, ``standard_error`` of a cosine, ``bound`` that 95% of the cosines keep), and
        ``trained`` and ``initial`` (None with ``initial_why_not``), each with

        - ``size``: Spearman's correlation of cosine and n over groups;
        - ``size_beyond_chance``: of cosine minus expected cosine, and n;
        - ``below_chance``: groups below the range of 95% of draws, 2.5% by chance alone;
        - ``bands``: ``groups``, mean ``cosine`` and ``expected`` with the ``ci`` of their
          difference (bootstrap over groups), and mean cosine by family;
        - ``families``: Spearman's correlation of the cosine in each and n;
        - ``groups``: every group, most common first;
        - ``matrix``: cosines between the 40 largest groups.

    Raises:
        InputError: the method has no gradients.
    """
    model = network_of(run, "gradients")
    rng = np.random.default_rng(options.seed)
    rows = one_row_per_person(cohort.person, cohort.rows("train"), rng)
    encoded = encoded_rows(run, cohort, rows)
    trained = _consistency(model, encoded, options)
    initial = initial_model(run)
    dims = trained.projection.dims
    why = f"how the method {run.settings.method} is initialised is not known"
    return {
        "split": "train",
        "n": len(encoded),
        "parameters": dict(zip(trained.families, trained.sizes_F, strict=True)),
        "projection": dims
        and {
            "dims": dims,
            "standard_error": trained.projection.standard_error,
            "bound": trained.projection.bound(0.05),
        },
        "trained": _block(trained, run, options),
        "initial": initial and _block(_consistency(initial, encoded, options), run, options),
        **({} if initial else {"initial_why_not": why}),
    }


def initial_model(run: Run) -> nn.Module | None:
    """The network of a run before its first step, to the bit; None for an unknown method."""
    method = METHODS.get(run.settings.method)
    if not isinstance(method, NeuralMethod):
        return None
    with seeded(run.settings.seed):
        model = method.build(run.encoding, len(run.encoding.classes), run.settings.model)
    device = next(network_of(run, "gradients").parameters()).device
    return model.to(device)


def _consistency(model: nn.Module, encoded: Encoded, options: Options) -> Consistency:
    return gradient_consistency(
        model, loss_of(model), encoded.batch, encoded.group_N, sample=SAMPLE, seed=options.seed
    )


def _block(result: Consistency, run: Run, options: Options) -> dict[str, Any]:
    groups = run.encoding.groups
    names_G = groups.names(groups.patterns_GM[result.group_G])
    band_G = groups.bands.of(groups.counts_G[result.group_G])
    size_G = result.n_G.astype(float)
    beyond_G = result.cosine_G - result.expected_G
    defined_G = ~np.isnan(result.cosine_G)
    below = int((result.cosine_G < result.range_G2[:, 0])[defined_G].sum())
    num = int(defined_G.sum())
    largest = np.argsort(-result.n_G, kind="stable")
    return {
        "size": rank_correlation(size_G, result.cosine_G, options),
        "size_beyond_chance": rank_correlation(size_G, beyond_G, options),
        "below_chance": {
            "groups": below,
            "n": num,
            "share": below / num if num else None,
            "ci": wilson(below, num, options.level),
            "by_chance": 0.025,
        },
        "bands": {
            band: _band(result, band_G == band, options) for band in BAND_NAMES if band != "unseen"
        },
        "families": {
            family: rank_correlation(size_G, result.cosine_GF[:, f], options)
            for f, family in enumerate(result.families)
        },
        "groups": [_group(result, g, names_G[g], str(band_G[g])) for g in largest.tolist()],
        "matrix": {
            "groups": [names_G[g] for g in largest[:SHOWN].tolist()],
            "cosine": [[_number(v) for v in row] for row in result.matrix(largest[:SHOWN])],
        },
    }


def _band(result: Consistency, some_G: np.ndarray, options: Options) -> dict[str, Any]:
    """Means over the groups of a band; every group counts the same."""
    some_G = some_G & ~np.isnan(result.cosine_G)
    cosine_G, expected_G = result.cosine_G[some_G], result.expected_G[some_G]
    num = len(cosine_G)
    if not num:
        return {"groups": 0, "cosine": None, "expected": None, "difference": None, "ci": None}
    beyond_G = cosine_G - expected_G
    rng = np.random.default_rng(options.seed)
    drawn_R = beyond_G[rng.integers(num, size=(options.num_boot, num))].mean(axis=1)
    family_F = [_mean(result.cosine_GF[some_G, f]) for f in range(len(result.families))]
    return {
        "groups": num,
        "cosine": float(cosine_G.mean()),
        "expected": float(expected_G.mean()),
        "difference": float(beyond_G.mean()),
        "ci": interval(drawn_R, options.level) if num > 1 else None,
        "families": dict(zip(result.families, family_F, strict=True)),
    }


def _group(result: Consistency, g: int, name: str, band: str) -> dict[str, Any]:
    families = zip(result.families, result.cosine_GF[g].tolist(), strict=True)
    return {
        "group": name,
        "n_train": int(result.n_G[g]),
        "band": band,
        "loss": _number(result.loss_G[g]),
        "cosine": _number(result.cosine_G[g]),
        "expected": _number(result.expected_G[g]),
        "range": [_number(v) for v in result.range_G2[g]],
        "p": _number(result.below_G[g]),
        "families": {family: _number(value) for family, value in families},
    }


def _mean(value_G: np.ndarray) -> float | None:
    value_G = value_G[~np.isnan(value_G)]
    return float(value_G.mean()) if len(value_G) else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), DIGITS)
