"""Image translators: the E2GAN and pix2pix generators, their discriminator, LoRA and training modules."""

from weightgen.translation.lora import LoraSpec, inject_lora, load_lora_state, lora_state, merge_lora
from weightgen.translation.nets.e2gan import E2GANGenerator
from weightgen.translation.nets.patchgan import PatchDiscriminator
from weightgen.translation.nets.unet import UNetGenerator
from weightgen.translation.training import FineTuneModule, TranslatorModule

__all__ = [
    "E2GANGenerator",
    "FineTuneModule",
    "LoraSpec",
    "PatchDiscriminator",
    "TranslatorModule",
    "UNetGenerator",
    "inject_lora",
    "load_lora_state",
    "lora_state",
    "merge_lora",
]
