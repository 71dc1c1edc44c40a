"""A language model in a local folder: what is in it, its tokenizer, and notes cut to its context.

Both layouts are read: that of transformers (config.json, tokenizer, model.safetensors), and that of
sentence-transformers, which adds modules.json, the pooling and the longest input. Nothing is ever
downloaded, and no code and no pickle of a folder is ever run.
"""

# N patients, V chunks (parts of notes), F tokens of chunks

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from remind.cohort.extras import require
from remind.cohort.kinds.ragged import Ragged
from remind.cohort.kinds.text_notes import Notes, TextSpec, is_last, starts
from remind.cohort.store import ContentKeys
from remind.errors import InputError

NEEDED_BY = 'a modality of kind "text" with a transformer'
UNBOUNDED = 1 << 20  # tokenizers say so, and more, where nothing limits the input
BLOCK = 512  # notes that are cut at once
COUNT_FROM_PADDING = (  # types of models whose first position is the one after the padding's
    "camembert",
    "data2vec-text",
    "ibert",
    "longformer",
    "luke",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
)
DESCRIPTIONS, WEIGHTS = (".json", ".txt", ".model"), (".safetensors",)


@dataclass(frozen=True, kw_only=True)
class LanguageModel:
    """What a folder holds.

    Args:
        name: the package, or the absolute folder.
        digest: of its descriptions.
        weights: digest of its weights.
        part: folder of the transformer, inside.
        dim: numbers of a vector.
        max_tokens: of an input, with the special ones.
        overlap: tokens that two neighbouring chunks of a note share.
        pooling: of the vectors of tokens to one.
        normalize: whether vectors have length 1.
        lower: whether inputs are in lower case.
    """

    name: str
    digest: str
    weights: str
    part: str
    dim: int
    max_tokens: int
    overlap: int
    pooling: Literal["mean", "cls"]
    normalize: bool
    lower: bool

    @property
    def folder(self) -> Path:
        """Where the transformer is.

        Raises:
            InputError: it is gone.
        """
        return find_model(self.name, Path()) / self.part


@dataclass(frozen=True, kw_only=True, eq=False)
class Chunks:
    """Tokens of the chunks of N patients.

    Args:
        items: of patients, without columns; item v is entry v of `tokens`.
        tokens: of items: `token`, int32, the special ones included.
        num_truncated: notes of which chunks were left out.
        unknown: share of tokens that the model does not know.
    """

    items: Ragged
    tokens: Ragged
    num_truncated: int
    unknown: float


def open_model(spec: TextSpec, root: Path) -> LanguageModel:
    """Look into the folder of a modality's model.

    Raises:
        InputError: it is not there, or not what can be used.
    """
    assert spec.model is not None
    folder = find_model(spec.model, root)
    modules = _modules(folder)
    part = modules.get("Transformer", "")
    if not any((folder / part).glob("*.safetensors")):
        raise InputError(
            f"{folder / part} has no weights in a file model.safetensors: put it there "
            "(weights are never downloaded, and pickled ones are never opened)"
        )
    config = _config(folder / part)
    name = spec.model if _package_folder(spec.model) == folder else str(folder.resolve())
    model = LanguageModel(
        name=name,
        digest=_digest(folder, DESCRIPTIONS),
        weights=_digest(folder, WEIGHTS),
        part=part,
        dim=int(config.hidden_size),
        max_tokens=_max_tokens(folder / part, config),
        overlap=spec.overlap,
        pooling=_pooling(folder, modules),
        normalize="Normalize" in modules,
        lower=bool(_json(folder / part / "sentence_bert_config.json").get("do_lower_case")),
    )
    room = model.max_tokens - tokenizer_of(model).num_special_tokens_to_add()
    if spec.overlap >= room:
        raise InputError(f"overlap must be less than the {room} tokens of a chunk of {name}")
    return model


def check_unchanged(model: LanguageModel, *, are_weights_needed: bool) -> None:
    """Raise an InputError if the folder is gone, or holds another model than in training."""
    folder = find_model(model.name, Path())
    same = _digest(folder, DESCRIPTIONS) == model.digest
    if not same or (are_weights_needed and _digest(folder, WEIGHTS) != model.weights):
        raise InputError(
            f"{folder} holds another model than the run was fitted with: bring that one back"
        )


def find_model(name: str, root: Path) -> Path:
    """The folder of a model: a path relative to `root`, or inside an installed package.

    Raises:
        InputError: there is none.
    """
    if _is_model(root / name):
        return root / name
    folder = _package_folder(name)
    if folder is None:
        raise InputError(
            f'no language model "{name}": neither the folder {(root / name).absolute()} has a '
            "config.json, nor is there an installed package of this name that carries a model; "
            "weights are never downloaded: put the model's folder there, or install the package"
        )
    return folder


@lru_cache(maxsize=2)
def tokenizer_of(model: LanguageModel) -> Any:
    """The tokenizer.

    Raises:
        InputError: transformers is not installed, or cannot use the folder.
    """
    transformers = require("transformers", "text", NEEDED_BY)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            str(model.folder), local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise InputError(f"{model.folder} has no tokenizer that can be used: {error}") from error
    if not tokenizer.is_fast:
        raise InputError(f"{model.folder} has no file tokenizer.json: put it there")
    return tokenizer


