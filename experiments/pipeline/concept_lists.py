"""Which concepts a configuration has: all, those of each split, the zoo's, and the editor's own."""

from functools import cached_property
from typing import Any

from omegaconf import DictConfig

from experiments.pipeline.options import Options
from experiments.stages import concepts, pairs
from weightgen.artifacts import Spec
from weightgen.choices import make
from weightgen.data.concepts import CONCEPTS
from weightgen.data.concepts.concept import Concept
from weightgen.data.concepts.manifest import Manifest, read_manifest
from weightgen.data.editors import EDITORS
from weightgen.errors import WeightgenError


class ConceptLists:
    """Lists of concepts, in the order of their source."""

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg, self.options = cfg, Options(cfg)

    @cached_property
    def source(self) -> Any:
        """Where concepts come from; one with `collect` is asked once, and its list is an artifact. An editor that cannot
        draw what the grammar says has concepts of its own in its place."""
        options, editor = self.options("concepts"), EDITORS.find(self.options("editor.name"))
        return make(CONCEPTS, editor.concepts_for(options) if hasattr(editor, "concepts_for") else options)

    @cached_property
    def collected(self) -> Spec | None:
        """The list of a source that must be asked; None where nobody has to, as for an editor that brings its own."""
        asks = not self.premade and hasattr(self.source, "collect")
        return concepts.spec(self.options, self.source) if asks else None

    @cached_property
    def concepts(self) -> list[Concept]:
        """Of the configured source, or of an editor that brings its own (premade pairs)."""
        return self.with_zoo(self.premade.concepts() if self.premade else self.source.load())

    @cached_property
    def manifest(self) -> Manifest | None:
        """The list of LoRAs that exist, where the zoo is one. Raises WeightgenError on options that need it trained here."""
        if self.options("zoo.name") != "manifest":
            return None
        if self.cfg.base != "representative":
            raise WeightgenError("base=all: the LoRAs of zoo=manifest bring their base; leave text_base out of methods")
        return read_manifest(self.options("zoo.file"))

    def with_zoo(self, concepts: list[Concept]) -> list[Concept]:
        """The manifest's concepts in place of those to train on. Raises WeightgenError where it knows an unseen one."""
        if self.manifest is None:
            return concepts
        unseen = [concept for concept in concepts if concept.split != "train"]
        if known := [concept.prompt for concept in unseen if concept.prompt in self.manifest.folders]:
            raise WeightgenError(f"{known[0]!r} is in zoo.file and, unseen, among concepts: take it out of one of them")
        return [*self.manifest.concepts, *unseen]

    @property
    def zoo_pairs(self) -> bool:
        """Whether the zoo's concepts have pairs."""
        return self.manifest is None or self.options("zoo.pairs")

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
        train, size = self.split("train"), self.options("zoo.size")
        if size is not None and not 2 <= size <= len(train):
            raise WeightgenError(f"zoo.size={size}: choose 2 to {len(train)}, or more train concepts")
        return train[:size]

    @cached_property
    def shown(self) -> list[Concept]:
        """The concepts whose pairs training through the base reads: the zoo's, with zoo.beyond all train concepts."""
        return self.split("train") if self.options("zoo").get("beyond") else self.zoo

    @cached_property
    def base_candidates(self) -> list[Concept]:
        """The train concepts among which the base's are chosen: with zoo.beyond those that have a LoRA, so that the others
        change nothing before training through the base. base=all sees every train concept."""
        beyond = self.options("zoo").get("beyond") and self.options("base") != "all"
        return self.zoo if beyond else self.split("train")

    def other(self, concept: Concept, seed: int) -> Concept:
        """Another concept of the same split, each concept's a different one (a rotation that the seed chooses)."""
        peers = self.split(concept.split)
        if len(peers) < 2:
            raise WeightgenError(f"{concept.split} has one concept: prompts cannot be shuffled, add concepts")
        return peers[(peers.index(concept) + 1 + seed % (len(peers) - 1)) % len(peers)]
