"""The conditional pix2pix loss: L_cGAN + lambda * L1 (Gong et al. 2024, Method 3; pix2pix eq. 4, lambda = 100)."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Half the sum of both terms, which slows D relative to G (pix2pix section 3.3)."""
    real = binary_cross_entropy_with_logits(real_logits, torch.ones_like(real_logits))
    fake = binary_cross_entropy_with_logits(fake_logits, torch.zeros_like(fake_logits))
    return 0.5 * (real + fake)


def generator_loss(fake_logits: Tensor) -> Tensor:
    """The non-saturating form: -log D(x, G(x)) (pix2pix section 3.3)."""
    return binary_cross_entropy_with_logits(fake_logits, torch.ones_like(fake_logits))