def chunk_notes(model: LanguageModel, notes: Notes) -> Chunks:
    """Cut notes to the model's context; of a patient with too many chunks, keep the last ones."""
    note_V, token_V, num_unknown = _cut(model, notes.text_V)
    note_N = np.repeat(np.arange(len(notes)), notes.items.counts_N)
    owner_V = note_N[note_V]
    is_kept_V = is_last(owner_V, notes.spec.max_chunks)
    kept = [token_V[v] for v in np.flatnonzero(is_kept_V)]
    counts_N = np.bincount(owner_V[is_kept_V], minlength=len(notes))
    lengths = np.array([len(tokens) for tokens in kept], dtype=np.int64)
    token_F = np.concatenate([np.zeros(0, np.int32), *kept])
    return Chunks(
        items=Ragged(start_N1=starts(counts_N), columns={}),
        tokens=Ragged(start_N1=starts(lengths), columns={"token": token_F}),
        num_truncated=len(np.unique(note_V[~is_kept_V])),
        unknown=num_unknown / max(1, sum(map(len, token_V))),
    )


def _cut(model: LanguageModel, texts: np.ndarray) -> tuple[np.ndarray, list[np.ndarray], int]:
    """Note and tokens of each chunk, and how many tokens are unknown."""
    tokenizer = tokenizer_of(model)
    note_V: list[int] = []
    token_V: list[np.ndarray] = []
    for first in range(0, len(texts), BLOCK):
        cut = tokenizer(
            [_clean(model, text) for text in texts[first : first + BLOCK]],
            truncation=True,
            max_length=model.max_tokens,
            stride=model.overlap,
            return_overflowing_tokens=True,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        note_V += [first + note for note in cut["overflow_to_sample_mapping"]]
        token_V += [np.array(tokens, np.int32) for tokens in cut["input_ids"]]
    unknown = tokenizer.unk_token_id
    num_unknown = sum(int((tokens == unknown).sum()) for tokens in token_V)
    return np.array(note_V, dtype=np.int64), token_V, num_unknown


def _clean(model: LanguageModel, text: str) -> str:
    return text.strip().lower() if model.lower else text.strip()


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() or (folder / "modules.json").is_file()


def _package_folder(name: str) -> Path | None:
    """The first folder of a package that holds a model; the package is not imported."""
    module = name.replace("-", "_")
    spec = importlib.util.find_spec(module) if module.isidentifier() else None
    places = [] if spec is None else spec.submodule_search_locations or []
    for place in map(Path, places):
        inside = sorted(path for path in place.rglob("*") if path.is_dir())
        for folder in [place, *inside]:
            if _is_model(folder):
                return folder
    return None


def _modules(folder: Path) -> dict[str, str]:
    """Class name -> folder of the modules of the layout of sentence-transformers."""
    modules = {
        str(module["type"]).rsplit(".", 1)[-1]: str(module["path"])
        for module in _json(folder / "modules.json") or []
    }
    for name in modules:
        if name not in ("Transformer", "Pooling", "Normalize"):
            raise InputError(
                f'{folder} has a module "{name}": only models of a transformer, a pooling and a '
                "normalisation can be used"
            )
    return modules


def _pooling(folder: Path, modules: dict[str, str]) -> Literal["mean", "cls"]:
    """How the vectors of tokens become one; older files have a key for each way."""
    if "Pooling" not in modules:
        return "mean"
    config = _json(folder / modules["Pooling"] / "config.json")
    old = [key.removeprefix("pooling_mode_") for key, value in config.items() if value is True]
    mode = config.get("pooling_mode") or ", ".join(key for key in old if key != "include_prompt")
    known: dict[str, Literal["mean", "cls"]] = {
        "mean": "mean",
        "mean_tokens": "mean",
        "cls": "cls",
        "cls_token": "cls",
    }
    if mode not in known:
        raise InputError(f'{folder} pools its tokens by "{mode}": only mean and cls can be used')
    return known[mode]


def _config(folder: Path) -> Any:
    """What transformers knows of a network, by one name for what each calls otherwise.

    Raises:
        InputError: transformers is not installed, or does not know the network.
    """
    transformers = require("transformers", "text", NEEDED_BY)
    try:
        config = transformers.AutoConfig.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{folder} has no config.json that can be used: {reason}") from error
    if not isinstance(getattr(config, "hidden_size", None), int):
        raise InputError(
            f'{folder} holds a model of type "{config.model_type}", which does not say how long '
            "its vectors are (hidden_size): name a model of text, such as a BERT"
        )
    return config


def _max_tokens(folder: Path, config: Any) -> int:
    """The longest input that sentence-transformers, the tokenizer and the network agree on."""
    limits = [
        _json(folder / "sentence_bert_config.json").get("max_seq_length"),
        _json(folder / "tokenizer_config.json").get("model_max_length"),
        _num_positions(config),
    ]
    least = min((int(limit) for limit in limits if limit), default=UNBOUNDED)
    if least >= UNBOUNDED:
        raise InputError(f"{folder} does not say how long an input may be: add max_seq_length")
    return least


def _num_positions(config: Any) -> int | None:
    """Tokens that have a position each; None if any number may."""
    num = getattr(config, "max_position_embeddings", None)
    if num and config.model_type in COUNT_FROM_PADDING:
        return num - config.pad_token_id - 1
    return num


def _digest(folder: Path, suffixes: tuple[str, ...]) -> str:
    """Of the content of the files with these suffixes."""
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix in suffixes and path.is_file() and not path.name.startswith(".")
    )
    names = [str(path.relative_to(folder)) for path in files]
    content = json.dumps(list(zip(names, ContentKeys().of(files), strict=True)))
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


def _json(file: Path) -> Any:
    """What a JSON file holds; nothing if it is not there.

    Raises:
        InputError: it is not JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ValueError as error:
        raise InputError(f"{file} is not valid JSON: {error}") from error
