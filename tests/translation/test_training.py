"""Training steps against a hand-written pix2pix step; rates, clock and translation by hand."""

import copy
from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.utils.data import DataLoader

from weightgen.errors import NotFinite
from weightgen.translation.nets.patchgan import PatchDiscriminator
from weightgen.translation.nets.unet import UNetGenerator
from weightgen.translation.pictures import to_bytes, to_signed, translate
from weightgen.translation.training import FineTuneModule, TranslatorModule


class TinyGenerator(nn.Module):
    """Tint by the prompt's first token, then one convolution; remembers what it was called in."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.tint = nn.Linear(6, 3)
        self.modes: list[bool] = []

    def forward(self, images, tokens, text_mask):
        self.modes.append(self.training)
        return torch.tanh(self.conv(images) + self.tint(tokens[:, 0])[:, :, None, None])


def tiny() -> tuple[TinyGenerator, PatchDiscriminator]:
    torch.manual_seed(0)
    return TinyGenerator(), PatchDiscriminator(8, 1)


def batch(seed: int, size: int = 2) -> dict[str, torch.Tensor]:
    noise = torch.Generator().manual_seed(seed)
    source, target = torch.randint(0, 256, (2, size, 3, 8, 8), generator=noise, dtype=torch.uint8)
    tokens = torch.randn(size, 4, 6, generator=noise)
    return {"source": source, "target": target, "tokens": tokens, "text_mask": torch.ones(size, 4, dtype=torch.bool)}


ADAM = partial(torch.optim.Adam, lr=2e-3, betas=(0.5, 0.999))


def fit(module: TranslatorModule, steps: int, callbacks: list[pl.Callback] | None = None) -> TranslatorModule:
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
    )
    trainer.fit(module, DataLoader([batch(step) for step in range(steps)], batch_size=None))
    return module


def signed(images: torch.Tensor) -> torch.Tensor:
    return (images.double() / 255 * 2 - 1).float()


def pix2pix_by_hand(generator: nn.Module, discriminator: nn.Module, rates: list[float]) -> None:
    """pix2pix section 3.3: D's loss halved, G's non-saturating, L1 weight 100; D steps first."""
    adam_g, adam_d = ADAM(generator.parameters()), ADAM(discriminator.parameters())
    for step, rate in enumerate(rates):
        data = batch(step)
        source, target = signed(data["source"]), signed(data["target"])
        for group in adam_g.param_groups + adam_d.param_groups:
            group["lr"] = 2e-3 * rate
        fake = generator(source, data["tokens"], data["text_mask"])
        real_logits, fake_logits = discriminator(source, target), discriminator(source, fake.detach())
        ones, zeros = torch.ones_like(real_logits), torch.zeros_like(real_logits)
        adam_d.zero_grad()
        ((bce(real_logits, ones) + bce(fake_logits, zeros)) / 2).backward()
        adam_d.step()
        adam_g.zero_grad()
        (bce(discriminator(source, fake), ones) + 100 * (fake - target).abs().mean()).backward()
        adam_g.step()


@pytest.mark.parametrize(("steps", "rates"), [(1, [1.0]), (3, [1 / 3, 2 / 3, 1.0])])
def test_training_equals_pix2pix_by_hand(steps, rates):
    generator, discriminator = tiny()
    start = copy.deepcopy(generator.state_dict())
    module = TranslatorModule(
        copy.deepcopy(generator), copy.deepcopy(discriminator), ADAM, warmup_steps=steps - 1, max_steps=steps
    )
    fit(module, steps)
    pix2pix_by_hand(generator, discriminator, rates)
    for ours, theirs in ((module.generator, generator), (module.discriminator, discriminator)):
        for name, weight in theirs.state_dict().items():
            torch.testing.assert_close(ours.state_dict()[name], weight, atol=1e-6, rtol=0)
    assert all(p.requires_grad for p in module.discriminator.parameters())
    assert not torch.equal(start["conv.weight"], generator.state_dict()["conv.weight"])
    assert set(module.last_losses) == {"train/l1", "train/gan", "train/discriminator"}


def test_without_discriminator_it_is_weighted_l1():
    generator, _ = tiny()
    module = fit(TranslatorModule(copy.deepcopy(generator), None, partial(torch.optim.SGD, lr=0.01), 10.0), 1)
    data = batch(0)
    l1 = (generator(signed(data["source"]), data["tokens"], None) - signed(data["target"])).abs().mean()
    (10 * l1).backward()
    for name, parameter in generator.named_parameters():
        expected = parameter - 0.01 * parameter.grad
        torch.testing.assert_close(module.generator.get_parameter(name), expected, atol=1e-6, rtol=0)
    assert module.last_losses["train/l1"].item() == pytest.approx(l1.item(), abs=1e-6)
    assert set(module.last_losses) == {"train/l1"}


def test_the_average_by_hand_begins_at_the_start():
    generator, discriminator = tiny()
    generator.register_buffer("count", torch.tensor(0.0))
    start, seen = copy.deepcopy(generator.state_dict()), []

    class Count(pl.Callback):
        def on_train_batch_end(self, trainer, module, *args) -> None:
            seen.append(copy.deepcopy(module.generator.state_dict()))
            module.generator.count += 1

    module = fit(TranslatorModule(generator, discriminator, ADAM, ema_decay=0.75), 2, [Count()])
    for name, weight in module.averaged.named_parameters():
        expected = 0.5625 * start[name] + 0.1875 * seen[0][name] + 0.25 * seen[1][name]
        torch.testing.assert_close(weight, expected, atol=1e-6, rtol=0)
    assert float(module.averaged.count) == 1  # a buffer is not averaged: as it was at the last step
    assert not torch.equal(module.generator.conv.weight, module.averaged.conv.weight)
    images, tokens, mask = batch(0)["source"], torch.rand(1, 4, 6), torch.ones(1, 4, dtype=torch.bool)
    assert torch.equal(module.translate(images, tokens, mask), translate(module.averaged, images, tokens, mask))
    assert len(module.optimizers()[0].param_groups[0]["params"]) == 4  # the generator's alone


def test_without_an_average_the_generator_is_what_is_measured():
    module = TranslatorModule(*tiny(), ADAM)
    assert module.averaged is module.generator
    assert not [name for name in module.state_dict() if name.startswith("ema")]
    for decay in (-0.1, 1.0):
        with pytest.raises(ValueError, match="ema_decay"):
            TranslatorModule(*tiny(), ADAM, ema_decay=decay)


def test_frozen_parameters_stay():
    generator, _ = tiny()
    generator.conv.requires_grad_(False)
    before = generator.conv.weight.clone()
    module = fit(TranslatorModule(generator, None, ADAM), 1)
    assert torch.equal(module.generator.conv.weight, before)
    assert len(module.optimizers().param_groups[0]["params"]) == 2  # tint alone


def test_the_discriminator_may_have_an_optimizer_of_its_own():
    generator, discriminator = tiny()
    still = partial(torch.optim.SGD, lr=0.0)
    before = copy.deepcopy(generator.state_dict()), copy.deepcopy(discriminator.state_dict())
    module = fit(TranslatorModule(generator, discriminator, ADAM, discriminator_optimizer=still), 1)
    assert all(torch.equal(w, before[1][name]) for name, w in module.discriminator.state_dict().items())
    assert not torch.equal(module.generator.conv.weight, before[0]["conv.weight"])


def test_rate_by_hand():
    module = TranslatorModule(*tiny(), ADAM, warmup_steps=3, decay_start=0.5, max_steps=10)
    rates = [module.schedule(step) for step in range(12)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 0.8, 0.6, 0.4, 0.2, 0, 0])
    constant = TranslatorModule(*tiny(), ADAM, max_steps=10)
    assert [constant.schedule(step) for step in range(10)] == [1.0] * 10
    whole = TranslatorModule(*tiny(), ADAM, decay_start=0.0, max_steps=4)
    assert [whole.schedule(step) for step in range(4)] == pytest.approx([1, 0.75, 0.5, 0.25])


def test_signed_and_bytes_are_inverse_on_all_256_values():
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_bytes(to_signed(values)), values)
    assert to_signed(values)[[0, 255]].tolist() == [-1, 1]
    assert to_bytes(torch.tensor([-3.0, 3.0, 0.0])).tolist() == [0, 255, 128]


@pytest.mark.parametrize("training", [True, False])
def test_translate_runs_in_evaluation_mode_and_keeps_the_mode(training):
    generator, _ = tiny()
    generator.train(training)
    images, tokens, mask = batch(0, 5)["source"], torch.rand(1, 4, 6), torch.ones(1, 4, dtype=torch.bool)
    output = translate(generator, images, tokens, mask, batch_size=2)
    assert generator.modes == [False] * 3  # 2 + 2 + 1 images
    assert generator.training is training
    assert output.dtype == torch.uint8
    assert not output.requires_grad
    whole = TranslatorModule(generator, None, ADAM).translate(images, tokens, mask)
    assert int((whole.int() - output.int()).abs().max()) <= 1  # rounding at a half may differ by batch size


def test_translate_leaves_batch_norm_statistics_alone():
    net = UNetGenerator((4, 8)).train()
    before = copy.deepcopy(net.state_dict())
    translate(net, batch(0)["source"], torch.rand(1, 4, 6), torch.ones(1, 4, dtype=torch.bool))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


class Slow(pl.Callback):
    """Reads the clock once a batch, as an evaluation that takes its time does."""

    def on_train_batch_end(self, trainer, module, *args) -> None:
        module.clock()


def test_the_clock_counts_training_steps_alone():
    module = FineTuneModule(tiny()[0], None, ADAM, init_seconds=0.5)
    ticks = [10.0, 12.5, 99.0, 100.0, 101.0, 999.0]  # start, end, evaluation; twice
    module.clock = iter(ticks).__next__
    fit(module, 2, [Slow()])
    assert float(module.train_seconds) == 0.5 + 2.5 + 1.0
    again = FineTuneModule(tiny()[0], None, ADAM)
    again.load_state_dict(module.state_dict())
    assert float(again.train_seconds) == 4.0


@pytest.mark.parametrize("clock", ["wall", "cpu"])
def test_clocks_run_forwards(clock):
    module = fit(FineTuneModule(*tiny(), ADAM, clock=clock), 1)
    assert 0 < float(module.train_seconds) < 60


def test_fine_tuning_is_the_same_training():
    generator, discriminator = tiny()
    plain = fit(TranslatorModule(copy.deepcopy(generator), copy.deepcopy(discriminator), ADAM), 2)
    timed = fit(FineTuneModule(generator, discriminator, ADAM), 2)
    for name, weight in plain.generator.state_dict().items():
        assert torch.equal(timed.generator.state_dict()[name], weight)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_pictures_that_are_no_numbers_are_an_error_not_black(value):
    generator, _ = tiny()
    generator.forward = lambda images, *prompt: torch.full_like(images, value)
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    with pytest.raises(NotFinite, match="not finite"):
        translate(generator, images, torch.zeros(1, 4, 6), torch.ones(1, 4, dtype=torch.bool))
