"""Notes to tokens: hashed n-grams, a frozen transformer, and one that is trained too."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import Tensor

from remind.cohort import KINDS, Batch, Cohort, Encoding, read_cohort
from remind.cohort.kinds.text_ngrams import Vocabulary
from remind.encoders import TokenEncoder
from remind.encoders.text import FINE_TUNING, NgramItems, TextEncoder
from remind.methods import METHODS
from remind.training import fit_run, open_run, with_overrides
from tests.cohort.make_texts import PACKAGE, notes_of, write_tiny

SMALL = ["width=16", "members=2", "hidden=16", "experts=2", "device=cpu", "ema=0", "patience=0"]
WORDS = ("pain", "painful", "no", "chest", "fever", "feverish", "stable", "worse")
WAYS = ("ngrams", "frozen", "trained")
TOML = """\
[cohort]
name = "wards"
table = "patients.csv"
id = "pid"
label = "died"
task = "binary"

[split]
column = "split"

[modalities.vitals]
kind = "tabular"
columns = ["hr"]

[modalities.note]
kind = "text"
column = "note"
"""


@pytest.fixture(scope="module", autouse=True)
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small transformer; and no test writes into the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REMIND_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield write_tiny(tmp_path_factory.mktemp("models") / "tiny")


def spec_of(way: str, tiny: Path) -> dict[str, Any]:
    if way == "ngrams":
        return {}
    return {"encoder": "transformer", "model": str(tiny), "train": way == "trained"}


def make(way: str, tiny: Path, seed: int) -> tuple[TextEncoder, list[dict], Tensor]:
    """A shaken encoder of modalities 0 and 2 of 3, 6 patients' notes of both, who has which."""
    rng = np.random.default_rng(seed)
    raws = {}
    for name in ("admission", "progress"):
        counts = rng.integers(1, 4, 6)
        notes = [
            [" ".join(rng.choice(WORDS, rng.integers(1, 40))) for _ in range(c)] for c in counts
        ]
        raws[name] = notes
    present_BM = torch.from_numpy(rng.random((6, 3)) < 0.6)
    text = {name: notes_of(notes, **spec_of(way, tiny)) for name, notes in raws.items()}
    kind = KINDS["text"]
    specs = {name: notes.spec for name, notes in text.items()}
    schema = kind.fit(text, specs, {"admission": 0, "progress": 2}, np.arange(6), 8)
    shuffled = {
        name: notes_of([rng.permutation(some).tolist() for some in notes], **spec_of(way, tiny))
        for name, notes in raws.items()
    }
    encoded = [kind.encode(schema, some, np.ones((6, 3), bool)) for some in (text, shuffled)]
    torch.manual_seed(seed)
    encoder = TextEncoder(schema, width=5, num_modalities=3).eval()
    for name, parameter in encoder.named_parameters():
        scale = 10.0 if "table" in name else 0.1 if "vectors" in name else 0.3
        parameter.data += scale * torch.randn_like(parameter)
    return encoder, encoded, present_BM


def batch_of(encoded: dict[str, Any], rows: list[int]) -> dict[str, Any]:
    """Tensors of some patients."""
    arrays = KINDS["text"].batch(encoded, np.array(rows))
    return {name: mapped(values, torch.from_numpy) for name, values in arrays.items()}


def mapped(values: Any, function: Any) -> Any:
    return replace(values, **{name: function(value) for name, value in vars(values).items()})


@pytest.mark.parametrize("way", WAYS)
@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 10**6))
def test_order_and_company_are_irrelevant(way: str, tiny: Path, seed: int) -> None:
    """Of notes, and of patients: a patient alone has the tokens that it has in a batch."""
    encoder, (encoded, shuffled), present_BM = make(way, tiny, seed)
    with torch.no_grad():
        tokens = encoder(batch_of(encoded, [0, 1, 2, 3, 4, 5]), present_BM)
        again = encoder(batch_of(shuffled, [0, 1, 2, 3, 4, 5]), present_BM)
        torch.testing.assert_close(again.x_TD, tokens.x_TD, atol=1e-4, rtol=1e-3)
        observed = (present_BM & torch.tensor([True, False, True])).nonzero()
        pairs = torch.stack([tokens.owner_T, tokens.modality_T], 1)
        assert pairs.tolist() == observed.repeat_interleave(2, 0).tolist()
        for b in range(6):
            alone = encoder(batch_of(encoded, [b]), present_BM[b : b + 1])
            expected_TD = tokens.x_TD[tokens.owner_T == b]
            torch.testing.assert_close(alone.x_TD, expected_TD, atol=1e-4, rtol=1e-3)
    apart = tokens.x_TD[pairs[:, 1] == 0]
    assert len(apart) < 3 or (apart[0] - apart[2]).abs().max() > 1e-3


