"""CLIP text towers through open_clip: fetched or read from local files."""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weightgen.errors import DataError, MissingModel
from weightgen.files import content_hash
from weightgen.network import require_network
from weightgen.text.encoders import TextFeatures, checked, concatenate, warn_truncated
from weightgen.text.foreign_config import CONFIG, check_folder, model_config


class OpenClipTextEncoder:
    """A CLIP text tower through open_clip: token features after the final norm, and the pooled, projected
    embedding.

    architecture: a name of open_clip.list_models(), or a JSON file in the form of open_clip's model configs.
    pretrained: a tag of it (downloaded once), a local weights file (safetensors, or a state dict that torch loads
    with weights_only=True), or a folder with open_clip_config.json and weights, which says its architecture
    itself. A configuration of either kind that could make foreign code run is refused. max_length: tokens kept, at
    most the model's context. The weights load at the first use.
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
        folder = _local(self.pretrained)
        if folder is not None and folder.is_dir():
            return f"openclip-{content_hash(folder)[:12]}"
        parts = (content_hash(p)[:12] if _local(p) else p for p in (self.architecture, self.pretrained))
        return "-".join(["openclip", *parts])

    @property
    def dim(self) -> int:
        return final_norm(self._load()[1]).normalized_shape[0]

    @property
    def pooled_dim(self) -> int:
        return self.encode(["a"]).pooled.shape[1]

    def _load(self) -> tuple:
        if self._loaded is None:
            self._loaded = _tower(self.architecture, self.pretrained)
        return self._loaded

    @torch.no_grad()
    def encode(self, prompts: Sequence[str], batch_size: int = 64) -> TextFeatures:
        """prompts: B strings -> TextFeatures with L = min(max_length, context). Longer prompts are cut, with
        a warning.

        Raises MissingModel (within seconds, not after endless retries) where the weights cannot be had.
        """
        tokenizer, model = self._load()
        norm = final_norm(model)
        prompts = checked(prompts)
        context = tokenizer.context_length
        length = min(self.max_length, context)
        warn_truncated(prompts, _token_counts(tokenizer, prompts), length)
        parts, seen = [], []
        hook = norm.register_forward_hook(lambda module, inputs, output: seen.append(output))
        try:
            for start in range(0, len(prompts), batch_size):
                ids = tokenizer(prompts[start : start + batch_size], context_length=length)
                pad, mask = _padding(tokenizer, ids)
                # position embeddings have the model's full context, whatever number of tokens is kept
                ids = F.pad(ids, (0, context - length), value=pad)
                pooled = F.normalize(model.encode_text(ids).float(), dim=-1)
                tokens = seen.pop().float()[:, :length] * mask[..., None]
                parts.append(TextFeatures(tokens, mask, pooled))
        finally:
            hook.remove()
        return concatenate(parts)


def _local(path: str) -> Path | None:
    """`path` as an existing file or folder, or None for the name of an architecture or a tag."""
    found = Path(path).expanduser()
    return found if found.is_file() or (found / CONFIG).is_file() else None


def _tower(architecture: str, pretrained: str) -> tuple:
    """(tokenizer, model in eval mode), or MissingModel with what to do about it."""
    import open_clip

    remedy = "set text_encoder.pretrained=<local weights file>, or text_encoder=minilm (needs no network)"
    file = _local(pretrained)
    tag = {}
    if file is not None and file.is_dir():
        check_folder(file)
        architecture, source = f"local-dir:{file}", None
    else:
        architecture = _registered(architecture)
        tag = open_clip.get_pretrained_cfg(architecture, pretrained)
        source = pretrained
    if source and not tag and file is None:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(architecture)) or "none"
        raise MissingModel(
            f"text encoder {architecture}: pretrained={pretrained} is neither an existing file nor one of "
            f"its tags ({tags}); {remedy}"
        )
    try:
        with _quiet():
            model = open_clip.create_model(
                architecture,
                pretrained=source and str(_tag_weights(tag) if tag else file),
                force_quick_gelu=tag.get("quick_gelu", False),
                weights_only=True,
                require_pretrained=True,
                pretrained_hf=False,
            )
            tokenizer = open_clip.get_tokenizer(architecture)
    except Exception as error:  # open_clip raises whatever its loaders raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        if not tag:
            reason += "; is text_encoder.architecture (a name or a JSON config) that of this file?"
        raise MissingModel(
            f"text encoder {architecture} ({pretrained}): the weights cannot be had here ({reason}); {remedy}"
        ) from error
    model.visual = None
    return tokenizer, model.eval().requires_grad_(False)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """open_clip tells its every step to the root logger."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.INFO))
    try:
        yield
    finally:
        logging.disable(before)


def _registered(architecture: str) -> str:
    """The name by which open_clip knows an architecture: its own, or that of a JSON config, registered here."""
    import open_clip

    file = _local(architecture)
    if file is not None and file.is_file():
        config = model_config(file)
        architecture = f"{file.stem}-{content_hash(file)[:12]}"
        with tempfile.TemporaryDirectory() as folder:  # open_clip registers files by their name, at once
            (Path(folder) / f"{architecture}.json").write_text(json.dumps(config))
            open_clip.add_model_config(Path(folder) / f"{architecture}.json")
    if architecture not in open_clip.list_models():  # open_clip would look for hf-hub:<anyone>/x on the hub
        raise MissingModel(
            f"text encoder {architecture}: open_clip has no such architecture and there is no such JSON "
            f"config; it has {', '.join(open_clip.list_models())}"
        )
    return architecture


def final_norm(model: nn.Module) -> nn.LayerNorm:
    """The layer whose output is the token features: at the top of a CLIP, or inside its `text` tower."""
    norm = getattr(getattr(model, "text", model), "ln_final", None)
    if not isinstance(norm, nn.LayerNorm):
        raise MissingModel(
            "this text encoder's tower has no final LayerNorm to read token features from; choose an "
            "architecture with open_clip's own text transformer (such as ViT-B-32), or text_encoder=minilm"
        )
    return norm


def _tag_weights(tag: dict) -> Path:
    """The weights file of an open_clip tag, from the cache or else the network. OSError: neither has it."""
    from huggingface_hub import constants, try_to_load_from_cache
    from open_clip.pretrained import download_pretrained

    repository, _, name = tag.get("hf_hub", "").rpartition("/")
    for candidate in filter(None, (name, "open_clip_model.safetensors", "open_clip_pytorch_model.bin")):
        cached = try_to_load_from_cache(repository, candidate) if repository else None
        if isinstance(cached, str):
            return Path(cached)
    require_network(constants.ENDPOINT if repository else tag["url"])
    return Path(download_pretrained(tag))


def _token_counts(tokenizer: Any, prompts: list[str]) -> list[int]:
    """Tokens of each prompt before any cut, start and end tokens included."""
    if hasattr(tokenizer, "tokenizer"):  # open_clip's wrapper of a Hugging Face tokenizer
        return [len(ids) for ids in tokenizer.tokenizer(prompts)["input_ids"]]
    return [len(tokenizer.encode(prompt)) + 2 for prompt in prompts]


def _padding(tokenizer: Any, ids: Tensor) -> tuple[int, Tensor]:
    """ids: (B, L) -> (padding id, bool (B, L) True on real tokens)."""
    if hasattr(tokenizer, "tokenizer"):
        pad = tokenizer.tokenizer.pad_token_id
        return pad, ids != pad
    # CLIP pads with 0, which is also the token of "!": what is real ends at the end token
    end = (ids == tokenizer.eot_token_id).int().argmax(dim=1, keepdim=True)
    return 0, torch.arange(ids.shape[1]) <= end
