"""Every option is checked once, before any work: what it takes is said in one line, and nothing is written."""

import copy
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from experiments.options.check import BadOption, check
from experiments.options.rules import number, several, whole
from experiments.options.table import CONF, table
from experiments.options.together import logged_in
from tests.helpers.apps import ROOT

WHOLE, SEEDS = "a whole number from", "a list [...] of 1 or more different values, each a whole number"
WRONG = {
    # ended in tracebacks, late or silently
    "photos.size=50": "a multiple of 4",
    "photos.size=64.5": f"{WHOLE} 16 to 4096",
    "photos.train=ten": f"{WHOLE} 1 to 1000000",
    "photos.test=1": f"{WHOLE} 2",
    "photos.validation=1": f"{WHOLE} 2",
    "scored=train": "test or validation",
    "budget.finetune.lora.points=2": f"{WHOLE} 3, or a list",
    "budget.denoiser.blocks=64": "denoiser=unet1d",
    "budget.denoiser.validate_every=9": "0 to budget.denoiser.steps=8",
    "seeds=0": SEEDS,
    "seeds=[]": SEEDS,
    "methods=[]": "all, or a list",
    "methods=pix2pix": "all, or a list",
    "methods=[e2gan,nosuch]": "e2gan, few_steps, generated",
    "splits=validation": "train, validation, unseen_combination or unseen_factor",
    "base=foo": "representative or all",
    "budget.finetune.trainable=some": "all or lora",
    "build_seed=abc": f"{WHOLE} 0",
    "seed=abc": f"{WHOLE} 0",
    "pairs=2.5": f"{WHOLE} 1, or null",
    "budget.base.steps=-3": f"{WHOLE} 1",
    "budget.base.steps=abc": f"{WHOLE} 1",
    "budget.base.adversarial=maybe": "true or false",
    "budget.lora.optimizer.lr=fast": "a finite number above 0",
    "budget.base.optimizer.lr=-1": "a finite number above 0",
    "budget.base.batch_size=0": f"{WHOLE} 1",
    "budget.checkpoint_every=0": f"{WHOLE} 1",
    "concepts.subject=${nowhere}": "Interpolation key 'nowhere' not found",
    "seeds=huge": SEEDS,
    "build_seed=-1": f"{WHOLE} 0",
    "bases=[]": "a list",
    "zoo.size=many": f"{WHOLE} 2, or null",
    "blocks.size=1e9": f"{WHOLE} 8",
    "blocks.size=nan": f"{WHOLE} 8",
    "blocks.size=2.5": f"{WHOLE} 8",
    "strategy.trainer.precision=half": "32-true, bf16-mixed",
    "strategy.trainer.accelerator=abacus": "cpu or gpu",
    "strategy.threads=0": f"{WHOLE} 1",
    "strategy.threads=-1": f"{WHOLE} 1",
    "strategy.threads=abc": f"{WHOLE} 1",
    "strategy.workers=abc": f"{WHOLE} 0",
    "budget.lora.optimizer.lr=nan": "a finite number above 0",
    "budget.lora.optimizer.lr=inf": "a finite number above 0",
    "budget.lora.optimizer.lr=0": "a finite number above 0",
    "budget.finetune.l1_weight=nan": "a finite number from 0",
    "logger.every=0": f"{WHOLE} 1",
    "budget.finetune.lora.points=[a]": "different values",
    "budget.finetune.clock=sun": "wall or cpu",
    "budget.denoiser.prediction=epsilon": "sample, v_prediction or direct",
    "sampler.steps=0": f"{WHOLE} 1 to 1000",
    "sampler.steps=-1": f"{WHOLE} 1 to 1000",
    "sampler.steps=1000000": f"{WHOLE} 1 to 1000",
    "lora.ranks.down=-1": f"{WHOLE} 1",
    "lora.alpha=nan": "a finite number above 0",
    "budget.function.ema_decay=nan": "from 0 below 1",
    "paths.artifacts=null": "a text that is not empty",
    f"paths.artifacts={__file__}": "a folder, this is a file",
    "paths.artifacts=/proc/x": "cannot be made",
    "paths.reports=null": "a text that is not empty",
    f"paths.reports={__file__}": "a folder, this is a file",
    "paths.reports=/proc/x": "cannot be made",
    "logger.project=a/b": "without /",
    "photos.train=1000000000": "to 1000000",
    "photos.size=100000": "to 4096",
    "photos.seed=-1": f"{WHOLE} 0",
    "seed=${nosuch}": "Interpolation key 'nosuch' not found",
    "seed=${foo:bar}": "Unsupported interpolation type foo",
    # were accepted without a word
    "seeds=[-1]": SEEDS,
    "seeds=[0,0]": SEEDS,
    "base=other": "representative or all",
    "blocks.size=1": f"{WHOLE} 8",
    "strategy.trainer.precision=16-mixed": "wants a GPU",
    "strategy.workers=-5": f"{WHOLE} 0",
    "budget.base.steps=0": f"{WHOLE} 1",
    "budget.base.steps=-1": f"{WHOLE} 1",
    "budget.base.concepts=1000": "1 to concepts.train=6",
    "budget.base.decay_start=7": "from 0 to 1",
    "budget.base.decay_start=-1": "from 0 to 1",
    "budget.checkpoint_every=-1": f"{WHOLE} 1",
    "budget.finetune.lora.points=[9]": "9 is beyond budget.finetune.lora.steps=4",
    "budget.finetune.scratch.points=[-1]": f"{WHOLE} 1",
    "budget.finetune.discriminator=some": "fresh or base",
    "lora.ranks.down=10000": "1 to 144",
    "lora.ranks.down=0": f"{WHOLE} 1",
    "recipe=../x": "a name of letters",
    "recipe=/abs": "a name of letters",
    "recipe=": "a name of letters",
    "paths.artifacts=": "a text that is not empty",
    "+photos.skip_bad=maybe": "true or false",
    "+photos.root=''": "a text that is not empty",
    "+metrics.weights=/none.pth": "an existing file",
    "logger.mode=onlin": "online, offline or disabled",
    # of one another
    "logger.mode=online": "wandb login",
    "pairs=13": "at most photos.train=12",
    "zoo.size=7": "2 to concepts.train=6",
    "denoiser.heads=3": "a multiple of denoiser.heads=3",
    "lora.seeds=own": "lora.train=ab",
    "~seed": "add seed=<value>",
    "budget.base=3": "a group of options",
    "+nosuch=1": "there is no such option",
    "photos=folder": "photos.root has no value: add photos.root=<value>",
}
ALLOWED = [
    ["photos.size=36"],
    ["logger=csv"],
    ["methods=all"],
    ["bases=[representative,all]"],
    ["pairs=12", "zoo.size=6"],
    ["strategy.trainer.precision=bf16-mixed"],
    ["strategy=gpu", "strategy.trainer.precision=16-mixed"],
    ["strategy.ranks=auto"],
    ["budget.function.steps=0", "budget.finetune.lora.steps=0", "budget.finetune.lora.points=[]"],
    ["budget.lora.optimizer._target_=torch.optim.SGD", "+budget.lora.optimizer.momentum=0.9"],
    ["+plan=true", "+variant=paper"],
    ["lora=ab", "lora.seeds=own"],
    ["init.rates=[0.5]", "init=few_steps"],
    ["photos=folder", "photos.root=somewhere", "photos.skip_bad=true"],
    ["editor=premade", "pairs=500", "photos.train=500"],
]
GROUPS = sorted(folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name != "hydra")
CHOICES = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]


