"""A comparison whose every number is known: two methods and a ceiling on three concepts."""

from pathlib import Path
from typing import Any

from weightgen.evaluation.compare import wins, write_wins
from weightgen.evaluation.cost import COST_COLUMNS, cost_table
from weightgen.evaluation.novelty import NOVELTY_COLUMNS
from weightgen.evaluation.races import races, write_races
from weightgen.evaluation.results import write_results, write_table
from weightgen.evaluation.summary import summarize, write_summary

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
                        }
                    )
    return rows


def write_known(reports: Path, recipe: str = "known") -> Path:
    """reports/<recipe> with all tables -> that folder."""
    folder, rows = reports / recipe, result_rows(recipe)
    write_results(folder / "results.csv", rows)
    write_summary(folder / "summary.csv", summarize(rows))
    write_wins(folder / "wins.csv", wins(rows))
    write_races(folder / "races.csv", races(rows))
    spent = {"generated": 100.0, "e2gan": 0.0}
    costs = cost_table("generated", spent, {"generated": 1.0, "e2gan": 3.0, "pix2pix": None})
    head = {"base": "representative", "split": "unseen_combination", "target": "e2gan"}
    once = {"pairs_seconds": 10.0, "base_seconds": 20.0, "zoo_seconds": 30.0, "denoiser_seconds": 40.0}
    write_table(
        folder / "cost.csv", ("base", "split", "target", *COST_COLUMNS, *once), [head | c | once for c in costs]
    )
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
            "fid_start": 1500.0,
            "l1_start": 0.14,
            "weight_error": None,
        }
        for method, distance in (("generated", 0.9), ("trained", 1.2))
    ]
    columns = ("base", "split", "seed", *NOVELTY_COLUMNS, "fid_start", "l1_start", "weight_error")
    write_table(folder / "novelty.csv", columns, novel)
    (folder / "report.md").write_text("# known\n")
    return folder
