"""The noise schedule, and sampling: every block of every concept in one batched denoising step."""

from __future__ import annotations

import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn

PREDICTIONS = ("sample", "v_prediction", "direct")
TRAIN_TIMESTEPS = 1000  # the last of them, TRAIN_TIMESTEPS - 1, is pure noise


def make_scheduler(prediction: str = "sample", train_timesteps: int = TRAIN_TIMESTEPS) -> DDIMScheduler:
    """DDIM with zero terminal SNR (arXiv 2305.08891): the last step is pure noise, which is where sampling
    starts.

    prediction: "sample" (the network predicts x_0), "v_prediction", or "direct": x_0 from the prompt alone, with zeros where
    noise would be and always the last step, so no diffusion at all; train_timesteps: >= 2. Raises
    ValueError otherwise.
    """
    if train_timesteps < 2:
        raise ValueError(f"sampler.train_timesteps={train_timesteps}: at least 2")
    scheduler = DDIMScheduler(
        num_train_timesteps=train_timesteps,
        prediction_type=prediction,
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
    )
    check_prediction(scheduler)
    return scheduler


def check_prediction(scheduler: DDIMScheduler) -> None:
    """Raises ValueError unless x_0 can be computed from the network's output at the last step."""
    prediction = scheduler.config.prediction_type
    if prediction not in PREDICTIONS:
        raise ValueError(
            f"prediction {prediction!r} cannot be sampled in one step: at the last step alpha_bar is 0 (zero "
            f"terminal SNR), so x_0 = (x_t - eps) / sqrt(alpha_bar) is undefined; choose one of "
            + ", ".join(PREDICTIONS)
        )


def draw_noise(scheduler: DDIMScheduler, *shape: int, generator: torch.Generator) -> Tensor:
    """What takes the place of noise: N(0, 1); zeros where the prediction is direct."""
    return torch.zeros(shape) if is_direct(scheduler) else torch.randn(shape, generator=generator)


def is_direct(scheduler: DDIMScheduler) -> bool:
    return scheduler.config.prediction_type == "direct"


def alpha_bar(scheduler: DDIMScheduler, t: Tensor) -> Tensor:
    """t: (N,) long -> (N, 1, 1) signal power of x_t, in [0, 1]."""
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.to(t.device)  # which stays there, as in diffusers' add_noise
    return scheduler.alphas_cumprod[t][:, None, None]


def to_x0(scheduler: DDIMScheduler, output: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """The x_0 that a network's output means. output, x_t: (N, K, D); t: (N,) long -> (N, K, D)."""
    if scheduler.config.prediction_type != "v_prediction":
        return output
    a = alpha_bar(scheduler, t).to(x_t.dtype)
    return a.sqrt() * x_t - (1 - a).sqrt() * output  # v = sqrt(a) eps - sqrt(1 - a) x_0


class Sampler:
    """Deterministic DDIM. steps: denoising steps, 1 as in the paper."""

    def __init__(self, scheduler: DDIMScheduler, steps: int = 1):
        check_prediction(scheduler)
        limit = scheduler.config.num_train_timesteps
        if not 1 <= steps <= limit:
            raise ValueError(f"sampler.steps={steps}: from 1 to {limit}, the number of training steps")
        self.scheduler = scheduler
        self.steps = steps

    @torch.no_grad()
    def sample(
        self,
        denoiser: nn.Module,
        index: Tensor,
        tokens: Tensor,
        text_mask: Tensor,
        block_size: int,
        generator: torch.Generator,
        valid: Tensor | None = None,
    ) -> Tensor:
        """Normalised blocks (N, K, D) for N prompts, from noise, on the device of `tokens`.

        index: (N, K) long; tokens: (N, L, E); text_mask: (N, L) bool; block_size: D; generator: on the CPU,
        so that every device starts from the same noise; valid: (N, K, D) bool, False on padding, where x_0 is then 0.
        """
        if generator.device.type != "cpu":
            raise ValueError("Sampler.sample draws its noise on the CPU: pass a CPU generator")
        device, dtype = tokens.device, tokens.dtype
        # its own copy: set_timesteps changes a scheduler, and x_0 is what we hand it
        scheduler = DDIMScheduler.from_config(self.scheduler.config, prediction_type="sample")
        scheduler.set_timesteps(self.steps)
        x_t = draw_noise(self.scheduler, *index.shape, block_size, generator=generator).to(device, dtype)
        for step in scheduler.timesteps:
            t = step.to(device).expand(len(index))
            output = denoiser(x_t, t, index, tokens, text_mask)
            x_0 = to_x0(self.scheduler, output, x_t, t)
            if valid is not None:
                x_0 = x_0 * valid
            last = step == scheduler.timesteps[-1]
            if last:  # diffusers would stop at alpha_bar_0 < 1 where steps does not divide the training steps
                return x_0
            x_t = scheduler.step(x_0, int(step), x_t).prev_sample
        raise AssertionError("a schedule has at least one step")
