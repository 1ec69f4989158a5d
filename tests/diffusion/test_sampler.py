"""Sampling against oracles that know x_0."""

import pytest
import torch

from weightgen.diffusion.sampler import Sampler, alpha_bar, make_scheduler, to_x0

N, K, D = 3, 4, 8
INDEX = torch.arange(K).expand(N, K)
TOKENS = torch.zeros(N, 2, 5)
MASK = torch.ones(N, 2, dtype=torch.bool)


class Oracle(torch.nn.Module):
    """Knows x_0 and answers as its scheduler expects: with x_0, or with v = sqrt(a) eps - sqrt(1 - a) x_0."""

    def __init__(self, x_0, scheduler):
        super().__init__()
        self.x_0, self.scheduler, self.calls = x_0, scheduler, []

    def forward(self, x_t, t, index, tokens, text_mask):
        self.calls.append((x_t, t))
        assert index.shape == x_t.shape[:2]
        if self.scheduler.config.prediction_type == "sample":
            return self.x_0
        a = alpha_bar(self.scheduler, t)
        eps = (x_t - a.sqrt() * self.x_0) / (1 - a).sqrt()
        return a.sqrt() * eps - (1 - a).sqrt() * self.x_0


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("prediction", ["sample", "v_prediction"])
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 50])
def test_an_oracle_is_returned_exactly(prediction, steps):
    scheduler = make_scheduler(prediction)
    oracle = Oracle(torch.randn(N, K, D, generator=generator(7)), scheduler)
    blocks = Sampler(scheduler, steps).sample(oracle, INDEX, TOKENS, MASK, D, generator())
    torch.testing.assert_close(blocks, oracle.x_0, atol=2e-5, rtol=0)
    assert len(oracle.calls) == steps
    if prediction == "sample":
        assert torch.equal(blocks, oracle.x_0)


def test_starts_at_pure_noise_in_one_batch():
    scheduler = make_scheduler()
    assert scheduler.alphas_cumprod[-1] == 0
    oracle = Oracle(torch.zeros(N, K, D), scheduler)
    Sampler(scheduler).sample(oracle, INDEX, TOKENS, MASK, D, generator(3))
    [(x_t, t)] = oracle.calls
    assert t.tolist() == [999] * N
    assert torch.equal(x_t, torch.randn(N, K, D, generator=generator(3)))


def test_intermediate_noise_levels_are_the_schedules():
    """With x_0 = 0 and DDIM, x_t is sqrt(1 - alpha_bar_t) times the noise it started from."""
    scheduler = make_scheduler()
    oracle = Oracle(torch.zeros(N, K, D), scheduler)
    Sampler(scheduler, steps=4).sample(oracle, INDEX, TOKENS, MASK, D, generator(3))
    noise = oracle.calls[0][0]
    assert [int(t[0]) for _, t in oracle.calls] == [999, 749, 499, 249]
    for x_t, t in oracle.calls:
        torch.testing.assert_close(x_t, (1 - alpha_bar(scheduler, t)).sqrt() * noise)


def test_seed_decides():
    class Identity(torch.nn.Module):
        def forward(self, x_t, *_):
            return x_t

    def draw(seed):
        return Sampler(make_scheduler(), 2).sample(Identity(), INDEX, TOKENS, MASK, D, generator(seed))

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_padding_stays_empty():
    scheduler = make_scheduler("v_prediction")
    oracle = Oracle(torch.ones(N, K, D), scheduler)
    valid = torch.ones(N, K, D, dtype=torch.bool)
    valid[:, -1, 5:] = False
    blocks = Sampler(scheduler, 5).sample(oracle, INDEX, TOKENS, MASK, D, generator(), valid=valid)
    assert (blocks[~valid] == 0).all()
    torch.testing.assert_close(blocks[valid], torch.ones(int(valid.sum())), atol=1e-5, rtol=0)


def test_to_x0_inverts_velocity():
    scheduler = make_scheduler("v_prediction", train_timesteps=20)
    x_0, noise = torch.randn(2, 6, K, D, generator=generator()).unbind(0)
    t = torch.tensor([0, 3, 9, 15, 18, 19])
    x_t = scheduler.add_noise(x_0, noise, t)
    torch.testing.assert_close(to_x0(scheduler, scheduler.get_velocity(x_0, noise, t), x_t, t), x_0)


def test_refusals():
    with pytest.raises(ValueError, match="zero terminal SNR"):
        make_scheduler("epsilon")
    with pytest.raises(ValueError, match="at least 2"):
        make_scheduler(train_timesteps=1)
    with pytest.raises(ValueError, match="from 1 to 10"):
        Sampler(make_scheduler(train_timesteps=10), steps=11)


def test_direct_starts_at_zeros_whatever_the_seed():
    scheduler = make_scheduler("direct")
    oracle = Oracle(torch.randn(N, K, D, generator=generator(7)), make_scheduler("sample"))
    for seed in (0, 1):
        blocks = Sampler(scheduler).sample(oracle, INDEX, TOKENS, MASK, D, generator(seed))
        assert torch.equal(blocks, oracle.x_0)
    assert not torch.stack([x_t for x_t, _ in oracle.calls]).any()
