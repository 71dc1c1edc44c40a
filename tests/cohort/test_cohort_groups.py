"""Laws of groups and bands, against a plain dictionary."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from remind.cohort import Bands, Groups


@st.composite
def presences(draw: st.DrawFn) -> np.ndarray:
    num_patients, num_modalities = draw(st.integers(1, 40)), draw(st.sampled_from([1, 3, 8, 9, 70]))
    num_patterns = draw(st.integers(1, 5))
    patterns = draw(arrays(bool, (num_patterns, num_modalities)))
    picks = draw(arrays(np.int64, num_patients, elements=st.integers(0, num_patterns - 1)))
    return patterns[picks]


@given(train_NM=presences(), seed=st.integers(0, 9))
def test_groups_agree_with_a_dictionary(train_NM: np.ndarray, seed: int) -> None:
    flips = np.random.default_rng(seed).random(train_NM.shape) < 0.1
    other_NM = np.concatenate([train_NM, train_NM ^ flips])
    names = [f"m{m}" for m in range(train_NM.shape[1])]
    groups = Groups.fit(train_NM, names, Bands(head=10, medium=3))

    counts = Counter(map(tuple, train_NM.tolist()))
    order = sorted(counts, key=lambda row: (-counts[row], row))
    assert [tuple(row) for row in groups.patterns_GM.tolist()] == order
    assert groups.counts_G.tolist() == [counts[row] for row in order]

    rows = [tuple(row) for row in other_NM.tolist()]
    position = {row: g for g, row in enumerate(order)}
    assert groups.ids(other_NM).tolist() == [position.get(row, -1) for row in rows]
    assert groups.n_train(other_NM).tolist() == [counts[row] for row in rows]
    assert groups.names(other_NM) == [
        "+".join(name for name, is_there in zip(names, row, strict=True) if is_there)
        for row in rows
    ]
    assert groups.band(other_NM).tolist() == [plain_band(counts[row]) for row in rows]


def plain_band(count: int) -> str:
    if count > 10:
        return "head"
    if count >= 3:
        return "medium"
    return "tail" if count else "unseen"


@given(present_NM=presences())
@settings(max_examples=30)
def test_groups_come_back_from_json(present_NM: np.ndarray) -> None:
    groups = Groups.fit(
        present_NM, [f"m{m}" for m in range(present_NM.shape[1])], Bands(head=7, medium=2)
    )
    again = Groups.from_dict(groups.to_dict())
    assert (again.ids(~present_NM) == groups.ids(~present_NM)).all()
    assert (again.ids(present_NM) == groups.ids(present_NM)).all()
    assert again.modalities == groups.modalities
    assert (again.patterns_GM == groups.patterns_GM).all()
    assert (again.counts_G == groups.counts_G).all()
    assert again.bands == groups.bands


def test_bands_have_the_thresholds_of_the_method() -> None:
    bands = Bands().of(np.array([101, 100, 20, 19, 1, 0]))
    assert bands.tolist() == ["head", "medium", "medium", "tail", "tail", "unseen"]


def test_bands_refuse_thresholds_in_the_wrong_order() -> None:
    with pytest.raises(ValueError, match="1 <= medium <= head, got medium=20, head=10"):
        Bands(head=10)
