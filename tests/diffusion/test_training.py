"""Training: the loss by hand, determinism across a resume, averaged weights, and learning text -> blocks."""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from diffusers import DDIMScheduler

from weightgen.diffusion.joint import JointTransformer
from weightgen.diffusion.sampler import Sampler, make_scheduler
from weightgen.diffusion.training import BlockDiffusionModule, masked_mse
from weightgen.diffusion.unet1d import BlockUNet1d

N, K, D, L, E = 4, 3, 16, 2, 6
SGD = partial(torch.optim.SGD, lr=0.1)
ADAM = partial(torch.optim.Adam, lr=3e-3)


def concepts(count=N, seed=0):
    """Blocks that are a linear function of the prompt's one token."""
    g = torch.Generator().manual_seed(seed)
    token = torch.randn(count, 1, E, generator=g)
    blocks = (token @ torch.randn(E, K * D, generator=torch.Generator().manual_seed(99))).reshape(count, K, D)
    valid = torch.ones(count, K, D, dtype=torch.bool)
    valid[:, -1, D // 2 :] = False
    return {
        "blocks": blocks / E**0.5 * valid,
        "valid": valid,
        "index": torch.arange(K).expand(count, K),
        "tokens": torch.cat([token, torch.zeros(count, L - 1, E)], dim=1),
        "text_mask": torch.tensor([True] + [False] * (L - 1)).expand(count, L),
    }


def loader(data, batch_size=2):
    rows = [{name: value[i] for name, value in data.items()} for i in range(len(data["blocks"]))]
    return torch.utils.data.DataLoader(rows, batch_size=batch_size)


def denoiser(width=16):
    torch.manual_seed(0)
    return JointTransformer(D, K, E, width=width, layers=1, heads=2)


def trainer(folder=None, **options):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    return pl.Trainer(default_root_dir=folder, enable_checkpointing=folder is not None, **quiet, **options)


class Constant(torch.nn.Module):
    """Predicts one learned number everywhere, and remembers what it was asked."""

    def __init__(self, value):
        super().__init__()
        self.value, self.asked = torch.nn.Parameter(torch.tensor(value)), []

    def forward(self, x_t, t, index, tokens, text_mask):
        self.asked.append((x_t, t, index, text_mask))
        return self.value.expand(x_t.shape)


def test_masked_mse_by_hand():
    prediction, target = torch.tensor([[[1.0, 2, 3]]]), torch.tensor([[[0.0, 0, 100]]])
    assert masked_mse(prediction, target, torch.tensor([[[True, True, False]]])) == 2.5
    assert masked_mse(prediction, target, torch.zeros(1, 1, 3, dtype=torch.bool)) == 0


@pytest.mark.parametrize("prediction", ["sample", "v_prediction"])
def test_loss_is_the_error_on_valid_elements(prediction):
    """At the last step v = -x_0: a constant c costs mean (c - x_0)^2 or (c + x_0)^2, whatever the noise."""
    data = concepts()
    module = BlockDiffusionModule(Constant(0.5), make_scheduler(prediction), SGD, terminal_fraction=1.0, warmup_steps=0)
    run = trainer(max_steps=1)
    run.fit(module, loader(data, N))
    sign = 1 if prediction == "sample" else -1
    x_0 = data["blocks"][data["valid"]]
    torch.testing.assert_close(module.last_losses["train/loss"], (0.5 - sign * x_0).square().mean())
    # one SGD step on d/dc = 2 mean (c - x)
    after = 0.5 - 0.1 * 2 * (0.5 - sign * x_0.mean())
    torch.testing.assert_close(module.denoiser.value.detach(), after)


def test_noised_input_is_the_schedules():
    data = concepts(64)
    module = BlockDiffusionModule(Constant(0.0), make_scheduler(), SGD, terminal_fraction=0.5)
    trainer(max_steps=1).fit(module, loader(data, 64))
    [(x_t, t, index, text_mask)] = module.denoiser.asked
    terminal = t == 999
    assert 0.3 < terminal.float().mean() < 0.7
    assert len(t[~terminal].unique()) > 20
    assert torch.equal(text_mask, data["text_mask"])
    a = module.scheduler.alphas_cumprod[t][:, None, None]
    noise = (x_t - a.sqrt() * data["blocks"]) / (1 - a).sqrt()
    assert abs(noise.std() - 1) < 0.05
    assert torch.equal(index, data["index"])


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, accumulate):
    options = {"accumulate_grad_batches": accumulate, "check_val_every_n_epoch": None}
    data = loader(concepts(8))

    def module():
        return BlockDiffusionModule(denoiser(), make_scheduler(), ADAM, warmup_steps=3, decay_steps=50)

    whole = module()
    trainer(tmp_path, max_epochs=4, **options).fit(whole, data)
    first = trainer(tmp_path, max_epochs=2, **options)
    first.fit(module(), data)
    first.save_checkpoint(tmp_path / "half.ckpt")
    torch.manual_seed(123)  # whatever happened in between
    resumed = module()
    trainer(tmp_path, max_epochs=4, **options).fit(resumed, data, ckpt_path=tmp_path / "half.ckpt")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert int(whole.ema.n_averaged) == 16 // accumulate


