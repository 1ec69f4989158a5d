"""How the command `weightgen` ends, and which module each of its commands is."""

import os
import sys
import warnings
from collections.abc import Callable

COMMANDS = {  # command -> "module:function", imported when it is asked for
    "translate": "weightgen.commands.translate:run",
    "look": "weightgen.commands.work:look",
    "generate": "weightgen.commands.work:generate",
    "adapt": "weightgen.commands.work:fit_to_pairs",
    "export": "weightgen.commands.work:export",
    "finetuned": "experiments.command.finetuned:run",
    "app": "weightgen.commands.app:run",
    "info": "weightgen.commands.work:info",
}
STAGES = {  # `weightgen run <stage>`, as `make <stage>`, or the app's own name
    "concepts": "collect_concepts",
    "pairs": "collect_pairs",
    "base": "train_base",
    "loras": "train_loras",
    "blocks": "build_blocks",
    "denoiser": "train_denoiser",
    "init": "generate_init",
    "finetune": "finetune",
    "evaluate": "evaluate",
    "dashboard": "dashboard",
    "bench": "bench",
    "gpu": "gpu",
    "sweep": "sweep",
    "study": "study",
    "artifacts": "artifacts",
}


def ended(work: Callable[[], int]) -> int:
    """The exit code of a command: an expected failure is one line and 1, an interrupt 130. Warnings are a line each."""
    warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        return work()
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        from experiments.command.app import explain  # imports Hydra, which no command needs that ends well

        message = explain(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        return 1


def run_stage(words: list[str]) -> None:
    """Become the app of a stage, with Hydra's own command line."""
    if not words or words[0] in ("-h", "--help"):
        print("usage: weightgen run <stage> [experiment=<recipe>] [option=value ...]   (weightgen run <stage> --help)")
        print(f"stages: {', '.join(STAGES)}")
        return None
    stage = STAGES.get(words[0], words[0])
    if stage not in STAGES.values():
        print(f"error: there is no stage {words[0]!r}: choose {', '.join(STAGES)}", file=sys.stderr)
        raise SystemExit(2)
    os.execv(sys.executable, [sys.executable, "-m", f"experiments.{stage}", *words[1:]])
