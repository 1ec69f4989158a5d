"""A weight generator of random weights: every part that the shipped one has, in milliseconds."""

import torch

from weightgen.diffusion.joint import JointTransformer
from weightgen.diffusion.sampler import Sampler, make_scheduler
from weightgen.generation.block_generator import BlockGenerator
from weightgen.generation.generator import WeightGenerator
from weightgen.generation.guided import GuidedRefiner
from weightgen.generation.known import Known
from weightgen.text.encoders import MiniLMTextEncoder
from weightgen.translation.lora import LoraSpec, inject_lora, lora_state
from weightgen.translation.nets.e2gan import E2GANGenerator
from weightgen.weights.blocks import BlockLayout
from weightgen.weights.normalizer import Normalizer

SIDE, BLOCK = 16, 128
PROMPTS = ("a pencil sketch in sepia tones", "an oil painting in ocean colours", "a pencil sketch in ocean colours")


def tiny_generator(train: str = "b") -> WeightGenerator:
    """16 px; knows PROMPTS. train: see LoraSpec."""
    torch.manual_seed(0)
    net = {"text_dim": 384, "width": 8, "resnet_blocks": 1, "period": SIDE}
    lora = {"ranks": {"down": 2, "up": 1, "out": 1}, "alpha": 2.0, "train": train, "seed": 1}
    base = E2GANGenerator(**net)
    state = lora_state(inject_lora(base, LoraSpec(**lora)))
    layout = BlockLayout({name: tuple(weight.shape) for name, weight in state.items()}, BLOCK)
    shape = {"block_size": BLOCK, "blocks": layout.blocks, "text_dim": 384, "width": 16, "layers": 1}
    denoiser, refiner = JointTransformer(**shape).eval(), GuidedRefiner(**shape).eval()
    for network in (denoiser, refiner):
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, 0.0, 0.1)
    mean = 0.1 * torch.randn(layout.blocks, BLOCK) * layout.valid()
    normalizer = Normalizer(mean, torch.full((layout.blocks, BLOCK), 0.1))
    encoder = MiniLMTextEncoder(16)
    description = {
        "translator": {"name": "e2gan", **net},
        "denoiser": {"name": "joint", **shape},
        "refiner": {"name": "guided", **shape},
        "text_encoder": {"name": "minilm", "max_length": 16},
        "lora": lora,
        "prediction": "sample",
        "steps": 1,
    }
    blocks = BlockGenerator(denoiser, Sampler(make_scheduler("sample")), layout, normalizer)
    known = Known(PROMPTS, encoder.encode(PROMPTS).pooled)
    return WeightGenerator(base, blocks, encoder, description, known, refiner)
