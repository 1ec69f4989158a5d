"""Zero is the zoo's mean set; every block has unit rms over train concepts; quiet blocks stay finite."""

import torch

from weightgen.weights.normalizer import Normalizer

VALID = torch.tensor([[True, True], [True, False], [True, True]])
BLOCKS = torch.tensor([[[1.0, 10.0], [4.0, 0.0], [5.0, 5.0]], [[3.0, 16.0], [8.0, 0.0], [5.0, 5.0]]])


def test_fit_by_hand():
    normalizer = Normalizer.fit(BLOCKS, VALID)
    assert normalizer.mean.tolist() == [[2, 13], [6, 0], [5, 5]]
    rms = ((1**2 + 3**2) / 2) ** 0.5  # block 0: deviations 1 and 3
    # block 1: deviation 2, its padding does not count; block 2 never varies: 1
    torch.testing.assert_close(normalizer.scale, torch.tensor([[rms, rms], [2.0, 2.0], [1.0, 1.0]]))
    expected = torch.tensor([[-1 / rms, -3 / rms], [-1.0, 0.0], [0.0, 0.0]])
    torch.testing.assert_close(normalizer.normalize(BLOCKS)[0], expected)


def test_train_sets_have_zero_mean_and_unit_rms_per_block():
    noise = torch.Generator().manual_seed(0)
    scale = torch.tensor([1e-3, 1.0, 50.0])[:, None]
    blocks = torch.randn(20, 3, 8, generator=noise) * scale + 7 * scale
    normalized = Normalizer.fit(blocks, torch.ones(3, 8, dtype=torch.bool)).normalize(blocks)
    torch.testing.assert_close(normalized.mean(0), torch.zeros(3, 8), atol=1e-5, rtol=0)
    torch.testing.assert_close(normalized.square().mean((0, 2)).sqrt(), torch.ones(3))


def test_denormalize_is_the_inverse_and_zero_is_the_mean_set():
    normalizer = Normalizer.fit(BLOCKS, VALID)
    torch.testing.assert_close(normalizer.denormalize(normalizer.normalize(BLOCKS)), BLOCKS)
    assert torch.equal(normalizer.denormalize(torch.zeros(3, 2)), BLOCKS.mean(0))
    assert torch.equal(normalizer.normalize(BLOCKS)[:, ~VALID], torch.zeros(2, 1))


def test_one_set_and_state_round_trip():
    normalizer = Normalizer.fit(BLOCKS[:1], VALID)
    assert torch.equal(normalizer.scale, torch.ones(3, 2))
    again = Normalizer(**normalizer.state())
    assert torch.equal(again.mean, BLOCKS[0])
    assert all(tensor.is_contiguous() for tensor in again.state().values())  # safetensors wants it
