"""Random numbers that are a function of what they are for, and of nothing else."""

import numpy as np
import torch


def seeded(*stream: int) -> torch.Generator:
    """A CPU generator that is a function of these non-negative numbers and of nothing else."""
    state = np.random.SeedSequence(stream).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))
