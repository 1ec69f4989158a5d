"""How much memory a piece of work needs at its peak."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

PROCESS = Path("/proc/self")


def peak_mb(work: Callable[[], Any], device: torch.device) -> float | None:
    """Megabytes (1e6 bytes) at the peak of work().

    CUDA: all that torch had allocated at that moment, nets and data of both sides included. CPU: by how much this
    process's resident memory grew over what it was before, freed pages returned first; nets and data made before are
    not in it, nor are buffers that earlier work left behind. None where the kernel does not say (Linux does).
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device) / 1e6
    before = _reset_peak()
    work()
    return None if before is None else max(0.0, _resident("VmHWM") - before) / 1e6


def _reset_peak() -> float | None:
    """Bytes resident now, from which the kernel's high-water mark starts anew."""
    try:
        ctypes.CDLL(None).malloc_trim(0)  # glibc: freed pages go back to the kernel
    except (OSError, AttributeError):
        return None
    try:
        (PROCESS / "clear_refs").write_text("5")  # resets VmHWM (Linux, proc_pid_clear_refs(5))
        return _resident("VmRSS")
    except OSError:
        return None


def _resident(field: str) -> float:
    """Bytes of a field of /proc/self/status."""
    for line in (PROCESS / "status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * float(line.split()[1])
    raise OSError(f"{field} is not in {PROCESS}/status")
