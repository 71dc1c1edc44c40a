"""Transformers from local folders: vectors as sentence-transformers makes them, made once."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from remind.cohort import KINDS
from remind.cohort.features import text as features
from remind.cohort.kinds import text_model
from remind.cohort.kinds.text_facts import facts_of
from remind.cohort.kinds.text_model import chunk_notes, open_model, tokenizer_of
from remind.cohort.kinds.text_notes import Notes
from remind.cohort.kinds.text_vectors import batch_vectors, encode_vectors, flat_vectors
from remind.errors import InputError
from tests.cohort import make_texts
from tests.cohort.make_texts import PACKAGE, package_folder, write_tiny, write_tokenizer

LONG = " ".join(f"Day {day}: blood pressure {90 + day}/60, mildly confused." for day in range(40))
NOTES = [
    ["He has a fever and coughs.", "The patient is febrile with a cough."],
    ["The invoice was paid on Tuesday.", "x"],
    [LONG],
    [],
]


def notes_of(patients: list[list[str]], folder: Path = Path(), **options: Any) -> Notes:
    """Raw values in memory, for a transformer."""
    options = {"encoder": "transformer", "model": PACKAGE, **options}
    return make_texts.notes_of(patients, folder, **options)


def vectors(notes: Notes) -> np.ndarray:
    """Of all chunks, as they are."""
    model = open_model(notes.spec, notes.folder)
    values = encode_vectors(model, (0.0,) * model.dim, (1.0,) * model.dim, notes)
    return batch_vectors(values, np.arange(len(notes))).x_Vd


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REMIND_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(socket.socket, "connect", _refuse)
        yield


def _refuse(*args: object) -> None:
    raise AssertionError("something asks the network")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A folder in the layout of transformers."""
    return write_tiny(tmp_path / "tiny")


def test_vectors_are_those_of_sentence_transformers() -> None:
    """For short notes and for the parts of a long one, in one go; the cache gives the same."""
    sentence_transformers = pytest.importorskip("sentence_transformers")
    notes = notes_of(NOTES)
    chunks = chunk_notes(open_model(notes.spec, Path()), notes)
    tokenizer = tokenizer_of(open_model(notes.spec, Path()))
    parts = [
        tokenizer.decode(tokens, skip_special_tokens=True)
        for tokens in np.split(chunks.tokens.columns["token"], chunks.tokens.start_N1[1:-1])
    ]
    expected = sentence_transformers.SentenceTransformer(
        str(package_folder()), device="cpu", local_files_only=True
    ).encode([*NOTES[0], *NOTES[1], *parts[4:]])
    assert len(parts) == 6
    np.testing.assert_allclose(vectors(notes), expected, atol=1e-5)
    np.testing.assert_array_equal(vectors(notes), vectors(notes))


def test_sentences_of_one_meaning_are_near() -> None:
    x_Vd = vectors(notes_of(NOTES))
    assert x_Vd[0] @ x_Vd[1] > 0.6
    assert x_Vd[0] @ x_Vd[2] < 0.2


