"""A tiny denoiser that trains through a frozen base, and its batches."""

import torch

from weightgen.batches import Batches, Pairs, Texts, concept_batches
from weightgen.diffusion.joint import JointTransformer
from weightgen.diffusion.sampler import make_scheduler
from weightgen.generation.function_space import FunctionSpaceModule
from weightgen.translation.lora import LoraSpec
from weightgen.translation.nets.e2gan import E2GANGenerator
from weightgen.translation.stacked_lora import StackedLora
from weightgen.weights.blocks import BlockLayout
from weightgen.weights.normalizer import Normalizer

TRAINER = {
    "accelerator": "cpu",
    "max_epochs": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def parts(steps: int, photos: int = 2) -> tuple[FunctionSpaceModule, Batches]:
    torch.manual_seed(0)
    base = E2GANGenerator(8, width=8, heads=2)
    stacked = StackedLora(base, LoraSpec({"down": 2, "transformer": 2, "up": 2, "out": 8}, alpha=4, train="b"))
    layout = BlockLayout(stacked.shapes, 64)
    blocks = 0.05 * torch.randn(4, layout.blocks, 64) * layout.valid()
    normalizer = Normalizer.fit(blocks, layout.valid())
    denoiser = JointTransformer(64, layout.blocks, 8, width=16, layers=1, heads=2, rank=4)
    module = FunctionSpaceModule(
        denoiser,
        make_scheduler(),
        stacked,
        layout,
        normalizer,
        lambda p: torch.optim.Adam(p, 1e-2),
        ema_decay=0.5,
        warmup_steps=0,
    )
    sources = torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8)
    targets = [(sources.float() * share).byte() for share in (0.2, 0.4, 0.6, 0.8)]
    own = normalizer.normalize(blocks)
    texts = Texts(torch.randn(4, 3, 8), torch.ones(4, 3, dtype=torch.bool), [[0], [1], [2], [3]])
    batches = concept_batches(Pairs(sources, targets), texts, own, concepts=4, photos=photos, steps=steps)
    return module, batches
