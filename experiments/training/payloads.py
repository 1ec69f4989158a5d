"""Reading what artifacts hold, each file once a process, and making the nets that they describe."""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from experiments.pipeline.stage import Artifact
from weightgen.choices import Choices, make
from weightgen.errors import WeightgenError
from weightgen.evaluation import FEATURES
from weightgen.evaluation.metrics import ImageMetrics, Reference
from weightgen.files import read_json, save_tensors, write_json
from weightgen.rng import drawing_from, stream
from weightgen.text import TEXT_ENCODERS
from weightgen.text.encoders import TextEncoder, TextFeatures
from weightgen.translation.nets import TRANSLATORS
from weightgen.weights.blocks import BlockLayout
from weightgen.weights.normalizer import Normalizer
from weightgen.weights.zoo import Zoo


@lru_cache(maxsize=512)
def tensors(path: Path) -> dict[str, Tensor]:
    """A safetensors file; the tensors are shared, never write to them."""
    return load_file(path)


def pair_tensors(pairs: Artifact, photos: Artifact | None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Photos and a concept's targets: {"train", "validation", "test"} -> uint8 (N, 3, S, S), each.

    photos: those that all concepts share; a concept with sources of its own has those in their place.
    """
    own = pairs.folder / "sources.safetensors"
    sources = own if own.exists() else photos.folder / "photos.safetensors"
    return tensors(sources), tensors(pairs.folder / "targets.safetensors")


class TrainPairs(Sequence[Tensor]):
    """One side of each concept's train pairs, uint8 (N, 3, S, S), read when it is asked for. side 0: photos, 1: targets."""

    def __init__(self, pairs: Sequence[Artifact], photos: Artifact | None, side: int) -> None:
        self.pairs, self.photos, self.side = pairs, photos, side

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, i: int) -> Tensor:
        return pair_tensors(self.pairs[i], self.photos)[self.side]["train"]


def has_own_photos(pairs: Iterable[Artifact]) -> bool:
    """Whether any of these concepts has photos of its own in place of those that all share."""
    return any((concept.folder / "sources.safetensors").exists() for concept in pairs)


def train_sources(pairs: Sequence[Artifact], photos: Artifact | None) -> Tensor | TrainPairs:
    """The train photos that concepts share, or each concept's own where any has its own."""
    sources = TrainPairs(pairs, photos, 0)
    return sources if has_own_photos(pairs) else sources[0]


def training_pairs(
    pairs: Artifact, photos: Artifact | None, rows: Tensor | None, seed: int, wanted: int | None
) -> tuple[Tensor, Tensor]:
    """(source, target) uint8 (n, 3, S, S) of a new concept in the order that `seed` draws: the first `wanted`, or all.

    rows: of the photos to choose among; None: all. Raises WeightgenError if there are fewer.
    """
    sources, targets = (side["train"] for side in pair_tensors(pairs, photos))
    if rows is not None:
        sources, targets = sources[rows], targets[rows]
    have = len(sources)
    if wanted is not None and wanted > have:
        raise WeightgenError(f"pairs={wanted}: {pairs.config['prompt']!r} has {have}; lower it, or raise photos.train")
    order = torch.randperm(have, generator=stream(seed, "finetune/pairs"))[:wanted]
    return sources[order], targets[order]


def text_encoder(options: Mapping[str, Any]) -> TextEncoder:
    return _encoder(json.dumps(options))


@lru_cache(maxsize=2)
def _encoder(options: str) -> TextEncoder:
    return make(TEXT_ENCODERS, json.loads(options))


def read_text(text: Artifact) -> TextFeatures:
    return TextFeatures(**tensors(text.folder / "text.safetensors"))


def rows_of(concepts: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Which rows of the text of all prompts and paraphrases belong to each concept, its prompt first."""
    rows, start = [], 0
    for concept in concepts:
        end = start + 1 + len(concept["paraphrases"])
        rows.append(list(range(start, end)))
        start = end
    return rows


def seeded(seed: int, table: Choices, options: Mapping[str, Any], **more: Any) -> Any:
    """A net of `table` whose random weights are a function of `seed` and of its name in the table."""
    with drawing_from(seed, f"weights/{table.slot}/{options['name']}"):
        return make(table, options, **more)


def save_net(folder: Path, name: str, description: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Write <name>.json, from which `load_net` makes the net, and <name>.safetensors, its weights."""
    write_json(folder / f"{name}.json", description)
    save_tensors(folder / f"{name}.safetensors", state)


def load_net(table: Choices, folder: Path, name: str) -> nn.Module:
    """A net that `save_net` wrote, in evaluation mode."""
    net = seeded(0, table, read_json(folder / f"{name}.json"))
    net.load_state_dict(tensors(folder / f"{name}.safetensors"))
    return net.eval()


def load_base(base: Artifact) -> nn.Module:
    """The trained base translator of a `base` artifact, in evaluation mode."""
    return load_net(TRANSLATORS, base.folder, "generator")


def load_blocks(folder: Path) -> tuple[Zoo, BlockLayout, Normalizer]:
    """The contents of a `blocks` artifact."""
    layout = BlockLayout.from_json(read_json(folder / "layout.json"))
    return Zoo.load(folder), layout, Normalizer(**tensors(folder / "normalizer.safetensors"))


def image_metrics(options: Mapping[str, Any], device: str = "cpu") -> ImageMetrics:
    return _metrics(json.dumps(options), device)


@lru_cache(maxsize=2)
def _metrics(options: str, device: str) -> ImageMetrics:
    return ImageMetrics(make(FEATURES, json.loads(options)).to(device))


def reference(options: Mapping[str, Any], pairs: Artifact, part: str, device: str = "cpu") -> Reference:
    """A concept's targets of `part` as the metrics see them, computed once a process."""
    return _reference(json.dumps(options), pairs.folder, part, device)


@lru_cache(maxsize=4)
def _reference(options: str, folder: Path, part: str, device: str) -> Reference:
    return _metrics(options, device).reference(tensors(folder / "targets.safetensors")[part])


def optimizer(options: Mapping[str, Any]) -> Any:
    """A factory of optimizers, (parameters) -> optimizer, from the `_target_` of a budget."""
    from hydra.utils import instantiate

    return instantiate(options)
