"""Transformers from local folders: vectors of chunks of notes, kept by content if frozen.

This file imports torch, and is itself imported only where a transformer is used.
"""

# V chunks, C chunks that go through the network together, L tokens of the longest, d of a vector

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from remind.cohort.extras import require
from remind.cohort.kinds.ragged import Ragged
from remind.cohort.kinds.text_model import NEEDED_BY, LanguageModel, tokenizer_of
from remind.cohort.store import RecordStore
from remind.errors import InputError
from remind.transfer import to_device

VERSION = 1  # of the vectors; another one makes them anew
MOST_TOKENS = 8192  # that go through the network together, padding included
STORED_TOGETHER = 256  # chunks, which a killed run makes again at most


class ChunkPlan(NamedTuple):
    """Which chunks go through a network together: those of like length.

    Attributes:
        place_CL: of every batch, the places of tokens among all; of no meaning behind a chunk's.
        is_token_CL: of every batch, bool, which of them are tokens.
        inverse_V: place of each chunk in the batches one after the other.
    """

    place_CL: tuple[Tensor, ...]
    is_token_CL: tuple[Tensor, ...]
    inverse_V: Tensor

    @classmethod
    def of(cls, length_V: Tensor, chunk_V: Tensor) -> Self:
        """Plan some chunks, on the host.

        Args:
            length_V: tokens of every chunk, which lie chunk by chunk, int64.
            chunk_V: those that are wanted.
        """
        start_V = (length_V.cumsum(0) - length_V)[chunk_V]
        length_V = length_V[chunk_V]
        order_V = length_V.argsort(descending=True)
        places, masks = [], []
        for chunk_C in _alike(order_V, length_V):
            rank_L = torch.arange(int(length_V[chunk_C[0]]))
            masks.append(rank_L < length_V[chunk_C, None])
            places.append(torch.where(masks[-1], start_V[chunk_C, None] + rank_L, 0))
        return cls(tuple(places), tuple(masks), order_V.argsort())


class ChunkVectors(nn.Module):
    """The vector of each chunk: the mean of its tokens' vectors or that of its first, by the model.

    Chunks of like length go through the network together. When its weights are trained, what lies
    inside is computed again in the backward pass, so that memory does not grow with the batch.

    Args:
        model: whose folder to read. Without a file of weights they are random, to be loaded.

    Raises:
        InputError: the folder is gone, or transformers cannot use it.
    """

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.dim, self.pooling, self.normalize = model.dim, model.pooling, model.normalize
        pad = tokenizer_of(model).pad_token_id
        self.pad = 0 if pad is None else int(pad)
        self.network = load_network(model)

    def forward(self, token_F: Tensor, plan: ChunkPlan) -> Tensor:
        """Vectors (V, d) of the chunks that were planned.

        Args:
            token_F: of all chunks, one after the other.
            plan: on the same device.
        """
        parts = []
        for place_CL, is_token_CL in zip(plan.place_CL, plan.is_token_CL, strict=True):
            token_CL = torch.where(is_token_CL, token_F[place_CL].long(), self.pad)
            if self.training and torch.is_grad_enabled():
                x_Cd = checkpoint(self._vectors, token_CL, is_token_CL, use_reentrant=False)
                assert isinstance(x_Cd, Tensor)
            else:
                x_Cd = self._vectors(token_CL, is_token_CL)
            parts.append(x_Cd)
        if not parts:
            return torch.zeros(0, self.dim, device=token_F.device)
        return torch.cat(parts).index_select(0, plan.inverse_V)

    def _vectors(self, token_CL: Tensor, is_token_CL: Tensor) -> Tensor:
        out = self.network(input_ids=token_CL, attention_mask=is_token_CL.long())
        x_CLd = out.last_hidden_state
        if self.pooling == "cls":
            x_Cd = x_CLd[:, 0]
        else:
            x_Cd = (x_CLd * is_token_CL.unsqueeze(2)).sum(1) / is_token_CL.sum(1, keepdim=True)
        return nn.functional.normalize(x_Cd, dim=1) if self.normalize else x_Cd


def load_network(model: LanguageModel) -> nn.Module:
    """The transformer of a folder, as transformers builds it.

    Raises:
        InputError: the folder is gone, or transformers cannot use it.
    """
    transformers = require("transformers", "text", NEEDED_BY)
    folder = model.folder
    options = {"local_files_only": True, "trust_remote_code": False}
    try:
        with _quiet(transformers):
            if any(folder.glob("*.safetensors")):
                network = transformers.AutoModel.from_pretrained(
                    str(folder), use_safetensors=True, dtype=torch.float32, **options
                )
            else:
                config = transformers.AutoConfig.from_pretrained(str(folder), **options)
                network = transformers.AutoModel.from_config(config, trust_remote_code=False)
    except Exception as error:  # of many classes, those of safetensors among them
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{folder} cannot be read as a model of transformers: {reason}") from error
    if getattr(network, "pooler", None) is not None:
        network.pooler = None  # a classifier's, which nothing here reads
    return network.train(False)


def frozen_vectors(model: LanguageModel, tokens: Ragged) -> tuple[RecordStore, np.ndarray]:
    """A store that holds the vectors of chunks, and their places; those that it lacks are made.

    Args:
        model: of the vectors.
        tokens: of V chunks, as in `Chunks`.

    Raises:
        InputError: the folder of the model is gone, or transformers cannot use it.
    """
    made_by = (VERSION, model.digest, model.weights)
    store = RecordStore(f"text vectors {made_by}", (model.dim,), np.float32)
    keys = [
        hashlib.blake2b(tokens.columns["token"][start:stop].tobytes(), digest_size=16).hexdigest()
        for start, stop in pairwise(tokens.start_N1.tolist())
    ]
    place_V = store.find(keys)
    missing = {keys[v]: int(v) for v in np.flatnonzero(place_V < 0)}
    if missing:
        _make(model, tokens, missing, store)
        place_V = store.find(keys)
    return store, place_V


def _make(
    model: LanguageModel, tokens: Ragged, missing: dict[str, int], store: RecordStore
) -> None:
    """Add the vectors of chunks, by key, to the store."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    vectors = ChunkVectors(model).eval().to(device)
    by_length = sorted(missing, key=lambda key: tokens.counts_N[missing[key]])
    for start in range(0, len(by_length), STORED_TOGETHER):
        keys = by_length[start : start + STORED_TOGETHER]
        some = tokens.select(np.array([missing[key] for key in keys]))
        length_V = torch.from_numpy(some.start_N1).diff()
        plan = ChunkPlan.of(length_V, torch.arange(len(length_V)))
        with torch.inference_mode():
            x_Vd = vectors(*to_device((torch.from_numpy(some.columns["token"]), plan), device))
        store.add(keys, list(x_Vd.cpu().numpy()))


def _alike(order_V: Tensor, length_V: Tensor) -> Iterator[Tensor]:
    """Cut chunks, ordered by length, the longest first, so that none has too many tokens."""
    lengths = length_V[order_V].tolist()
    first = 0
    while first < len(lengths):
        num = max(1, MOST_TOKENS // max(1, lengths[first]))
        yield order_V[first : first + num]
        first += num


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Without a progress bar and a report of the weights of heads that are not used."""
    logs = transformers.utils.logging
    verbosity, has_bar = logs.get_verbosity(), logs.is_progress_bar_enabled()
    logs.set_verbosity_error()
    logs.disable_progress_bar()
    try:
        yield
    finally:
        logs.set_verbosity(verbosity)
        if has_bar:
            logs.enable_progress_bar()
