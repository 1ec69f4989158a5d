"""The list of concepts where a source must be asked for it (`concepts=llm`). `make concepts`."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.pipeline.options import Options
from experiments.pipeline.runtime import Runtime
from experiments.pipeline.stage import Inputs, Stage
from weightgen.artifacts import Spec
from weightgen.choices import make
from weightgen.data.concepts import CONCEPTS
from weightgen.data.concepts.concept import Concept
from weightgen.data.splits import SPLITS
from weightgen.files import write_rows

SHOWN = 5  # prompts of each split in an overview


def spec(options: Options, source: Any) -> Spec:
    """Its key says what is asked of which model, not where that is reached."""
    config = {"name": options("concepts.name"), "concepts": source.identity(), "source_version": source.version}
    return STAGE.spec(config, [], "concepts")


def build(config: Mapping[str, Any], inputs: Inputs, folder: Path, runtime: Runtime) -> dict[str, Any]:
    """concepts.json, the list; answers.jsonl, what was answered."""
    options = runtime.complete("concepts", {**config["concepts"], "name": config["name"]})
    return make(CONCEPTS, options).collect(folder)


STAGE = Stage("concepts", 1, "concepts", build, models=False)


def write_table(concepts: Iterable[Concept], path: Path) -> None:
    """A table that `concepts=file concepts.path=<it>` reads back as it is."""
    rows = [[c.prompt, c.name, c.split, "|".join(c.paraphrases)] for c in concepts]
    write_rows(path, ["prompt", "name", "split", "paraphrases"], rows)


def overview(concepts: Sequence[Concept]) -> str:
    """A line a split: how many concepts it has, and the prompts of some."""
    lines = []
    for split in SPLITS:
        prompts = [concept.prompt for concept in concepts if concept.split == split]
        more = " ..." if len(prompts) > SHOWN else ""
        lines.append(f"{split:<19} {len(prompts):>4}  {'; '.join(prompts[:SHOWN])}{more}")
    return "\n".join(lines)
