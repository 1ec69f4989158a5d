"""Loading finished artifacts, each once a process."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file
from torch import Tensor, nn

from experiments.pipeline.build import Pipeline
from experiments.pipeline.options import by_content, plain
from weightgen.artifacts import Spec
from weightgen.choices import Choices, make
from weightgen.data.concepts.concept import Concept
from weightgen.errors import WeightgenError
from weightgen.evaluation import FEATURES
from weightgen.evaluation.metrics import ImageMetrics, Reference
from weightgen.files import save_tensors
from weightgen.rng import drawing_from, stream
from weightgen.text import TEXT_ENCODERS
from weightgen.text.encoders import TextEncoder, TextFeatures
from weightgen.translation.lora import LoraSpec
from weightgen.translation.nets import TRANSLATORS
from weightgen.weights.blocks import BlockLayout
from weightgen.weights.normalizer import Normalizer
from weightgen.weights.zoo import Zoo


@lru_cache(maxsize=512)
def tensors(path: Path) -> dict[str, Tensor]:
    """A safetensors file; the tensors are shared, never write to them."""
    return load_file(path)


def pair_tensors(pipeline: Pipeline, concept: Concept) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Photos and the concept's targets: {"train", "test"} -> uint8 (N, 3, S, S), each.

    The photos are those of the `photos` artifact, unless the concept has sources of its own.
    """
    folder = pipeline.store.require(pipeline.pairs(concept))
    own = folder / "sources.safetensors"
    photos = own if own.exists() else pipeline.store.require(pipeline.photos) / "photos.safetensors"
    return tensors(photos), tensors(folder / "targets.safetensors")


class TrainPairs(Sequence[Tensor]):
    """One side of each concept's train pairs, uint8 (N, 3, S, S), read when it is asked for. side 0: photos, 1: targets."""

    def __init__(self, pipeline: Pipeline, concepts: Sequence[Concept], side: int) -> None:
        self.pipeline, self.concepts, self.side = pipeline, concepts, side

    def __len__(self) -> int:
        return len(self.concepts)

    def __getitem__(self, i: int) -> Tensor:
        return pair_tensors(self.pipeline, self.concepts[i])[self.side]["train"]


def train_sources(pipeline: Pipeline, concepts: Sequence[Concept]) -> Tensor | TrainPairs:
    """The train photos that `concepts` share, or each concept's own where any has its own."""
    folders = [pipeline.store.require(pipeline.pairs(concept)) for concept in concepts]
    sources = TrainPairs(pipeline, concepts, 0)
    return sources if any((folder / "sources.safetensors").exists() for folder in folders) else sources[0]


def training_pairs(pipeline: Pipeline, concept: Concept, seed: int) -> tuple[Tensor, Tensor]:
    """(source, target) uint8 (n, 3, S, S) of a new concept in the order that `seed` draws: the first `pairs`, or all.

    Raises WeightgenError if there are fewer.
    """
    photos, targets = pair_tensors(pipeline, concept)
    have, wanted = len(photos["train"]), pipeline.cfg.pairs
    if wanted is not None and wanted > have:
        raise WeightgenError(f"pairs={wanted}: {concept.name} has {have}; lower it, or raise photos.train")
    order = torch.randperm(have, generator=stream(seed, "finetune/pairs"))[:wanted]
    return photos["train"][order], targets["train"][order]


def text_encoder(cfg: DictConfig) -> TextEncoder:
    return _encoder(OmegaConf.to_yaml(cfg.text_encoder, resolve=True))


@lru_cache(maxsize=2)
def _encoder(description: str) -> TextEncoder:
    return make(TEXT_ENCODERS, plain(OmegaConf.create(description)))


def text_features(pipeline: Pipeline, prompts: list[str]) -> TextFeatures:
    """Features of `prompts`, cached by content."""
    config = {"text_encoder": by_content(pipeline.cfg.text_encoder), "prompts": prompts}
    spec = Spec("text", 1, config, label=f"text of {len(prompts)} prompts")

    def build(folder: Path) -> dict[str, Any]:
        text = text_encoder(pipeline.cfg).encode(prompts)
        save_tensors(folder / "text.safetensors", {"tokens": text.tokens, "mask": text.mask, "pooled": text.pooled})
        return {"prompts": len(prompts)}

    return TextFeatures(**tensors(pipeline.store.ensure(spec, build) / "text.safetensors"))


def concept_texts(pipeline: Pipeline, concepts: list[Concept]) -> tuple[TextFeatures, list[list[int]]]:
    """Features of all prompts and paraphrases, and which rows belong to each concept (its prompt first)."""
    prompts: list[str] = []
    rows = []
    for concept in concepts:
        texts = [concept.prompt, *concept.paraphrases]
        rows.append(list(range(len(prompts), len(prompts) + len(texts))))
        prompts += texts
    return text_features(pipeline, prompts), rows


def seeded(seed: int, table: Choices, options: Any, **more: Any) -> Any:
    """A net of `table` whose random weights are a function of `seed` and of which class it is."""
    with drawing_from(seed, f"weights/{table.find(options['name']).__name__}"):
        return make(table, plain(options), **more)


def new_translator(pipeline: Pipeline, seed: int = 0) -> nn.Module:
    return seeded(seed, TRANSLATORS, pipeline.cfg.translator, text_dim=text_encoder(pipeline.cfg).dim)


def load_base(pipeline: Pipeline, folder: Path) -> nn.Module:
    """The trained base translator of a `base` artifact, in evaluation mode."""
    base = new_translator(pipeline)
    base.load_state_dict(tensors(folder / "generator.safetensors"))
    return base.eval()


def lora_spec(cfg: DictConfig) -> LoraSpec:
    return LoraSpec(**plain(cfg.lora))


def load_blocks(folder: Path) -> tuple[Zoo, BlockLayout, Normalizer]:
    """The contents of a `blocks` artifact."""
    import json

    layout = BlockLayout.from_json(json.loads((folder / "layout.json").read_text()))
    return Zoo.load(folder), layout, Normalizer(**tensors(folder / "normalizer.safetensors"))


def image_metrics(cfg: DictConfig) -> ImageMetrics:
    return _metrics(OmegaConf.to_yaml(cfg.metrics, resolve=True))


@lru_cache(maxsize=2)
def _metrics(description: str) -> ImageMetrics:
    return ImageMetrics(make(FEATURES, plain(OmegaConf.create(description))))


def reference(pipeline: Pipeline, concept: Concept) -> Reference:
    """The concept's test targets as the metrics see them, computed once a process."""
    folder = pipeline.store.require(pipeline.pairs(concept))
    return _reference(OmegaConf.to_yaml(pipeline.cfg.metrics, resolve=True), folder)


@lru_cache(maxsize=4)
def _reference(description: str, folder: Path) -> Reference:
    return _metrics(description).reference(tensors(folder / "targets.safetensors")["test"])


def find(spec: Spec, stage: str) -> Spec:
    """The nearest upstream spec of `stage` (breadth first). Raises WeightgenError if there is none."""
    level = [spec]
    while level:
        for candidate in level:
            if candidate.stage == stage:
                return candidate
        level = list(dict.fromkeys(u for candidate in level for u in candidate.inputs))
    raise WeightgenError(f"{spec.label} has no upstream {stage}")
