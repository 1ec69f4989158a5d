"""The words of the command line. Nothing here imports torch: `weightgen --help` answers at once."""

import argparse

FORMATS = ("peft", "merged", "onnx")
EXAMPLE = 'weightgen translate --prompt "a pencil sketch in sepia tones" photo.jpg --out sketch.png'


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        "weightgen",
        description="Weights for image translators from words: type a concept, get a translator.",
        epilog=f"example: {EXAMPLE}\nevery command: weightgen <command> --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", metavar="<command>", required=True)
    _translate(_command(commands, "translate", "photos in, translated photos out"))
    look = _command(commands, "look", "a sheet of prompts by photos, to see at once what a generator can do")
    look.add_argument("photos", nargs="*", help="files (six that come with other packages)")
    look.add_argument("--prompt", action="append", help="a row; several are several rows (six that it knows)")
    look.add_argument("--size", type=int, default=160, help="of a picture, in pixels (160)")
    look.add_argument("--out", default="look.png", help="the file to write (look.png)")
    _source(look)
    generate = _command(commands, "generate", "a translator for a prompt, saved as a folder")
    _prompt(generate)
    generate.add_argument("--out", required=True, help="the folder to write")
    adapt = _command(
        commands, "adapt", "a translator for an edit that a few pairs of pictures show, trained for seconds"
    )
    adapt.add_argument("--prompt", required=True, help="what the edit is called")
    adapt.add_argument("--pairs", required=True, help=PAIRS)
    adapt.add_argument("--seconds", type=float, default=5.0, help="of training (5)")
    adapt.add_argument("--steps", type=int, help="so many steps in place of seconds: the same weights on every machine")
    adapt.add_argument("--out", required=True, help="the folder to write")
    _source(adapt)
    export = _command(commands, "export", "a translator for other programs: a peft adapter, ONNX, or plain weights")
    _prompt(export)
    export.add_argument("--format", default="peft", help=f"of {','.join(FORMATS)}; several with commas (peft)")
    export.add_argument("--out", required=True, help="the folder to write")
    tuned = _command(commands, "finetuned", "a fine-tuned translator of a finished comparison, saved as a folder")
    tuned.add_argument("report", help="the folder of the comparison, such as reports/demo")
    tuned.add_argument("--method", default="generated", help="of its tables (generated)")
    tuned.add_argument("--concept", required=True, help="its name in results.csv")
    tuned.add_argument("--seed", type=int, default=0)
    tuned.add_argument("--artifacts", default="artifacts", help="where its runs lie (artifacts)")
    tuned.add_argument("--out", required=True, help="the folder to write")
    app = _command(commands, "app", "a page to try it in a browser on this machine (needs weightgen[app])")
    app.add_argument("--generator", help="the folder of a weight generator (the one that comes with weightgen)")
    app.add_argument("--reports", help="a folder of finished comparisons to browse")
    app.add_argument("--port", type=int, default=7860)
    info = _command(commands, "info", "what a weight generator or a translator is and knows")
    info.add_argument(
        "folder", nargs="?", help="of a generator or a translator (the generator that comes with weightgen)"
    )
    stage = "a stage of the experiments, with Hydra's options: weightgen run evaluate experiment=smoke"
    commands.add_parser("run", help=stage, add_help=False)
    return top


PAIRS = "a folder with before/ and after/, files of equal names and sizes; or pictures of two squares side by side"


def _command(commands: "argparse._SubParsersAction", name: str, what: str) -> argparse.ArgumentParser:
    return commands.add_parser(name, help=what, description=what[0].upper() + what[1:] + ".")


def _translate(command: argparse.ArgumentParser) -> None:
    command.add_argument("photos", nargs="+", help="files or folders (searched through); - is standard input")
    _prompt(command, required=False)
    command.add_argument("--translator", help="the folder of a saved translator, in place of --prompt")
    command.add_argument("--out", help="a file or a folder; - is standard output (names beside you, by prompt)")
    command.add_argument("--threads", type=int, help="of this processor to use (all)")


def _prompt(command: argparse.ArgumentParser, required: bool = True) -> None:
    command.add_argument(
        "--prompt",
        action="append",
        required=required,
        default=None if required else [],
        help='words; "A:0.7" and "B:0.3" are mixed; several without shares are several results',
    )
    command.add_argument("--strength", type=float, default=1.0, help="0 to 1.5 times the change (1)")
    command.add_argument("--like", help=f"examples, by which weights are refined: {PAIRS}")
    _source(command)


def _source(command: argparse.ArgumentParser) -> None:
    command.add_argument("--seed", type=int, default=0, help="of the noise (0)")
    command.add_argument("--generator", help="the folder of a weight generator (the one that comes with weightgen)")


def shares(prompts: list[str]) -> list[str | dict[str, float]]:
    """What --prompt asks for: several prompts, or one mixture where each ends in ":<share>". ValueError: some of each."""
    split = [prompt.rpartition(":") for prompt in prompts]
    numbers = [_number(tail) if head.strip() else None for head, _, tail in split]
    if all(number is None for number in numbers):
        return list(prompts)
    if any(number is None for number in numbers):
        raise ValueError('give every --prompt a share ("A:0.7" and "B:0.3"), or none')
    return [{head.strip(): number for (head, _, _), number in zip(split, numbers, strict=True)}]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
