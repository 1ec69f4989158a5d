"""`weightgen translate`: photos in, photos out; stopped at any moment, the same command goes on."""

import io
import os
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from joblib import cpu_count
from torch import Tensor
from tqdm import tqdm

from weightgen.commands.sources import translators
from weightgen.data.concepts.concept import slug
from weightgen.data.photos.decoding import images_below, to_rgb, upright_photo
from weightgen.errors import DataError
from weightgen.files import read_json, replacing, write_json
from weightgen.generation.pictures.images import picture, pixels
from weightgen.generation.saved import weights_hash
from weightgen.generation.translator import Translator

if TYPE_CHECKING:
    from PIL import Image

SETTINGS = ".weightgen.json"  # in a folder of results: what they are of
WRITTEN = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
OPTIONS = {"JPEG": {"quality": 95}, "WEBP": {"quality": 95}}


@dataclass(frozen=True)
class Job:
    source: Path
    out: Path
    kept: bool = True  # whether a result that is there is of these weights: its folder says so

    def done(self) -> bool:
        return self.kept and self.out.exists() and self.out.stat().st_mtime >= self.source.stat().st_mtime


def run(asked: Namespace) -> int:
    """-> exit code: 1 where some photos could not be read."""
    threads = cpu_count() if asked.threads is None else asked.threads
    if threads < 1:
        raise DataError(f"--threads={threads}: 1 or more")
    if "-" in asked.photos and len(asked.photos) > 1:
        raise DataError("standard input (-) is one photo: give nothing beside it")
    sources = [] if asked.photos == ["-"] else list(_found(asked.photos))
    made = translators(asked)
    if asked.photos == ["-"] or asked.out == "-":
        return _stream(sources, made, asked.out)
    failed = 0
    for name, translator in made.items():
        jobs = _jobs(asked.photos, sources, asked.out, name, several=len(made) > 1)
        for folder in {root for root, _ in jobs if root is not None}:
            _claim(folder, name, translator)
        failed += _work([job for _, job in jobs], translator, threads)
    return 1 if failed else 0


def _found(photos: Sequence[str]) -> Iterator[tuple[Path | None, Path]]:
    """(the folder that was given, or None, the photo) for each photo. DataError: there is none."""
    for given in map(Path, photos):
        if given.is_dir():
            inside = list(images_below(given))
            if not inside:
                raise DataError(f"{given} holds no photos")
            yield from ((given, path) for path in inside)
        elif given.is_file():
            yield None, given
        else:
            raise DataError(f"{given}: there is no such photo")


def _jobs(
    photos: Sequence[str], sources: list[tuple[Path | None, Path]], out: str | None, prompt: str, several: bool
) -> list[tuple[Path | None, Job]]:
    """(the folder of results that its settings stand in, or None for a single file, the job)."""
    one = len(sources) == 1 and sources[0][0] is None
    if one and not several and (out is None or (Path(out).suffix.lower() in WRITTEN and not Path(out).is_dir())):
        source = sources[0][1]
        place = Path(out) if out else Path(f"{source.stem}-{slug(prompt)}.png")
        if place.resolve() == source.resolve():
            raise DataError(f"{place} is the photo itself: choose another --out")
        return [(None, Job(source, place, kept=False))]
    folder = Path(out or "translated")
    if folder.is_file():
        raise DataError(f"--out={folder} is a file: several pictures need a folder")
    for given in map(Path, photos):
        if given.is_dir() and folder.resolve().is_relative_to(given.resolve()):
            raise DataError(f"--out={folder} lies within {given}, whose photos are translated: choose another")
    folder = folder / slug(prompt) if several else folder
    inside = [_named(path.relative_to(root) if root else Path(path.name)) for root, path in sources]
    jobs = [(folder, Job(path, folder / name)) for (_, path), name in zip(sources, inside, strict=True)]
    place, times = Counter(job.out for _, job in jobs).most_common(1)[0]
    if times > 1:
        raise DataError(f"two photos would be {place}: translate them one folder at a time")
    return jobs


