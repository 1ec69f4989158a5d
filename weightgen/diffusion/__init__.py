"""The weight generator's diffusion half: denoisers over weight blocks, their training, and one-step sampling."""

from weightgen.choices import Choices

DENOISERS = Choices(
    "denoiser",
    {"joint": "weightgen.diffusion.joint:JointTransformer", "unet1d": "weightgen.diffusion.unet1d:BlockUNet1d"},
)
