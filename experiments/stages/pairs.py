"""Stage 1: each concept's edited photos. `python -m experiments.collect_pairs` or `make pairs`."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from experiments.pipeline.options import Options
from experiments.pipeline.runtime import Runtime
from experiments.pipeline.stage import Inputs, Stage
from weightgen.artifacts import Spec
from weightgen.choices import make
from weightgen.data.concepts.concept import Concept
from weightgen.data.editors import EDITORS

AGAIN = "again.safetensors"
_loaded: dict[str, Any] = {}  # the last editor, by its options: a loaded model serves all concepts of a process


def spec(options: Options, concept: Concept, photos: Sequence[Spec]) -> Spec:
    """photos: those that all concepts share; none for an editor that brings its own."""
    config = {
        "editor": options.once("pairs.identity", lambda: identity(options)),
        "editor_version": EDITORS.find(options("editor.name")).version,
        "prompt": concept.prompt,
        "factors": [list(factor) for factor in concept.factors],
    }
    if hasattr(EDITORS.find(options("editor.name")), "fingerprint"):
        content = editor(options("editor")).fingerprint(concept)
        config |= {} if content is None else {"content": content}
    return STAGE.spec(config, photos, f"pairs {concept.name}", concept)


def build(config: Mapping[str, Any], inputs: Inputs, folder: Path, runtime: Runtime) -> dict[str, Any]:
    """targets.safetensors: the photos edited by the concept, uint8; sources.safetensors: what they were made of, where that
    is not every photo in order; again.safetensors: a second draw of edits that vary, of all but train photos."""
    from experiments.training.payloads import tensors
    from weightgen.files import save_tensors

    start = time.perf_counter()
    shared = inputs.maybe("photos")
    photos = tensors(shared.folder / "photos.safetensors") if shared else {}
    concept = SimpleNamespace(prompt=config["prompt"], factors=tuple(map(tuple, config["factors"])))
    made = editor(runtime.complete("editor", config["editor"])).pairs(photos, concept, folder)
    save_tensors(folder / "targets.safetensors", made.targets)
    if made.sources is not None:
        save_tensors(folder / "sources.safetensors", made.sources)
    if made.again:
        save_tensors(folder / AGAIN, made.again)
    seconds = {"seconds": time.perf_counter() - start}  # an editor that resumes knows those of before as well
    return seconds | {"pairs": sum(map(len, made.targets.values()))} | made.report


def floor_spec(options: Options, concept: Concept, pairs: Spec) -> Spec:
    """How far two draws of a concept's edits are apart, as translators' outputs are scored."""
    config = {**options.by_content("metrics"), "scored": options("scored")}
    return FLOOR.spec(config, [pairs], f"floor {concept.name}", concept)


def build_floor(config: Mapping[str, Any], inputs: Inputs, folder: Path, runtime: Runtime) -> dict[str, Any]:
    """metrics.json alone: the scores of the second draw against the first."""
    from experiments.training.payloads import image_metrics, reference, tensors

    pairs, features, scored = inputs.one("pairs"), runtime.local(config["metrics"]), config["scored"]
    again = tensors(pairs.folder / AGAIN)[scored]
    return image_metrics(features, runtime.device)(again, reference(features, pairs, scored, runtime.device))


FLOOR = Stage("floor", 1, "", build_floor, per_concept=True)
STAGE = Stage("pairs", 1, "pairs", build, per_concept=True, models=False)


def editor(options: Mapping[str, Any]) -> Any:
    """The editor of these options, made once a process; its model loads at the first edit."""
    description = json.dumps(options, sort_keys=True)
    if description not in _loaded:
        release_editor()
        _loaded.clear()
        _loaded[description] = make(EDITORS, options)
    return _loaded[description]


def release_editor() -> None:
    """Let a loaded model go: what comes after editing wants the memory."""
    for known in _loaded.values():
        if hasattr(known, "release"):
            known.release()


def premade(options: Options) -> Any | None:
    """The editor where it brings concepts and photos of its own, else None."""
    brings = hasattr(EDITORS.find(options("editor.name")), "concepts")
    return editor(options("editor")) if brings else None


def varies(options: Options) -> bool:
    """Whether the editor's edits differ from photo to photo and a second draw of them is kept."""
    kind = EDITORS.find(options("editor.name"))
    return hasattr(kind, "varies") and kind.varies(options("editor"))


def identity(options: Options) -> dict[str, Any]:
    """What of the editor's options belongs into keys: all, unless the editor says which decide its pixels."""
    kind = EDITORS.find(options("editor.name"))
    if not hasattr(kind, "identity"):
        return options("editor")
    return kind.identity(options("editor"), Path(options("paths.artifacts")) / ".files.json")