def test_averaged_weights_by_hand():
    """d = min(0.5, (1 + n) / (10 + n)) after the first update, which copies."""
    module = BlockDiffusionModule(Constant(0.0), make_scheduler(), SGD, ema_decay=0.5)
    for value in (1.0, 2.0, 4.0):
        module.denoiser.value.data.fill_(value)
        module.ema.update_parameters(module.denoiser)
    second = 1 * 2 / 11 + 2 * 9 / 11
    torch.testing.assert_close(module.averaged.value, torch.tensor(second * 3 / 12 + 4 * 9 / 12))
    assert not module.averaged.value.requires_grad
    assert [p for p in module.parameters() if p.requires_grad] == [module.denoiser.value]


def test_learning_rate_schedule():
    module = BlockDiffusionModule(Constant(0.0), make_scheduler(), SGD, warmup_steps=4)
    assert [module.schedule(step) for step in (0, 1, 4, 1000)] == [0.2, 0.4, 1.0, 1.0]
    module = BlockDiffusionModule(Constant(0.0), make_scheduler(), SGD, warmup_steps=0, decay_steps=10)
    assert [round(module.schedule(step), 6) for step in (0, 5, 10, 20)] == [1.0, 0.5, 0.0, 0.0]


@pytest.mark.parametrize(
    ("network", "prediction"), [("joint", "sample"), ("joint", "v_prediction"), ("unet", "sample")]
)
def test_learns_prompt_to_blocks_of_unseen_prompts(network, prediction):
    """The blocks of unseen prompts, from one denoising step, at well under the error of the mean set."""
    torch.manual_seed(0)
    if network == "joint":
        net = JointTransformer(D, K, E, width=48, layers=2, heads=2)
    else:
        net = BlockUNet1d(D, K, E, width=16, levels=2, heads=2, patch=4)
    module = BlockDiffusionModule(net, make_scheduler(prediction), ADAM, ema_decay=0.95, warmup_steps=10)
    seen, unseen = concepts(256, seed=1), concepts(64, seed=2)
    trainer(max_epochs=12).fit(module, loader(seen, 32))
    blocks = Sampler(module.scheduler).sample(
        module.averaged, unseen["index"], unseen["tokens"], unseen["text_mask"], D, torch.Generator().manual_seed(0)
    )
    mean_set = masked_mse(torch.zeros_like(blocks), unseen["blocks"], unseen["valid"])
    assert masked_mse(blocks, unseen["blocks"], unseen["valid"]) < 0.5 * mean_set


def test_refusals():
    network = Constant(0.0)
    with pytest.raises(ValueError, match="zero terminal SNR"):
        BlockDiffusionModule(network, DDIMScheduler(prediction_type="epsilon"), SGD)
    for option in ({"terminal_fraction": 1.5}, {"ema_decay": 1.0}):
        with pytest.raises(ValueError, match=next(iter(option))):
            BlockDiffusionModule(network, make_scheduler(), SGD, **option)


def test_direct_prediction_sees_neither_noise_nor_time():
    data = concepts(16)
    module = BlockDiffusionModule(Constant(0.0), make_scheduler("direct"), SGD, terminal_fraction=0.0)
    trainer(max_steps=1).fit(module, loader(data, 16))
    [(x_t, t, *_)] = module.denoiser.asked
    assert not x_t.any()
    assert t.tolist() == [999] * 16
    torch.testing.assert_close(module.last_losses["train/loss"], data["blocks"][data["valid"]].square().mean())


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_held_out_loss_is_the_same_at_every_call_and_leaves_the_module_as_it_was(share):
    """A constant costs the same at any time and noise, so the shares do not matter; a network's times do."""
    data = concepts()
    module = BlockDiffusionModule(Constant(0.5), make_scheduler(), SGD, terminal_fraction=share)
    x_0 = data["blocks"][data["valid"]]
    assert module.held_out_loss(data) == pytest.approx(float((0.5 - x_0).square().mean()), rel=1e-5)
    times = [t.tolist() for _, t, *_ in module.averaged.asked]
    assert times == [[999] * N, [0, 333, 666, 999]]
    net = BlockDiffusionModule(denoiser(), make_scheduler(), SGD, terminal_fraction=share)
    before = net.averaged.training
    assert net.held_out_loss(data) == net.held_out_loss(data)
    assert net.averaged.training == before
