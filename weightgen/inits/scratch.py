"""Rivals without a base: nets whose every weight trains from scratch on the new concept's pairs."""

from weightgen.inits.base import Init


class Pix2PixInit(Init):
    """A U-Net (pix2pix, the row of that name in the results of Gong et al. 2024)."""

    needs = frozenset({"scratch"})


class Pix2PixZeroDistilledInit(Pix2PixInit):
    """A Co-Mod-GAN (the row pix2pix-zero-distilled in the results of Gong et al. 2024)."""

    net = "distilled"
