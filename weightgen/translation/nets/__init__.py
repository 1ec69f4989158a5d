"""The nets of image translation: generators and their discriminator."""

from weightgen.choices import Choices

TRANSLATORS = Choices(
    "translator",
    {
        "comodgan": "weightgen.translation.nets.comodgan:CoModGANGenerator",
        "e2gan": "weightgen.translation.nets.e2gan:E2GANGenerator",
        "unet": "weightgen.translation.nets.unet:UNetGenerator",
    },
)
DISCRIMINATORS = Choices("discriminator", {"patchgan": "weightgen.translation.nets.patchgan:PatchDiscriminator"})
