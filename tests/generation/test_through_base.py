"""Function-space training: the gradient reaches the denoiser, the loss falls, batches depend on (seed, step) alone."""

import pytorch_lightning as pl
import torch

from tests.helpers.through_base import TRAINER, parts


def test_a_perceptual_loss_is_added_with_its_weight() -> None:
    (plain, batches), (told, _) = parts(1), parts(1)
    told.perceptual, told.perceptual_weight = lambda a, b: (a - b).square().mean((1, 2, 3)), 3.0
    batch = plain.drawn(batches.batch(0), 0, 4)
    loss, parts_told = told.objective(batch)
    fake, target = told.through.pictures(
        told.normalizer.denormalize(torch.zeros_like(batch["own"])) * told.through.valid, batch
    )  # an untrained denoiser predicts 0, the mean set
    torch.testing.assert_close(parts_told[2], (fake - target).square().mean())
    torch.testing.assert_close(loss, plain.objective(batch)[0] + 3 * parts_told[2])


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
