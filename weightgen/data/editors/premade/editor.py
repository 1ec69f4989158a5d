"""Pairs that exist already: folders of the user's own, or a data set of images, edited images and prompts."""

import json
import logging
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightgen.data.concepts.concept import Concept, slug
from weightgen.data.editors.premade.dataset import PairDataset
from weightgen.data.editors.premade.folders import Pair, PairReader
from weightgen.data.editors.premade.table import ConceptTable
from weightgen.data.pairs import Pairs
from weightgen.data.photos import copies
from weightgen.data.photos.decoding import images_below
from weightgen.data.photos.pool import check_fractions
from weightgen.data.splits import PARTS, SPLITS, parts_of, split_folders
from weightgen.errors import DataError
from weightgen.files import FileMemory, sha256

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)
VERSION = 1  # belongs into the key of everything made with this editor
LEAST = {"train": 2, "validation": 2, "test": 2}  # pairs: a mean and a spread of features need two


class PremadePairs:
    """Brings concepts and photos of its own: a folder a concept below `root`, or a data set grouped by its prompts.

    A concept's prompt is the first line of its folder's prompt.txt, or what `concepts_csv` says, or the folder's name.
    size: px; train, validation, test: the most pairs of each part. test_fraction, validation_fraction: shares of the photos
    kept for those parts, chosen by their pixels, so that a photo and its near copies are in one part in all concepts.
    splits: shares of the concepts, by a hash of their names; seed: of that hash. concepts_csv: columns concept (a folder's
    name), prompt, split. Other options: PairReader's and PairDataset's. cache: where a data set's pairs and the files'
    hashes are kept; None keeps no hashes.
    """

    version = VERSION

    def __init__(
        self,
        root: str | Path | None = None,
        dataset: Mapping[str, Any] | None = None,
        size: int = 64,
        train: int = 96,
        validation: int = 24,
        test: int = 48,
        test_fraction: float = 0.3,
        validation_fraction: float = 0.1,
        splits: Mapping[str, float] | None = None,
        concepts_csv: str | Path | None = None,
        seed: int = 0,
        layout: str = "auto",
        direction: str = "a_to_b",
        source: str = "source",
        target: str = "target",
        cache: str | Path | None = None,
    ) -> None:
        name = (dataset or {}).get("name")
        if (root is None) == (name is None):
            raise DataError("editor=premade: say editor.root=<folder of pairs>, or editor.dataset.name=<data set>")
        check_fractions("editor", test_fraction, validation_fraction)
        self.size, self.most = size, {"train": train, "validation": validation, "test": test}
        for part, least in LEAST.items():
            if self.most[part] < least:
                raise DataError(f"photos.{part}: premade pairs need {least} or more")
        self.fractions = {"test": test_fraction, "validation": validation_fraction}
        self.shares = dict(splits or {"train": 0.7, "validation": 0.1, "unseen_factor": 0.2})
        self.table, self.seed = ConceptTable.read(concepts_csv), seed
        self.reader = PairReader(layout, direction, source, target, least=max(16, size // 2))
        self.cache = None if cache is None else Path(cache)
        if name is not None:
            options = {key: value for key, value in dataset.items() if key != "name"}
            root = PairDataset(name, **options).folder(self.cache or Path(".premade"))
            self.reader = PairReader("folders", least=self.reader.least)
        self.root = Path(root).expanduser()

    @classmethod
    def identity(cls, options: Mapping[str, Any], memory: Path | None = None) -> dict[str, Any]:
        """Pairs are known by their content (`fingerprint`); of the options only the size remains."""
        return {name: options[name] for name in ("name", "size") if name in options}

    @property
    def splits(self) -> list[str]:
        """The splits that some concept is to have."""
        given = set(self.table.splits.values())
        return [split for split in SPLITS if self.shares.get(split) or split in given]

    @cached_property
    def _folders(self) -> dict[str, Path]:
        """Concept name -> its folder."""
        if not self.root.is_dir():
            raise DataError(f"editor.root: {self.root} is not a folder; point it at a folder of concepts' pairs")
        children = sorted(f for f in self.root.iterdir() if f.is_dir() and f.name[0] != ".")
        here = {child.name for child in children} & {self.reader.source, self.reader.target}
        if here or not children:
            raise DataError(
                f"editor.root: {self.root} {'holds one concept' if here else 'holds no folders'}; give each concept "
                f"a folder of its own below it, with AB images or {self.reader.source}/ and {self.reader.target}/"
            )
        children = [child for child in children if next(images_below(child), None)]
        unknown = (self.table.prompts.keys() | self.table.splits.keys()) - {child.name for child in children}
        if unknown:
            raise DataError(
                f"editor.concepts_csv: {self.root} has no concept folder {sorted(unknown)[0]!r} with images"
            )
        return {child.name: child for child in children}

    @cached_property
    def _concepts(self) -> dict[str, Concept]:
        """Folder name -> concept."""
        names = list(self._folders)
        splits = split_folders(names, self.shares, self.table.splits, self.seed)
        prompts = {name: self._prompt(folder) for name, folder in self._folders.items()}
        for name in names:
            same = [other for other in names if prompts[other] == prompts[name]]
            if len(same) > 1:
                raise DataError(
                    f"concept folders {' and '.join(same[:2])} of {self.root} have one prompt, {prompts[name]!r}: "
                    "tell them apart in prompt.txt, or join them"
                )
        return {name: Concept(slug(prompts[name]), prompts[name], splits[name]) for name in names}

    def _prompt(self, folder: Path) -> str:
        file = folder / "prompt.txt"
        if folder.name in self.table.prompts:
            return self.table.prompts[folder.name]
        if file.is_file():
            lines = file.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            return lines[0].strip() if lines else ""
        return " ".join(folder.name.replace("_", " ").replace("-", " ").split())

    def concepts(self) -> list[Concept]:
        """-> one a folder, in the order of their names. DataError: too few for the splits, or two of one prompt."""
        return list(self._concepts.values())

    @cached_property
    def _pairs(self) -> dict[str, dict[str, list[Pair]]]:
        """Concept name -> part -> pairs, at most as many as asked for, in an order that their content gives."""
        memory = FileMemory(self.cache and self.cache / "pictures.json")
        found = {c.name: self.reader.pairs(self._folders[f], memory) for f, c in self._concepts.items()}
        memory.save()
        groups = copies.copies({p.source_digest: bytes.fromhex(p.picture) for pairs in found.values() for p in pairs})
        log.info("%s", copies.told(groups))
        photos = [sorted({groups[pair.source_digest] for pair in pairs}) for pairs in found.values()]
        part_of = parts_of(photos, self.fractions, LEAST)
        parts: dict[str, dict[str, list[Pair]]] = {}
        for name, pairs in found.items():
            ordered = sorted(pairs, key=lambda pair: (pair.source_digest, pair.target_digest))
            by_part = {part: [p for p in ordered if part_of[groups[p.source_digest]] == part] for part in PARTS}
            for part, chosen in by_part.items():
                if len(chosen) < LEAST[part]:
                    raise DataError(
                        f"concept folder {self._folder_of(name)}: {len(pairs)} distinct pairs leave {len(chosen)} for "
                        f"{part}, {LEAST[part]} are needed: add pairs ({sum(LEAST.values())} at least)"
                    )
            parts[name] = {part: chosen[: self.most[part]] for part, chosen in by_part.items()}
        return parts

    def _folder_of(self, name: str) -> Path:
        return next(self._folders[folder] for folder, concept in self._concepts.items() if concept.name == name)

    def fingerprint(self, concept: Concept) -> str:
        """sha256 over the concept's pairs, part by part: neither names nor places matter."""
        parts = self._pairs[slug(concept.prompt)]
        content = {part: [[p.source_digest, p.target_digest] for p in pairs] for part, pairs in parts.items()}
        return sha256(json.dumps(content, sort_keys=True))

    def pairs(self, photos: "Mapping[str, Tensor]", concept: Concept, folder: Path) -> Pairs:
        """-> the concept's pairs at `size` px, sources its own (`photos` are not looked at)."""
        import torch

        from weightgen.data.editors.flaws import FLAWS, flaws, require_different  # which need torch

        sources, targets, counts = {}, {}, Counter()
        for part, pairs in self._pairs[slug(concept.prompt)].items():
            sides = [pair.read(self.size) for pair in pairs]
            sources[part], targets[part] = (torch.stack(side) for side in zip(*sides, strict=True))
            counts.update(flaws(sources[part], targets[part].float() / 255, 0.0).tolist())
            require_different(targets[part], sources[part], concept.prompt)
        found = {flaw: counts[number] for number, flaw in enumerate(FLAWS, start=1)}
        if sum(found.values()):
            told = ", ".join(f"{count} {flaw}" for flaw, count in found.items() if count)
            log.warning("%s: of %d targets %s", concept.prompt, counts.total(), told)
        return Pairs(targets, sources, found)
