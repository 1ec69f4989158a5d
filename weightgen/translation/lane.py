"""A GAN's training as a lane."""

import torch
from torch import Tensor

from weightgen.batches import PairBatches
from weightgen.lanes import Lane
from weightgen.translation.training import TranslatorModule


class GanLane(Lane):
    """TranslatorModule's training on buffers alone: all photos and texts are on the device, and the numbers of each step's
    are rows of a table. For the rest see `Lane`."""

    def __init__(
        self, module: TranslatorModule, batches: PairBatches, device: torch.device | str = "cpu", half: bool = False
    ) -> None:
        nets = [net for net in (module.to(device).generator, module.discriminator) if net is not None]
        makes = [module.optimizer, module.discriminator_optimizer][: len(nets)]
        weights = [[p for p in net.parameters() if p.requires_grad] for net in nets]
        losses = ["l1", *(["discriminator", "gan"] if len(nets) > 1 else [])]
        trained = list(zip(makes, weights, strict=True))
        super().__init__(module, batches, device, half, trained, module.schedule, losses)
        sides, picks = flat(batches)
        self.picks = picks.to(self.device)  # (T, 3, B)
        self.images = [side.to(self.device) for side in sides]  # uint8 (N, 3, H, W), each
        self.texts = [side.to(self.device) for side in (batches.texts.tokens, batches.texts.mask)]
        self.replay = self.step
        module.descend = self.descend  # in place of Lightning's optimizers and schedulers

    def begin(self, warm: int) -> None:
        super().begin(warm)
        self.replay = self.captured()

    def launch(self) -> None:
        self.replay()

    def train(self) -> list[Tensor]:
        *photos, texts = self._row(self.picks)
        source, target = (side.index_select(0, rows) for side, rows in zip(self.images, photos, strict=True))
        tokens, mask = (side.index_select(0, texts) for side in self.texts)
        batch = {"source": source, "target": target, "tokens": tokens, "text_mask": mask}
        with self.autocast():
            TranslatorModule.training_step(self.module, batch, 0)  # FineTuneModule's has a clock, which a graph has not
        return [self.module.last_losses[f"train/{name}"] for name in self.losses]


def flat(batches: PairBatches) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """((sources, targets) of all concepts one after the other, the sources once where all share them; (T, 3, B): the rows of
    each step's sources, targets and texts)."""
    sources, targets = batches.pairs.sources, list(batches.pairs.targets)
    shared = all(photos is sources[0] for photos in sources)
    firsts, picks = [0, *batches.ends], []
    for step in range(batches.steps):
        concepts, photos, texts = batches.numbers(step)
        rows = [firsts[concept] + photo for concept, photo in zip(concepts, photos, strict=True)]
        picks.append((photos if shared else rows, rows, texts))
    kept = sources[:1] if shared else sources
    return tuple(side[0] if len(side) == 1 else torch.cat(side) for side in (kept, targets)), torch.tensor(picks)
