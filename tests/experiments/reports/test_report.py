import math
from dataclasses import replace

from experiments.reports.comparison import compare
from experiments.reports.markdown import markdown_table, number, report
from weightgen.evaluation.cost import cost_table
from weightgen.evaluation.novelty import novelty


def _rows():
    def row(method, concept, fid, base="paper"):
        return {
            "experiment": "demo",
            "base": base,
            "concept": concept,
            "prompt": concept,
            "split": "unseen_factor",
            "method": method,
            "seed": 3,
            "step": 0,
            "train_seconds": 1.0,
            "fid": fid,
            "kid": 0.0,
            "l1": fid / 100,
            "feature_set": "efficientnet_lite0",
            "device": "cpu (1 thread)",
            "perceptual": math.nan,
        }

    fids = {"e2gan": 60.0, "generated": 35.0, "trained": 10.0}
    rows = [row(method, concept, fid) for method, fid in fids.items() for concept in "ab"]
    return rows + [row("pix2pix", concept, 20.0, base="none") for concept in "ab"]


def test_a_full_report():
    comparison = replace(
        compare("small", _rows()),
        config="seed: 3\n",
        novelty=novelty([[2.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]], ["a"], ["x", "y"], "generated"),
        cost=cost_table("generated", {"generated": 100.0}, {"generated": 1.0, "e2gan": 3.0, "mean": 0.5}),
        notes=("photo by A. Person",),
    )
    text = report(comparison, {"curves": "curves.png"})
    assert text.startswith("# weightgen: small\n\n- experiment: demo; concepts: 2; seeds: 3\n")
    for part in (
        "**efficientnet_lite0**",
        "- device: cpu (1 thread)",
        # gap closed by (60 - 35) / (60 - 10); never at pix2pix's 20.
        "| **generated (ours)** | 35 | 35 | 0.3500 | 0.3500 | 0.50 [0.50, 0.50] | 0.30 | 1.0 | never | –",
        "![curves](curves.png)",
        "| paper | unseen factor | start | fid | 1.00 [1.00, 1.00] | 0.58 [0.58, 0.58] | 0.5 | 2 |",
        "| E2GAN (base, LoRA at zero) | 0 | 3.0 | 100 | 1.0 | 50 |",
        "| mean of training LoRAs | 0 | 0.5 | 100 | 1.0 | never |",
        "- photo by A. Person",
        "```yaml\nseed: 3\n```",
    ):
        assert part in text


def test_empty_sections_are_left_out():
    text = report(replace(compare("small", _rows()), wins=[]), {})
    for absent in ("Novelty", "fixed cost", "against each rival", "![", "## Notes", "## Configuration"):
        assert absent not in text


def test_cells_cannot_break_the_table():
    assert markdown_table(("a", "b"), [("x | y\nz", "1")]) == "| a | b |\n| --- | ---: |\n| x \\| y z | 1 |"


def test_numbers():
    assert [number(value) for value in (None, math.nan, math.inf, 1.239)] == ["–", "–", "∞", "1.24"]
