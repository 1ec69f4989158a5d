"""peft's adapter folders: read as peft reads them, and nothing that they name is imported."""

import json
import sys

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from weightgen.errors import MissingArtifact, WeightgenError
from weightgen.translation.adapter import ADAPTER_CONFIG, ADAPTER_WEIGHTS, load_adapter, read_adapter
from weightgen.translation.lora import LoraSpec, adapter_factors, inject_lora
from weightgen.translation.nets.e2gan import E2GANGenerator

RANKS = {"down": 2, "up": 3}
IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
PROMPT = torch.rand(2, 4, 6, generator=torch.Generator().manual_seed(1)), torch.ones(2, 4, dtype=torch.bool)
SPEC = LoraSpec(RANKS, alpha=6.0, train="ab", seed=3)


def base(width: int = 8) -> E2GANGenerator:
    torch.manual_seed(0)
    return E2GANGenerator(text_dim=6, width=width, resnet_blocks=1).eval()


@pytest.fixture
def folder(tmp_path):
    """An adapter with a rank for each kind, an alpha for one layer, and another for the rest."""
    torch.manual_seed(1)
    factors = adapter_factors(inject_lora(base(), SPEC))
    save_file({name: torch.randn(weight.shape) * 0.1 for name, weight in factors.items()}, tmp_path / ADAPTER_WEIGHTS)
    layers = [name[len("base_model.model.") : -len(".lora_A.weight")] for name in factors if "lora_A" in name]
    ranks = {f"^{name}$": 3 if name.startswith("up") else 2 for name in layers}
    write(tmp_path, target_modules=layers, rank_pattern=ranks, alpha_pattern={layers[0]: 5}, r=1, lora_alpha=4)
    return tmp_path


def write(folder, **changes):
    file = folder / ADAPTER_CONFIG
    before = json.loads(file.read_text()) if file.exists() else {"peft_type": "LORA"}
    file.write_text(json.dumps(before | changes))


@torch.no_grad()
@pytest.mark.parametrize("rslora", [False, True])
def test_it_draws_what_peft_draws_whatever_its_scaling(folder, rslora):
    write(folder, use_rslora=rslora)
    theirs = PeftModel.from_pretrained(base(), str(folder)).eval()
    for alpha in (6.0, 1.5):  # of ours: B takes up the difference
        spec = LoraSpec(RANKS, alpha=alpha, train="ab")
        ours = load_adapter(inject_lora(base(), spec), read_adapter(folder)).eval()
        torch.testing.assert_close(ours(IMAGES, *PROMPT), theirs(IMAGES, *PROMPT), rtol=0, atol=2e-5)
    assert (ours(IMAGES, *PROMPT) - base()(IMAGES, *PROMPT)).abs().max() > 1e-3


def test_other_ranks_are_one_line_with_those_to_set(folder):
    other = inject_lora(base(), LoraSpec({"down": 4, "up": 3, "out": 1}, train="ab"))
    with pytest.raises(WeightgenError, match=r"set lora\.ranks=\{down:2,up:3\}$"):
        load_adapter(other, read_adapter(folder))
    wider = inject_lora(base(width=16), LoraSpec(RANKS, train="ab"))
    with pytest.raises(WeightgenError, match="of another base"):
        load_adapter(wider, read_adapter(folder))


def test_b_alone_wants_the_a_that_all_share(folder):
    ours = inject_lora(base(), LoraSpec(RANKS, train="b", seed=3))
    with pytest.raises(WeightgenError, match=r"is not what lora\.seed draws.*use lora\.train=ab"):
        load_adapter(ours, read_adapter(folder), one_start=True)
    weights = load_file(folder / ADAPTER_WEIGHTS)
    shared = {name: weight.half().float() for name, weight in adapter_factors(ours).items() if "lora_A" in name}
    save_file(weights | shared, folder / ADAPTER_WEIGHTS)  # as half precision keeps it
    load_adapter(ours, read_adapter(folder), one_start=True)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"peft_type": "LOHA"}, "of no LoRA"),
        ({"use_dora": True}, "use_dora makes it more than a LoRA"),
        ({"bias": "all"}, "bias makes it more than a LoRA"),
        ({"modules_to_save": ["head"]}, "modules_to_save makes it more"),
    ],
)
def test_what_is_no_plain_lora_is_refused(folder, changes, told):
    write(folder, **changes)
    with pytest.raises(WeightgenError, match=told):
        read_adapter(folder)


def test_nothing_that_a_config_names_is_imported(folder, monkeypatch):
    (folder / "evil_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(folder)
    named = {"megatron_config": {"a": 1}, "megatron_core": "evil_module"}
    write(folder, auto_mapping={"parent_library": "evil_module"}, **named)
    read_adapter(folder)
    assert "evil_module" not in sys.modules


def test_missing_and_infinite_weights(folder):
    weights = load_file(folder / ADAPTER_WEIGHTS)
    name = next(iter(weights))
    save_file(weights | {name: torch.full_like(weights[name], float("inf"))}, folder / ADAPTER_WEIGHTS)
    with pytest.raises(WeightgenError, match="not finite"):
        read_adapter(folder)
    (folder / ADAPTER_WEIGHTS).unlink()
    with pytest.raises(MissingArtifact, match=ADAPTER_WEIGHTS):
        read_adapter(folder)
