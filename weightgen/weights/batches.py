"""Batches of normalised weight sets with their prompts."""

import torch
from torch import Tensor

from weightgen.batches import Batch, Batches, Texts
from weightgen.rng import stream


def set_batches(
    blocks: Tensor, valid: Tensor, texts: Texts, concepts: int, seed: int = 0, steps: int | None = None
) -> Batches:
    """Batches of `concepts` weight sets, drawn without replacement where there are as many.

    blocks: (N, K, D), normalised; valid: (K, D) bool, False at padding. A batch: blocks (n, K, D), valid (n, K, D) bool,
    index (n, K), tokens (n, L, E), text_mask (n, L).
    """
    total, count = blocks.shape[:2]

    def draw(step: int) -> Batch:
        noise = stream(seed, "sets/choice", step)
        if concepts <= total:
            rows = torch.randperm(total, generator=noise)[:concepts]
        else:
            rows = torch.randint(total, (concepts,), generator=noise)
        return {
            "blocks": blocks[rows],
            "valid": valid.expand(len(rows), -1, -1),
            "index": torch.arange(count).expand(len(rows), -1),
            **texts.drawn(rows.tolist(), stream(seed, "sets/texts", step)),
        }

    return Batches(draw, steps)
