"""`weightgen app`: a page on this machine. Type a concept, drop photos, see what each way of starting draws; download it.

Nothing is sent anywhere: it binds to 127.0.0.1, loads no font or script from elsewhere, and tells nobody that it runs.
"""

import os
import tempfile
import warnings
import zipfile
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported

from weightgen.commands.sources import STRENGTHS, loaded
from weightgen.data.concepts.concept import slug
from weightgen.errors import DataError, WeightgenError
from weightgen.extras import optional
from weightgen.generation.adapt import adapt
from weightgen.generation.export import EXPORTS
from weightgen.generation.generator import WeightGenerator
from weightgen.generation.known import UnknownWords
from weightgen.generation.pictures.images import read_photo
from weightgen.generation.translator import Translator

SHOWN = 6  # photos at once
BASE, NEAREST, START, REFINED, TUNED = "base", "nearest known prompt", "from words", "refined by pairs", "fine-tuned"


class Page:
    """What the page does, apart from how it looks. made: the translators of the last drawing, by name, for download."""

    def __init__(self, generator: WeightGenerator) -> None:
        self.generator, self.made = generator, {}

    def ways(
        self, prompt: str, strength: float, pairs: Sequence[tuple[Any, Any]], seconds: float
    ) -> Iterator[tuple[str, Translator]]:
        """Each way of starting and its translator, as soon as it is there."""
        generate = self.generator
        start = generate(prompt, strength=strength)
        yield BASE, generate(prompt, strength=0.0)
        if near := generate.known.nearest(start.text.pooled, 1):
            yield f"{NEAREST}: {near[0][0]}", generate(near[0][0], strength=strength)
        yield START, start
        if pairs:
            if generate.refiner is not None:
                yield REFINED, generate(prompt, strength=strength, like=pairs)
            if seconds > 0:
                yield f"{TUNED} for {seconds:g} s", adapt(generate, prompt, pairs, seconds)

    def draw(
        self, prompt: str, photos: list[str] | None, strength: float, before: Any, after: Any, seconds: float
    ) -> Iterator[list[tuple[Any, str]]]:
        """The gallery, one row a photo, growing by one column a way. Raises DataError for what cannot be drawn."""
        if not photos:
            raise DataError("drop a photo first")
        pictures = [read_photo(Path(path)) for path in photos[:SHOWN]]
        rows: list[list[tuple[Any, str]]] = [[(picture, "photo")] for picture in pictures]
        self.made = {}
        for name, translator in self.ways(prompt, strength, _pairs(before, after), seconds):
            for row, out in zip(rows, translator(pictures), strict=True):
                row.append((out, name))
            self.made[name] = translator
            yield [cell for row in rows for cell in row]

    def files(self, name: str, form: str, photos: list[str] | None) -> str:
        """A file to download: of the pictures of one way (png), or of its translator (peft, merged, onnx)."""
        if name not in self.made:
            raise DataError("draw something first, then choose which of its columns to download")
        translator, place = self.made[name], Path(tempfile.mkdtemp(prefix="weightgen-"))
        folder = place / slug(translator.prompt)
        if form == "png":
            folder.mkdir()
            for number, path in enumerate(photos or [], 1):
                translator(Path(path)).save(folder / f"{number}.png")
        else:
            EXPORTS[form](translator, folder)
        files = sorted(folder.iterdir())
        if len(files) == 1:
            return str(files[0])
        packed = folder.with_name(f"{folder.name}-{form}.zip")
        with zipfile.ZipFile(packed, "w") as content:
            for file in files:
                content.write(file, file.name)
        return str(packed)


def _pairs(before: list[str] | None, after: list[str] | None) -> list[tuple[Path, Path]]:
    """Files by name. DataError where a picture has no partner."""
    sides = [{Path(path).stem: Path(path) for path in side or []} for side in (before, after)]
    if lonely := sorted(sides[0].keys() ^ sides[1].keys()):
        raise DataError(f"{lonely[0]!r} has no partner: a pair is two files of one name, one before and one after")
    return [(sides[0][name], sides[1][name]) for name in sorted(sides[0])]


