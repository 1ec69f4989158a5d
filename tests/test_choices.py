"""Closed tables: a short name is a class, anything else is one line."""

import subprocess
import sys

import pytest

from weightgen.choices import Choices, make, parameters
from weightgen.errors import WeightgenError

TABLE = Choices("thing", {"concept": "weightgen.data.concepts.concept:Concept", "plain": "tests.test_choices:Child"})


class Parent:
    def __init__(self, size: int, colour: str = "red") -> None:
        self.size, self.colour = size, colour


class Child(Parent):
    def __init__(self, *, depth: int = 1, **options) -> None:
        super().__init__(**options)
        self.depth = depth


def test_a_name_is_a_class_and_options_are_its_arguments():
    made = make(TABLE, {"name": "plain", "size": 3}, depth=2)
    assert type(made).__name__ == "Child"
    assert (made.size, made.colour, made.depth) == (3, "red", 2)


def test_a_class_takes_what_it_hands_on_to_its_parents():
    assert parameters(Child) >= {"depth", "size", "colour"}
    assert parameters(Parent) == {"self", "size", "colour"}


@pytest.mark.parametrize("name", ["other", "", None, 3, ["plain"], "tests.test_choices:Child"], ids=str)
def test_any_other_name_is_refused_with_those_there_are(name):
    with pytest.raises(WeightgenError, match=r"^thing=.*: choose concept, plain$"):
        make(TABLE, {"name": name})


def test_options_of_no_use_are_named_and_missing_ones_too():
    with pytest.raises(WeightgenError, match=r"^thing=plain has no option height, width$"):
        make(TABLE, {"name": "plain", "size": 1, "width": 1, "height": 1})
    with pytest.raises(WeightgenError, match=r"^thing=concept: missing a required argument: 'name'$"):
        make(TABLE, {"name": "concept"})


def test_asking_for_the_tables_imports_no_heavy_library():
    tables = ["translation.nets", "diffusion", "text", "generation", "evaluation", "inits"]
    tables += ["data.photos", "data.editors", "data.concepts"]
    code = f"import sys, {', '.join(f'weightgen.{table}' for table in tables)}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "weightgen.choices" in loaded
    assert not {"torch", "numpy", "diffusers", "transformers", "pytorch_lightning"} & set(loaded)
