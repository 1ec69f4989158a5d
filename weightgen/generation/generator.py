"""From a prompt to a translator: the weight generator of a finished run in three lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from weightgen.choices import make
from weightgen.diffusion import DENOISERS
from weightgen.diffusion.sampler import Sampler, make_scheduler
from weightgen.errors import DataError, MissingArtifact, MissingModel, WeightgenError
from weightgen.files import load_tensors, read_json, save_tensors, write_json, write_text
from weightgen.generation import REFINERS
from weightgen.generation.block_generator import BlockGenerator
from weightgen.generation.guided import Guide, GuidedRefiner
from weightgen.generation.known import Known
from weightgen.generation.pairs_loss import Evidence
from weightgen.generation.pictures.examples import examples
from weightgen.generation.saved import load_net, loading, weights_hash
from weightgen.generation.translator import PROMPT, Translator
from weightgen.rng import stream
from weightgen.text import TEXT_ENCODERS
from weightgen.text.encoders import TextEncoder, TextFeatures
from weightgen.translation.adapter import ADAPTER_CONFIG, load_adapter, read_adapter
from weightgen.translation.lora import LoraSpec, inject_lora, load_lora_state
from weightgen.translation.nets import TRANSLATORS
from weightgen.translation.stacked_lora import StackedLora
from weightgen.weights.blocks import BlockLayout
from weightgen.weights.normalizer import Normalizer

FILE, CARD = "generator.json", "README.md"
ROUNDS, LOOKS = 3, 8  # of the refiner, as trained: its steps, and the pairs that it looks at, at most


@dataclass(frozen=True)
class WeightGenerator:
    """`WeightGenerator.load()("a pencil sketch in sepia tones")(images)`.

    description: {"translator", "denoiser", "refiner" (where there is one), "text_encoder": {"name": short name,
    **arguments}, "lora": ..., "prediction": ..., "steps": ...}: what `load` needs to make the nets again. known: the prompts
    that it was trained on; refiner: what examples are looked at with, or None; card: Markdown, what its users must know.
    """

    base: nn.Module
    blocks: BlockGenerator
    encoder: TextEncoder
    description: Mapping[str, Any]
    known: Known = field(default_factory=lambda: Known([], torch.zeros(0, 1)))
    refiner: GuidedRefiner | None = None
    card: str = ""

    def __call__(
        self,
        prompt: str | Mapping[str, float],
        seed: int = 0,
        strength: float = 1.0,
        like: Sequence[tuple[Any, Any]] | None = None,
    ) -> Translator:
        """A translator for `prompt`, its LoRA denoised in one pass.

        prompt: words, or {words: share} for a mixture: the LoRAs' weighted sum. seed: of the noise. strength: times the
        LoRA; 0 is the base, 1 as generated. like: pairs (before, after) of the concept, each anything that a translator
        takes, by which the weights are refined (words alone, no mixture). Raises DataError for a blank prompt and for what
        is no pair; warns of words that it never saw.
        """
        if not isinstance(prompt, str):
            if like is not None:
                raise DataError("examples are of one prompt: give one, or no examples")
            return self._translator(*self._mixture(prompt, seed), strength, " + ".join(prompt))
        text = self.text(prompt)
        blocks = self.blocks(text, stream(seed, "init/noise"))
        if like is not None:
            blocks = self._refined(blocks, text, like)
        return self._translator(blocks[0], text, strength, prompt)

    def text(self, prompt: str) -> TextFeatures:
        """Features of a prompt (B = 1). Raises DataError for a blank one; warns of words that it never saw."""
        if not prompt.strip():
            raise DataError("the prompt is blank; say what the translator should do, e.g. 'a mosaic in sepia tones'")
        text = self.encoder.encode([prompt])
        self.known.warn_of(prompt, text.pooled)
        return text

    def with_lora(self, folder: Path | str) -> Translator:
        """A translator from an adapter folder of `weightgen export --format peft`.

        Raises MissingArtifact where there is none, WeightgenError where it is of another base or another LoRA.
        """
        folder = Path(folder)
        with loading(folder, ADAPTER_CONFIG, "adapter"):
            adapter = read_adapter(folder)
            if adapter.base != self.base_hash:
                raise WeightgenError(
                    f"this LoRA is of the base {adapter.base[:16] or 'unknown'}, not of {self.base_hash[:16]}: load the "
                    "weight generator that made it"
                )
            model = load_adapter(inject_lora(self.base, self.lora), adapter)
            prompt = load_tensors(folder / PROMPT)
        tokens, mask = prompt["tokens"], prompt["text_mask"]
        text = TextFeatures(tokens, mask, (tokens.sum(1) / mask.sum(1, keepdim=True)))
        return Translator(model.eval(), text, self.description["translator"], adapter.prompt, self.base_hash)

    @property
    def side(self) -> int:
        """Of the photos that it was trained on, in pixels. Raises WeightgenError where its folder does not say."""
        if getattr(self.base, "period", None) is None:
            raise WeightgenError("this weight generator does not say at which size it was trained: export it again")
        return int(self.base.period)

    @property
    def lora(self) -> LoraSpec:
        return LoraSpec(**self.description["lora"])

    @cached_property
    def base_hash(self) -> str:
        return weights_hash(self.base)

    @cached_property
    def guide(self) -> Guide:
        """The refiner with the base that it looks through. Raises WeightgenError where there is none."""
        if self.refiner is None:
            raise WeightgenError("this weight generator has no refiner, so it cannot look at examples: use `adapt`")
        stacked = StackedLora(self.base, self.lora)
        return Guide(self.refiner, stacked, self.blocks.layout, self.blocks.normalizer).eval().requires_grad_(False)

    def _refined(self, blocks: Tensor, text: TextFeatures, like: Sequence[tuple[Any, Any]]) -> Tensor:
        evidence = Evidence(*examples(like, self.side, LOOKS), self.guide, text)
        with torch.no_grad():
            *_, blocks = self.guide.rounds(blocks, evidence.batch, len(evidence), ROUNDS)
        return blocks

    def _mixture(self, shares: Mapping[str, float], seed: int) -> tuple[Tensor, TextFeatures]:
        """B of each LoRA times its share, and the words' features in the same proportion; A is one for all."""
        if self.lora.train != "b":
            raise WeightgenError("LoRAs whose A differ have no weighted sum: train the zoo with lora=b to mix prompts")
        total = sum(shares.values())
        if not shares or min(shares.values()) < 0 or total <= 0:
            raise DataError(f"shares {dict(shares)}: give each prompt of a mixture a share above 0")
        texts = [self.text(prompt) for prompt in shares]
        weights = torch.tensor(list(shares.values()))
        each = torch.cat([self.blocks(text, stream(seed, "init/noise")) for text in texts])
        tokens, pooled = (
            sum(w / total * getattr(text, part) for w, text in zip(weights, texts, strict=True))
            for part in ("tokens", "pooled")
        )
        mask = torch.stack([text.mask for text in texts]).any(0)
        return (weights[:, None, None] * each).sum(0), TextFeatures(tokens, mask, pooled)

    def _translator(self, blocks: Tensor, text: TextFeatures, strength: float, prompt: str) -> Translator:
        model = inject_lora(self.base, self.lora)
        state = self.blocks.layout.from_blocks(blocks)
        state = {name: factor * strength if name.endswith(".B") else factor for name, factor in state.items()}
        model = load_lora_state(model, state).eval()
        return Translator(model, text, self.description["translator"], prompt, self.base_hash)

    def save(self, folder: Path | str, half: bool = False) -> None:
        """Write generator.json and the safetensors files that `load` reads. half: float16, half as large."""
        folder = Path(folder)
        nets = {"base": self.base, "denoiser": self.blocks.denoiser} | (
            {"refiner": self.refiner} if self.refiner else {}
        )
        tensors = {name: net.state_dict() for name, net in nets.items()}
        tensors |= {"normalizer": self.blocks.normalizer.state(), "known": {"pooled": self.known.pooled}}
        for name, state in tensors.items():
            kept = {key: value.half() if half and value.is_floating_point() else value for key, value in state.items()}
            save_tensors(folder / f"{name}.safetensors", kept)
        content = {**self.description, "layout": self.blocks.layout.to_json(), "known": list(self.known.prompts)}
        write_json(folder / FILE, content)
        if self.card:
            write_text(folder / CARD, self.card)

    def push_to_hub(self, name: str, private: bool = False, token: str | None = None) -> str:
        """Upload it, with its card, to the model `name` ("owner/model") of the Hugging Face hub; -> its address."""
        from huggingface_hub import HfApi

        api = HfApi(token=token)
        address = api.create_repo(name, private=private, exist_ok=True)
        with TemporaryDirectory() as folder:
            self.save(folder)
            api.upload_folder(repo_id=name, folder_path=folder)
        return str(address)

    @classmethod
    def from_pretrained(
        cls, name: str | Path, revision: str | None = None, token: str | None = None
    ) -> WeightGenerator:
        """A folder, or a model of the Hugging Face hub: safe formats alone are fetched, and no code.

        Raises MissingModel where the hub cannot be reached or has no such model, else as `load`.
        """
        if Path(name).is_dir():
            return cls.load(name)
        from huggingface_hub import snapshot_download

        wanted = [FILE, CARD, "*.safetensors"]
        try:
            folder = snapshot_download(str(name), revision=revision, token=token, allow_patterns=wanted)
        except (OSError, ValueError) as error:
            raise MissingModel(
                f"weight generator {name}: neither a folder here nor to be had from the hub ({error})"
            ) from error
        return cls.load(folder)

    @classmethod
    def load(cls, folder: Path | str | None = None) -> WeightGenerator:
        """folder: of a saved generator; None: the one that comes with this package (64 px, see its card).

        Raises MissingArtifact if `folder` holds no saved generator, WeightgenError if it cannot be made from it.
        What the file names is looked up in closed tables, so it cannot choose which code runs.
        """
        folder = SHIPPED if folder is None else Path(folder)
        if not (folder / FILE).exists():
            raise MissingArtifact(f"{folder} holds no {FILE}: run `make demo`, then load reports/demo/generator")
        content = read_json(folder / FILE, "save the generator again")
        with loading(folder, FILE, "generator"):
            return cls._load(folder, content)

    @classmethod
    def _load(cls, folder: Path, content: Mapping[str, Any]) -> WeightGenerator:
        layout = BlockLayout.from_json(content.pop("layout"))
        known: Sequence[str] = content.pop("known")
        LoraSpec(**content["lora"])
        base = load_net(TRANSLATORS, content["translator"], folder / "base.safetensors")
        denoiser = load_net(DENOISERS, content["denoiser"], folder / "denoiser.safetensors")
        refiner = None
        if "refiner" in content:
            refiner = load_net(REFINERS, content["refiner"], folder / "refiner.safetensors").eval()
        normalizer = Normalizer(**load_tensors(folder / "normalizer.safetensors"))
        sampler = Sampler(make_scheduler(content["prediction"]), steps=content["steps"])
        blocks = BlockGenerator(denoiser.eval(), sampler, layout, normalizer)
        encoder = make(TEXT_ENCODERS, content["text_encoder"])
        pooled = load_tensors(folder / "known.safetensors")["pooled"]
        if len(pooled) != len(known):
            raise WeightgenError(f"it knows {len(known)} prompts and has features of {len(pooled)}")
        card = (folder / CARD).read_text() if (folder / CARD).exists() else ""
        return cls(base.eval(), blocks, encoder, content, Known(known, pooled), refiner, card)


SHIPPED = Path(str(files("weightgen"))) / "shipped"
