"""GPUs of a machine that several MPI ranks have: which of them is whose, and how much memory of it.

JAX takes three quarters of every GPU that it sees when it starts, so a second rank would find none.
This must be said before: JAX starts when the first array is made.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

SHARE = 0.75
"""Of a GPU's memory, for all of its ranks together; JAX's own default."""
VISIBLE, FRACTION = "CUDA_VISIBLE_DEVICES", "XLA_PYTHON_CLIENT_MEM_FRACTION"
_OTHERS = (
    "XLA_CLIENT_MEM_FRACTION",
    "XLA_PYTHON_CLIENT_PREALLOCATE",
    "XLA_PYTHON_CLIENT_ALLOCATOR",
)
"""Settings of the memory, beside `FRACTION`, that a user may have made."""


def share_gpus(communicator: Any) -> None:
    """Give each rank of a machine one of its GPUs, and its part of that one's memory.

    Ranks take turns, by their place on the machine. What the environment says of the memory
    (``XLA_PYTHON_CLIENT_MEM_FRACTION`` and others) stays as it is. Without NVIDIA's GPUs it does
    nothing, and after JAX has started it has no effect.

    Args:
        communicator: of mpi4py; all its ranks call this.

    Example:
        >>> from mpi4py import MPI
        >>> mmtp.lammps.share_gpus(MPI.COMM_WORLD)
    """
    from mpi4py import MPI

    node = communicator.Split_type(MPI.COMM_TYPE_SHARED)
    seen = node.allgather(os.environ.get(VISIBLE))
    place = node.rank
    node.Free()
    gpu, n_ranks = place_of(place, seen, _n_installed())
    if gpu is None:
        return
    jax.config.update("jax_cuda_visible_devices", str(gpu))
    if not any(name in os.environ for name in (FRACTION, *_OTHERS)):
        os.environ[FRACTION] = f"{SHARE / n_ranks:.3f}"


def place_of(place: int, seen: Sequence[str | None], n_installed: int) -> tuple[int | None, int]:
    """Which of the GPUs that a rank sees is its own, and how many ranks have that one.

    Args:
        place: of the rank on its machine.
        seen: ``CUDA_VISIBLE_DEVICES`` of each rank of the machine; None where it is not set.
            Those that see the same share it.
        n_installed: GPUs of the machine.
    """
    own = seen[place]
    n_gpus = n_installed if own is None else len([gpu for gpu in own.split(",") if gpu.strip()])
    if not n_installed or not n_gpus:
        return None, 0
    alike = [k for k, other in enumerate(seen) if other == own]
    gpu = alike.index(place) % n_gpus
    return gpu, len(range(gpu, len(alike), n_gpus))


def _n_installed(environment: Mapping[str, str] = os.environ) -> int:
    """NVIDIA's GPUs of this machine, as its driver lists them; none where JAX is told not to."""
    if "cpu" in environment.get("JAX_PLATFORMS", "").split(",")[:1]:
        return 0
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
