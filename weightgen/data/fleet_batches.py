"""Batches of many concepts at once, each concept's drawn as PairBatches draws it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from weightgen.data.pairs import PairBatches


class FleetBatches:
    """Pairs of a fleet as uint8 tensors on the training device: N * 3 * S * S bytes for photos that all concepts share,
    and as much again (twice as much without shared photos) for every concept in the fleet at the moment.

    sources: uint8 (N, 3, S, S), shared, or each concept's own; targets[c]: the same photos edited by concept c. What is a
    concept's own is fetched when it enters, so a lazy sequence keeps only the fleet in memory. prompts[c]: the rows of
    tokens (M, L, E), text_mask (M, L) that describe concept c. seeds: of the order, one for all or one a concept.
    """

    def __init__(
        self,
        sources: Tensor | Sequence[Tensor],
        targets: Sequence[Tensor],
        tokens: Tensor,
        text_mask: Tensor,
        prompts: Sequence[Sequence[int]],
        batch_size: int,
        seeds: int | Sequence[int] = 0,
    ) -> None:
        self.shared = {"tokens": tokens, "text_mask": text_mask}
        if isinstance(sources, Tensor):
            self.shared["source"] = sources
        self.sources = sources
        self.targets, self.prompts, self.batch_size = targets, prompts, batch_size
        self.seeds = [seeds] * len(prompts) if isinstance(seeds, int) else list(seeds)
        self._device: torch.device | None = None
        self._resident: dict[int, tuple[Tensor, Tensor]] = {}
        self._orders: dict[tuple[int, int, int], PairBatches] = {}

    def _draw(self, seed: int, texts: int, count: int, step: int) -> tuple[list[int], list[int]]:
        """Photos and texts (numbers within the concept's own) of the batch of `step`."""
        if (seed, texts, count) not in self._orders:
            photos, rows = torch.arange(count), torch.arange(texts)
            self._orders[seed, texts, count] = PairBatches(  # indices in place of images: the very same draws
                photos, [photos], rows, rows, [range(texts)], self.batch_size, seed
            )
        drawn = self._orders[seed, texts, count].batch(step)
        return drawn["source"].tolist(), drawn["tokens"].tolist()

    def _settle(self, concepts: Sequence[int], device: torch.device) -> None:
        """Everything that `concepts` need on `device`, and no other concept's pairs."""
        if device != self._device:
            self.shared = {name: tensor.to(device) for name, tensor in self.shared.items()}
            self._device, self._resident = device, {}
        for gone in self._resident.keys() - set(concepts):
            del self._resident[gone]
        for new in [c for c in concepts if c not in self._resident]:
            own = self.shared.get("source")
            own = self.sources[new].to(device) if own is None else own
            self._resident[new] = own, self.targets[new].to(device)

    def batch(
        self, concepts: Sequence[int], steps: Sequence[int], device: torch.device | None = None
    ) -> dict[str, Tensor]:
        """PairBatches' batch of each concept at its own step, (C * B, ...), concept-major, on `device`."""
        device = device or torch.device("cpu")
        self._settle(concepts, device)
        keys = [
            (self.seeds[c], len(self.prompts[c]), len(self._resident[c][0]), s)
            for c, s in zip(concepts, steps, strict=True)
        ]
        drawn = {key: self._draw(*key) for key in dict.fromkeys(keys)}
        photos = [drawn[key][0] for key in keys]
        texts = [[self.prompts[c][i] for i in drawn[key][1]] for c, key in zip(concepts, keys, strict=True)]
        index = torch.tensor([photos, texts])  # (2, C, B)
        if device.type == "cuda":
            index = index.pin_memory()  # the copy then waits for nothing
        photos, texts = index.to(device, non_blocking=True)
        shared = self.shared.get("source")
        sources, targets = zip(*(self._resident[c] for c in concepts), strict=True)
        return {
            "source": _rows(sources, photos) if shared is None else shared[photos.flatten()],
            "target": _rows(targets, photos),
            "tokens": self.shared["tokens"][texts.flatten()],
            "text_mask": self.shared["text_mask"][texts.flatten()],
        }


def _rows(images: Sequence[Tensor], index: Tensor) -> Tensor:
    """images[c]: (N_c, 3, S, S); index: (C, B) -> (C * B, 3, S, S)."""
    return torch.cat([own[rows] for own, rows in zip(images, index, strict=True)])
