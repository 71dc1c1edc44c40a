"""Codes to tokens: a set of sums of parts."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from remind.cohort import Cohort, read_cohort
from remind.cohort.kinds.codes import CodesBatch
from remind.cohort.kinds.event_scales import CountScale
from remind.encoders.events import EVENT_WIDTH, HEADS, EventPool
from remind.encoders.tokens import Tokens
from tests.cohort.make_events import patients, write
from tests.encoders.event_laws import (
    auroc_of_a_short_fit,
    check_batch_composition,
    check_gradients,
    check_hidden_items_are_not_read,
    doubled,
    setting,
)

SECTIONS = """
[modalities.dx]
kind = "codes"
table = "dx.csv"
system = "icd9"
min_count = 2

[modalities.drugs]
kind = "codes"
table = "drugs.csv"
system = "atc"
time = "time"
min_count = 1
num_tokens = 1
"""
DX = ("250.00", "25001", "401.9", "4019", "V45.81", "E849.0", "nonsense")
DRUGS = ("A10BA02", "C09AA05", "C09AA02", "N02BE01")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Diagnoses without, drugs with a time; not everyone has both."""
    rng = np.random.default_rng(0)
    folder = write(tmp_path_factory.mktemp("codes"), SECTIONS, patients(12))
    for name, codes in (("dx", DX), ("drugs", DRUGS)):
        num = 25
        pid = np.append(0, rng.integers(0, 12, num - 1))
        frame = pd.DataFrame({"pid": pid, "code": rng.choice(codes, num)})
        frame["time"] = rng.uniform(0, 48, num)
        frame.to_csv(folder / f"{name}.csv", index=False)
    return read_cohort(folder)


@settings(max_examples=15, deadline=None)
@given(rows=st.lists(st.integers(0, 11), min_size=1, max_size=6))
def test_the_company_in_a_batch_is_irrelevant(rows: list[int], cohort: Cohort) -> None:
    encoder, encoded = setting(cohort, "codes")
    check_batch_composition(encoder, encoded, "codes", rows)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999))
def test_the_order_of_codes_is_irrelevant(seed: int, cohort: Cohort) -> None:
    """Codes of a patient change places with their parts, and so do the parts of a code."""
    encoder, encoded = setting(cohort, "codes")
    batch = encoded.batch(np.arange(12))
    values = doubled(batch.values["codes"])
    x_TD = encoder(values, batch.present_BM).x_TD
    shuffle = torch.Generator().manual_seed(seed)
    for name, item in values.items():
        order_V = torch.randperm(len(item.owner_V), generator=shuffle)
        order_V = order_V[item.owner_V[order_V].argsort(stable=True)]
        parts = item.row_W.split(item.num_V.tolist())
        values[name] = type(item)(
            owner_V=item.owner_V[order_V],
            num_V=item.num_V[order_V],
            row_W=torch.cat([parts[v].flip(0) for v in order_V.tolist()]),
            place_V2=item.place_V2[order_V],
        )
    torch.testing.assert_close(encoder(values, batch.present_BM).x_TD, x_TD)


@settings(max_examples=10, deadline=None)
@given(rows=st.lists(st.integers(0, 11), min_size=4, max_size=8).map(lambda rows: [0, *rows]))
def test_what_is_not_present_cannot_matter(rows: list[int], cohort: Cohort) -> None:
    encoder, encoded = setting(cohort, "codes")
    check_hidden_items_are_not_read(encoder, encoded, "codes", rows)


def test_the_gradient_reaches_every_parameter(cohort: Cohort) -> None:
    encoder, encoded = setting(cohort, "codes")
    check_gradients(encoder, encoded, "codes")


def test_a_code_is_the_sum_of_its_parts(cohort: Cohort) -> None:
    """What goes into the pool is the sum over a code and its ancestors, one after the other."""
    encoder, encoded = setting(cohort, "codes")
    bag = encoder.parts[0]
    batch = encoded.batch(np.arange(12))
    seen: list[torch.Tensor] = []
    bag.pool.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    tokens = encoder(doubled(batch.values["codes"]), batch.present_BM)
    item = batch.values["codes"]["dx"]
    table_Kd = bag.share_K1 * bag.table_Kd
    expected = [table_Kd[rows.long()].sum(0) for rows in item.row_W.split(item.num_V.tolist())]
    torch.testing.assert_close(seen[0], torch.stack(expected))
    num_tokens = 2 * encoded.present_NM[:, 1] + encoded.present_NM[:, 2]
    assert torch.bincount(tokens.owner_T, minlength=12).tolist() == num_tokens.tolist()


