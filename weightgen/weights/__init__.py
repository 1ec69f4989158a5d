"""LoRA weights as data: blocks, their normaliser, the zoo of trained sets and its batches."""

from weightgen.weights.batches import set_batches
from weightgen.weights.blocks import BlockLayout
from weightgen.weights.normalizer import Normalizer
from weightgen.weights.zoo import Zoo, ZooEntry

__all__ = ["BlockLayout", "Normalizer", "Zoo", "ZooEntry", "set_batches"]
