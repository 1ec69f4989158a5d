"""Damaged artifacts, bad options and files, and folders made to do harm."""

import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.reliability.runs import Trial
from weightgen.errors import WeightgenError

DAMAGE: dict[str, Callable[[Path], object]] = {
    "one bit": lambda f: f.write_bytes(bytes([f.read_bytes()[0] ^ 1]) + f.read_bytes()[1:]),
    "cut": lambda f: f.write_bytes(f.read_bytes()[:-3]),
    "empty": lambda f: f.write_bytes(b""),
    "zeros": lambda f: f.write_bytes(bytes(f.stat().st_size)),
    "missing": lambda f: f.unlink(),
}
BAD = [
    "seeds=huge",
    "seeds=0",
    "seeds=[]",
    "seeds=[-1]",
    "seeds=[0,0]",
    "build_seed=-1",
    "build_seed=abc",
    "seed=abc",
    "bases=[]",
    "base=foo",
    "zoo.size=many",
    "zoo.size=0",
    "methods=[]",
    "methods=pix2pix",
    "methods=[e2gan,nosuch]",
    "splits=validation",
    "splits=[]",
    "pairs=2.5",
    "pairs=0",
    "evidence.pairs=0",
    "scored=train",
    "blocks.size=1e9",
    "blocks.size=nan",
    "blocks.size=2.5",
    "blocks.size=1",
    "strategy.trainer.precision=foo",
    "strategy.trainer.accelerator=tpu",
    "strategy.trainer.precision=16-mixed",
    "strategy.threads=0",
    "strategy.threads=-1",
    "strategy.threads=abc",
    "strategy.workers=abc",
    "strategy.workers=-5",
    "strategy.ranks=0",
    "budget.base.optimizer.lr=nan",
    "budget.base.optimizer.lr=inf",
    "budget.base.optimizer.lr=0",
    "budget.base.optimizer.lr=-1",
    "budget.lora.optimizer.lr=fast",
    "budget.base.l1_weight=nan",
    "budget.base.steps=0",
    "budget.base.steps=-3",
    "budget.base.steps=abc",
    "budget.base.adversarial=maybe",
    "budget.base.batch_size=0",
    "budget.base.concepts=1000",
    "budget.base.decay_start=7",
    "budget.base.decay_start=-1",
    "budget.checkpoint_every=0",
    "budget.checkpoint_every=-1",
    "logger.every=0",
    "budget.finetune.lora.points=[a]",
    "budget.finetune.lora.points=[999]",
    "budget.finetune.lora.points=[-1]",
    "budget.finetune.lora.points=1",
    "budget.finetune.clock=sun",
    "budget.finetune.trainable=some",
    "budget.finetune.discriminator=old",
    "budget.denoiser.prediction=epsilon",
    "budget.denoiser.ema_decay=nan",
    "budget.denoiser.blocks=4",
    "sampler.steps=0",
    "sampler.steps=-1",
    "sampler.steps=1000000",
    "lora.ranks.down=-1",
    "lora.ranks.down=0",
    "lora.ranks.down=10000",
    "lora.alpha=nan",
    "paths.artifacts=null",
    "paths.artifacts=",
    "paths.artifacts=/etc/passwd",
    "paths.artifacts=/proc/x",
    "paths.reports=/etc/passwd",
    "paths.reports=/proc/x",
    "logger.project=a/b",
    "logger.mode=onlin",
    "photos.train=1000000000",
    "photos.train=ten",
    "photos.train=true",
    "photos.size=100000",
    "photos.size=50",
    "photos.size=64.5",
    "photos.seed=-1",
    "photos.test=1",
    "photos.validation=1",
    "recipe=../x",
    "recipe=/abs",
    "recipe=",
    "nosuch=1",
    "photos.nosuch=1",
    "editor=nosuch",
    "experiment=nosuch",
    "translator.width=0",
    "fleet.size=0",
    "fleet.shard=-1",
    "project=../x",
    "init=nosuch",
    "methods=[e2gan,e2gan]",
    "budget.denoiser.blocks=-1",
    "concepts.seed=[]",
    "denoiser.width=7",
    "strategy=gpux",
    "photos.size=[1]",
    "a=b=c",
]

LISTS = {
    "open quote.csv": b'prompt,split\n"a mosaic,train\n',
    "a header with an open quote.csv": b'"prompt,split\na mosaic,train\n',
    "empty.csv": b"",
    "a header alone.csv": b"prompt,split\n",
    "no prompts.csv": b"colour,split\nred,train\n",
    "an unknown split.csv": b"prompt,split\na mosaic,holiday\n",
    "one prompt twice.csv": b"prompt,split\na mosaic,train\na mosaic,train\n",
    "binary.csv": bytes(range(256)),
    "null bytes.csv": b"prompt,split\na\0mosaic,train\n",
    "nested.jsonl": b"[" * 100_000 + b"]" * 100_000,
    "half a line.jsonl": b'{"prompt": "a mosaic", "split": "tr',
    "a number.jsonl": b"7\n",
    "not a list.json": b'{"prompt": "a mosaic"}',
    "unknown kind.xlsx": b"PK",
}


def grey(path: Path, size: int = 64) -> None:
    """A picture of one colour."""
    from PIL import Image

    Image.new("RGB", (size, size), (120, 120, 120)).save(path)


PHOTOS: dict[str, Callable[[Path], object]] = {
    "an empty folder": lambda place: None,
    "one photo": lambda place: grey(place / "one.png"),
    "a text called photo": lambda place: (place / "photo.jpg").write_text("no picture"),
    "a photo cut off": lambda place: (place / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40)),
    "an empty photo": lambda place: (place / "photo.jpg").touch(),
    "photos of one colour": lambda place: [grey(place / f"{i}.png") for i in range(40)],
    "a folder in a circle": lambda place: (place / "again").symlink_to(place),
}


