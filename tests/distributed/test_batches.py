"""Laws of cutting an epoch into batches and dealing them to ranks."""

import itertools

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from remind.cohort import Encoding
from remind.training.batches import cut, deal, own_slice, tokens_of_modalities
from remind.training.dropout import draw
from remind.training.mean import LOOK_EVERY, MeanLoss
from tests.training.toy import toy_cohort

sizes = st.integers(1, 200)


@given(sizes, st.integers(1, 40), st.integers(1, 9), st.integers(0, 2**31))
def test_every_patient_is_dealt_once(num: int, size: int, num_ranks: int, seed: int) -> None:
    """Ranks neither repeat nor drop a patient, in any batch, and share the load."""
    rows = np.random.default_rng(seed).permutation(num) + 7
    batches = cut(rows, size, None, 0)
    assert np.array_equal(np.concatenate(batches), rows)
    assert all(len(batch) == size for batch in batches[:-1])
    for batch in batches:
        parts = [deal(batch, rank, num_ranks) for rank in range(num_ranks)]
        own = [part.rows[: part.num_own] for part in parts]
        assert np.array_equal(np.concatenate(own), batch)
        assert max(map(len, own)) - min(map(len, own)) <= 1
        for part in parts:  # a stand-in is a patient of the batch, and counts nothing
            assert len(part.rows) >= 1
            assert np.array_equal(part.of(torch.from_numpy(batch)).numpy(), part.rows)
        values = np.random.default_rng(seed).normal(size=300)
        means = [part.weight * values[part.rows].mean() for part in parts]
        assert np.isclose(np.mean(means), values[batch].mean())


@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=80), st.integers(1, 40), st.integers(0, 999)
)
def test_a_budget_is_kept_and_used(tokens: list[int], budget: int, seed: int) -> None:
    """No batch has more tokens, but for a single patient; none could have taken one more."""
    rows = np.random.default_rng(seed).permutation(len(tokens))
    tokens_N = np.array(tokens)[rows]
    batches = cut(rows, 5, tokens_N, budget)
    assert np.array_equal(np.concatenate(batches), rows)
    of = np.array(tokens)
    for batch in batches:
        assert of[batch].sum() <= budget or len(batch) == 1
    for batch, after in itertools.pairwise(batches):
        assert of[batch].sum() + of[after[0]] > budget


@given(sizes, st.integers(1, 9))
def test_validation_patients_are_dealt_once(num: int, num_ranks: int) -> None:
    slices = [own_slice(num, rank, num_ranks) for rank in range(num_ranks)]
    assert [i for part in slices for i in range(num)[part]] == list(range(num))


def test_tokens_are_those_that_the_encoders_make() -> None:
    """One per table; as many as the encoder makes where it makes several."""
    cohort = toy_cohort()
    encoding = Encoding.fit(cohort, cohort.rows("train"))
    assert tokens_of_modalities(encoding).tolist() == [1] * len(encoding.modalities)


def test_dropout_is_drawn_for_the_global_batch() -> None:
    """A function of seed, epoch and step, so that a patient's does not depend on the rank."""
    first = draw(3, 1, 4, 11, 5)
    assert first.shape == (11, 6)
    assert torch.equal(first, draw(3, 1, 4, 11, 5))
    for other in (draw(4, 1, 4, 11, 5), draw(3, 2, 4, 11, 5), draw(3, 1, 5, 11, 5)):
        assert not torch.equal(first, other)


def test_mean_loss_is_that_of_the_patients_and_tells_the_first_strange_value() -> None:
    mean, losses = MeanLoss(), torch.rand(LOOK_EVERY + 3)
    numbers = list(range(1, len(losses) + 1))
    for loss, num in zip(losses, numbers, strict=True):
        mean.add(loss, num)
    mean.look()
    expected = float(losses.double() @ torch.tensor(numbers).double()) / sum(numbers)
    assert abs(mean.value - expected) < 1e-12
    for value in (1.0, float("inf"), float("nan")):
        mean.add(torch.tensor(value), 1)
    assert not mean.strange
    mean.look()
    assert mean.strange == float("inf")
