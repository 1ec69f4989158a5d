"""The library's borders, read from its imports: who may know whom, and what must never be there."""

import ast
from pathlib import Path

import pytest

from tests.helpers.apps import ROOT

PACKAGES = {"data", "translation", "weights", "diffusion", "evaluation"}
LIBRARY = sorted((ROOT / "weightgen").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
EVERYTHING = sorted([*LIBRARY, *(ROOT / "experiments").rglob("*.py"), *TESTS])


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path, source: str | None = None) -> set[str]:
    """Dotted names that a file imports, wherever in it; "from a import b" counts as a and a.b."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source if source is not None else path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = list(path.relative_to(ROOT).parent.parts)
            package = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*package, *([node.module] if node.module else [])])
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


def roots(path: Path) -> set[str]:
    return {module.split(".")[0] for module in imports(path)}


def test_the_reader_of_imports_sees_every_form():
    source = "import a.b\nfrom c import d\ndef f():\n    from ..weights import zoo\n    from . import pairs\n"
    assert imports(ROOT / "weightgen" / "data" / "x.py", source) == {
        "a.b",
        "c",
        "c.d",
        "weightgen.weights",
        "weightgen.weights.zoo",
        "weightgen.data",
        "weightgen.data.pairs",
    }
    assert {path.parent.name for path in LIBRARY} >= PACKAGES


@pytest.mark.parametrize("path", LIBRARY, ids=name)
def test_the_library_knows_no_configuration_no_logger_and_no_app(path):
    assert not roots(path) & {"hydra", "omegaconf", "wandb", "experiments", "tests"}


@pytest.mark.parametrize("path", [p for p in LIBRARY if p.relative_to(ROOT).parts[1] in PACKAGES], ids=name)
def test_packages_never_import_one_another(path):
    own = path.relative_to(ROOT).parts[1]
    parts = [module.split(".") for module in imports(path)]
    known = {part[1] for part in parts if part[0] == "weightgen" and len(part) > 1}
    assert not known & (PACKAGES - {own})


def uses(path: Path) -> list[ast.expr]:
    """Every name and attribute that a file uses."""
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name | ast.Attribute)]


@pytest.mark.parametrize("path", EVERYTHING, ids=name)
def test_nothing_is_pickled_or_unpickled(path):
    """The exception class of torch's weights_only loader is all that pickle is good for here."""
    assert not roots(path) & {"cPickle", "dill", "cloudpickle"}
    assert not {module for module in imports(path) if module.startswith("pickle.")} - {"pickle.UnpicklingError"}
    for node in uses(path):
        assert not ast.unparse(node).startswith("pickle.") or node.attr == "UnpicklingError"
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
            assert "weights_only=True" in ast.unparse(node)


@pytest.mark.parametrize("path", EVERYTHING, ids=name)
def test_no_stub_and_no_drawer(path):
    assert "NotImplementedError" not in {node.id for node in uses(path) if isinstance(node, ast.Name)}
    assert not any("utils" in part for part in path.relative_to(ROOT).parts)


@pytest.mark.parametrize("path", TESTS, ids=name)
def test_no_test_module_imports_another(path):
    """What two of them share is in tests.helpers or a fixture, and is found by its name, not by an edited sys.path."""
    parts = {part for module in imports(path) for part in module.split(".")}
    assert not {part for part in parts if part.startswith("test_") or part == "conftest"}
    assert "sys.path" not in {ast.unparse(node) for node in uses(path)}
