"""Fetching, loading and tokenising for open_clip text towers: what OpenClipTextEncoder needs of that
library."""

from __future__ import annotations

import contextlib
import urllib.error
import urllib.request
from pathlib import Path

import torch
from torch import Tensor, nn

from weightgen.errors import MissingModel


def load(architecture: str, pretrained: str) -> tuple:
    """(tokenizer, model in eval mode), or MissingModel with what to do about it."""
    import open_clip

    if open_clip.get_model_config(architecture) is None:
        raise MissingModel(
            f"text encoder {architecture}: open_clip has no such architecture; it has "
            + ", ".join(open_clip.list_models())
        )
    tag = open_clip.get_pretrained_cfg(architecture, pretrained)
    remedy = "set text_encoder.pretrained=<local weights file>, or text_encoder=minilm (needs no network)"
    file = Path(pretrained).expanduser()
    if not tag and not file.is_file():
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(architecture)) or "none"
        raise MissingModel(
            f"text encoder {architecture}: pretrained={pretrained} is neither an existing file nor one of "
            f"its tags ({tags}); {remedy}"
        )
    try:
        model = open_clip.create_model(
            architecture,
            pretrained=str(_tag_weights(tag) if tag else file),
            force_quick_gelu=tag.get("quick_gelu", False),
            weights_only=True,
            require_pretrained=True,
            pretrained_hf=False,
        )
        tokenizer = open_clip.get_tokenizer(architecture)
    except Exception as error:  # open_clip raises whatever its loaders raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MissingModel(
            f"text encoder {architecture} ({pretrained}): the weights cannot be had here ({reason}); {remedy}"
        ) from error
    model.visual = None
    return tokenizer, model.eval().requires_grad_(False)


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
    """The weights file of an open_clip tag, from the cache or else the network.

    Hub clients retry for most of a minute where there is no network, so one request of 8 s asks first.
    """
    from huggingface_hub import constants, try_to_load_from_cache
    from open_clip.pretrained import download_pretrained

    repository, _, name = tag.get("hf_hub", "").rpartition("/")
    for candidate in filter(None, (name, "open_clip_model.safetensors", "open_clip_pytorch_model.bin")):
        cached = try_to_load_from_cache(repository, candidate) if repository else None
        if isinstance(cached, str):
            return Path(cached)
    if constants.HF_HUB_OFFLINE:
        raise OSError("not in the local cache, and HF_HUB_OFFLINE is set")
    with contextlib.suppress(urllib.error.HTTPError):  # an answer, even a refusal, is a network
        urllib.request.urlopen(constants.ENDPOINT if repository else tag["url"], timeout=8).close()
    return Path(download_pretrained(tag))


def token_counts(tokenizer, prompts: list[str]) -> list[int]:
    """Tokens of each prompt before any cut, start and end tokens included."""
    if hasattr(tokenizer, "tokenizer"):  # open_clip's wrapper of a Hugging Face tokenizer
        return [len(ids) for ids in tokenizer.tokenizer(prompts)["input_ids"]]
    return [len(tokenizer.encode(prompt)) + 2 for prompt in prompts]


def padding(tokenizer, ids: Tensor) -> tuple[int, Tensor]:
    """ids: (B, L) -> (padding id, bool (B, L) True on real tokens)."""
    if hasattr(tokenizer, "tokenizer"):
        pad = tokenizer.tokenizer.pad_token_id
        return pad, ids != pad
    # CLIP pads with 0, which is also the token of "!": what is real ends at the end token
    end = (ids == tokenizer.eot_token_id).int().argmax(dim=1, keepdim=True)
    return 0, torch.arange(ids.shape[1]) <= end
