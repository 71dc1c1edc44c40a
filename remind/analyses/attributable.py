"""The attributable gap: how much of a rare band's deficit is the model's, and how much is not.

The gap is the mean loss of rare patients minus that of common ones (band head). Common patients
masked down to the combinations of rare ones know as little as these, and a reference that had
plenty of them to learn from (see `reference`) says what must be lost. With

    L   loss of the run                                C   common patients as observed
    R   loss of the reference for common patients      D   common patients who can be masked
    R'  loss of the reference for rare patients        D/  the same, masked
    r   rare patients                                  W/  D/ weighted to resemble r

the split is exact, L(r) - L(C) = information + patients + function + model + common_excess:

    information  R(D/) - R(D)                  less is known, the patients being the same
    patients     R(D) - R(C) + R(W/) - R(D/)   harder or easier patients, as far as risk shows it
    function     R'(r) - R(W/)                 same combination and alike in risk, yet predicted
                                               worse or better by a reference: another function
                                               (concept shift), or severity that no value shows
    model        L(r) - R'(r)                  what the reference does better on these patients
    common_excess  R(C) - L(C)                minus what the run loses on common patients

`information` and `patients` are intrinsic. `model` is what a better model wins for sure: it was won
here, on patients whose labels the reference did not see. What the reference cannot do either is not
in it, so it is a lower end of the run's excess over the optimum. `function` is open: a
group-specialised model may win some of it, and patients whose outcome is harder (easier) to know
make it positive (negative) as well. Where missingness is at random and one function holds for all
it is zero. `difference` is L(r) - L(W/), the run against itself.

The split is of the rare patients whose combination some common patient can be masked to; `all_gap`
and `all_model` are of all rare patients. Intervals are bootstrap by person, with weights and
references held fixed.
"""

# N rows, M modalities, U rare combinations, D donor rows, P persons, F scores, L losses

from dataclasses import dataclass
from typing import Any

import numpy as np

from remind.analyses.figures import Mean, figures
from remind.analyses.masked import draw_donors
from remind.analyses.matching import Match, match
from remind.analyses.options import Options
from remind.analyses.reference import fit_reference
from remind.analyses.scored import LOSSES, Scored, Scorer
from remind.cohort import Cohort
from remind.errors import InputError
from remind.evaluation.bootstrap import person_codes
from remind.training import Run

MAX_MASKED = 40_000
"""Masked donor rows in all, shared among the combinations."""
MIN_DONORS = 10  # of a combination, however many combinations there are
MIN_PATIENTS = 20
"""Rare patients from which on a single group is reported."""
MAX_GROUPS = 30
"""Groups that are reported, those with most patients."""
RARE = ("medium", "tail", "unseen")
LEVELS = (
    "all_rare",
    "all_rare_reference",
    "rare",
    "rare_reference",
    "common",
    "common_reference",
    "donors",
    "masked",
    "matched",
    "matched_own",
)
PARTS: dict[str, dict[str, float]] = {
    "gap": {"rare": 1, "common": -1},
    "information": {"masked": 1, "donors": -1},
    "patients": {"donors": 1, "common_reference": -1, "matched": 1, "masked": -1},
    "function": {"rare_reference": 1, "matched": -1},
    "model": {"rare": 1, "rare_reference": -1},
    "common_excess": {"common_reference": 1, "common": -1},
    "difference": {"rare": 1, "matched_own": -1},
    "all_gap": {"all_rare": 1, "common": -1},
    "all_model": {"all_rare": 1, "all_rare_reference": -1},
}
FIGURES = {"levels": {name: {name: 1.0} for name in LEVELS}, "parts": PARTS}


@dataclass(frozen=True)
class Sides:
    """Whom rare patients are compared with.

    Args:
        common: as observed.
        donors: the same, once for every combination that they are masked to.
        masked: the donors, masked, in the same order.
        num_persons: P.
    """

    common: Scored
    donors: Scored
    masked: Scored
    num_persons: int


def attributable_gap(run: Run, cohort: Cohort, options: Options) -> dict[str, Any]:
    """Split the gap of every rare band, and of every rare group with at least 20 patients.

    Args:
        run: any method's.
        cohort: that it was fitted on, labelled.
        options: split, bootstrap, level and seed.

    Returns:
        JSON: ``bands`` and ``groups`` hold blocks with ``n``, ``covered`` (share of the patients
        whose combination a common patient can be masked to), ``balance`` of the weights, and per
        loss ``levels`` and ``parts`` of ``value`` and ``ci``; a block without patients is None,
        and figures that need donors are None where there are none.

    Raises:
        InputError: the split is one of training or validation, which the references are fitted on,
            or has no common or no rare patient.
    """
    options.check_not_fitted_on(("train", "val"), "the reference model")
    groups = run.encoding.groups
    rows = cohort.rows(options.split)
    band_N = groups.band(cohort.present_NM[rows])
    common, rare = rows[band_N == "head"], rows[band_N != "head"]
    _check_sides(len(common), len(rare), groups.bands.head, options.split)
    patterns_UM, pattern_N, counts_U = np.unique(
        cohort.present_NM[rare], axis=0, return_inverse=True, return_counts=True
    )
    pattern_N = pattern_N.ravel()
    reference = fit_reference(run, cohort, patterns_UM, counts_U, seed=options.seed)
    code_N, num_persons = person_codes(cohort.person[rows])
    person_of_row = np.full(len(cohort), -1)
    person_of_row[rows] = code_N
    scorer = Scorer(reference, cohort, person_of_row)
    sides = _sides(scorer, common, patterns_UM, num_persons, options.seed)
    scored = scorer.rare(rare, pattern_N)
    band_of_rare = band_N[band_N != "head"]
    names_U, n_train_U = groups.names(patterns_UM), groups.n_train(patterns_UM).tolist()
    return {
        "split": options.split,
        "common": len(common),
        "rare": len(rare),
        "reference": {
            "weight_of_trees": reference.weight,
            "rare_validation": len(reference.validation.label_N),
        },
        "bootstrap": {"unit": "person", "num_boot": options.num_boot, "level": options.level},
        "bands": {
            band: _block(scored.select(band_of_rare == band), sides, options)
            if (band_of_rare == band).any()
            else None
            for band in RARE
        },
        "groups": [
            {
                "group": names_U[u],
                "n_train": n_train_U[u],
                **_block(scored.select(pattern_N == u), sides, options),
            }
            for u in np.argsort(-counts_U, kind="stable")[:MAX_GROUPS].tolist()
            if counts_U[u] >= MIN_PATIENTS
        ],
    }


