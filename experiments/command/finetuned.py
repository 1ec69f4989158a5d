"""The translators of a finished comparison, by method, concept and seed. `weightgen finetuned`."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from experiments.reports.runs import RUNS
from weightgen.errors import MissingArtifact
from weightgen.files import load_tensors, read_json
from weightgen.generation.saved import load_net, loading, weights_hash
from weightgen.generation.translator import Translator
from weightgen.text.encoders import TextFeatures
from weightgen.translation.lora import LoraSpec, inject_lora, load_lora_state
from weightgen.translation.nets import TRANSLATORS


def finetuned(
    report: Path | str, method: str, concept: str, seed: int = 0, artifacts: Path | str = "artifacts"
) -> Translator:
    """The fine-tuned translator of a comparison. report: its folder; concept: its name there, as in results.csv.

    Raises MissingArtifact where there is none, and says which there are.
    """
    report, store = Path(report), Path(artifacts) / "finetune"
    if not (report / RUNS).exists():
        raise MissingArtifact(f"{report} holds no {RUNS}: run `make evaluate` first")
    found = {}
    for key in read_json(report / RUNS):
        if (store / key / "spec.json").exists():
            found[read_json(store / key / "spec.json")["label"]] = store / key
    folder = found.get(f"finetune {method} {concept} {seed}")
    if folder is None:
        near = sorted(label.removeprefix("finetune ") for label in found if concept in label or method in label)
        there = "; ".join(near[:6]) or f"none of its runs is in {store}: say where with --artifacts"
        raise MissingArtifact(f"{report} has no run of {method}, {concept}, seed {seed}. There are: {there}")
    with loading(folder, "spec.json", "translator"):
        return _translator(folder, read_json(folder / "spec.json")["config"], Path(artifacts))


def _translator(folder: Path, config: dict[str, Any], artifacts: Path) -> Translator:
    """The network of a finished fine-tune with its last weights."""
    inputs = {each["stage"]: artifacts / each["stage"] / each["key"] for each in read_json(folder / "inputs.json")}
    prompt = read_json(inputs["text"] / "spec.json")["config"]["prompts"][0]
    text = TextFeatures(**load_tensors(inputs["text"] / "text.safetensors"))
    description, base = config.get("scratch"), ""
    if description is None:
        description = read_json(inputs["base"] / "generator.json")
        if "photos" in inputs:
            size = read_json(inputs["photos"] / "spec.json")["config"]["photos"]["size"]
            description = description | {"period": size}
    if (folder / "lora.safetensors").exists():
        net = load_net(TRANSLATORS, description, inputs["base"] / "generator.safetensors")
        base = weights_hash(net)
        model = load_lora_state(inject_lora(net, LoraSpec(**config["lora"])), load_tensors(folder / "lora.safetensors"))
    else:
        model = load_net(TRANSLATORS, description, folder / "generator.safetensors")
    return Translator(model.eval(), text, description, prompt, base)


def run(asked: Namespace) -> int:
    """`weightgen finetuned`: saves it as a folder that `weightgen translate --translator` takes."""
    translator = finetuned(asked.report, asked.method, asked.concept, asked.seed, asked.artifacts)
    translator.save(asked.out)
    print(f"{translator.prompt}, {asked.method}: {asked.out}")
    return 0