def test_a_second_time_no_network_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another cohort with the same notes finds their vectors; a new note needs the network."""
    expected = vectors(notes_of(NOTES))

    def fail(model: object) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr(features, "load_network", fail)
    again = notes_of([NOTES[2], NOTES[0]])
    np.testing.assert_array_equal(vectors(again), np.concatenate([expected[4:], expected[:2]]))
    with pytest.raises(AssertionError, match="loaded"):
        vectors(notes_of([["A new note."]]))


def test_a_killed_extraction_keeps_what_it_made(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "STORED_TOGETHER", 2)
    calls = []
    whole = features.ChunkVectors.forward

    def forward(self: Any, *args: Any) -> torch.Tensor:
        calls.append(len(args[1].inverse_V))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(self, *args)

    monkeypatch.setattr(features.ChunkVectors, "forward", forward)
    notes = notes_of([[f"note {word}" for word in ["a", "b", "c", "d", "e"]]], model=str(tiny))
    with pytest.raises(KeyboardInterrupt):
        vectors(notes)
    vectors(notes)
    assert calls == [2, 2, 1, 1]


@pytest.mark.parametrize("overlap", [0, 5])
def test_every_token_of_a_long_note_is_in_a_chunk(tiny: Path, overlap: int) -> None:
    notes = notes_of([[LONG, "short"]], model=str(tiny), overlap=overlap)
    model = open_model(notes.spec, Path())
    tokenizer = tokenizer_of(model)
    whole = tokenizer(LONG, add_special_tokens=False)["input_ids"]
    chunks = chunk_notes(model, notes)
    *parts, short = np.split(chunks.tokens.columns["token"], chunks.tokens.start_N1[1:-1])
    assert {len(part) for part in parts[:-1]} == {32}
    assert all(part[[0, -1]].tolist() == [101, 102] for part in [*parts, short])
    joined = parts[0][1:-1].tolist()
    for part in parts[1:]:
        joined += part[1 + overlap : -1].tolist()
    assert joined == whole
    assert chunks.items.counts_N.tolist() == [len(parts) + 1]


def test_the_last_chunks_are_kept(tiny: Path) -> None:
    patients = [["first", LONG, "last"], ["one"]]
    everything = chunk_notes(open_model(notes_of([]).spec, Path()), notes_of(patients))
    notes = notes_of(patients, model=str(tiny), max_chunks=3)
    chunks = chunk_notes(open_model(notes.spec, Path()), notes)
    assert everything.num_truncated == 0
    assert chunks.items.counts_N.tolist() == [3, 1]
    tokenizer = tokenizer_of(open_model(notes.spec, Path()))
    text = tokenizer.decode(chunks.tokens.columns["token"], skip_special_tokens=True)
    assert text.endswith("/ 60, mildly confused. last one")
    assert "first" not in text
    facts = facts_of(notes)
    assert (facts["truncated"], facts["longest_chunk"], facts["unknown_tokens"]) == (2, 32, 0)
    assert facts_of(notes_of([["ok \u2603"]]))["unknown_tokens"] == pytest.approx(1 / 4)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("old", [True, False])
def test_both_layouts_and_both_ways_to_pool(tiny: Path, pooling: str, old: bool) -> None:
    """By hand, one note at a time, without padding: from the folder itself and its modules."""
    import transformers

    if pooling == "cls":
        module = "sentence_transformers.models."
        modules = [{"path": "", "type": module + "Transformer"}]
        modules.append({"path": "1_Pooling", "type": module + "Pooling"})
        config: dict[str, Any] = {"pooling_mode": "cls", "include_prompt": True}
        if old:
            config = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
        (tiny / "modules.json").write_text(json.dumps(modules))
        (tiny / "1_Pooling").mkdir()
        (tiny / "1_Pooling" / "config.json").write_text(json.dumps(config))
    network = transformers.AutoModel.from_pretrained(tiny).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny)
    notes = ["a longer note of several words", "short", "another one, of other length"]
    with torch.inference_mode():
        states = [
            network(**tokenizer(note, return_tensors="pt")).last_hidden_state[0] for note in notes
        ]
    expected = [state[0] if pooling == "cls" else state.mean(0) for state in states]
    found = vectors(notes_of([notes], tiny.parent, model="tiny"))
    np.testing.assert_allclose(found, torch.stack(expected), atol=1e-5)


def test_moments_are_those_of_training_patients(tiny: Path) -> None:
    kind, notes = KINDS["text"], notes_of(NOTES, model=str(tiny))
    schema = kind.fit({"n": notes}, {"n": notes.spec}, {"n": 0}, np.array([0, 1]), 8)
    x_Vd = vectors(notes)
    (item,) = schema.modalities
    np.testing.assert_allclose(item.mean, x_Vd[:4].mean(0), atol=1e-6)
    np.testing.assert_allclose(item.std, x_Vd[:4].std(0), atol=1e-6)
    assert kind.load(json.loads(json.dumps(kind.dump(schema)))) == schema
    batch = kind.batch(
        kind.encode(schema, {"n": notes}, kind.present(notes)[:, None]), np.array([1, 0])
    )["n"]
    order = [2, 3, 0, 1]
    np.testing.assert_allclose(batch.x_Vd, ((x_Vd - item.mean) / item.std)[order], atol=1e-4)
    assert batch.owner_V.tolist() == [0, 0, 1, 1]
    names, x_NP = flat_vectors(item.model, notes)
    assert len(names) == 17
    np.testing.assert_allclose(x_NP[0], [2, *x_Vd[:2].mean(0)], atol=1e-6)
    assert np.isnan(x_NP[3, 1:]).all()


SMALL = {"vocab_size": 60, "num_hidden_layers": 1, "num_attention_heads": 2}
NETWORKS = {  # whose configuration names its numbers in a way of its own -> the longest input
    "distilbert": ({"dim": 32, "hidden_dim": 64, "n_layers": 1, "n_heads": 2}, 512),
    "gpt2": ({"n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 64}, 64),
    "roberta": (
        {"hidden_size": 32, "intermediate_size": 64, "max_position_embeddings": 130, **SMALL},
        128,  # the first position is that after the padding's
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_other_names_read_notes_as_long_as_they_can(name: str, tmp_path: Path) -> None:
    import transformers

    keys, longest = NETWORKS[name]
    config = transformers.AutoConfig.for_model(name, **{**keys, "vocab_size": 60})
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path)
    write_tokenizer(tmp_path, [f"w{i}" for i in range(50)])
    notes = notes_of([[" ".join(f"w{i % 50}" for i in range(300))], ["w1 w2"]], model=str(tmp_path))
    model = open_model(notes.spec, Path())
    assert (model.dim, model.max_tokens) == (32, longest)
    assert np.isfinite(vectors(notes)).all()


def refusal(folder: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        open_model(notes_of([], **{"model": str(folder), **options}).spec, Path())
    return str(caught.value)


def test_a_model_that_is_not_there_is_never_downloaded(tmp_path: Path) -> None:
    said = refusal(tmp_path / "bert")
    assert f'no language model "{tmp_path / "bert"}"' in said
    assert "weights are never downloaded: put the model's folder there, or install the" in said
    assert 'no language model "emilyalsentzer/Bio_ClinicalBERT"' in refusal(
        Path("emilyalsentzer/Bio_ClinicalBERT")
    )
    assert open_model(notes_of([], model=PACKAGE.replace("_", "-")).spec, Path()).dim == 384


def test_folders_that_cannot_be_used(tiny: Path) -> None:
    config = (tiny / "config.json").read_text()
    (tiny / "config.json").write_text('{"model_type": "clip"}')
    assert 'holds a model of type "clip", which does not say how long its vectors are' in refusal(
        tiny
    )
    (tiny / "config.json").write_text('{"model_type": "nothing"}')
    assert "has no config.json that can be used" in refusal(tiny)
    (tiny / "config.json").write_text(config)
    assert "overlap must be less than the 30 tokens of a chunk" in refusal(tiny, overlap=30)
    (tiny / "modules.json").write_text('[{"path": "2_Dense", "type": "a.models.Dense"}]')
    assert 'has a module "Dense": only models of a transformer' in refusal(tiny)
    (tiny / "modules.json").write_text('[{"path": "1_P", "type": "a.models.Pooling"}]')
    (tiny / "1_P").mkdir()
    (tiny / "1_P" / "config.json").write_text('{"pooling_mode_max_tokens": true}')
    assert 'pools its tokens by "max_tokens": only mean and cls can be used' in refusal(tiny)
    (tiny / "modules.json").write_text("[{")
    assert "modules.json is not valid JSON" in refusal(tiny)
    (tiny / "modules.json").unlink()
    weights = tiny / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:1000])
    with pytest.raises(InputError, match="cannot be read as a model of transformers"):
        vectors(notes_of([["a"]], model=str(tiny)))
    weights.rename(tiny / "pytorch_model.bin")
    assert "has no weights in a file model.safetensors: put it there (weights are never" in refusal(
        tiny
    )


def test_a_model_that_changes_is_another_one(tiny: Path) -> None:
    notes = notes_of([["a note"]], model=str(tiny))
    model = open_model(notes.spec, Path())
    before = vectors(notes)
    weights = tiny / "model.safetensors"
    tensors = load_file(weights)
    save_file({**tensors, "embeddings.LayerNorm.bias": np.ones(16, np.float32)}, weights)
    with pytest.raises(InputError, match="holds another model than the run was fitted with"):
        flat_vectors(model, notes)
    assert not np.array_equal(vectors(notes), before)


def test_an_absent_extra_is_one_sentence(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def require(module: str, extra: str, what: str) -> None:
        raise InputError(f"{what} needs {module}: pip install 'remind-med[{extra}]'")

    monkeypatch.setattr(text_model, "require", require)
    tokenizer_of.cache_clear()
    assert "needs transformers: pip install 'remind-med[text]'" in refusal(tiny)
