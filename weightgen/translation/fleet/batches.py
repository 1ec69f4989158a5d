"""Batches of many concepts at once, each concept's as `weightgen.batches.pair_batches` draws it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from weightgen.batches import Shuffled, Texts, text_noise


class FleetBatches:
    """Pairs of a fleet as uint8 tensors on the training device: N * 3 * S * S bytes for photos that all concepts share,
    and as much again (twice as much without shared photos) for every concept in the fleet at the moment.

    sources: uint8 (N, 3, S, S), shared, or each concept's own; targets[c]: the same photos edited by concept c. What is a
    concept's own is fetched when it enters, so a lazy sequence keeps only the fleet in memory.
    """

    def __init__(
        self, sources: Tensor | Sequence[Tensor], targets: Sequence[Tensor], texts: Texts, size: int, seed: int = 0
    ) -> None:
        self.sources, self.targets, self.texts = sources, targets, texts
        self.size, self.seed = size, seed
        self._device: torch.device | None = None
        self._shared: dict[str, Tensor] = {}
        self._resident: dict[int, tuple[Tensor, Tensor]] = {}
        self._orders: dict[int, Shuffled] = {}

    def _settle(self, concepts: Sequence[int], device: torch.device) -> None:
        """Everything that `concepts` need on `device`, and no other concept's pairs."""
        if device != self._device:
            shared = {"tokens": self.texts.tokens, "text_mask": self.texts.mask}
            shared |= {"source": self.sources} if isinstance(self.sources, Tensor) else {}
            self._shared = {name: tensor.to(device) for name, tensor in shared.items()}
            self._device, self._resident = device, {}
        for gone in self._resident.keys() - set(concepts):
            del self._resident[gone]
        for new in [c for c in concepts if c not in self._resident]:
            own = self._shared.get("source")
            own = self.sources[new].to(device) if own is None else own
            self._resident[new] = own, self.targets[new].to(device)

    def _order(self, photos: int) -> Shuffled:
        return self._orders.setdefault(photos, Shuffled(photos, self.size, self.seed))

    def batch(
        self, concepts: Sequence[int], steps: Sequence[int], device: torch.device | None = None
    ) -> dict[str, Tensor]:
        """The batch of each concept alone at its own step, (C * B, ...), concept-major, on `device`."""
        device = device or torch.device("cpu")
        self._settle(concepts, device)
        own = [self._resident[c] for c in concepts]
        photos = [self._order(len(source))(step) for (source, _), step in zip(own, steps, strict=True)]
        texts = [
            self.texts.draw_rows([c] * self.size, text_noise(self.seed, step))
            for c, step in zip(concepts, steps, strict=True)
        ]
        index = torch.tensor([photos, texts])  # (2, C, B)
        if device.type == "cuda":
            index = index.pin_memory()  # the copy then waits for nothing
        photos, texts = index.to(device, non_blocking=True)
        shared = self._shared.get("source")
        return {
            "source": _rows([s for s, _ in own], photos) if shared is None else shared[photos.flatten()],
            "target": _rows([target for _, target in own], photos),
            "tokens": self._shared["tokens"][texts.flatten()],
            "text_mask": self._shared["text_mask"][texts.flatten()],
        }


def _rows(images: Sequence[Tensor], index: Tensor) -> Tensor:
    """images[c]: (N_c, 3, S, S); index: (C, B) -> (C * B, 3, S, S)."""
    return torch.cat([own[rows] for own, rows in zip(images, index, strict=True)])
