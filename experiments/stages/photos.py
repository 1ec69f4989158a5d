"""Stage 1: the photos that all concepts share, and which of them to learn from. `make pairs` builds them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.pipeline.options import Options
from experiments.pipeline.runtime import Runtime
from experiments.pipeline.stage import Inputs, Stage
from weightgen.artifacts import Spec
from weightgen.choices import make
from weightgen.data.photos import PHOTOS, SUBSETS

PLACES = ("root", "download", "streaming")  # where photos lie, and how they came there, is not what they are
EVERY = "all"  # the subset that is no choice


def spec(options: Options) -> Spec:
    given = options("photos")
    config = {
        "photos": {name: value for name, value in given.items() if name not in PLACES},
        "content": make(PHOTOS, given).fingerprint(),
    }
    return STAGE.spec(config, [], "photos")


def build(config: Mapping[str, Any], inputs: Inputs, folder: Path, runtime: Runtime) -> dict[str, Any]:
    """photos.safetensors: train, validation and test, each uint8 (N, 3, S, S); names.json: each crop's photo."""
    from weightgen.files import save_tensors, write_json

    photos = make(PHOTOS, runtime.complete("photos", config["photos"])).load()
    save_tensors(folder / "photos.safetensors", photos.crops)
    write_json(folder / "names.json", {"names": photos.names, "attribution": photos.attribution})
    return {part: len(crops) for part, crops in photos.crops.items()} | photos.report


def subset_spec(options: Options, photos: Spec) -> Spec:
    """The choice of train photos for the base and for fine-tuning, made once a configuration."""
    return SUBSET.spec({"subset": options("subset"), "seed": options("build_seed")}, [photos], "subset of the photos")


def build_subset(config: Mapping[str, Any], inputs: Inputs, folder: Path, runtime: Runtime) -> dict[str, Any]:
    """rows.safetensors: rows of the train photos to learn from, ascending."""
    from experiments.training.payloads import tensors
    from weightgen.evaluation import FEATURES
    from weightgen.files import save_tensors

    shared = tensors(inputs.one("photos").folder / "photos.safetensors")["train"]
    options = dict(config["subset"])
    if "features" in options:
        options["features"] = make(FEATURES, options["features"])
    rows = make(SUBSETS, options).rows(shared, config["seed"])
    save_tensors(folder / "rows.safetensors", {"rows": rows})
    return {"photos": len(shared), "chosen": len(rows)}


def chosen_rows(inputs: Inputs) -> Any:
    """The rows of the subset among `inputs`, long (n,); None where every photo is used.

    Raises WeightgenError where a concept has photos of its own in place of those that a subset is of.
    """
    from experiments.training.payloads import has_own_photos, tensors
    from weightgen.errors import WeightgenError

    if (subset := inputs.maybe("subset")) is None:
        return None
    if has_own_photos(inputs.all("pairs")):
        raise WeightgenError(
            "a subset is of the photos that all concepts share, and these have their own: use subset=all"
        )
    return tensors(subset.folder / "rows.safetensors")["rows"]


def subset_key(options: Options) -> dict[str, Any]:
    """What the choice adds to a key: nothing where every photo is used."""
    return {} if options("subset.name") == EVERY else {"subset": options("subset")}


def subset_budget(options: Options, given: dict[str, Any]) -> dict[str, Any]:
    """A training budget for the chosen photos."""
    return given if options("subset.name") == EVERY else _without_features(options("subset")).budget(given)


def subset_concepts(config: Mapping[str, Any], count: int) -> int:
    """How many of `count` train concepts a base of this key sees."""
    default = config["budget"]["concepts"]
    return _without_features(config["subset"]).concepts(count, default) if "subset" in config else min(default, count)


def _without_features(options: Mapping[str, Any]) -> Any:
    return make(SUBSETS, {**options, **({"features": None} if "features" in options else {})})


STAGE = Stage("photos", 1, "pairs", build, models=False)
SUBSET = Stage("subset", 1, "", build_subset)
