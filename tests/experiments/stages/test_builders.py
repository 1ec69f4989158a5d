"""A builder reads what is in its key and in its inputs, and what changes no result: nothing else reaches it."""

import ast
import inspect
from pathlib import Path

import pytest

import experiments.stages
from experiments.pipeline.graph import STAGES

FILES = sorted(Path(experiments.stages.__file__).parent.glob("[!_]*.py"))


@pytest.mark.parametrize("stage", STAGES.values(), ids=lambda stage: stage.name)
def test_a_builder_is_given_its_config_inputs_folder_and_runtime(stage) -> None:
    assert list(inspect.signature(stage.build).parameters) == ["config", "inputs", "folder", "runtime"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_stage_knows_a_configuration_or_a_pipeline(path: Path) -> None:
    tree = ast.parse(path.read_text())
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not names & {"cfg", "DictConfig", "OmegaConf", "Pipeline"}
    assert not imported & {"hydra", "omegaconf", "experiments.pipeline.build", "experiments.pipeline.graph"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_only_what_makes_a_key_asks_for_options(path: Path) -> None:
    """`Options` reads the configuration: functions that are given it describe a stage, and no builder calls one of them."""
    functions = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
    given = {f.name for f in functions if any(argument.arg == "options" for argument in f.args.args)}
    told = {
        f.name
        for f in functions
        if any(ast.unparse(a.annotation or ast.Constant("")) == "Options" for a in f.args.args)
    }
    assert told <= given
    for function in functions:
        if function.name.startswith("build"):
            called = {
                node.func.id for node in ast.walk(function) if isinstance(node, ast.Call) and hasattr(node.func, "id")
            }
            assert not called & told
