"""A denoiser's training, on weights or through the base, and a refiner's, as a lane."""

from collections.abc import Callable

import torch
from torch import Tensor

from weightgen.batches import Batch, Batches
from weightgen.diffusion.averaged import AveragedModule
from weightgen.lanes import Lane

Shapes = tuple[tuple[str, tuple[int, ...]], ...]


class DenoiserLane(Lane):
    """AveragedModule's training on buffers alone: the host draws each step's batch and copies it into `inputs`, one set for
    each shape that batches have, each with its own graph. For the rest see `Lane`."""

    def __init__(
        self, module: AveragedModule, batches: Batches, device: torch.device | str = "cpu", half: bool = False
    ) -> None:
        trained = [(module.optimizer, list(module.to(device).denoiser.parameters()))]
        super().__init__(module, batches, device, half, trained, module.schedule, module.losses)
        shares = [module.share(step) for step in range(self.steps)]
        self.shares = torch.tensor(shares, dtype=torch.float32, device=self.device)  # (T,), of the average
        self.inputs: Batch = {}
        self.made: dict[Shapes, tuple[Batch, Callable[[], None]]] = {}

    def launch(self) -> None:
        batch = {name: value.to(self.device) for name, value in self.batches.batch(self.done).items()}
        batch = self.module.drawn(batch, self.done, len(batch["tokens"]))
        shapes = tuple((name, tuple(value.shape)) for name, value in batch.items())
        if shapes in self.made:
            self.inputs, replay = self.made[shapes]
            for name, value in batch.items():
                self.inputs[name].copy_(value)
        else:
            self.inputs = {name: value.clone() for name, value in batch.items()}
            replay = self.captured()
            self.made[shapes] = self.inputs, replay
        replay()

    def train(self) -> list[Tensor]:
        with self.autocast():
            loss, parts = self.module.objective(self.inputs)
        self.descend(loss, 0)
        self.module.average(self._row(self.shares))
        return list(parts)
