"""The stage graph: what every artifact of a configuration is called and what it is built from. Pure: nothing trains here."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, Self

from omegaconf import DictConfig, OmegaConf

from experiments.pipeline.concept_lists import ConceptLists
from experiments.pipeline.methods import all_methods, method_options
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
from weightgen.data.concepts.concept import Concept
from weightgen.errors import WeightgenError
from weightgen.inits.base import GIBBERISH, Init

STAGES: dict[str, Stage] = {  # in an order in which they can be built
    stage.name: stage
    for stage in (
        concepts.STAGE,
        photos.STAGE,
        pairs.STAGE,
        pairs.FLOOR,
        text.STAGE,
        photos.SUBSET,
        base.STAGE,
        lora.ADAPTER,
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


class StageGraph(ConceptLists):
    """Specs of a configuration. Two configurations with one key for a stage share its artifact."""

    def __init__(self, cfg: DictConfig) -> None:
        super().__init__(cfg)
        self._specs: dict[tuple, Spec | None] = {}
        self._siblings: dict[tuple[str, Any], Self] = {}

    def _once(self, identity: tuple, make_spec: Callable[[], Spec | None]) -> Spec | None:
        if identity not in self._specs:
            self._specs[identity] = make_spec()
        return self._specs[identity]

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

    def floors(self) -> dict[Concept, Spec]:
        """How far two draws of the edits of each concept to evaluate are apart; none where edits do not vary."""
        if not pairs.varies(self.options):
            return {}
        return {concept: pairs.floor_spec(self.options, concept, self.pairs(concept)) for concept in self.test_concepts}

    def text(self, *prompts: str) -> Spec:
        return self._once(("text", prompts), lambda: text.spec(self.options, prompts))

    def concept_text(self, *of: Concept) -> Spec:
        """Features of all their prompts and paraphrases, concept by concept, its prompt first."""
        return self.text(*(words for concept in of for words in (concept.prompt, *concept.paraphrases)))

    @cached_property
    def base_spec(self) -> Spec:
        """The base translator; its builder chooses representative concepts among those that it may see."""
        if self.manifest:
            return base.given_spec(self.manifest)
        train = self.base_candidates
        inputs = [self.concept_text(*train), *map(self.pairs, train), *self._shared, *self._subset]
        return base.spec(self.options, train, inputs)

    def lora(self, concept: Concept) -> Spec:
        """The concept's own LoRA: of the zoo for a train concept (perhaps given), longer trained for any other."""

        def spec() -> Spec:
            if self.manifest and concept.split == "train":
                return lora.adapter_spec(self.options, self.manifest, concept, self.base_spec)
            inputs = [self.base_spec, self.concept_text(concept), self.pairs(concept), *self._shared]
            return lora.spec(self.options, concept, inputs)

        return self._once(("lora", concept), spec)

    @cached_property
    def blocks(self) -> Spec:
        """The zoo, cut, with the normaliser."""
        return blocks.spec(self.options, self.zoo, self.base_spec, [self.lora(concept) for concept in self.zoo])

    @cached_property
    def denoiser(self) -> Spec:
        shown = [self.pairs(concept) for concept in self.zoo[: denoiser.SHOWN]] if self.zoo_pairs else []
        watched = self.split("validation") if self.options("budget.denoiser.validate_every") else []
        texts = [self.concept_text(*of) for of in (self.zoo, watched) if of]
        photos = self._shared if shown else []
        inputs = [self.blocks, *texts, self.base_spec, *map(self.lora, watched), *shown, *photos]
        return denoiser.spec(self.options, self.zoo, watched, inputs)

    @cached_property
    def _zoo_inputs(self) -> list[Spec]:
        """What training through the base reads beside a generator. Raises WeightgenError where the zoo has no pairs."""
        if not self.zoo_pairs:
            raise WeightgenError(
                "training through the base wants pairs: add zoo.pairs=true if photos and editor can make them for the "
                "LoRAs' prompts, else budget.function.steps=0, and no guided among methods"
            )
        pairs = map(self.pairs, self.shown)
        return [self.blocks, self.base_spec, self.concept_text(*self.shown), *pairs, *self._shared]

    @cached_property
    def generator(self) -> Spec:
        """The network that generates: the denoiser, trained on in function space where budget.function.steps > 0."""
        if not self.options("budget.function.steps"):
            return self.denoiser
        return function.spec(self.options, self.shown, [self.denoiser, *self._zoo_inputs])

    @cached_property
    def guide(self) -> Spec:
        """The refiner behind `guided`, trained on train concepts through the frozen base and generator."""
        return guide.spec(self.options, self.shown, [self.generator, *self._zoo_inputs])

    def sibling(self, option: str, value: Any) -> Self:
        """The same configuration with another value of an option; None: with its own."""
        if value in (None, OmegaConf.select(self.cfg, option)):
            return self
        if (option, value) not in self._siblings:
            cfg = self.cfg.copy()
            OmegaConf.update(cfg, option, value)
            self._siblings[option, value] = type(self)(cfg)
        return self._siblings[option, value]

    def _zoo_text(self) -> Spec:
        return self.text(*(concept.prompt for concept in self.zoo))

    def fitted(self, method: str) -> Spec:
        """What a method learns from the zoo, and the freedom that it chooses on validation concepts."""

        def spec() -> Spec:
            concepts, needs = self.split("validation"), self.init_class(method).needs
            texts = [self.text(*(concept.prompt for concept in concepts))] if concepts else []
            inputs = [*self._weights(needs), *texts, *map(self.pairs, concepts), *self._shared, *self._subset]
            return init.fit_spec(self.options, self.method(method), concepts, self._scarce(), inputs)

        return self._once(("fit", method), spec)

    def _weights(self, needs: frozenset[str]) -> list[Spec]:
        """The base and what else weights come from, whatever the concept."""
        inputs = [self.base_spec]
        inputs += [self.blocks] if needs & {"zoo", "generator"} else []
        inputs += [self._zoo_text()] if "zoo" in needs else []
        inputs += [self.generator] if "generator" in needs else []
        return inputs + ([self.guide] if "guide" in needs else [])

    def init(self, method: str, concept: Concept, seed: int) -> Spec | None:
        """The initial LoRA of a method; None for one that starts from scratch."""
        kind = self.init_class(method)
        if kind.from_scratch():
            return None
        variant = self.sibling("base", kind.base).sibling("budget.denoiser.prediction", kind.prediction)
        if variant is not self:
            return variant.init(method, concept, seed)

        def spec() -> Spec:
            sources: dict[str, Callable[[], list[Spec]]] = {
                "validation": lambda: [self.fitted(method)],
                "own": lambda: [self.lora(concept)],
                "pairs": lambda: [self.pairs(concept), *self._shared, *self._subset],
            }
            inputs = self._weights(kind.needs)
            inputs += [source for need, found in sources.items() if need in kind.needs for source in found()]
            prompt = GIBBERISH if kind.told == "gibberish" else concept.prompt
            prompt = self.other(concept, seed).prompt if kind.told == "another" else prompt
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
