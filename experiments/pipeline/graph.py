"""The stage graph: what every artifact of a configuration is called and what it is built from. Pure: nothing trains here."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, Self

from omegaconf import DictConfig, OmegaConf

from experiments.pipeline.methods import all_methods, method_options
from experiments.pipeline.options import Options
from experiments.pipeline.stage import Stage
from experiments.stages import (
    base,
    blocks,
    concepts,
    denoiser,
    finetune,
    function,
    guide,
    init,
    lora,
    pairs,
    photos,
    text,
)
from weightgen.artifacts import Spec
from weightgen.choices import make
from weightgen.data.concepts import CONCEPTS
from weightgen.data.concepts.concept import Concept
from weightgen.errors import WeightgenError
from weightgen.inits.base import Init

STAGES: dict[str, Stage] = {  # in an order in which they can be built
    stage.name: stage
    for stage in (
        concepts.STAGE,
        photos.STAGE,
        pairs.STAGE,
        text.STAGE,
        photos.SUBSET,
        base.STAGE,
        lora.STAGE,
        blocks.STAGE,
        denoiser.STAGE,
        function.STAGE,
        guide.STAGE,
        init.FIT,
        init.STAGE,
        finetune.STAGE,
    )
}


class StageGraph:
    """Specs of a configuration. Two configurations with one key for a stage share its artifact."""

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg, self.options = cfg, Options(cfg)
        self._specs: dict[tuple, Spec | None] = {}
        self._siblings: dict[str, Self] = {}

    def _once(self, identity: tuple, make_spec: Callable[[], Spec | None]) -> Spec | None:
        if identity not in self._specs:
            self._specs[identity] = make_spec()
        return self._specs[identity]

    @cached_property
    def source(self) -> Any:
        """Where concepts come from; one with `collect` is asked once, and its list is an artifact."""
        return make(CONCEPTS, self.options("concepts"))

    @cached_property
    def collected(self) -> Spec | None:
        """The list of a source that must be asked."""
        return concepts.spec(self.options, self.source) if hasattr(self.source, "collect") else None

    @cached_property
    def concepts(self) -> list[Concept]:
        """Of the configured source, or of an editor that brings its own (premade pairs)."""
        return self.premade.concepts() if self.premade else self.source.load()

    @cached_property
    def premade(self) -> Any | None:
        """The editor where it brings concepts and photos of its own; then `photos` and `concepts` are not looked at."""
        return pairs.premade(self.options)

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

    @cached_property
    def zoo(self) -> list[Concept]:
        """The train concepts that the weight generator learns from. Raises WeightgenError if there are fewer than asked."""
        train, size = self.split("train"), self.cfg.zoo
        if size is not None and not 2 <= size <= len(train):
            raise WeightgenError(f"zoo={size}: choose 2 to {len(train)}, or more train concepts")
        return train[:size]

    @cached_property
    def photos(self) -> Spec:
        return photos.spec(self.options)

    @cached_property
    def _shared(self) -> list[Spec]:
        """The photos that all concepts share, for those who read pairs: none where each concept brings its own."""
        return [] if self.premade else [self.photos]

    @cached_property
    def _subset(self) -> list[Spec]:
        """The chosen ones of those photos, where not every one is used."""
        return [photos.subset_spec(self.options, self.photos)] if photos.subset_key(self.options) else []

    def pairs(self, concept: Concept) -> Spec:
        return self._once(("pairs", concept), lambda: pairs.spec(self.options, concept, self._shared))

    def text(self, *prompts: str) -> Spec:
        return self._once(("text", prompts), lambda: text.spec(self.options, prompts))

    def concept_text(self, *of: Concept) -> Spec:
        """Features of all their prompts and paraphrases, concept by concept, its prompt first."""
        return self.text(*(words for concept in of for words in (concept.prompt, *concept.paraphrases)))

    @cached_property
    def base_spec(self) -> Spec:
        """The base translator; its builder chooses representative concepts among the train concepts."""
        train = self.split("train")
        inputs = [self.concept_text(*train), *map(self.pairs, train), *self._shared, *self._subset]
        return base.spec(self.options, train, inputs)

    def lora(self, concept: Concept) -> Spec:
        """The concept's own LoRA: of the zoo for a train concept, longer trained (the ceiling) for any other."""

        def spec() -> Spec:
            inputs = [self.base_spec, self.concept_text(concept), self.pairs(concept), *self._shared]
            return lora.spec(self.options, concept, inputs)

        return self._once(("lora", concept), spec)

    @cached_property
    def blocks(self) -> Spec:
        """The zoo, cut, with the normaliser."""
        return blocks.spec(self.options, self.zoo, self.base_spec, [self.lora(concept) for concept in self.zoo])

    @cached_property
    def denoiser(self) -> Spec:
        shown = [self.pairs(concept) for concept in self.zoo[: denoiser.SHOWN]]
        inputs = [self.blocks, self.concept_text(*self.zoo), self.base_spec, *shown, *self._shared]
        return denoiser.spec(self.options, self.zoo, inputs)

    @cached_property
    def _zoo_inputs(self) -> list[Spec]:
        """What training through the base reads beside a generator."""
        return [self.blocks, self.base_spec, self.concept_text(*self.zoo), *map(self.pairs, self.zoo), *self._shared]

    @cached_property
    def generator(self) -> Spec:
        """The network that generates: the denoiser, trained on in function space where budget.function.steps > 0."""
        if not self.options("budget.function.steps"):
            return self.denoiser
        return function.spec(self.options, self.zoo, [self.denoiser, *self._zoo_inputs])

    @cached_property
    def guide(self) -> Spec:
        """The refiner behind `guided`, trained on train concepts through the frozen base and generator."""
        return guide.spec(self.options, self.zoo, [self.generator, *self._zoo_inputs])

    def sibling(self, name: str) -> Self:
        """The same configuration on another base."""
        if name == self.cfg.base:
            return self
        if name not in self._siblings:
            self._siblings[name] = type(self)(OmegaConf.merge(self.cfg, {"base": name}))
        return self._siblings[name]

    def _zoo_text(self) -> Spec:
        return self.text(*(concept.prompt for concept in self.zoo))

    def fitted(self, method: str) -> Spec:
        """A regression from text to weights: fitted on the zoo, its freedom chosen on validation concepts."""

        def spec() -> Spec:
            validation = self.split("validation")
            texts = [self._zoo_text(), *([self.text(*(c.prompt for c in validation))] if validation else [])]
            inputs = [self.base_spec, self.blocks, *texts, *(self.lora(concept) for concept in validation)]
            return init.fit_spec(self.options, self.method(method), validation, inputs)

        return self._once(("fit", method), spec)

    def init(self, method: str, concept: Concept, seed: int) -> Spec | None:
        """The initial LoRA of a method; None for one that starts from scratch."""
        kind = self.init_class(method)
        if kind.from_scratch():
            return None
        if kind.base not in (None, self.cfg.base):
            return self.sibling(kind.base).init(method, concept, seed)

        def spec() -> Spec:
            sources: dict[str, Callable[[], list[Spec]]] = {
                "base": lambda: [self.base_spec],
                "validation": lambda: [self.fitted(method)],
                "zoo": lambda: [self.blocks, self._zoo_text()],
                "generator": lambda: [self.generator, *([] if "zoo" in kind.needs else [self.blocks])],
                "guide": lambda: [self.guide],
                "own": lambda: [self.lora(concept)],
                "pairs": lambda: [self.pairs(concept), *self._shared, *self._subset],
            }
            inputs = [source for need, found in sources.items() if need in kind.needs for source in found()]
            prompt = self.other(concept, seed).prompt if kind.shuffled else concept.prompt
            scarce = self._scarce() if "pairs" in kind.needs else {}
            return init.spec(self.options, self.method(method), concept, prompt, seed, scarce, inputs)

        return self._once(("init", method, concept, seed), spec)

    def finetune(self, method: str, concept: Concept, seed: int) -> Spec:
        def spec() -> Spec:
            start = self.init(method, concept, seed)
            inputs = [self.text(concept.prompt), self.pairs(concept), *self._shared, *self._subset]
            inputs += [start, start.upstream("base")] if start else []
            return finetune.spec(self.options, self.method(method), concept, seed, self._scarce(), inputs)

        return self._once(("finetune", method, concept, seed), spec)

    def other(self, concept: Concept, seed: int) -> Concept:
        """Another concept of the same split, each concept's a different one (a rotation that the seed chooses)."""
        peers = self.split(concept.split)
        if len(peers) < 2:
            raise WeightgenError(f"{concept.split} has one concept: prompts cannot be shuffled, add concepts")
        return peers[(peers.index(concept) + 1 + seed % (len(peers) - 1)) % len(peers)]

    def _scarce(self) -> dict[str, Any]:
        """How many pairs a new concept has, where that is not all there are. Raises WeightgenError on less than one."""
        if self.cfg.pairs is not None and self.cfg.pairs < 1:
            raise WeightgenError(f"pairs={self.cfg.pairs}: a new concept needs at least one training pair")
        every = None if self.premade else self.cfg.photos.train
        return {} if self.cfg.pairs in (None, every) else {"pairs": self.cfg.pairs}

    def method(self, name: str) -> dict[str, Any]:
        """Options of conf/init/<name>.yaml as they hold on this base (see experiments.pipeline.methods)."""
        return method_options(self.cfg, name)

    def init_class(self, name: str) -> type[Init]:
        """The class of weightgen.inits behind a method: says what it `needs`."""
        return init.init_class(self.method(name))

    @property
    def methods(self) -> list[str]:
        return all_methods() if self.cfg.methods == "all" else list(self.cfg.methods)
