"""The pix2pix losses in closed form."""

import math

import pytest
import torch

from weightgen.translation.losses import discriminator_loss, generator_loss

SHAPE = (2, 1, 3, 3)


def logits(value: float) -> torch.Tensor:
    return torch.full(SHAPE, float(value))


def softplus(x: float) -> float:
    """-log sigmoid(-x)."""
    return math.log1p(math.exp(x))


def test_at_logit_zero_every_loss_is_log_2():
    assert discriminator_loss(logits(0), logits(0)).item() == pytest.approx(math.log(2))
    assert generator_loss(logits(0)).item() == pytest.approx(math.log(2))


def test_closed_form_away_from_zero():
    d = discriminator_loss(logits(2), logits(-3)).item()
    assert d == pytest.approx(0.5 * (softplus(-2) + softplus(-3)))
    assert generator_loss(logits(-3)).item() == pytest.approx(softplus(3))


def test_gradients_pull_apart_and_never_vanish_on_a_sure_discriminator():
    real, fake = logits(0).requires_grad_(), logits(0).requires_grad_()
    discriminator_loss(real, fake).backward()
    n = real.numel()
    torch.testing.assert_close(real.grad, torch.full(SHAPE, -0.25 / n))  # d/dx of -log s(x) / 2 at 0
    torch.testing.assert_close(fake.grad, torch.full(SHAPE, 0.25 / n))
    fooled = logits(-30).requires_grad_()
    generator_loss(fooled).backward()
    torch.testing.assert_close(fooled.grad, torch.full(SHAPE, -1.0 / n))