def _sides(
    scorer: Scorer, common: np.ndarray, patterns_UM: np.ndarray, num_persons: int, seed: int
) -> Sides:
    """Score common patients as observed, and some of them masked to each combination."""
    present_NM = scorer.cohort.present_NM[common]
    most = max(MAX_MASKED // len(patterns_UM), MIN_DONORS)
    donor_D, pattern_D = draw_donors(present_NM, patterns_UM, most, np.random.default_rng(seed))
    observed = scorer.common(common, present_NM, np.full(len(common), -1))
    return Sides(
        common=observed,
        donors=observed.select(donor_D),
        masked=scorer.common(common[donor_D], patterns_UM[pattern_D], pattern_D),
        num_persons=num_persons,
    )


def _check_sides(num_common: int, num_rare: int, head: int, split: str) -> None:
    if not num_common:
        raise InputError(
            f'no patient of the split "{split}" is in a combination that more than {head} training '
            "patients have, so there is nobody to compare with: fit with a lower bands_head"
        )
    if not num_rare:
        raise InputError(
            f'every patient of the split "{split}" is in a combination that more than {head} '
            "training patients have, so there is no gap: fit with a higher bands_head"
        )


def _block(rare: Scored, sides: Sides, options: Options) -> dict[str, Any]:
    masked = sides.masked
    covered_N = np.isin(rare.pattern_N, masked.pattern_N)
    alike = rare.select(covered_N)
    weights = None
    if covered_N.any():
        weights = match(masked.score_NF, masked.pattern_N, alike.score_NF, alike.pattern_N)
    means = {
        (loss, name): mean
        for position, loss in enumerate(LOSSES)
        for name, mean in _means(rare, alike, sides, weights, position).items()
    }
    contrasts = {
        (loss, kind, name): {(loss, mean): sign for mean, sign in signs.items()}
        for loss in LOSSES
        for kind, some in FIGURES.items()
        for name, signs in some.items()
    }
    result = figures(means, contrasts, sides.num_persons, options)
    return {
        "n": len(rare.person_N),
        "covered": float(covered_N.mean()),
        "balance": _balance(masked, weights),
        **{
            loss: {
                kind: {name: result[loss, kind, name] for name in some}
                for kind, some in FIGURES.items()
            }
            for loss in LOSSES
        },
    }


def _balance(masked: Scored, weights: Match | None) -> dict[str, Any] | None:
    if weights is None:
        return None
    weight_P = np.bincount(masked.person_N, weights=weights.matched_D)
    return {
        "donors": int((weight_P > 0).sum()),
        "effective_donors": float(weight_P.sum() ** 2 / (weight_P**2).sum()),
        "before": weights.before,
        "after": weights.after,
    }


def _means(
    rare: Scored, alike: Scored, sides: Sides, weights: Match | None, position: int
) -> dict[str, Mean]:
    """Every level of one loss; those that need donors only where there are some."""

    def own(scored: Scored, weight_N: np.ndarray | None = None) -> Mean:
        return _mean(scored, scored.own_NL[:, position], weight_N)

    def reference(scored: Scored, weight_N: np.ndarray | None = None) -> Mean:
        return _mean(scored, scored.reference_NL[:, position], weight_N)

    everyone = {
        "all_rare": own(rare),
        "all_rare_reference": reference(rare),
        "common": own(sides.common),
        "common_reference": reference(sides.common),
    }
    if weights is None:
        return everyone
    return everyone | {
        "rare": own(alike),
        "rare_reference": reference(alike),
        "donors": reference(sides.donors, weights.base_D),
        "masked": reference(sides.masked, weights.base_D),
        "matched": reference(sides.masked, weights.matched_D),
        "matched_own": own(sides.masked, weights.matched_D),
    }


def _mean(scored: Scored, value_N: np.ndarray, weight_N: np.ndarray | None) -> Mean:
    return Mean(scored.person_N, value_N, np.ones(len(value_N)) if weight_N is None else weight_N)
