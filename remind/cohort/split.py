"""Train, validation and test: by fractions, by person, stratified, and always the same again.

Persons are ordered by (class, band of their combination, number of rows) and, within these, by a
hash of the seed and their identifier; then every so-many-th is taken. So fractions hold in every
stratum up to rounding, rounding does not add up over strata, and the order of rows plays no part.
"""

# N rows, P persons, M modalities

import numpy as np

from remind.cohort.columns import as_text, text_hash
from remind.cohort.groups import Groups


def split_by_fractions(
    person: np.ndarray,
    label_N: np.ndarray,
    present_NM: np.ndarray,
    *,
    val: float,
    test: float,
    seed: int,
) -> np.ndarray:
    """'train', 'val' or 'test' per row (N,).

    Args:
        person: (N,) rows with one value stay together.
        label_N: class index.
        present_NM: whether each modality is observed.
        val, test: fractions of persons, val + test < 1.
        seed: another seed, another split.

    Every class and every modality that occurs has a person in train.
    """
    persons, person_N = np.unique(as_text(person), return_inverse=True)
    hash_P = text_hash(persons, seed)
    order_P = np.lexsort((persons.astype(str), hash_P, *_strata(person_N, label_N, present_NM)))
    start_test, start_val = np.random.default_rng(seed).random(2)

    split_P = np.full(len(persons), "train", dtype="<U5")
    is_test = _every(len(persons), test, start_test)
    split_P[order_P[is_test]] = "test"
    rest_P = order_P[~is_test]
    split_P[rest_P[_every(len(rest_P), val / (1.0 - test), start_val)]] = "val"

    _cover(
        split_P,
        person_N,
        hash_P,
        np.column_stack([label_N[:, None] == np.unique(label_N), present_NM]),
    )
    return split_P[person_N]


def _strata(
    person_N: np.ndarray, label_N: np.ndarray, present_NM: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Sort keys (P,), least important first: rows, band, class (those of the rarest row)."""
    groups = Groups.fit(present_NM, [str(m) for m in range(present_NM.shape[1])])
    count_N = groups.n_train(present_NM)
    class_count_N = np.bincount(label_N)[label_N]
    by_rarity = np.lexsort((-groups.ids(present_NM), count_N, label_N, class_count_N))
    _, first_P = np.unique(person_N[by_rarity], return_index=True)
    row_P = by_rarity[first_P]
    _, band_N = np.unique(groups.bands.of(count_N), return_inverse=True)
    return np.bincount(person_N), band_N[row_P], label_N[row_P]


def _every(num: int, fraction: float, start: float) -> np.ndarray:
    """Which of `num` places in a row to take, evenly spaced so that `fraction` of them are."""
    passed = np.floor(np.arange(num + 1) * fraction + start)
    return np.diff(passed) > 0


def _cover(
    split_P: np.ndarray, person_N: np.ndarray, hash_P: np.ndarray, needed_NK: np.ndarray
) -> None:
    """Move a person to train for every property (column) that occurs but not in train."""
    for has_N in needed_NK.T:
        owners = np.unique(person_N[has_N])
        if len(owners) and not (split_P[owners] == "train").any():
            split_P[owners[hash_P[owners].argmin()]] = "train"
