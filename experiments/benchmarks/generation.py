"""Generation of weight sets: all blocks at once, one step, many concepts, a full set in seconds, and growth with K."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from omegaconf import DictConfig
from torch import Tensor

from experiments.benchmarks.problem import SEED, TEXT_DIM, TOKENS, Setting
from experiments.benchmarks.runner import Contest, Side
from experiments.pipeline.options import plain
from experiments.training.payloads import seeded
from weightgen.diffusion import DENOISERS
from weightgen.diffusion.sampler import Sampler, make_scheduler, to_x0
from weightgen.generation.block_generator import BlockGenerator
from weightgen.rng import stream
from weightgen.text.encoders import TextFeatures
from weightgen.translation.lora import LoraSpec, inject_lora, load_lora_state, lora_state
from weightgen.translation.nets import TRANSLATORS
from weightgen.weights.blocks import BlockLayout
from weightgen.weights.normalizer import Normalizer


def generation(setting: Setting) -> Iterator[Contest]:
    """Seconds from cached text features to weight sets, on the layout of a LoRA of bench.generation.lora."""
    cfg, options = setting.cfg, setting.cfg.bench.generation
    base = seeded(SEED, TRANSLATORS, plain(cfg.translator), text_dim=TEXT_DIM)
    model = inject_lora(base, LoraSpec(**plain(options.lora))).to(setting.device)
    shapes = {name: tuple(weight.shape) for name, weight in lora_state(model).items()}
    layout = BlockLayout(shapes, cfg.blocks.size, cfg.blocks.rule)
    head = f"generation K={layout.blocks}"
    one, many = _text(1, setting.device), _text(options.concepts, setting.device)

    def side(work: Callable[[], object], concepts: int = 1) -> Side:
        return Side(partial(setting.clock, work), concepts)

    single = generator(cfg, layout, setting.device, cfg.bench.single)
    yield Contest(
        f"{head} all blocks at once against one by one, block U-Net",
        "s",
        side(lambda: block_by_block(single, one, _noise())),
        side(lambda: single(one, _noise())),
    )
    ours = generator(cfg, layout, setting.device)
    steps = generator(cfg, layout, setting.device, steps=options.steps)
    yield Contest(
        f"{head} one step against {options.steps}",
        "s",
        side(lambda: steps(one, _noise())),
        side(lambda: ours(one, _noise())),
    )
    yield Contest(
        f"{head} {options.concepts} concepts in a batch against one at a time",
        "s/concept",
        side(lambda: [ours(many.select([i]), _noise()) for i in range(options.concepts)], options.concepts),
        side(lambda: ours(many, _noise()), options.concepts),
    )
    yield Contest(
        f"{head} bf16 against float32",
        "s",
        side(lambda: ours(one, _noise())),
        side(lambda: _autocast(ours, one, setting.device)),
    )

    def prompt_to_lora() -> None:
        load_lora_state(model, layout.from_blocks(ours(one, _noise())[0]))

    yield Contest(
        f"{head} a full set of {layout.weights} parameters, baseline the target",
        "s",
        Side(lambda: options.target_seconds),
        side(prompt_to_lora),
        target=1.0,
    )


def blocks(setting: Setting) -> Iterator[Contest]:
    """Milliseconds a block of sets of K blocks against the smallest K: 1 is linear, more is better than linear."""
    cfg = setting.cfg
    first, *others = cfg.bench.blocks

    def side(count: int) -> Side:
        layout = BlockLayout({"layer.B": (count * cfg.blocks.size,)}, cfg.blocks.size)
        ours, text = generator(cfg, layout, setting.device), _text(1, setting.device)
        return Side(partial(setting.clock, lambda: ours(text, _noise())), count)

    for count in others:
        yield Contest(f"blocks K={count} against K={first}", "ms/block", side(first), side(count), target=1.0)


def generator(
    cfg: DictConfig, layout: BlockLayout, device: torch.device, net: DictConfig | None = None, steps: int = 1
) -> BlockGenerator:
    """An untrained weight generator of `net` (None: the recipe's denoiser)."""
    size = {"block_size": layout.size, "blocks": layout.blocks, "text_dim": TEXT_DIM}
    denoiser = seeded(SEED, DENOISERS, plain(net or cfg.denoiser), **size).eval().to(device)
    ones = torch.ones(layout.blocks, layout.size, device=device)
    scheduler = make_scheduler(cfg.budget.denoiser.prediction)
    return BlockGenerator(denoiser, Sampler(scheduler, steps=steps), layout, Normalizer(0 * ones, ones))


def block_by_block(generate: BlockGenerator, text: TextFeatures, noise: torch.Generator) -> Tensor:
    """What `generate(text, noise)` gives for one concept, from a forward pass a block. -> (1, K, D).

    Only for denoisers that see each block alone.
    """
    layout = generate.layout
    valid, index = layout.valid(), torch.arange(layout.blocks, device=text.tokens.device)
    drawn = torch.randn(1, layout.blocks, layout.size, generator=noise)
    parts = ((index[None, k : k + 1], drawn[:, k : k + 1], valid[None, k : k + 1]) for k in range(len(index)))
    made = [_one_block(generate, text, *part) for part in parts]
    return generate.normalizer.denormalize(torch.cat(made, 1)) * valid.to(text.tokens.device)


@torch.no_grad()
def _one_block(generate: BlockGenerator, text: TextFeatures, index: Tensor, noise: Tensor, valid: Tensor) -> Tensor:
    """One denoising step of one block, as Sampler.sample does it. -> (1, 1, D), normalised."""
    scheduler, device = generate.sampler.scheduler, index.device
    t = torch.full((1,), scheduler.config.num_train_timesteps - 1, device=device)
    x_t = noise.to(device)
    output = generate.denoiser(x_t, t, index, text.tokens, text.mask)
    return to_x0(scheduler, output, x_t, t) * valid.to(device)


def _autocast(generate: BlockGenerator, text: TextFeatures, device: torch.device) -> Tensor:
    with torch.autocast(device.type, torch.bfloat16):
        return generate(text, _noise())


def _text(concepts: int, device: torch.device) -> TextFeatures:
    noise = stream(SEED, "bench/text")
    tokens = torch.randn(concepts, TOKENS, TEXT_DIM, generator=noise)
    return TextFeatures(tokens, torch.ones(concepts, TOKENS, dtype=torch.bool), tokens.mean(1)).to(device)


def _noise() -> torch.Generator:
    return stream(SEED, "bench/noise")
