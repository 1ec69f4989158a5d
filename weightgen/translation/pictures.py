"""Pictures as bytes and as a net sees them, and a net run on bytes."""

import torch
from torch import Tensor, nn

from weightgen.batches import at_once
from weightgen.errors import NotFinite


def to_signed(images: Tensor) -> Tensor:
    """uint8 in [0, 255] -> float32 in [-1, 1]."""
    return images.float() / 127.5 - 1.0


def to_bytes(images: Tensor) -> Tensor:
    """float in [-1, 1] -> uint8 in [0, 255], rounded; the inverse of `to_signed` on its range."""
    return ((images.clamp(-1, 1) + 1.0) * 127.5).round().to(torch.uint8)


@torch.no_grad()
def translate(
    generator: nn.Module, images: Tensor, tokens: Tensor, text_mask: Tensor, batch_size: int | None = None
) -> Tensor:
    """images: uint8 (N, 3, H, W); tokens: (1, L, E); text_mask: (1, L) bool -> uint8 (N, 3, H, W) on CPU.

    batch_size: how many the net gets at once; None: `at_once`. The generator runs in evaluation mode and is left in the
    mode it was in. Raises NotFinite where a picture holds values that are no numbers, which would come out black.
    """
    device = next(generator.parameters()).device
    training = generator.training
    generator.eval()
    outputs = []
    for chunk in images.split(batch_size or at_once(images, device)):
        prompt = tokens.to(device).expand(len(chunk), -1, -1), text_mask.to(device).expand(len(chunk), -1)
        pictures = generator(to_signed(chunk.to(device)), *prompt)
        if not bool(pictures.isfinite().all()):
            raise NotFinite("the translator's pictures hold values that are not finite: lower its learning rate")
        outputs.append(to_bytes(pictures).cpu())
    generator.train(training)
    return torch.cat(outputs).contiguous()
