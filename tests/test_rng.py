"""Streams are functions of (seed, name, step); no two of the project coincide, and no draw goes past them."""

import ast
import re
from itertools import chain
from pathlib import Path

import pytest
import torch

from weightgen.rng import derived_seed, drawing_from, numpy_stream, stream

ROOT = Path(__file__).parent.parent
SOURCES = sorted(chain((ROOT / "weightgen").rglob("*.py"), (ROOT / "experiments").rglob("*.py")))
FUNCTIONS = {"stream", "numpy_stream", "drawing_from", "derived_seed", "reseed"}


def names() -> list[str]:
    """The names of streams in the source, once for every place that draws."""
    calls = [
        node
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS
    ]
    given = [call.args[1] for call in calls if len(call.args) > 1]
    return [ast.unparse(name).strip("'\"") for name in given if isinstance(name, ast.Constant | ast.JoinedStr)]


def test_every_stream_has_a_name_of_its_own():
    found = names()
    assert len(found) > 20
    # the saved generator gives a prompt the weights that the init stage gave it
    assert {name for name in found if found.count(name) > 1} == {"init/noise"}
    literal = [name for name in found if "{" not in name]
    assert all(re.fullmatch(r"[a-z0-9]+/[a-z]+", name) for name in literal)


def test_no_two_streams_of_the_project_coincide():
    literal = {name for name in names() if "{" not in name}
    weights = {
        f"weights/{net}" for net in ("translator/e2gan", "discriminator/patchgan", "denoiser/joint", "refiner/guided")
    }
    keys = [(seed, name, step) for name in sorted(literal | weights) for seed in (0, 1, 7) for step in (0, 1, 2, 899)]
    draws = {tuple(torch.rand(4, generator=stream(*key)).tolist()) for key in keys}
    assert len(draws) == len(keys)


def test_a_stream_is_a_function_of_its_seed_name_and_step():
    assert derived_seed(3, "a/b", 4) == derived_seed(3, "a/b", 4) < 2**32
    assert derived_seed(1, "a/b", 11) != derived_seed(11, "a/b", 1)
    assert torch.equal(torch.rand(3, generator=stream(1, "a/b", 2)), torch.rand(3, generator=stream(1, "a/b", 2)))
    assert (numpy_stream(1, "a/b").random(3) == numpy_stream(1, "a/b").random(3)).all()


def test_drawing_from_leaves_the_global_generator_as_it_was():
    before = torch.random.get_rng_state()
    with drawing_from(1, "a/b"):
        inside = torch.rand(3)
    assert torch.equal(torch.random.get_rng_state(), before)
    with drawing_from(1, "a/b"):
        assert torch.equal(torch.rand(3), inside)


# crops and subsets of photos, and diffusion editors, have seeds of their own: a photo's place, or its content
ELSEWHERE = {"pool.py", "sources.py", "torchvision_sets.py", "subset.py", "editor.py"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_else_seeds_a_generator(path):
    if path.name == "rng.py" or ("data" in path.parts and path.name in ELSEWHERE):
        return
    assert not re.search(r"manual_seed|default_rng|SeedSequence|random\.seed|RandomState", path.read_text())
