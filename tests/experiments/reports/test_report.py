import math
from dataclasses import replace

from experiments.reports.comparison import compare
from experiments.reports.markdown import markdown_table, number, report
from weightgen.evaluation.cost import cost_table
from weightgen.evaluation.novelty import novelty


def _rows(step=40):
    def row(method, concept, fid, base="paper"):
        return {
            "experiment": "demo",
            "base": base,
            "concept": concept,
            "prompt": concept,
            "split": "unseen_factor",
            "method": method,
            "seed": 3,
            "step": step,
            "train_seconds": 1.0,
            "fid": fid,
            "kid": 0.0,
            "l1": fid / 100,
            "feature_set": "efficientnet_lite0",
            "device": "cpu (1 thread)",
            "perceptual": math.nan,
            "mmd": math.nan,
        }

    fids = {"e2gan": 60.0, "generated": 35.0, "trained": 10.0}
    rows = [row(method, concept, fid) for method, fid in fids.items() for concept in "ab"]
    return rows + [row("pix2pix", concept, 20.0, base="none") for concept in "ab"]


COST = {"base": "paper", "split": "unseen_factor", "target": "pix2pix"}


def test_a_full_report():
    seconds = {"generated": 1.0, "e2gan": 3.0, "mean": 0.5}
    novel = novelty([[2.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]], ["a"], ["x", "y"], "generated")
    comparison = replace(
        compare("small", _rows()),
        config="seed: 3\n",
        novelty=[row | {"seed_distance": None} for row in novel],
        cost=[COST | row for row in cost_table("generated", {"generated": 100.0}, seconds)],
        notes=("photo by A. Person",),
    )
    text = report(comparison, {"curves": "curves.png"})
    assert text.startswith(
        "# weightgen: small\n\n**unseen factor** (base: paper, 2 concepts): before any training, generated "
    )
    # gap closed by (60 - 35) / (60 - 10)
    assert (
        "weights close 0.50 [0.50, 0.50] of the gap to the concept's own LoRA. Fine-tuned, they end at FID 35, " in text
    )
    assert "E2GAN at 60. E2GAN's last FID is reached 1.00 [1.00, 1.00] times as fast (0 of 2 runs never do)." in text
    for part in (
        "- experiment: demo; concepts: 2; seeds: 3\n",
        "**efficientnet_lite0**",
        "- device: cpu (1 thread)",
        # never at pix2pix's 20
        "| **generated (ours)** | 35 | 35 | 0.3500 | 0.3500 | 0.50 [0.50, 0.50] | 0.30 | 1.0 | never | –",
        "![curves](curves.png)",
        "| paper | unseen factor | start | fid | 1.00 [1.00, 1.00] | 0.58 [0.58, 0.58] | 0.5 | 2 |",
        "| E2GAN (base, LoRA at zero) | unseen factor | paper | pix2pix (from scratch) | 0 | 3.0 | 100 | 1.0 | 50 |",
        "| mean of training LoRAs | unseen factor | paper | pix2pix (from scratch) | 0 | 0.5 | 100 | 1.0 | never |",
        "<details><summary>Configuration</summary>",
        "- photo by A. Person",
        "```yaml\nseed: 3\n```",
    ):
        assert part in text


def test_starts_that_nobody_trained_are_no_race():
    comparison = compare("small", _rows(step=0))
    assert comparison.races == []
    assert {row["speedup"] for row in comparison.summary} == {None}
    text = report(comparison, {})
    assert "the concept's own LoRA. They start at FID 35, E2GAN at 60.\n" in text


def test_empty_sections_are_left_out():
    text = report(replace(compare("small", _rows()), wins=[]), {})
    for absent in ("Novelty", "fixed cost", "against each rival", "![", "Configuration"):
        assert absent not in text


def test_cells_cannot_break_the_table():
    assert markdown_table(("a", "b"), [("x | y\nz", "1")]) == "| a | b |\n| --- | ---: |\n| x \\| y z | 1 |"


def test_numbers():
    assert [number(value) for value in (None, math.nan, math.inf, 1.239)] == ["–", "–", "∞", "1.24"]


def test_devices_that_differ_are_told():
    rows = _rows()
    rows[0]["device"] = "NVIDIA H100"
    text = report(compare("small", rows), {})
    assert "- device: NVIDIA H100, cpu (1 thread) (several, so no speed-up is given" in text
