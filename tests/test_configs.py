"""Every config option and every recipe composes, and names classes that exist with arguments they take."""

import importlib.util
import inspect

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from tests.helpers.configs import CONF, composed
from weightgen.choices import make, parameters
from weightgen.data.concepts import CONCEPTS
from weightgen.data.editors import EDITORS
from weightgen.data.photos import PHOTOS, SUBSETS
from weightgen.diffusion import DENOISERS
from weightgen.evaluation import FEATURES
from weightgen.generation import REFINERS
from weightgen.inits import INITS
from weightgen.text import TEXT_ENCODERS
from weightgen.translation.nets import DISCRIMINATORS, TRANSLATORS

TABLES = {
    "concepts": CONCEPTS,
    "photos": PHOTOS,
    "subset": SUBSETS,
    "editor": EDITORS,
    "text_encoder": TEXT_ENCODERS,
    "translator": TRANSLATORS,
    "scratch": TRANSLATORS,
    "distilled": TRANSLATORS,
    "discriminator": DISCRIMINATORS,
    "denoiser": DENOISERS,
    "refiner": REFINERS,
    "init": INITS,
    "metrics": FEATURES,
}
GROUPS = sorted(folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name != "hydra")
OPTIONS = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]


LAUNCHERS = sorted(path.stem for path in (CONF / "hydra/launcher").glob("*.yaml"))


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_and_names_real_classes(group: str, option: str) -> None:
    plus = "+" if group == "variant" else ""
    cfg = composed(f"{plus}{group}={option}", "photos.root=somewhere" if option == "folder" else "seed=0")
    node = cfg if group in ("experiment", "variant") else cfg[group]
    for target in [n for n in _nodes(node) if "_target_" in n]:
        assert not target["_target_"].startswith("weightgen."), f"{group}={option} names a module, not a short name"
        known = inspect.signature(get_class(target["_target_"])).parameters
        open_ended = any(p.kind is p.VAR_KEYWORD for p in known.values())
        unknown = set(target) - set(known) - {"_target_", "_partial_"}
        assert open_ended or not unknown, f"{group}={option}: {target['_target_']} has no {unknown}"
    for slot, table in TABLES.items():
        given = OmegaConf.to_container(cfg[slot], resolve=True)
        name = given.pop("kind" if slot == "init" else "name")
        assert not set(given) - parameters(table.find(name)) - {"name"}, f"{group}={option}: {slot}={name}"


def test_every_name_of_every_table_is_a_class() -> None:
    for table in TABLES.values():
        for name in table.classes:
            assert inspect.isclass(table.find(name))


def _nodes(node):
    if isinstance(node, DictConfig):
        node = OmegaConf.to_container(node, resolve=True)
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _nodes(value)
    elif isinstance(node, list):
        for value in node:
            yield from _nodes(value)


@pytest.mark.parametrize("recipe", [option for group, option in OPTIONS if group == "experiment"])
def test_every_recipe_names_its_report(recipe: str) -> None:
    cfg = composed(f"experiment={recipe}")
    assert cfg.recipe == recipe
    assert OmegaConf.to_yaml(cfg, resolve=True)


def test_the_paper_recipe_has_the_papers_sizes() -> None:
    from weightgen.translation.lora import LoraSpec, inject_lora, lora_parameters

    cfg = composed("experiment=paper")
    base = make(TRANSLATORS, OmegaConf.to_container(cfg.translator), text_dim=384)
    lora = inject_lora(base, LoraSpec(**OmegaConf.to_container(cfg.lora)))
    parameters = sum(p.numel() for p in lora_parameters(lora).values())
    assert abs(parameters - 92_000) < 2_000  # PAPER: about 0.092 M
    assert (cfg.photos.size, cfg.photos.train, cfg.blocks.size) == (256, 1000, 256)
    epochs = 4 / 1000  # batch 4, 1000 photos
    assert cfg.budget.finetune.scratch.steps * epochs == 200
    assert cfg.budget.finetune.lora.steps * epochs == 100
    assert 20 in [point * epochs for point in cfg.budget.finetune.lora.points]


@pytest.mark.parametrize("recipe", ["smoke", "demo", "toy"])
def test_the_published_design_is_one_override_away(recipe: str) -> None:
    cfg = composed(f"experiment={recipe}", "+variant=paper")
    assert cfg.recipe == recipe
    assert cfg.paths.reports != "reports"
    assert (cfg.lora.train, cfg.denoiser.name) == ("ab", "unet1d")
    assert (cfg.translator.skips, cfg.translator.positions) == ("none", 0)
    assert (cfg.budget.function.steps, cfg.budget.finetune.trainable) == (0, "lora")


@pytest.mark.parametrize("strategy", [option for group, option in OPTIONS if group == "strategy"])
def test_every_strategy_says_how_many_concepts_train_at_once(strategy: str) -> None:
    assert composed(f"strategy={strategy}").fleet.size >= 1
    assert composed(f"strategy={strategy}", "fleet.size=3").fleet.size == 3


@pytest.mark.parametrize("logger", [option for group, option in OPTIONS if group == "logger"])
def test_one_word_names_the_project_of_runs_and_report(logger: str) -> None:
    assert composed(f"logger={logger}").logger.project == "weightgen"
    assert composed(f"logger={logger}", "project=mine").logger.project == "mine"
    assert composed(f"logger={logger}").logger.entity is None


@pytest.mark.filterwarnings("ignore:\\s*.hydra/launcher:UserWarning")
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_every_launcher_composes_and_its_plugin_takes_its_options(launcher: str) -> None:
    cfg = composed(f"hydra/launcher={launcher}", "experiment=smoke", return_hydra_config=True)
    target = cfg.hydra.launcher._target_
    package = target.split(".")[1]
    if importlib.util.find_spec(f"hydra_plugins.{package}") is None:
        pytest.skip(f"composes; {package} is not installed")
    plugin = Plugins.instance()._instantiate(cfg.hydra.launcher)
    assert f"{type(plugin).__module__}.{type(plugin).__name__}" == target


@pytest.mark.parametrize("recipe", [option for group, option in OPTIONS if group == "experiment"])
def test_a_recipe_that_sweeps_names_an_app_and_options_that_there_are(recipe: str) -> None:
    cfg = composed(f"experiment={recipe}", return_hydra_config=True)
    assert (CONF.parent / "experiments" / f"{cfg.sweep.app}.py").exists()
    swept = [f"{key}={value}" for key, value in (cfg.hydra.sweeper.params or {}).items()]
    parsed = OverridesParser.create().parse_overrides(swept)
    for job in BasicSweeper.split_arguments(parsed, None)[0]:
        assert composed(f"experiment={recipe}", *job).recipe == recipe
    assert bool(cfg.hydra.mode) == recipe.startswith(("sweep_", "search_"))


@pytest.mark.parametrize("recipe", ["paper_faces", "paper_landscapes"])
def test_the_papers_inputs_are_recipes(recipe: str) -> None:
    cfg, paper = composed(f"experiment={recipe}"), composed("experiment=paper")
    assert (cfg.photos.size, cfg.photos.train, cfg.concepts.count) == (256, 1000, 520)
    names = [cfg[group].name for group in ("concepts", "photos", "text_encoder", "metrics")]
    assert names == ["llm", "folder", "open_clip", "inception"]
    for group in ("budget", "lora", "denoiser", "translator", "blocks", "scratch"):
        assert cfg[group] == paper[group]