@cache
def _composed(*choices: str) -> DictConfig:
    return compose("config", ["experiment=smoke", *choices])


@cache
def _with_choice(group: str, choice: str) -> DictConfig:
    return compose("config", [f"{'+' if group == 'variant' else ''}{group}={choice}"])


def configured(*given: str) -> DictConfig:
    """The smoke recipe with overrides; Hydra composes each set of choices once, which is what takes time."""
    overrides = OverridesParser.create().parse_overrides(list(given))
    groups = [o.input_line for o in overrides if o.key_or_group in GROUPS]
    cfg = copy.deepcopy(_composed(*groups))
    ConfigLoaderImpl._apply_overrides_to_config([o for o in overrides if o.input_line not in groups], cfg)
    return cfg


@pytest.fixture(scope="module", autouse=True)
def _conf():
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        yield


@pytest.fixture(autouse=True)
def _nobody_is_logged_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.mark.parametrize(("given", "takes"), WRONG.items(), ids=WRONG)
def test_a_wrong_value_is_one_line_that_says_what_the_option_takes(given: str, takes: str) -> None:
    with pytest.raises(BadOption) as bad:
        check(configured("concepts=llm" if given.startswith("concepts.") else "logger=wandb", given))
    message = str(bad.value)
    assert takes in message
    assert given.lstrip("+~").partition("=")[0] in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["methods=[generated_best_of]", "pairs=2"], "evidence.pairs=4: a new concept has 2 pairs"),
        (["budget.finetune.clock=cpu", "strategy.threads=2"], "CPU time says nothing of strategy.threads=2"),
        (["budget.finetune.clock=cpu", "strategy=gpu"], "CPU time says nothing of a GPU"),
        (
            ["photos=folder", "photos.root=/x", "photos.test_fraction=0.6", "photos.validation_fraction=0.4"],
            "less than 1 together",
        ),
    ],
)
def test_options_that_do_not_go_together_are_one_line(given: list[str], said: str) -> None:
    with pytest.raises(BadOption, match=said):
        check(configured(*given))


