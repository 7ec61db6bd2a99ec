"""The state of a run of dynamics on disk: arrays in ``.npz`` without pickle, and a JSON header.

A resumed run takes the same steps, bit for bit on the same machine, as one that went on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mmtp_jax.io.state_file import filled, load_state, save_state
from mmtp_jax.simulation.dynamics.evaluation import Evaluated
from mmtp_jax.simulation.dynamics.integrate import State
from mmtp_jax.simulation.dynamics.observer import Saved
from mmtp_jax.simulation.dynamics.precession import Precession
from mmtp_jax.simulation.dynamics.thermostats import Chain
from mmtp_jax.simulation.moments.lbfgs import Memory
from mmtp_jax.simulation.spins.counts import Counts
from mmtp_jax.simulation.system import System

FORMAT = "mmtp_jax dynamics 4"

_INFINITE = ("state.known.shortest",)
"""Distance of atoms that have no neighbour."""


@dataclass(frozen=True)
class Header:
    """What a checkpoint says of itself."""

    format: str
    fingerprint: str
    step: int
    files: dict[str, int]
    """Sizes in bytes."""


def save_dynamics(
    path: str | Path, saved: Saved, belongs_to: str, files: Mapping[str, int]
) -> None:
    """Write a checkpoint, replacing an older one at once.

    Args:
        path: the file.
        saved: what the run goes on from.
        belongs_to: fingerprint of the potential and of the settings.
        files: sizes in bytes of the files that the run adds to.
    """
    header = Header(FORMAT, belongs_to, int(saved.state.step), dict(files))
    save_state(path, asdict(header), saved)


def load_dynamics(path: str | Path, belongs_to: str) -> tuple[Saved, dict[str, int]]:
    """What the run goes on from, and the sizes that its files had.

    Raises:
        ValueError: if the file is no checkpoint of dynamics, or belongs to another run.
    """
    expected = {"format": FORMAT, "fingerprint": belongs_to}
    saved, header = load_state(
        path, "dynamics", expected, Header, lambda _: _SKELETON, infinite=_INFINITE
    )
    state = saved.state
    if not 0 <= header.step == state.step or np.any(state.system.masses <= 0.0):
        raise ValueError(
            f"{path} is not a readable checkpoint of dynamics (it says step {header.step} and "
            f"{state.step}, or an atom has no mass); start afresh"
        )
    return saved, header.files


_SKELETON = Saved(
    state=State(
        system=System(
            positions="f R n 3", velocities="f R n 3", cell="f R 3 3", magmoms="f R n 3?",
            masses="f n", types="iu n", periodic="b 3", running="b R",
        ),
        known=filled(
            Evaluated, forces="f R n 3", stress="f R 3 3", magnetic_forces="f R n 3?",
            n_equilibration="iu R", equilibrium="iu R",
            memory=Memory(steps="f s N", changes="f s N", scale="f C"),
        ),
        chain=filled(Chain, "f R c"),
        given="f R", keys="u R 2", outcome="iu R", stopped_at="iu R",
        n_unconverged="iu R", n_outside="iu R",
        spins=filled(Counts, "iu R"),
        precession=Precession(forces="f R h k 3", gauge="f R k", speeds="f R k 3"),
        step="iu",
    ),
    reference_positions="f R n 3",
    reference_cell="f R 3 3",
    width="iu",
)  # fmt: skip