def test_the_burden_of_codes_adds_up_in_the_first_token(cohort: Cohort) -> None:
    """Beside the pool's token: the sum over codes less the usual one, code by code."""
    encoder, encoded = setting(cohort, "codes")
    bag = encoder.parts[0]
    batch = encoded.batch(np.arange(12))
    pooled: list[Tokens] = []
    bag.pool.register_forward_hook(lambda *call: pooled.append(call[2]))
    item = doubled(batch.values["codes"])["dx"]
    tokens = bag(item, batch.present_BM)
    extra_SQD = (tokens.x_TD - pooled[0].x_TD).unflatten(0, (-1, bag.num_tokens))
    assert (extra_SQD[:, 1] == 0).all()
    parts = item.row_W.split(item.num_V.tolist())
    owners = batch.present_BM[:, 1].nonzero().squeeze(1).tolist()
    counts_SK = torch.zeros(len(owners), len(bag.table_Kd)).double()
    for owner, rows in zip(item.owner_V.tolist(), parts, strict=True):
        for row in rows.tolist():
            counts_SK[owners.index(owner), row] += 1
    usual_K = counts_SK[
        torch.isin(torch.tensor(owners), torch.from_numpy(cohort.rows("train")))
    ].mean(0)
    torch.testing.assert_close(bag.mean_K.double(), usual_K, rtol=0, atol=1e-6)
    table_Kd = (usual_K / 0.1).clamp(max=1).sqrt()[:, None] * bag.table_Kd
    expected_SD = (counts_SK - usual_K) @ table_Kd @ bag.project_dD
    torch.testing.assert_close(extra_SQD[:, 0], expected_SD, rtol=1e-5, atol=1e-7)


def test_a_token_is_its_formula() -> None:
    """Time, mixing, the means of two heads, and the logarithm of the count, one after the other."""
    torch.manual_seed(0)
    count = CountScale(mean=0.7, std=0.4)
    pool = EventPool(1, count, is_timed=True, width=6, num_tokens=3).double()
    x_Vd, place_V2 = torch.randn(5, EVENT_WIDTH).double(), torch.randn(5, 2).double()
    owner_V = torch.tensor([0, 0, 0, 2, 2])
    plan = pool.plan(owner_V, torch.ones(3, 2, dtype=torch.bool))
    tokens = pool(x_Vd, place_V2, plan)
    assert tokens.owner_T.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    timed_Vd = x_Vd + pool.time(place_V2)
    mixed_Vd = timed_Vd + pool.mix(timed_Vd)
    for patient, own in ((0, slice(0, 3)), (2, slice(3, 5))):
        own_Vd = mixed_Vd[own]
        log = (np.log1p(len(own_Vd)) - count.mean) / count.std
        for q in range(3):
            expected_D = log * pool.count_QD[q]
            for head in (HEADS * q, HEADS * q + 1):
                share_V = (own_Vd @ pool.pool.query_Qd[head] / EVENT_WIDTH**0.5).softmax(0)
                mean_d = pool.pool.value(share_V @ own_Vd)
                expected_D = expected_D + mean_d @ pool.pool.project_QdD[head]
            torch.testing.assert_close(tokens.x_TD[tokens.owner_T == patient][q], expected_D)


@pytest.mark.parametrize(
    ("owner", "time", "is_same"),
    [([0, 1], [0.5, 0.5], True), ([0, 1], [0.5, 0.6], False), ([0, 1, 1], [0.5] * 3, False)],
)
def test_the_number_of_codes_and_their_times_matter(
    owner: list[int], time: list[float], is_same: bool, cohort: Cohort
) -> None:
    """The same code twice is not the same code once; nor is it the same later."""
    encoder, _ = setting(cohort, "codes")
    num = len(owner)
    drugs = CodesBatch(
        owner_V=torch.tensor(owner),
        num_V=torch.full((num,), 2),
        row_W=torch.tensor([0, 1]).repeat(num),
        place_V2=torch.tensor(time).double()[:, None].expand(num, 2),
    )
    present_BM = torch.tensor([[False, False, True]] * 2)
    x_TD = encoder.parts[1](drugs, present_BM).x_TD
    assert torch.allclose(x_TD[0], x_TD[1]) == is_same


def test_the_signal_of_codes_is_learned_through_ancestors(tmp_path: Path) -> None:
    """Every code is rare; only its category says something."""
    n, rng = 400, np.random.default_rng(0)
    frame = pd.DataFrame({"pid": range(n), "hr": rng.normal(size=n)})
    category = rng.integers(200, 210, 8 * n)
    pid = np.repeat(np.arange(n), 8)
    code = [f"{c}.{d:02}" for c, d in zip(category, rng.integers(0, 100, 8 * n), strict=True)]
    bad = np.bincount(pid, weights=np.isin(category, (203, 207)), minlength=n)
    frame["died"] = (bad + rng.normal(size=n) > 1.5).astype(int)
    frame["split"] = rng.choice(["train", "val", "test"], n, p=[0.6, 0.15, 0.25])
    keys = '[modalities.dx]\nkind = "codes"\ntable = "dx.csv"\nsystem = "icd9"\nmin_count = 20\n'
    folder = write(tmp_path, keys, frame)
    pd.DataFrame({"pid": pid, "code": code}).to_csv(folder / "dx.csv", index=False)
    assert auroc_of_a_short_fit(folder) > 0.75
