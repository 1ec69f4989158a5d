"""The zoo: LoRA weights of every train concept with a manifest that says where each came from."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from weightgen.errors import WeightgenError
from weightgen.files import read_json, save_tensors, write_json


@dataclass(frozen=True)
class ZooEntry:
    """One trained LoRA: its concept, training seed and steps, the base it belongs to, its scores."""

    concept: str
    prompt: str
    split: str
    seed: int
    steps: int
    base: str
    layout: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class Zoo:
    """entries[i] describes blocks[i]; blocks: float32 (N, K, D), not normalised."""

    entries: tuple[ZooEntry, ...]
    blocks: Tensor

    def save(self, folder: Path) -> None:
        """Write zoo.json and zoo.safetensors; `load` is the inverse."""
        save_tensors(folder / "zoo.safetensors", {"blocks": self.blocks})
        write_json(folder / "zoo.json", [asdict(entry) for entry in self.entries])

    @classmethod
    def load(cls, folder: Path) -> "Zoo":
        """Raises WeightgenError if manifest and weights disagree."""
        entries = tuple(ZooEntry(**row) for row in read_json(folder / "zoo.json"))
        blocks = load_file(folder / "zoo.safetensors")["blocks"]
        if len(entries) != len(blocks):
            raise WeightgenError(f"{folder}: {len(entries)} manifest rows, {len(blocks)} weight sets; run make blocks")
        return cls(entries, blocks)

    @classmethod
    def collect(cls, entries: Sequence[ZooEntry], blocks: Sequence[Tensor]) -> "Zoo":
        """Stack sets of one base and layout. Raises WeightgenError on mixed ones, or on a concept twice."""
        if not entries:
            raise WeightgenError("the zoo is empty: every LoRA diverged or none was trained; see make loras")
        if len({(e.base, e.layout) for e in entries}) > 1:
            raise WeightgenError("these LoRAs belong to different bases or layouts and cannot form one zoo")
        names = [(e.concept, e.seed) for e in entries]
        if len(set(names)) < len(names):
            raise WeightgenError(f"concept {max(names, key=names.count)[0]!r} is in the zoo twice")
        return cls(tuple(entries), torch.stack(list(blocks)))