@pytest.mark.parametrize("way", WAYS)
@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 10**6))
def test_what_is_hidden_is_not_read(way: str, tiny: Path, seed: int) -> None:
    """Not a number, and tokens and n-grams that do not exist, change nothing where hidden."""
    encoder, (encoded, _), present_BM = make(way, tiny, seed)
    values = batch_of(encoded, [0, 1, 2, 3, 4, 5])
    spoilt = {}
    for name, index in (("admission", 0), ("progress", 2)):
        batch = values[name]
        hidden_V = ~present_BM[batch.owner_V, index]
        if way == "ngrams":
            hidden_F = hidden_V[batch.item_F]
            spoilt[name] = replace(
                batch,
                weight_F=batch.weight_F.masked_fill(hidden_F, torch.nan),
                row_F=batch.row_F.masked_fill(hidden_F, 10**6),
            )
        elif way == "frozen":
            spoilt[name] = replace(batch, x_Vd=batch.x_Vd.masked_fill(hidden_V[:, None], torch.nan))
        else:
            hidden_F = hidden_V.repeat_interleave(batch.length_V)
            spoilt[name] = replace(batch, token_F=batch.token_F.masked_fill(hidden_F, 10**6))
    gradients = []
    for some in (values, spoilt):
        encoder.zero_grad()
        tokens = encoder(some, present_BM)
        tokens.x_TD.square().sum().backward()
        gradients.append([tokens.x_TD, *(p.grad for p in encoder.parameters())])
    for one, other in zip(*gradients, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one, other)


@pytest.mark.parametrize("way", WAYS)
def test_the_gradient_reaches_every_parameter(way: str, tiny: Path) -> None:
    encoder, (encoded, _), present_BM = make(way, tiny, 3)
    tokens = encoder.train()(batch_of(encoded, [*range(6)]), torch.ones_like(present_BM))
    tokens.x_TD.square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_ngrams_are_summed_by_their_weights(tiny: Path) -> None:
    """Against the formula, item by item."""
    encoder, (encoded, _), _ = make("ngrams", tiny, 1)
    batch = batch_of(encoded, [2, 0])["progress"]
    items: Any = encoder.parts[1]
    item_V = torch.arange(len(batch.owner_V)).flip(0)
    x_Vr = items.items(batch, item_V, items.items.plan(batch, item_V))
    for v, item in enumerate(item_V):
        own = batch.item_F == item
        rows = batch.row_F[own]
        weight_F = batch.weight_F[own] * items.items.share_K[rows]
        expected = 0.6 * weight_F @ items.items.table_Kr[rows]
        torch.testing.assert_close(x_Vr[v], expected)


def test_an_ngram_counts_by_the_root_of_its_frequency_up_to_a_tenth_of_patients() -> None:
    vocabulary = Vocabulary(num_patients=200, buckets=(1, 2, 3), counts=(5, 20, 150), words=())
    assert NgramItems(vocabulary).share_K.tolist() == pytest.approx([0.5, 1, 1])


def write(folder: Path, notes: list[str], label: np.ndarray, split: list[str], keys: str) -> Path:
    """A cohort whose vitals are noise."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"pid": np.arange(len(notes)), "died": label, "split": split})
    frame.assign(hr=rng.normal(size=len(notes)), note=notes).to_csv(folder / "patients.csv")
    (folder / "cohort.toml").write_text(TOML + keys)
    return folder


def auroc(cohort: Cohort, settings: list[str]) -> float:
    """Of the default method on test patients."""
    method = METHODS["default"]
    run = fit_run(cohort, method, with_overrides(method.default_settings(), settings))
    frame = run.predictions("test", cohort)
    return float(roc_auc_score(frame["label"].astype(int), frame["prob_1"]))


def test_ngrams_learn_a_long_tailed_vocabulary_from_a_thousand_patients(tmp_path: Path) -> None:
    """Notes of forty words of which a third tells; a logistic regression on tf-idf is better still.

    It reached 0.79 where this reached 0.73 (2026-11-25): an open weakness, bounded here.
    """
    rng = np.random.default_rng(0)
    syllables = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
    words = np.array(["".join(rng.choice(syllables, rng.integers(2, 4))) for _ in range(1500)])
    share = 1 / np.arange(10, 1510)
    tells = np.where(rng.random(1500) < 0.33, rng.normal(size=1500), 0.0)
    word_NW = rng.choice(1500, (2000, 40), p=share / share.sum())
    score = tells[word_NW].sum(1)
    label = (score + 0.4 * score.std() * rng.normal(size=2000) > 0).astype(int)
    notes = [" ".join(words[word_W]) for word_W in word_NW]
    split = ["train"] * 1000 + ["val"] * 250 + ["test"] * 750
    cohort = read_cohort(write(tmp_path / "c", notes, label, split, ""))
    x_NK = TfidfVectorizer(sublinear_tf=True, min_df=2).fit(notes[:1000]).transform(notes)
    linear = LogisticRegression(C=3.0).fit(x_NK[:1000], label[:1000])
    peer = roc_auc_score(label[1250:], linear.predict_proba(x_NK[1250:])[:, 1])
    own = auroc(cohort, ["epochs=20", "device=cpu", "width=32", "members=8"])
    assert peer > 0.75
    assert own > peer - 0.1, (own, peer)


ILL = ("febrile", "feverish", "hot and sweating", "running a temperature", "burning with fever")
WELL = ("afebrile", "without any fever", "cool and dry", "of normal temperature", "not hot at all")
UNSEEN_ILL, UNSEEN_WELL = ("with a high fever", "hyperthermic"), ("free of fever", "not febrile")


def sentences(num: int, *, unseen: bool, seed: int) -> tuple[list[str], np.ndarray]:
    """What a nurse writes, and whether the patient has a fever."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, num)
    ways = (UNSEEN_WELL, UNSEEN_ILL) if unseen else (WELL, ILL)
    return [f"The patient is {rng.choice(ways[y])}." for y in label], label


