"""The stage graph: what every artifact of a configuration is called and what it is built from. Pure: nothing trains here."""

from collections.abc import Iterable
from functools import cached_property
from typing import Any, Self

from omegaconf import DictConfig, OmegaConf

from experiments.pipeline.methods import all_methods, method_options
from experiments.pipeline.options import by_content, photo_options, plain
from experiments.stages import subset as _subset
from experiments.stages.editors import identity, premade
from weightgen.artifacts import Spec
from weightgen.choices import make
from weightgen.data.concepts import CONCEPTS
from weightgen.data.concepts.concept import Concept
from weightgen.data.editors import EDITORS
from weightgen.data.photos import PHOTOS
from weightgen.errors import WeightgenError
from weightgen.inits import INITS
from weightgen.inits.base import Init

# stage -> (module that builds it, version to raise when its result changes, make target)
STAGES = {
    "concepts": ("experiments.stages.concepts", 1, "concepts"),
    "photos": ("experiments.stages.pairs", 1, "pairs"),
    "pairs": ("experiments.stages.pairs", 1, "pairs"),
    "base": ("experiments.stages.base", 1, "base"),
    "lora": ("experiments.stages.lora", 1, "loras"),
    "blocks": ("experiments.stages.blocks", 1, "blocks"),
    "denoiser": ("experiments.stages.denoiser", 1, "denoiser"),
    "function": ("experiments.stages.function", 1, "denoiser"),
    "guide": ("experiments.stages.guide", 1, "denoiser"),
    "fit": ("experiments.stages.init", 1, "init"),
    "init": ("experiments.stages.init", 1, "init"),
    "finetune": ("experiments.stages.finetune", 1, "finetune"),
}


