"""Walks over moments on disk: the state and the sweeps of cells of several sizes.

A resumed walk gives the same series, bit for bit on the same machine, as one that went on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from mmtp_jax.io.state_file import filled, load_state, save_state
from mmtp_jax.simulation.spins.counts import Counts
from mmtp_jax.simulation.spins.loop import SpinSeries
from mmtp_jax.simulation.spins.outcome import SpinSaved, SpinState
from mmtp_jax.simulation.spins.turning import KINDS, Turning

FORMAT = "mmtp_jax spins 2"


@dataclass(frozen=True)
class Header:
    """What a checkpoint says of itself."""

    format: str
    fingerprint: str
    sizes: tuple[int, ...]
    """Multiples of the cell."""
    files: dict[str, int]
    """Sizes in bytes."""
    burn_in: int
    """Sweeps, of each size."""


def save_spins(
    path: str | Path,
    walks: Mapping[int, SpinSaved],
    belongs_to: str,
    files: Mapping[str, int],
    burn_in: int,
) -> None:
    """Write a checkpoint, replacing an older one at once.

    Args:
        path: the file.
        walks: what the walks of cells of each size go on from.
        belongs_to: fingerprint of the potential, the cell and the settings.
        files: sizes in bytes of the files that the walks add to.
        burn_in: sweeps that the walks began with.
    """
    header = Header(FORMAT, belongs_to, tuple(walks), dict(files), burn_in)
    save_state(path, asdict(header), {f"size{size}": walk for size, walk in walks.items()})


def load_spins(
    path: str | Path, belongs_to: str, vectors: bool = False
) -> tuple[dict[int, SpinSaved], dict[str, int], int]:
    """What the walks of each size go on from, the sizes of their files, and their burn-in.

    Args:
        path: the file.
        belongs_to: as of `save_spins`.
        vectors: moments are vectors.

    Raises:
        ValueError: if the file is no checkpoint of walks, or belongs to others.
    """
    expected = {"format": FORMAT, "fingerprint": belongs_to}
    walks, header = load_state(
        path, "Monte Carlo", expected, Header,
        lambda h: {f"size{n}": _skeleton(n, vectors) for n in h.sizes},
    )  # fmt: skip
    return {n: walks[f"size{n}"] for n in header.sizes}, header.files, header.burn_in


def _skeleton(size: int, vectors: bool) -> SpinSaved:
    """Of a walk; the numbers of atoms and sweeps are its own."""
    kinds = f"iu R {len(KINDS)}"
    turning = Turning(tried=kinds, accepted=kinds, cap="f R", stretch="f R", until="iu")
    rows = filled(SpinSeries, f"f t{size} R")
    return SpinSaved(
        state=SpinState(
            magmoms=f"f R n{size}" + " 3" * vectors, reference=f"f R n{size}", energy="f R",
            sites=f"f N{size}", counts=filled(Counts, "iu R"), trial="iu",
            turning=turning if vectors else None,
        ),
        rows=rows if vectors else rows._replace(length=None),
        stopped="b R",
    )  # fmt: skip