def _named(path: Path) -> Path:
    """The same name where its format can be written, else with .png behind it."""
    return path if path.suffix.lower() in WRITTEN else path.with_name(path.name + ".png")


def _claim(folder: Path, prompt: str, translator: Translator) -> None:
    """DataError where a folder holds pictures of other weights: they would be taken for these."""
    settings = {"prompt": prompt, "weights": weights_hash(translator.model)}
    file = folder / SETTINGS
    if file.exists():
        there = read_json(file, "choose another --out")
        if there != settings:
            raise DataError(f"{folder} holds pictures of other weights ({there.get('prompt')!r}): choose another --out")
    elif folder.is_dir() and any(folder.iterdir()):
        raise DataError(f"{folder} is not empty, and not of this command: choose another --out")
    else:
        write_json(file, settings)


def _work(jobs: list[Job], translator: Translator, threads: int) -> int:
    """A photo a thread, since a translation uses several badly. -> how many photos could not be read."""
    import torch

    left, translator = [job for job in jobs if not job.done()], translator.plain()
    there, bad = len(jobs) - len(left), 0
    torch.set_num_threads(threads if len(left) == 1 else 1)

    def one(job: Job) -> DataError | None:
        try:
            photo = upright_photo(job.source)
        except DataError as error:
            return error
        with replacing(job.out) as aside:
            _save(aside, WRITTEN[job.out.suffix.lower()], photo, translator.translate(pixels(to_rgb(photo))))
        return None

    with ThreadPoolExecutor(threads) as pool, tqdm(total=len(jobs), initial=there, unit="photo", disable=None) as bar:
        for job, error in zip(left, pool.map(one, left), strict=True):
            if error is not None:
                tqdm.write(f"left out: {job.source}: {error}", file=sys.stderr)
                bad += 1
            bar.update()
    kept = f", {there} were there" if there else ""
    place = jobs[0].out if len(jobs) == 1 else os.path.commonpath([job.out.parent for job in jobs])
    print(f"{len(left) - bad} of {len(jobs)} photos translated{kept}: {place}", file=sys.stderr)
    return bad


def _save(file: Path | IO[bytes], form: str, photo: "Image.Image", pictures: Tensor) -> None:
    """The picture with the photo's transparency and colour profile where it has any; all else that a file says is left out.
    pictures: uint8 (1, 3, H, W)."""
    result = picture(pictures[0])
    if photo.has_transparency_data and form != "JPEG":
        result.putalpha(photo.convert("RGBA").getchannel("A"))
    profile = photo.info.get("icc_profile") if photo.mode in ("RGB", "RGBA") else None
    result.save(file, form, icc_profile=profile, **OPTIONS.get(form, {}))


def _stream(sources: list[tuple[Path | None, Path]], made: dict[str, Translator], out: str | None) -> int:
    """One photo through one translator, from standard input or to standard output (as PNG)."""
    if len(made) != 1 or len(sources) > 1:
        raise DataError("standard input and output are for one photo and one prompt")
    if out not in (None, "-") and Path(out).suffix.lower() not in WRITTEN:
        raise DataError(f"--out={out}: end it in one of {', '.join(WRITTEN)}")
    name = str(sources[0][1]) if sources else "standard input"
    try:
        photo = upright_photo(sources[0][1] if sources else io.BytesIO(sys.stdin.buffer.read()))
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    pictures = next(iter(made.values()))(pixels(to_rgb(photo)))
    if out not in (None, "-"):
        with replacing(out) as aside:
            _save(aside, WRITTEN[Path(out).suffix.lower()], photo, pictures)
        return 0
    content = io.BytesIO()
    _save(content, "PNG", photo, pictures)
    sys.stdout.buffer.write(content.getvalue())
    sys.stdout.buffer.flush()
    return 0
