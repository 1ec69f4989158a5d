"""A comparison whose every number is known: two methods and their own LoRAs on three concepts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.reports.comparison import Comparison, compare, write_tables
from weightgen.evaluation.cost import cost_table

NASTY = '</script><script>document.title = "owned"</script><img src=x onerror="window.owned = 1">'
PROMPTS = {"fog": "a scene in thick fog", "ink": "an ink drawing {{content}} `${1}`", "oil": NASTY}
FIDS = {"pix2pix": (3000.0, 300.0), "e2gan": (2000.0, 900.0), "generated": (1500.0, 800.0), "trained": (700.0, 700.0)}
L1 = {"pix2pix": (0.5, 0.02), "e2gan": (0.3, 0.05), "generated": (0.14, 0.04), "trained": (0.05, 0.05)}
SECONDS = {"pix2pix": 30.0, "e2gan": 3.0, "generated": 3.25, "trained": 0.0}


def result_rows(recipe: str = "known") -> list[dict[str, Any]]:
    rows = []
    for split in ("unseen_combination", "unseen_factor"):
        for i, (concept, prompt) in enumerate(PROMPTS.items()):
            for method, fids in FIDS.items():
                for point in range(1 if method == "trained" else 2):
                    rows.append(
                        {
                            "experiment": recipe,
                            "base": "none" if method == "pix2pix" else "representative",
                            "concept": f"{concept}-{split[7]}",
                            "prompt": prompt,
                            "split": split,
                            "method": method,
                            "seed": 0,
                            "step": 40 * point,
                            "train_seconds": SECONDS[method] * point,
                            "fid": fids[point] * (1 + i / 10),
                            "kid": 0.5 - point / 4,
                            "l1": L1[method][point] * (1 + i / 10),
                            "feature_set": "efficientnet_lite0",
                            "device": "cpu x1",
                            "perceptual": 0.25,
                            "mmd": 1.5 - point,
                            "collapsed": 0.0,
                        }
                    )
    return rows


def known_comparison(recipe: str = "known") -> Comparison:
    """Of `result_rows`, with cost and novelty."""
    spent = {"generated": 100.0, "e2gan": 0.0}
    costs = cost_table("generated", spent, {"generated": 1.0, "e2gan": 3.0, "pix2pix": None})
    head = {"base": "representative", "split": "unseen_combination", "target": "e2gan"}
    once = {"pairs_seconds": 10.0, "base_seconds": 20.0, "zoo_seconds": 30.0, "denoiser_seconds": 40.0}
    once |= {"guide_seconds": 0.0}
    novel = [
        {
            "base": "representative",
            "split": "unseen_combination",
            "seed": 0,
            "concept": "fog-c",
            "method": method,
            "nearest": "mosaic",
            "nearest_distance": distance,
            "interpolation_distance": distance / 2,
            "mean_distance": 1.0,
            "train_distance": 1.1,
            "seed_distance": 0.2,
            "fid_start": 1500.0,
            "l1_start": 0.14,
            "weight_error": None,
        }
        for method, distance in (("generated", 0.9), ("trained", 1.2))
    ]
    return replace(compare(recipe, result_rows(recipe)), novelty=novel, cost=[head | row | once for row in costs])


def write_known(reports: Path, recipe: str = "known") -> Path:
    """reports/<recipe> with all tables -> that folder."""
    folder = reports / recipe
    write_tables(known_comparison(recipe), folder)
    (folder / "report.md").write_text("# known\n")
    return folder