def build(generator: WeightGenerator, reports: Path | None) -> Any:
    """The page as a gradio.Blocks. reports: a folder of finished comparisons."""
    gradio = optional("gradio", "app", "weightgen app")
    page, known = Page(generator), generator.known.some()
    with gradio.Blocks(title="weightgen", analytics_enabled=False) as blocks:
        gradio.Markdown("# weightgen\nType a concept, drop photos. Nothing leaves this machine.")
        with gradio.Tab("Try it"), gradio.Row():
            with gradio.Column(scale=1):
                prompt = gradio.Textbox(label="Concept", value=next(iter(known), ""), elem_id="prompt")
                gradio.Examples([[text] for text in known], [prompt], label="It knows", elem_id="known")
                photos = gradio.Files(label="Photos", file_types=["image"], elem_id="photos")
                strength = gradio.Slider(*STRENGTHS, value=1.0, step=0.05, label="Strength")
                with gradio.Accordion("A few pairs of it (optional)", open=False):
                    before = gradio.Files(label="Before", file_types=["image"], elem_id="before")
                    after = gradio.Files(label="After, files of the same names", file_types=["image"], elem_id="after")
                    seconds = gradio.Slider(0, 30, value=5, step=1, label="Seconds of fine-tuning")
                go = gradio.Button("Draw", variant="primary", elem_id="draw")
            with gradio.Column(scale=3):
                gallery = gradio.Gallery(label="A row a photo", height="auto", object_fit="contain", elem_id="gallery")
                with gradio.Row():
                    which = gradio.Dropdown([], label="Column", elem_id="which")
                    form = gradio.Dropdown(["png", *EXPORTS], value="png", label="Format", elem_id="form")
                    make = gradio.Button("Make the file", elem_id="make")
                file = gradio.File(label="Download", elem_id="file")
        if reports is not None:
            _comparisons(gradio, reports)

        def draw(*given: Any) -> Iterator[Any]:
            with _told(gradio):
                for cells in page.draw(*given):
                    names = list(page.made)
                    rows = gradio.Gallery(value=cells, columns=1 + len(names))
                    yield rows, gradio.Dropdown(choices=names, value=names[-1])

        def download(*given: Any) -> str:
            with _told(gradio):
                return page.files(*given)

        go.click(draw, [prompt, photos, strength, before, after, seconds], [gallery, which])
        make.click(download, [which, form, photos], file)
    return blocks


class _told:
    """Expected failures are a notice on the page, and so are words that the generator never saw."""

    def __init__(self, gradio: Any) -> None:
        self.gradio, self.caught = gradio, warnings.catch_warnings(record=True)

    def __enter__(self) -> None:
        self.seen = self.caught.__enter__()
        warnings.simplefilter("always", UnknownWords)

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self.caught.__exit__(kind, error, trace)
        for told in {str(one.message) for one in self.seen if one.category is UnknownWords}:
            self.gradio.Warning(told)
        if isinstance(error, WeightgenError):
            raise self.gradio.Error(str(error)) from error


def _comparisons(gradio: Any, reports: Path) -> None:
    """A tab that shows report.md and the pictures of each comparison in a folder."""
    there = {path.parent.name: path.parent for path in sorted(reports.glob("*/report.md"))}
    if not there:
        raise DataError(f"{reports} holds no finished comparison: run `make demo`, or `weightgen run evaluate`")
    with gradio.Tab("Comparisons"):
        chosen = gradio.Dropdown(list(there), value=next(iter(there)), label="Comparison", elem_id="comparison")
        pictures = gradio.Gallery(label="Pictures", columns=2, height="auto", object_fit="contain")
        text = gradio.Markdown(elem_id="report")

        def show(name: str) -> tuple[list[str], str]:
            folder = there[name]
            lines = (folder / "report.md").read_text().splitlines()
            return sorted(map(str, folder.glob("*.png"))), "\n".join(line for line in lines if line[:2] != "![")

        chosen.change(show, chosen, [pictures, text])
        gradio.on(None, show, chosen, [pictures, text])  # when the page opens


def run(asked: Namespace) -> int:
    """Serve until interrupted."""
    if not 1 <= asked.port <= 65535:
        raise DataError(f"--port={asked.port}: from 1 to 65535")
    gradio = optional("gradio", "app", "weightgen app")
    reports = Path(asked.reports) if asked.reports else None
    blocks = build(loaded(asked.generator), reports)
    theme = gradio.themes.Base(font=["system-ui", "sans-serif"], font_mono=["monospace"])  # of this machine
    try:
        blocks.launch(
            server_name="127.0.0.1",
            server_port=asked.port,
            share=False,
            quiet=True,
            theme=theme,
            prevent_thread_lock=True,
            allowed_paths=[str(reports.resolve())] if reports else None,
        )
    except OSError as error:
        raise DataError(f"--port={asked.port} is taken: choose another") from error
    print(f"http://127.0.0.1:{asked.port}  (Ctrl-C ends it)", flush=True)
    blocks.block_thread()
    return 0