class StageGraph:
    """Specs of a configuration. Two configurations with one key for a stage share its artifact."""

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        self._specs: dict[tuple, Spec] = {}
        self._siblings: dict[str, Self] = {}

    @cached_property
    def source(self) -> Any:
        """Where concepts come from; one with `collect` is asked once, and its list is an artifact."""
        return make(CONCEPTS, plain(self.cfg.concepts))

    @cached_property
    def collected(self) -> Spec | None:
        """The list of a source that must be asked. Its key says what is asked of which model, not where it is reached."""
        if not hasattr(self.source, "collect"):
            return None
        config = {"concepts": self.source.identity(), "source_version": self.source.version}
        return self._spec("concepts", config, [], "concepts", self.source)

    @cached_property
    def concepts(self) -> list[Concept]:
        """Of the configured source, or of an editor that brings its own (premade pairs)."""
        return self.premade.concepts() if self.premade else self.source.load()

    @cached_property
    def premade(self) -> Any | None:
        """The editor where it brings concepts and photos of its own; then `photos` and `concepts` are not looked at."""
        return premade(self.cfg)

    @cached_property
    def splits(self) -> list[str]:
        """The splits to evaluate: those asked for; of premade pairs, those of them that the set was given."""
        return [s for s in self.cfg.splits if not self.premade or s in self.premade.splits]

    def split(self, *splits: str) -> list[Concept]:
        return [concept for concept in self.concepts if concept.split in splits]

    @cached_property
    def test_concepts(self) -> list[Concept]:
        """Concepts to initialise and fine-tune. Raises WeightgenError if a wanted split is empty."""
        for split in self.splits or self.cfg.splits:
            if not self.split(split):
                raise WeightgenError(f"no concept has split {split!r}: change `splits` or `concepts`")
        return self.split(*self.splits)

    def _spec(
        self, stage: str, config: dict[str, Any], inputs: Iterable[Spec], label: str, subject: Any = None
    ) -> Spec:
        _, version, target = STAGES[stage]
        identity = (stage, label)
        if identity not in self._specs:
            self._specs[identity] = Spec(stage, version, config, tuple(inputs), target, label, subject)
        return self._specs[identity]

    @cached_property
    def photos(self) -> Spec:
        source = make(PHOTOS, plain(self.cfg.photos))
        return self._spec(
            "photos", {"photos": photo_options(self.cfg.photos), "content": source.fingerprint()}, [], "photos"
        )

    def pairs(self, concept: Concept) -> Spec:
        config = {
            "editor": self._editor,
            "editor_version": EDITORS.find(self.cfg.editor.name).version,
            "prompt": concept.prompt,
            "factors": [list(factor) for factor in concept.factors],
        }
        if self.premade:
            config |= {"content": self.premade.fingerprint(concept)}
        inputs = [] if self.premade else [self.photos]
        return self._spec("pairs", config, inputs, f"pairs {concept.name}", concept)

    @cached_property
    def _editor(self) -> dict[str, Any]:
        return identity(self.cfg)

    @cached_property
    def base_spec(self) -> Spec:
        """The base translator; its builder chooses representative concepts among these, so all are its inputs."""
        cfg = self.cfg
        config = {
            **self._parts("translator", "discriminator", "text_encoder"),
            "budget": _subset.budget(cfg, plain(cfg.budget.base)),
            **_subset.key(cfg),
            "sees": cfg.base,
            "seed": cfg.build_seed,
            "concepts": [[c.prompt, *c.paraphrases] for c in self.split("train")],
        }
        return self._spec("base", config, [self.pairs(c) for c in self.split("train")], f"base {cfg.base}")

    def lora(self, concept: Concept) -> Spec:
        """The concept's own LoRA: of the zoo for a train concept, longer trained (the ceiling) for any other."""
        cfg = self.cfg
        steps = cfg.budget.lora.steps if concept.split == "train" else cfg.budget.lora.steps_ceiling
        options = {key: value for key, value in plain(cfg.budget.lora).items() if not key.startswith("steps")}
        config = {"lora": self._lora(), "budget": options, "steps": steps, "seed": cfg.build_seed}
        config |= self._parts("discriminator")
        return self._spec("lora", config, [self.base_spec, self.pairs(concept)], f"lora {concept.name}", concept)

    @cached_property
    def zoo(self) -> list[Concept]:
        """The train concepts that the weight generator learns from. Raises WeightgenError if there are fewer than asked."""
        train, size = self.split("train"), self.cfg.get("zoo")
        if size is not None and not 2 <= size <= len(train):
            raise WeightgenError(f"zoo={size}: choose 2 to {len(train)}, or more train concepts")
        return train[:size]

    @cached_property
    def blocks(self) -> Spec:
        """The zoo, cut, with the normaliser."""
        loras = [self.lora(concept) for concept in self.zoo]
        return self._spec("blocks", {"blocks": plain(self.cfg.blocks)}, loras, "blocks")

    @cached_property
    def denoiser(self) -> Spec:
        config = {
            **self._parts("denoiser", "text_encoder"),
            "prediction": self.cfg.budget.denoiser.prediction,
            "budget": plain(self.cfg.budget.denoiser),
            "seed": self.cfg.build_seed,
            "concepts": [[c.prompt, *c.paraphrases] for c in self.zoo],
        }
        return self._spec("denoiser", config, [self.blocks], "denoiser")

    @cached_property
    def generator(self) -> Spec:
        """The network that generates: the denoiser, trained on in function space where budget.function.steps > 0."""
        budget = plain(self.cfg.budget.function)
        if not budget["steps"]:
            return self.denoiser
        config = {"budget": budget, "seed": self.cfg.build_seed}
        inputs = [self.denoiser, *(self.pairs(concept) for concept in self.split("train"))]
        return self._spec("function", config, inputs, "function")

    @cached_property
    def guide(self) -> Spec:
        """The refiner behind `guided`, trained on train concepts through the frozen base and generator."""
        config = {**self._parts("refiner", "text_encoder", "sampler"), "seed": self.cfg.build_seed}
        config["budget"] = plain(self.cfg.budget.guide)
        inputs = [self.generator, *(self.pairs(concept) for concept in self.split("train"))]
        return self._spec("guide", config, inputs, "guide")

    def sibling(self, base: str) -> Self:
        """The same configuration on another base."""
        if base == self.cfg.base:
            return self
        return self._siblings.setdefault(base, type(self)(OmegaConf.merge(self.cfg, {"base": base})))

    def fitted(self, method: str) -> Spec:
        """A regression from text to weights: fitted on the zoo, its freedom chosen on validation concepts."""
        validation = self.split("validation")
        config = {"init": self.method(method), "seed": self.cfg.build_seed, **self._parts("text_encoder")}
        config["validation"] = [concept.prompt for concept in validation]
        inputs = [self.blocks, *(self.lora(concept) for concept in validation)]
        return self._spec("fit", config, inputs, f"fit {method}", method)

    def init(self, method: str, concept: Concept, seed: int) -> Spec | None:
        """The initial LoRA of a method; None for one that starts from scratch."""
        options, init = self.method(method), self.init_class(method)
        if init.from_scratch():
            return None
        if init.base not in (None, self.cfg.base):
            return self.sibling(init.base).init(method, concept, seed)
        sources = {
            "validation": lambda: self.fitted(method),
            "zoo": lambda: self.blocks,
            "generator": lambda: self.generator,
            "guide": lambda: self.guide,
            "own": lambda: self.lora(concept),
            "base": lambda: self.base_spec,
            "pairs": lambda: self.pairs(concept),
        }
        upstream = [source() for need, source in sources.items() if need in init.needs]
        prompt = self.other(concept, seed).prompt if init.shuffled else concept.prompt
        config = {"init": options, "lora": self._lora(), "prompt": prompt, "seed": seed}
        config |= self._parts("text_encoder")
        config |= {"sampler": plain(self.cfg.sampler)} if "generator" in init.needs else {}
        config |= self._scarce() if "pairs" in options else {}
        return self._spec("init", config, upstream, f"init {method} {concept.name} {seed}", (method, concept, seed))

    def finetune(self, method: str, concept: Concept, seed: int) -> Spec:
        init = self.init(method, concept, seed)
        budget = plain(self.cfg.budget.finetune)
        schedules = {name: budget.pop(name) for name in ("scratch", "lora", "ceiling")}
        kind = self.init_class(method).schedule()
        budget |= schedules[kind]
        config = {"budget": _subset.budget(self.cfg, budget), "seed": seed, **_subset.key(self.cfg)}
        config |= self._parts("discriminator", "text_encoder", "metrics")
        config |= self._scarce() if kind != "ceiling" else {}
        config["accelerator"] = self.cfg.strategy.trainer.accelerator  # its seconds are part of the result
        config |= {"lora": self._lora()} if init else {"scratch": self.scratch(method)}
        inputs = [self.pairs(concept)] + ([init] if init else [])
        return self._spec(
            "finetune", config, inputs, f"finetune {method} {concept.name} {seed}", (method, concept, seed)
        )

    def other(self, concept: Concept, seed: int) -> Concept:
        """Another concept of the same split, each concept's a different one (a rotation that the seed chooses)."""
        peers = self.split(concept.split)
        if len(peers) < 2:
            raise WeightgenError(f"{concept.split} has one concept: prompts cannot be shuffled, add concepts")
        return peers[(peers.index(concept) + 1 + seed % (len(peers) - 1)) % len(peers)]

    def _parts(self, *groups: str) -> dict[str, Any]:
        return {group: by_content(self.cfg[group]) for group in groups}

    def _lora(self) -> dict[str, Any]:
        """Options of a LoRA; seeds=shared is what a LoRA without that option has."""
        return {key: value for key, value in plain(self.cfg.lora).items() if (key, value) != ("seeds", "shared")}

    def _scarce(self) -> dict[str, Any]:
        """How many pairs a new concept has, where that is not all there are. Raises WeightgenError on less than one."""
        if self.cfg.pairs is not None and self.cfg.pairs < 1:
            raise WeightgenError(f"pairs={self.cfg.pairs}: a new concept needs at least one training pair")
        every = None if self.premade else self.cfg.photos.train
        return {} if self.cfg.pairs in (None, every) else {"pairs": self.cfg.pairs}

    def method(self, name: str) -> dict[str, Any]:
        """Options of conf/init/<name>.yaml as they hold on this base (see _methods)."""
        return method_options(self.cfg, name)

    def init_class(self, name: str) -> type[Init]:
        """The class of weightgen.inits behind a method: says what it `needs`."""
        return INITS.find(self.method(name)["kind"])

    def scratch(self, name: str) -> dict[str, Any]:
        """The net that a method trains from scratch."""
        return plain(self.cfg[self.init_class(name).net])

    @property
    def methods(self) -> list[str]:
        return all_methods() if self.cfg.methods == "all" else list(self.cfg.methods)