def damage(undisturbed: Path) -> Iterator[Trial]:
    """Each kind of file of each kind of artifact, damaged in five ways: the store says which, and what to do."""
    from weightgen.artifacts import _check

    for stage in sorted(
        path for path in (undisturbed / "artifacts").iterdir() if path.is_dir() and path.name[0] != "."
    ):
        folder = next(path for path in sorted(stage.iterdir()) if path.name[0] != ".")
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            for how, spoil in DAMAGE.items():
                if not file.stat().st_size:
                    continue
                content = file.read_bytes()
                spoil(file)
                said = ""
                try:
                    _check(folder)
                except WeightgenError as error:
                    said = str(error)
                fine = file.name in said and "delete the folder" in said and "\n" not in said
                yield f"{stage.name}/{file.name}: {how}", fine, said
                file.write_bytes(content)


def bad_options(folder: Path) -> Iterator[Trial]:
    """One line, and nothing written."""
    for option in BAD:
        yield refusal(folder, option, [option])


def bad_files(folder: Path) -> Iterator[Trial]:
    """Lists of concepts, folders of photos and folders of pairs that are no such thing: one line, and nothing written but
    Hydra's record of the options, since files are read within the run."""
    folder.mkdir()
    hydra = ("config.yaml", "hydra.yaml", "overrides.yaml", "evaluate.log")
    for name, content in LISTS.items():
        file = folder / name
        file.write_bytes(content)
        yield refusal(folder, name, ["concepts=file", f"concepts.path={file}"], hydra)
    yield refusal(folder, "a list that is missing", ["concepts=file", f"concepts.path={folder}/none.csv"], hydra)
    yield refusal(folder, "a list that is a folder", ["concepts=file", f"concepts.path={folder}"], hydra)
    for name, make in PHOTOS.items():
        place = folder / name.replace(" ", "_") / "a mosaic"
        place.mkdir(parents=True)
        make(place)
        yield refusal(folder, name, ["photos=folder", f"photos.root={place}"], hydra)
        yield refusal(folder, f"premade: {name}", ["editor=premade", f"editor.root={place.parent}"], hydra)


def refusal(folder: Path, what: str, options: list[str], logs: Sequence[str] = ()) -> Trial:
    """`evaluate` in a process forked from this one, which has imported what an app imports. logs: what may be written."""
    import experiments.evaluate as app

    place = Path(tempfile.mkdtemp(dir=folder))
    errors = place / "stderr"
    child = os.fork()
    if child == 0:
        with errors.open("w") as stream, contextlib.suppress(BaseException):
            os.dup2(stream.fileno(), 2)
            os.dup2(stream.fileno(), 1)
            paths = [f"paths.artifacts={place}/a", f"paths.reports={place}/r", f"hydra.run.dir={place}/o"]
            names = {option.split("=")[0] for option in options}
            given = [path for path in paths if path.split("=")[0] not in names]
            sys.argv = ["evaluate", "experiment=smoke", "logger=csv", *given, *options]
            code = 0
            try:
                app.main()
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else 1
            os._exit(code)
        os._exit(70)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    said = errors.read_text()
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    files = [path.name for path in place.rglob("*") if path.is_file() and path.suffix != ".lock"]
    written = [name for name in files if name not in ("stderr", *logs)]
    fine = code in (1, 2) and len(lines) == 1 and "Traceback" not in said and not written
    return what, fine, f"{code} {written} {said[-200:]}"


def hostile(folder: Path, undisturbed: Path) -> Iterator[Trial]:
    """A generator folder and a folder of photos that would run code or wait for ever."""
    from weightgen.data.photos.folder import FolderPhotos
    from weightgen.generation.generator import WeightGenerator

    mark = folder / "ran"

    def refused(what: str, act: Callable[[], object]) -> Trial:
        try:
            act()
        except WeightgenError as error:
            return what, not mark.exists() and "\n" not in str(error), str(error)
        return what, False, "nothing was said"

    model = folder / "model"
    model.mkdir(parents=True)
    text = {"hf_tokenizer_name": "roberta-base", "tokenizer_kwargs": {"trust_remote_code": True}}
    config = {"model_cfg": {"embed_dim": 8, "vision_cfg": {}, "text_cfg": text}}
    (model / "open_clip_config.json").write_text(json.dumps(config))
    (model / "tok.py").write_text(f"import pathlib; pathlib.Path({str(mark)!r}).touch()")
    for what, encoder in {
        "a tokenizer with code of its own": {"name": "open_clip", "pretrained": str(model)},
        "an architecture of anybody on the hub": {"name": "open_clip", "architecture": "hf-hub:anyone/x"},
        "a class by its path": {"name": "os.system"},
        "an option that no encoder has": {"name": "minilm", "command": "true"},
    }.items():
        copy = folder / what.replace(" ", "_")
        shutil.copytree(undisturbed / "reports" / "smoke" / "generator", copy)
        content = json.loads((copy / "generator.json").read_text()) | {"text_encoder": encoder}
        (copy / "generator.json").write_text(json.dumps(content))
        yield refused(what, lambda copy=copy: WeightGenerator.load(copy)("a mosaic"))
    photos = folder / "photos"
    photos.mkdir()
    (photos / "evil.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    yield refused("a photo that is a program", lambda: FolderPhotos(photos, 16, 2, 2, 2).load())
    (photos / "evil.jpg").unlink()
    os.mkfifo(photos / "pipe.png")
    yield refused("a pipe called photo", lambda: FolderPhotos(photos, 16, 2, 2, 2).load())
