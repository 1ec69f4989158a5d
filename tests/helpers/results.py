"""Rows of results.csv with chosen scores."""

import math


def run(method, concept, curve, seed=0, base="paper", split="unseen_factor", **changes):
    """curve: [(step, seconds, fid)]; l1 is fid / 100."""
    common = {"experiment": "demo", "prompt": concept, "feature_set": "efficientnet_lite0", "device": "cpu"}
    return [
        {
            **common,
            "base": base,
            "split": split,
            "method": method,
            "concept": concept,
            "seed": seed,
            "step": step,
            "train_seconds": seconds,
            "fid": fid,
            "kid": 0.0,
            "l1": fid / 100,
            "perceptual": math.nan,
            "mmd": math.nan,
            **changes,
        }
        for step, seconds, fid in curve
    ]
