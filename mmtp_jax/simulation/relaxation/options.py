"""How a relaxation goes, and when it ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmtp_jax.options import POSITIVE, PRESSURE_GPA, STEPS, dtype, option, options
from mmtp_jax.simulation.dynamics.options import skin
from mmtp_jax.simulation.moments.options import (
    allow_flips,
    directions,
    max_equilibration_steps,
    treatment,
)

EQUILIBRATION_SHARE = 0.1
"""Each equilibration ends at this share of the tolerance of the magnetic forces: what is left of
them changes the forces on the atoms, and must not be what the geometry follows."""


@options
class Relaxing:
    """What relaxes, and how far."""

    cell: bool | str | Sequence[Any] = option(
        "What the cell may do: 'full', 'volume', 'shape', 'c/a', 'tetragonal', 'none', or "
        "components of the strain among xx yy zz yz xz xy.",
        True, metavar="WHAT",
    )  # fmt: skip
    pressure_GPa: float = option(
        "Pressure, GPa; positive compresses.", 0.0, metavar="GPA", bounds=PRESSURE_GPA
    )
    positions: bool = option(
        "The atoms move in the cell; else they only follow it.",
        True, off="--fixed-positions", off_help="Atoms only follow the cell.",
    )  # fmt: skip
    force_tolerance: float = option("Largest force at the end, eV/Angstrom.", 1e-3, bounds=POSITIVE)
    stress_tolerance_GPa: float = option(
        "Largest component of stress plus pressure at the end, GPa, of those that the cell may "
        "follow.",
        1e-2, bounds=POSITIVE,
    )  # fmt: skip
    magnetic_tolerance: float = option(
        "Largest magnetic force at the end, eV/mu_B.", 1e-3, bounds=POSITIVE
    )
    max_steps: int = option("Most steps of each configuration.", 300, bounds=STEPS)
    max_volume_change: float = option(
        "Stop when the volume has grown by this share, or shrunk likewise.", 0.5, bounds=POSITIVE
    )
    bounded: bool = option(
        "Stop at distances and moments that the potential does not cover.",
        True, off="--unbounded",
        off_help="Go on at distances and moments that the potential does not cover.",
    )  # fmt: skip


@options
class RelaxOptions(Relaxing):
    """Constraints, tolerances and limits of a relaxation; of ``cell`` see `cell.basis_of`."""

    moments: str = treatment(
        "'equilibrate': at each geometry moments minimise the energy; 'fixed'."
    )
    allow_flips: bool = allow_flips()
    directions: str = directions()
    max_step: float = option(
        "Longest step of an atom, Angstrom; at most 0.35 skin is used.", 0.15, bounds=POSITIVE
    )
    max_equilibration_steps: int = max_equilibration_steps()
    skin: float = skin()
    dtype: Any = dtype()

    def __post_init__(self) -> None:
        from mmtp_jax.simulation.relaxation.cell import basis_of

        basis_of(self.cell)
