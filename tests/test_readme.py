"""The READMEs keep their length and name only what there is: files, make targets, apps, and options that compose."""

import ast
import re
import shlex
import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image

from experiments.command.console import COMMANDS
from experiments.options.check import WITHOUT_DATA, check
from experiments.reports.comparison import TABLES
from weightgen.commands.parser import parser
from weightgen.evaluation.results import RESULT_COLUMNS

ROOT = Path(__file__).resolve().parent.parent
FRONT = ROOT / "README.md"
ALL = sorted(
    [
        FRONT,
        *(path for top in ("conf", "experiments", "tests", "weightgen") for path in (ROOT / top).rglob("README.md")),
    ]
)
RESULTS = ROOT / "experiments" / "results"
# Written by a study or kept as it was recorded: their lines are as long as their tables.
RECORDED = [path for path in ALL if RESULTS in path.parents and path.parent not in (RESULTS, RESULTS / "gpu")]
PAGES = [path for path in ALL if path not in RECORDED]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
SPAN = re.compile(r"`([^`\n]+)`")
PLACEHOLDERS = {
    "$HOME": "/home/me",
    "<hub id>": "owner/name",
    "<commit>": "abc123",
    "<a model it has>": "a-model",
    "weights-inception-2015-12-05-6726825d.pth": str(FRONT),  # any file that is there
}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path, language: str) -> list[str]:
    return [body for kind, body in BLOCK.findall(path.read_text()) if kind == language]


def anchors(path: Path) -> set[str]:
    """The names that GitHub gives to a page's headings."""
    titles = re.findall(r"^#+ (.*)$", BLOCK.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def commands(text: str) -> Iterator[list[str]]:
    """The words of each shell command, comments left out, continued lines joined, placeholders filled."""
    for placeholder, value in PLACEHOLDERS.items():
        text = text.replace(placeholder, value)
    line = ""
    for part in text.replace("\\\n", " ").split("\n"):
        line += part + "\n"
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # an open quotation mark: the command goes on
            continue
        line = ""
        if words:
            yield words
    assert not line, f"a quotation mark is never closed: {line}"


def in_pages(*starts: str) -> list[tuple[Path, tuple[str, ...]]]:
    """Every command of the pages' shell blocks that begins with one of these words, once a page."""
    found = {
        (path, tuple(words)): None
        for path in PAGES
        for block in blocks(path, "bash")
        for words in commands(block)
        if words[0] in starts
    }
    return list(found)


def label(case: object) -> str:
    return name(case) if isinstance(case, Path) else " ".join(case)[:80]


def app_calls(words: tuple[str, ...]) -> list[list[str]]:
    """[app, *arguments] of each `python -m experiments.<app>` that a command stands for."""
    lines = [list(words)]
    if words[0] == "make":
        shown = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True)
        assert shown.returncode == 0, shown.stderr
        printed = shown.stdout.replace("\\\n", " ").splitlines()
        lines = [shlex.split(line) for line in printed if "-m experiments." in line and not line.startswith("echo ")]
    modules = [line[line.index("-m") + 1 :] for line in lines if "-m" in line]
    return [
        [module.removeprefix("experiments."), *rest] for module, *rest in modules if module.startswith("experiments.")
    ]


def overrides(arguments: list[str]) -> list[str]:
    """Hydra's overrides among an app's arguments, each sweep by its first value."""
    given = [word for word in arguments if "=" in word and not word.startswith("-")]
    single = []
    for override in OverridesParser.create().parse_overrides(given):
        line = override.input_line
        if override.is_sweep_override():
            line = f"{line.split('=')[0]}={next(override.sweep_string_iterator())}"
        single.append(line)
    return single


@pytest.fixture(scope="module")
def hydra() -> Iterator[None]:
    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "conf")):
        yield


