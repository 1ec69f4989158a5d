"""Sample images of a comparison, small enough to travel inside a page."""

import base64
import io
from typing import Any

from PIL import Image
from torch import Tensor

from experiments.pipeline.load import pair_tensors, tensors
from experiments.pipeline.build import Pipeline
from experiments.reports.tables import shown_concepts
from weightgen.artifacts import Spec
from weightgen.data.concepts.sources import Concept

LARGEST = 128  # px: images larger than this are reduced for the page


def data_uri(image: Tensor) -> str:
    """image: uint8 (3, H, W) -> a WebP as data:image/webp;base64,..."""
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    picture.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "webp", quality=88, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def samples(pipeline: Pipeline, spec: Spec, sample: int) -> tuple[Tensor, Tensor | None]:
    """Outputs of a finished fine-tune for one test photo, uint8 (3, H, W): at step 0, and at the end where it trained."""
    kept = tensors(pipeline.store.require(spec) / "samples.safetensors")
    return kept["start"][sample], kept["end"][sample] if spec.config["budget"]["steps"] else None


def image_grid(pipeline: Pipeline) -> list[dict[str, Any]]:
    """A dict per shown concept: its prompt, split, photo, target and each method's start and end, as data URIs.

    A run that is not finished is left out; [] where nothing is.
    """
    store, grid = pipeline.store, []
    for number, concept in enumerate(shown_concepts(pipeline)):
        specs = _finished(pipeline, concept)
        if not specs or not store.has(pipeline.pairs(concept)):
            continue
        photos, targets = pair_tensors(pipeline, concept)
        sample = number % min(4, len(photos["test"]))
        outputs = []
        for method, spec in specs.items():
            start, end = samples(pipeline, spec, sample)
            outputs.append(
                {
                    "method": method,
                    "steps": spec.config["budget"]["steps"],
                    "start": data_uri(start),
                    "end": None if end is None else data_uri(end),
                }
            )
        grid.append(
            {
                "concept": concept.name,
                "prompt": concept.prompt,
                "split": concept.split,
                "seed": pipeline.cfg.seeds[0],
                "photo": data_uri(photos["test"][sample]),
                "target": data_uri(targets["test"][sample]),
                "outputs": outputs,
            }
        )
    return grid


def _finished(pipeline: Pipeline, concept: Concept) -> dict[str, Spec]:
    """method -> its fine-tune on the concept with the first seed, those that are finished."""
    specs = {m: pipeline.finetune(m, concept, pipeline.cfg.seeds[0]) for m in pipeline.methods}
    return {method: spec for method, spec in specs.items() if pipeline.store.has(spec)}
