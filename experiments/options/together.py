"""Options that hang on one another, and on this machine: what no rule of one option alone can see."""

import netrc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Options = dict[str, Any]
KINDS = ("lora", "own", "scratch")  # of fine-tuning


def disagreements(options: Options) -> Iterator[str]:
    """One line for each disagreement. options: resolved, each known to fit its own rule."""
    for part in (_data, _nets, _schedules, _machine, _login, _folders):
        yield from part(options)


def _premade(options: Options) -> bool:
    return "layout" in options["editor"]  # brings photos and concepts of its own


def _evaluated(options: Options, *methods: str) -> bool:
    """Whether any of these methods is evaluated."""
    chosen = options["methods"]
    return chosen == "all" or not {*chosen, options["init"]["name"]}.isdisjoint(methods)


def _data(options: Options) -> Iterator[str]:
    for where in ("photos", "editor"):
        test, validation = (options[where].get(f"{part}_fraction", 0) for part in ("test", "validation"))
        if test + validation >= 1:
            yield f"{where}.test_fraction={test}, {where}.validation_fraction={validation}: take less than 1 together"
    photos, pairs, shown = options["photos"]["train"], options["pairs"], options["evidence"]["pairs"]
    if pairs is not None and pairs > photos and not _premade(options):
        yield f"pairs={pairs}: a new concept has at most photos.train={photos} pairs"
    looking = _evaluated(options, "few_steps", "generated_best_of", "generated_few_steps", "guided")
    have = photos if pairs is None else pairs
    if looking and shown > have and not _premade(options):
        yield f"evidence.pairs={shown}: a new concept has {have} pairs, see pairs and photos.train"
    train = options["concepts"].get("train")
    size = options["zoo"]["size"]
    if "file" in options["zoo"] and options["budget"]["finetune"]["discriminator"] == "base":
        yield "budget.finetune.discriminator=base: the base of zoo=manifest brings no discriminator, use fresh"
    beyond, function = options["zoo"].get("beyond"), options["budget"]["function"]
    if beyond and function["weight_loss"]:
        yield "zoo.beyond=true: a concept without a LoRA has no weights to stay near, set budget.function.weight_loss=0"
    if beyond and not function["steps"] and not _evaluated(options, "guided"):
        yield "zoo.beyond=true: it is training through the base that reads more pairs, set budget.function.steps above 0"
    if train is None or _premade(options) or "file" in options["zoo"]:
        return
    if size is not None and size > train:
        yield f"zoo.size={size}: takes 2 to concepts.train={train}, or null"
    seen = options["budget"]["base"]["concepts"]
    if seen > train and options["subset"].get("concepts") is None:
        yield f"budget.base.concepts={seen}: takes 1 to concepts.train={train}"


def _nets(options: Options) -> Iterator[str]:
    size, translator, denoiser = options["photos"]["size"], options["translator"], options["denoiser"]
    if "downs" in translator:
        multiple = 2 ** (translator["downs"] + 1)
        if size % multiple:
            yield f"photos.size={size}: takes a multiple of {multiple} (2 ** (translator.downs + 1))"
        # 3 x 3 kernels over the widest layer: beyond so many inputs a rank adds nothing
        most = 9 * translator["width"] * 2 ** translator["downs"]
        for layer, rank in options["lora"]["ranks"].items():
            if rank > most:
                yield f"lora.ranks.{layer}={rank}: takes 1 to {most}, the inputs of this translator's layers"
    deepest = 2 ** (len(options["distilled"].get("widths", [0])) - 1)
    if _evaluated(options, "pix2pix_zero_distilled") and size % deepest:
        yield f"photos.size={size}: pix2pix_zero_distilled takes a multiple of {deepest}; shorten distilled.widths"
    if options["lora"]["seeds"] == "own" and options["lora"]["train"] == "b":
        yield "lora.seeds=own: only where both factors train, lora.train=ab"
    if options["budget"]["denoiser"]["blocks"] and denoiser["name"] == "joint":
        yield "budget.denoiser.blocks: single blocks are for a denoiser that sees each alone, denoiser=unet1d"
    if denoiser["width"] % denoiser["heads"]:
        yield f"denoiser.width={denoiser['width']}: takes a multiple of denoiser.heads={denoiser['heads']}"
    unit = denoiser.get("patch", 1) * 2 ** (denoiser.get("levels", 1) - 1)
    if options["blocks"]["size"] % unit:
        yield (
            f"blocks.size={options['blocks']['size']}: takes a multiple of {unit} "
            "(denoiser.patch * 2 ** (denoiser.levels - 1))"
        )


def _schedules(options: Options) -> Iterator[str]:
    denoiser = options["budget"]["denoiser"]
    if denoiser["validate_every"] > denoiser["steps"]:
        steps = denoiser["steps"]
        yield f"budget.denoiser.validate_every={denoiser['validate_every']}: takes 0 to budget.denoiser.steps={steps}"
    for kind in KINDS:
        schedule = options["budget"]["finetune"][kind]
        given = [] if isinstance(schedule["points"], int) else schedule["points"]
        if late := [point for point in given if point > schedule["steps"]]:
            where = f"budget.finetune.{kind}"
            yield f"{where}.points={schedule['points']}: {late[0]} is beyond {where}.steps={schedule['steps']}"


def _machine(options: Options) -> Iterator[str]:
    trainer, threads = options["strategy"]["trainer"], options["strategy"]["threads"]
    if options["budget"]["finetune"]["clock"] == "cpu" and (trainer["accelerator"] == "gpu" or threads > 1):
        what = "a GPU" if trainer["accelerator"] == "gpu" else f"strategy.threads={threads}"
        yield f"budget.finetune.clock=cpu: CPU time says nothing of {what}, add budget.finetune.clock=wall"
    if trainer["accelerator"] == "cpu" and trainer["precision"] in ("16-mixed", "16-true"):
        yield (
            f"strategy.trainer.precision={trainer['precision']}: a CPU takes 32-true or bf16-mixed; 16-mixed wants a GPU "
            "(strategy=gpu)"
        )


def _login(options: Options) -> Iterator[str]:
    logger = options["logger"]
    if logger["wandb"] and logger["mode"] == "online" and not logged_in():
        yield "logger.mode=online: nobody is logged in to W&B here: run `wandb login`, or export WANDB_API_KEY"


def logged_in() -> bool:
    """Whether W&B would find a key: in the environment, or where `wandb login` keeps it. W&B is not imported for it."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname or ""
    places = [os.environ.get("NETRC", ""), "~/.netrc", "~/_netrc"]
    for place in (Path(place).expanduser() for place in places if place):
        try:
            if netrc.netrc(str(place)).hosts.get(host):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False


def _folders(options: Options) -> Iterator[str]:
    for name, folder in options["paths"].items():
        path = Path(folder).expanduser()
        if path.exists() and not path.is_dir():
            yield f"paths.{name}={folder}: takes a folder, this is a file"
        elif not path.exists() and (reason := _forbidden(path)):
            yield f"paths.{name}={folder}: this folder cannot be made here ({reason})"


def _forbidden(path: Path) -> str | None:
    """Why a folder cannot be made, None if it can: tried with another name beside it, which goes at once."""
    above = next(parent for parent in path.absolute().parents if parent.exists())
    try:
        Path(tempfile.mkdtemp(prefix=".weightgen-", dir=above)).rmdir()
    except OSError as error:
        return error.strerror or str(error)
    return None