def test_the_front_page_has_at_most_1500_words() -> None:
    assert len(FRONT.read_text().split()) <= 1500


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_lines_and_paragraphs_are_short(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert [line for line in lines if len(line) > 120] == []
    length = 0
    for line in BLOCK.sub("", path.read_text()).splitlines():
        item = re.match(r"\s*([-*]|\d+\.) ", line)
        prose = line.strip() and not line.startswith(("|", "#", "!["))
        length = 1 if item else length + 1 if prose else 0
        assert length <= 5, f"a paragraph of more than five lines ends with: {line}"


@pytest.mark.parametrize("path", ALL, ids=name)
def test_every_link_and_picture_is_there(path: Path) -> None:
    for link in LINK.findall(BLOCK.sub("", path.read_text())):
        if link.startswith(("http://", "https://")):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), f"{name(path)} links to {link}"
        assert not anchor or anchor in anchors(target), f"{name(path)} links to {link}, which has no such heading"


def test_every_page_is_one_link_away() -> None:
    linked = {(FRONT.parent / link.split("#")[0]).resolve() for link in LINK.findall(FRONT.read_text())}
    assert {name(path) for path in PAGES} - {name(path) for path in linked if path.is_relative_to(ROOT)} == {
        "README.md"
    }
    indices = [RESULTS / "README.md", RESULTS / "studies" / "README.md"]
    linked = {
        (index.parent / link.split("#")[0]).resolve() for index in indices for link in LINK.findall(index.read_text())
    }
    assert set(RECORDED) <= linked


@pytest.mark.parametrize("table", ["results", *TABLES])
def test_every_column_of_a_report_is_explained(table: str) -> None:
    explained = set(SPAN.findall((ROOT / "weightgen" / "evaluation" / "README.md").read_text()))
    columns = RESULT_COLUMNS if table == "results" else TABLES[table]
    assert set(columns) - explained <= {"method", "rival", "target", "concept"}


@pytest.mark.parametrize(("path", "words"), in_pages("make", "python"), ids=label)
def test_every_command_composes(path: Path, words: tuple[str, ...], hydra: None) -> None:
    """Make knows the target, the app is there, and every option takes the value that it is given."""
    for app, *arguments in app_calls(words):
        assert (ROOT / "experiments" / f"{app}.py").exists(), f"{name(path)}: there is no app {app}"
        cfg = compose("config", overrides(arguments))
        check(cfg, required=app not in WITHOUT_DATA, together=False)  # a login or a disk is no README's fault
    for file in [part for word in words for part in word.split() if part.startswith("tests/")]:
        assert (ROOT / file).exists(), f"{name(path)}: there is no {file}"


@pytest.mark.parametrize(("path", "words"), in_pages("weightgen"), ids=label)
def test_every_weightgen_command_has_the_options_that_it_is_given(path: Path, words: tuple[str, ...]) -> None:
    asked = parser().parse_args(words[1 : words.index(">") if ">" in words else None])
    assert asked.command in COMMANDS


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_every_command_named_in_a_sentence_is_there(path: Path) -> None:
    known = set(re.findall(r"^([a-z][a-z-]*(?: [a-z-]+)*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    targets = {target for line in known for target in line.split()} | stages()
    for span in SPAN.findall(BLOCK.sub("", path.read_text())):
        word, *rest = span.split()
        if word == "make" and rest and "<" not in rest[0]:
            assert rest[0] in targets, f"{name(path)}: there is no `make {rest[0]}`"
        for app in re.findall(r"-m experiments\.(\w+)", span):
            assert (ROOT / "experiments" / f"{app}.py").exists(), f"{name(path)}: there is no app {app}"
        if re.fullmatch(r"(conf|experiments|tests|weightgen)/[\w/.-]+", span):
            assert (ROOT / span).exists(), f"{name(path)}: there is no {span}"


def stages() -> set[str]:
    """The make targets that a variable lists."""
    return set(re.search(r"^STAGES := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split())


@pytest.mark.parametrize("path", [path for path in PAGES if blocks(path, "python")], ids=name)
def test_python_imports_what_there_is(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And code runs where it needs nothing but itself and some photos."""
    monkeypatch.chdir(tmp_path)
    for number, photo in enumerate(("photo.jpg", "before.png", "after.png")):
        Image.effect_noise((80, 72), 30 + number).convert("RGB").save(photo)
    for block in blocks(path, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                assert all(hasattr(import_module(node.module), alias.name) for alias in node.names)
        if "reports/" not in block and "<" not in block:
            exec(compile(block, name(path), "exec"), {})
