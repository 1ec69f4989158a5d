"""Function-space training: the gradient reaches the denoiser, the loss falls, batches depend on (seed, step) alone."""

import pytorch_lightning as pl
import torch

from tests.helpers.through_base import TRAINER, parts


def test_training_lowers_the_image_loss_and_leaves_the_base_alone() -> None:
    module, batches = parts(40)
    before = {name: p.clone() for name, p in module.through.stacked.named_parameters()}
    losses = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer, module, *args) -> None:
            losses.append(float(module.last_losses["train/l1"]))

    pl.Trainer(**TRAINER, callbacks=[Watch()]).fit(module, batches)
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert all(torch.equal(p, before[name]) for name, p in module.through.stacked.named_parameters())
    assert any(
        not torch.equal(a, b)
        for a, b in zip(module.averaged.parameters(), parts(1)[0].averaged.parameters(), strict=True)
    )
