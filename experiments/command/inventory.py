"""What lies in the folder of artifacts, which recipes use it, and what none of them does."""

import shlex
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from experiments.options.table import CONF
from experiments.pipeline.build import Pipeline
from weightgen.artifacts import FILES, Spec
from weightgen.errors import WeightgenError
from weightgen.files import read_json


@dataclass(frozen=True)
class Artifact:
    """A finished artifact. bytes: of its files; made: seconds since 1970."""

    folder: Path
    stage: str
    key: str
    label: str
    bytes: int
    made: float


def artifacts(root: Path | str) -> Iterator[Artifact]:
    """Every finished artifact, stage after stage, the newest last."""
    root = Path(root)
    if not root.is_dir():
        raise WeightgenError(f"{root} is no folder: say --folder=<the folder of artifacts>")
    finished = sorted(root.glob(f"*/*/{FILES}"), key=lambda path: (path.parts[-3], path.stat().st_mtime))
    for files in finished:
        folder = files.parent
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        label = read_json(folder / "spec.json").get("label", "")
        yield Artifact(folder, folder.parent.name, folder.name, label, size, files.stat().st_mtime)


def used(recipe: str, root: Path | str) -> set[tuple[str, str]]:
    """(stage, key) of all that `evaluate` of a recipe with every method needs. recipe: its name, and overrides."""
    name, *overrides = shlex.split(recipe)
    given = [f"experiment={name}", "methods=all", *overrides, f"paths.artifacts={root}", "build_missing=false"]
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        cfg = compose("config", given)
    found: dict[tuple[str, str], Spec] = {}
    for base in cfg.bases:
        pipeline = Pipeline(OmegaConf.merge(cfg, {"base": base}))
        seeds, methods = cfg.seeds, pipeline.methods
        for concept in pipeline.test_concepts:
            _gather([pipeline.finetune(m, concept, seed) for m in methods for seed in seeds], found)
        _gather([pipeline.guide, *filter(None, [pipeline.collected])], found)
    return set(found)


def _gather(specs: Iterable[Spec], found: dict[tuple[str, str], Spec]) -> None:
    for spec in specs:
        if (spec.stage, spec.key) not in found:
            found[spec.stage, spec.key] = spec
            _gather(spec.inputs, found)


def listing(root: Path | str, recipes: Sequence[str]) -> str:
    """A line an artifact: stage, key, size, age, label, and which of the recipes use it."""
    uses = {recipe: used(recipe, root) for recipe in recipes}
    lines, total = [], 0
    for artifact in artifacts(root):
        users = ", ".join(r for r, keys in uses.items() if (artifact.stage, artifact.key) in keys)
        total += artifact.bytes
        lines.append(_line(artifact) + (f"  [{users or '-'}]" if recipes else ""))
    return "\n".join([*lines, f"{len(lines)} artifacts, {_size(total)}, in {root}"])


def prune(root: Path | str, recipes: Sequence[str], force: bool) -> str:
    """Delete every artifact that none of the recipes uses; without `force` say which. WeightgenError without recipes."""
    if not recipes:
        raise WeightgenError(
            "say whose artifacts stay: prune <recipe> ..., in quotes with its overrides, as 'toy lora=ab'"
        )
    kept = set().union(*(used(recipe, root) for recipe in recipes))
    going = [a for a in artifacts(root) if (a.stage, a.key) not in kept]
    if force:
        for artifact in going:
            (artifact.folder / FILES).unlink()  # from here on it is nobody's finished work
            shutil.rmtree(artifact.folder)
    total = f"{len(going)} artifacts, {_size(sum(a.bytes for a in going))}"
    said = f"deleted {total}" if force else f"{total} would go: again with --force (make prune FORCE=1) to delete them"
    return "\n".join([*map(_line, going), said])


def _line(artifact: Artifact) -> str:
    days = (time.time() - artifact.made) / 86400
    age = f"{days:.0f} d" if days >= 2 else f"{24 * days:.0f} h"
    return f"{artifact.stage:9} {artifact.key}  {_size(artifact.bytes):>8}  {age:>5}  {artifact.label}"


def _size(count: float) -> str:
    return f"{count / 2**20:.1f} MB" if count < 2**30 else f"{count / 2**30:.1f} GB"
