"""Fetching, loading and tokenising for open_clip text towers: what OpenClipTextEncoder needs of that
library."""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from weightgen.errors import MissingModel
from weightgen.files import content_hash
from weightgen.network import require_network

CONFIG = "open_clip_config.json"  # of a folder in open_clip's own layout


def local(path: str) -> Path | None:
    """`path` as an existing file or folder, or None for the name of an architecture or a tag."""
    found = Path(path).expanduser()
    return found if found.is_file() or (found / CONFIG).is_file() else None


def name(architecture: str, pretrained: str) -> str:
    """openclip-<architecture>-<tag>; what is local counts by its content, not by its path."""
    folder = local(pretrained)
    if folder is not None and folder.is_dir():
        return f"openclip-{content_hash(folder)[:12]}"
    return "-".join(["openclip", *(content_hash(p)[:12] if local(p) else p for p in (architecture, pretrained))])


def load(architecture: str, pretrained: str) -> tuple:
    """(tokenizer, model in eval mode), or MissingModel with what to do about it."""
    import open_clip

    remedy = "set text_encoder.pretrained=<local weights file>, or text_encoder=minilm (needs no network)"
    file = local(pretrained)
    tag = {}
    if file is not None and file.is_dir():
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

    file = local(architecture)
    if file is not None and file.is_file():
        try:
            config = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise MissingModel(f"text_encoder.architecture: {file} is no JSON file ({error})") from error
        config = config.get("model_cfg", config) if isinstance(config, dict) else {}
        if missing := {"embed_dim", "vision_cfg", "text_cfg"} - set(config):
            raise MissingModel(
                f"text_encoder.architecture: {file} is no open_clip model config, it lacks "
                + ", ".join(sorted(missing))
            )
        architecture = f"{file.stem}-{content_hash(file)[:12]}"
        with tempfile.TemporaryDirectory() as folder:  # open_clip registers files by their name, at once
            (Path(folder) / f"{architecture}.json").write_text(json.dumps(config))
            open_clip.add_model_config(Path(folder) / f"{architecture}.json")
    if open_clip.get_model_config(architecture) is None:
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