def test_a_frozen_transformer_understands_words_that_training_has_not(tmp_path: Path) -> None:
    seen, label = sentences(160, unseen=False, seed=0)
    new, new_label = sentences(80, unseen=True, seed=1)
    split = ["train"] * 120 + ["val"] * 40 + ["test"] * 80
    keys = f'encoder = "transformer"\nmodel = "{PACKAGE}"\n'
    labels = np.concatenate([label, new_label])
    folder = write(tmp_path / "c", [*seen, *new], labels, split, keys)
    assert auroc(read_cohort(folder), [*SMALL, "epochs=15", "batch_size=32", "lr=0.005"]) > 0.75


def one_step(folder: Path, model: str) -> tuple[Cohort, Encoding, TokenEncoder, Batch]:
    notes, label = sentences(16, unseen=False, seed=0)
    label[:2] = 0, 1
    keys = f'encoder = "transformer"\nmodel = "{model}"\ntrain = true\n'
    split = ["train"] * 8 + ["val"] * 4 + ["test"] * 4
    cohort = read_cohort(write(folder, notes, label, split, keys))
    encoding = Encoding.fit(cohort, cohort.rows("train"))
    encoder = TokenEncoder(encoding.schemas, width=16, num_modalities=2)
    return cohort, encoding, encoder, encoding.transform(cohort).batch(np.arange(8))


def test_fine_tuning_changes_a_real_transformer_by_little(tmp_path: Path) -> None:
    """A step moves its weights by a hundredth of the learning rate, and the map by all of it."""
    method = METHODS["default"]
    cohort, encoding, *_ = one_step(tmp_path / "c", PACKAGE)
    sets = [*SMALL, "pretrain=0", "epochs=1", "lr=0.01"]
    settings = with_overrides(method.default_settings(), sets)
    run = fit_run(cohort, method, settings, tmp_path / "run")
    saved = load_file(tmp_path / "run" / "model.safetensors")
    fresh = TextEncoder(encoding.schemas["text"], width=16, num_modalities=2).state_dict()
    name = "parts.0.items.vectors.network.encoder.layer.5.output.dense.weight"
    change = np.abs(saved[f"encoder.kinds.text.{name}"] - fresh[name].numpy())
    assert 0.5 < change.max() / (FINE_TUNING * 0.01) < 1.5
    assert np.isfinite(run.predict(cohort)["prob_1"]).all()


def test_a_run_brings_the_weights_of_its_transformer_along(tiny: Path, tmp_path: Path) -> None:
    """It is opened without the folder's own weights; the rest of the folder is still needed."""
    model = shutil.copytree(tiny, tmp_path / "c model")
    cohort, *_ = one_step(tmp_path / "c", "../c model")
    method = METHODS["default"]
    settings = with_overrides(method.default_settings(), [*SMALL, "epochs=2"])
    expected = fit_run(cohort, method, settings, tmp_path / "run").predict(cohort)
    (model / "model.safetensors").unlink()
    again = open_run(tmp_path / "run", METHODS)
    pd.testing.assert_frame_equal(again.predict(cohort), expected, check_exact=True)
    (model / "config.json").unlink()
    with pytest.raises(ValueError, match=r'no language model ".*c model".*never downloaded'):
        open_run(tmp_path / "run", METHODS)