def test_the_clock_of_a_budget_for_figures_follows_the_strategy() -> None:
    clocks = {
        name: compose("config", ["experiment=toy", f"strategy={name}"]).budget.finetune.clock for name in ("cpu", "gpu")
    }
    assert clocks == {"cpu": "cpu", "gpu": "wall"}


@pytest.mark.parametrize("given", ALLOWED, ids=" ".join)
def test_what_makes_sense_is_taken(given: list[str]) -> None:
    check(configured(*given))


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_in_conf_passes_and_each_of_its_options_has_a_rule(group: str, choice: str) -> None:
    check(_with_choice(group, choice), required=False)


@pytest.mark.parametrize("recipe", [choice for group, choice in CHOICES if group == "experiment"])
def test_every_recipe_passes_with_the_published_variant(recipe: str) -> None:
    check(compose("config", [f"experiment={recipe}", "+variant=paper"]), required=False)


def test_every_rule_is_of_an_option_that_there_is() -> None:
    """A rule that no configuration meets is a leftover."""
    met: set[str] = {"plan", "photos.min_scale"}
    for group, choice in CHOICES:
        met |= set(_leaves(OmegaConf.to_container(_with_choice(group, choice))))
    patterns = {rule: re.compile(rule.replace(".", r"\.").replace("*", "[^.]+") + r"(\..+)?") for rule in table()}
    of_any_training = re.compile(
        r"budget\.\w+(\.\*)?\.[\w.]+|(scratch|distilled|translator|init|bench\.single|bench\.generation\.lora)\..+"
    )
    unmet = {rule for rule, pattern in patterns.items() if not any(pattern.fullmatch(option) for option in met)}
    assert {rule for rule in unmet if not of_any_training.fullmatch(rule)} == set()


def _leaves(node: object, path: str = "") -> list[str]:
    if not isinstance(node, dict) or not node:
        return [path]
    return [leaf for key, value in node.items() for leaf in _leaves(value, f"{path}.{key}" if path else str(key))]


def test_rules_know_their_borders() -> None:
    assert [whole(1, 8, multiple=4).fits(v) for v in (0, 4, 8, 12, 4.0, True, "4", None)] == [0, 1, 1, 0, 0, 0, 0, 0]
    assert [number(above=0, high=1).fits(v) for v in (0, 0.1, 1, 1.1, float("nan"), False)] == [0, 1, 1, 0, 0, 0]
    assert [several(whole(0), 1).fits(v) for v in ([], [0], [0, 0], [0, 1], 0, "01")] == [0, 1, 0, 1, 0, 0]


def test_a_login_is_found_where_wandb_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not logged_in()
    (tmp_path / "netrc").write_text("machine api.wandb.ai\n login user\n password 0123456789\n")
    assert logged_in()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert not logged_in()
    monkeypatch.setenv("WANDB_API_KEY", "0123456789")
    assert logged_in()


COMMANDS = [
    ("finetune", ["photos.size=50"], "photos.size=50"),
    ("evaluate", ["logger.mode=online"], "wandb login"),
    ("train_base", ["-m", "seed=0,1", "budget.base.steps=5,-3"], "budget.base.steps=-3"),
    ("finetune", ["photos.sise=50"], "did you mean photos.size?"),
    ("finetune", ["budget=foo"], "budget=foo: takes demo, gpu, paper, smoke, toy"),
    ("finetune", ["-m", "photos.sise=3,4"], "did you mean photos.size?"),
    ("finetune", ["recipe=a=b["], "quote values"),
]


@pytest.mark.parametrize(("app", "given", "said"), COMMANDS, ids=[said for _, _, said in COMMANDS])
def test_an_app_says_one_line_and_writes_nothing(app: str, given: list[str], said: str, tmp_path: Path) -> None:
    flags = [word for word in given if word == "-m"]
    options = [word for word in given if word != "-m"]
    command = [sys.executable, "-m", f"experiments.{app}", *flags, "experiment=smoke", *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    here = tmp_path / "here"  # HOME is beside it, and holds what libraries cache
    here.mkdir()
    result = subprocess.run(command, capture_output=True, text=True, cwd=here, env=environment, timeout=120)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert said in result.stderr
    assert list(here.iterdir()) == []
