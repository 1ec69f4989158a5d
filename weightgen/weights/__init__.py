"""LoRA weights as data: blocks, their normaliser, the zoo of trained sets and its data set."""

from weightgen.weights.blocks import BlockInfo, BlockLayout
from weightgen.weights.dataset import ZooBatches
from weightgen.weights.normalizer import Normalizer
from weightgen.weights.zoo import Zoo, ZooEntry

__all__ = ["BlockInfo", "BlockLayout", "Normalizer", "Zoo", "ZooBatches", "ZooEntry"]
