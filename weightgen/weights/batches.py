"""Batches of normalised weight sets with their prompts."""

import torch
from torch import Tensor

from weightgen.batches import Batch, Batches, Texts
from weightgen.rng import stream


def whole_sets(blocks: Tensor, valid: Tensor) -> Batch:
    """Weight sets as a denoiser trains on them, without their prompts. blocks: (n, K, D), normalised; valid: (K, D) bool."""
    count, total = blocks.shape[:2]
    return {"blocks": blocks, "valid": valid.expand(count, -1, -1), "index": torch.arange(total).expand(count, -1)}


def block_batches(
    blocks: Tensor, valid: Tensor, texts: Texts, size: int, seed: int = 0, steps: int | None = None
) -> Batches:
    """Batches of `size` single blocks of any sets, each with its own prompt, as Gong et al. 2024 train (Section 3.2).

    Arguments and content as of `set_batches`, with n = `size` and one block (K = 1) a row.
    """
    total, count = blocks.shape[:2]

    def draw(step: int) -> Batch:
        noise = stream(seed, "blocks/choice", step)
        rows, index = (torch.randint(high, (size,), generator=noise) for high in (total, count))
        return {
            "blocks": blocks[rows, index][:, None],
            "valid": valid[index][:, None],
            "index": index[:, None],
            **texts.drawn(rows.tolist(), stream(seed, "blocks/texts", step)),
        }

    return Batches(draw, steps)


def set_batches(
    blocks: Tensor, valid: Tensor, texts: Texts, concepts: int, seed: int = 0, steps: int | None = None
) -> Batches:
    """Batches of `concepts` weight sets, drawn without replacement where there are as many.

    blocks: (N, K, D), normalised; valid: (K, D) bool, False at padding. A batch: blocks (n, K, D), valid (n, K, D) bool,
    index (n, K), tokens (n, L, E), text_mask (n, L).
    """
    total = len(blocks)

    def draw(step: int) -> Batch:
        noise = stream(seed, "sets/choice", step)
        if concepts <= total:
            rows = torch.randperm(total, generator=noise)[:concepts]
        else:
            rows = torch.randint(total, (concepts,), generator=noise)
        return whole_sets(blocks[rows], valid) | texts.drawn(rows.tolist(), stream(seed, "sets/texts", step))

    return Batches(draw, steps)
