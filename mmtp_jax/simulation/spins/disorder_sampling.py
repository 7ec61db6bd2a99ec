"""Averages over disordered magnetic states at fixed geometry (Kotykhov 2025, Sec. III.B)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.language import counted
from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import with_double_precision
from mmtp_jax.readable import readable
from mmtp_jax.simulation.dynamics.thermostats import keys_of
from mmtp_jax.simulation.moments.collapse import COLLAPSED
from mmtp_jax.simulation.moments.options import MomentOptions
from mmtp_jax.simulation.moments.structures import equilibrate_structures
from mmtp_jax.simulation.spins.disorder import random_signs
from mmtp_jax.simulation.spins.moves import magnetic_atoms
from mmtp_jax.structures.structure import Structure
from mmtp_jax.warn import warn

QUANTITIES = ("energy", "forces", "stress")


class FewStatesWarning(UserWarning):
    """A cell is so small that its disordered states repeat, or are all one up to symmetry."""


@readable
@dataclass(frozen=True, eq=False)
class DisorderedStates:
    """What the potential says about n disordered states of one geometry."""

    energies: np.ndarray
    """(k,) of the states that count, eV."""
    all_forces: np.ndarray = field(repr=False)
    """(k, atoms, 3) eV/Angstrom."""
    all_stresses: np.ndarray | None = field(repr=False)
    """(k, 6) ASE order and sign, eV/Angstrom^3; None without a volume."""
    magmoms: np.ndarray = field(repr=False)
    """(k, atoms) mu_B."""
    magnetic: np.ndarray = field(repr=False)
    """(atoms,) bool."""
    n_drawn: int
    """States that were drawn."""

    @property
    def n_failed(self) -> int:
        """States that do not count, because their moments could not be equilibrated."""
        return self.n_drawn - len(self.energies)

    @property
    def energy(self) -> float:
        """Mean energy, eV."""
        return float(self.mean("energy"))

    @property
    def energy_error(self) -> float:
        """Standard error of it, eV."""
        return float(self.error("energy"))

    @property
    def forces(self) -> np.ndarray:
        """Mean forces (atoms, 3), eV/Angstrom."""
        return self.mean("forces")

    @property
    def stress(self) -> np.ndarray:
        """Mean stress (6,), eV/Angstrom^3."""
        return self.mean("stress")

    def values(self, quantity: str) -> np.ndarray:
        """(k, ...) of one of `QUANTITIES`, a row for each state.

        Raises:
            ValueError: for another name, or the stress of a cell that is not periodic.
        """
        found = {"energy": self.energies, "forces": self.all_forces, "stress": self.all_stresses}
        if found.get(quantity) is None:
            raise ValueError(
                f"there is no {quantity!r} of these states; ask for energy or forces, and for "
                "stress where the cell is periodic in three directions"
            )
        return found[quantity]

    def mean(self, quantity: str) -> np.ndarray:
        """Average over the states."""
        return self.values(quantity).mean(axis=0)

    def error(self, quantity: str) -> np.ndarray:
        """Standard error of `mean`; the states are independent."""
        values = self.values(quantity)
        return values.std(axis=0, ddof=1) / np.sqrt(len(values))

    def running_mean(self, quantity: str) -> np.ndarray:
        """(k, ...) averages over the first 1, 2, ... states (Kotykhov 2025, Fig. 5)."""
        values = self.values(quantity)
        count = np.arange(1, len(values) + 1).reshape(-1, *[1] * (values.ndim - 1))
        return np.cumsum(values, axis=0) / count


@with_double_precision
def sample_states(
    potential: Potential,
    structure: Structure,
    n: int = 50,
    *,
    moments: str = "equilibrate",
    options: MomentOptions | None = None,
    magnetic: tuple[str, ...] | None = None,
    seed: int = 0,
    dtype: Any = np.float64,
    callback: Callable[[int], None] | None = None,
) -> DisorderedStates:
    """Evaluate n random states without net moment at the geometry of a structure.

    Magnitudes are those of the structure, from which they are equilibrated unless ``moments`` is
    ``"fixed"``. Atoms that are not magnetic start at zero and find their own moment.

    Raises:
        ValueError: if n is below 2, no atom is magnetic, or fewer than two states can be
            equilibrated.

    Warns:
        FewStatesWarning: if a cell has fewer states than n, or all have one energy.
    """
    if n < 2:
        raise ValueError(f"an average with its error needs at least two states, got n = {n}")
    if moments not in ("equilibrate", "fixed"):
        raise ValueError(f"moments must be one of equilibrate, fixed, got {moments!r}")
    start = np.asarray(structure.magmoms, float)
    which = magnetic_atoms(structure.types, start[None], potential, magnetic)
    signs = np.asarray(
        jax.vmap(_signs, (None, 0, None, None))(
            keys_of([seed]), jnp.arange(n), jnp.asarray(structure.types), jnp.asarray(which)
        )
    )
    fixed = moments == "fixed"
    others = start if fixed else np.zeros_like(start)
    states = [replace(structure, magmoms=np.where(which, s * np.abs(start), others)) for s in signs]
    if fixed:
        # A tolerance that everything meets: the moments stay.
        options = MomentOptions(tolerance=1e300, max_steps=1)
    found = equilibrate_structures(potential, states, options, dtype, callback)
    good = [
        f for f in found if fixed or (f.converged and np.abs(f.magmoms[which]).min() >= COLLAPSED)
    ]
    if len(good) < 2:
        failed = next(f for f in found if f not in good)
        raise ValueError(
            f"the moments of only {len(good)} of {n} states could be equilibrated, e.g. "
            f"{failed.message}; start from other moments, or keep the magnitudes fixed"
        )
    stresses = [f.result.stress for f in good]
    energies = np.array([f.result.energy for f in good])
    possible = _states_of(structure.types[which])
    if possible < n or np.ptp(energies) < 1e-9 * len(structure):
        warn(
            f"{structure.name}: {counted(int(which.sum()), 'magnetic atom')} of this cell have "
            f"{counted(possible, 'state')} without net moment, but for reversal, so that {n} are "
            "no sample of a paramagnet, and the error of their average says nothing of one; take a "
            "larger cell (repeat it)",
            FewStatesWarning,
        )
    return DisorderedStates(
        energies=energies,
        all_forces=np.array([f.result.forces for f in good]),
        all_stresses=None if stresses[0] is None else np.array(stresses),
        magmoms=np.array([f.magmoms for f in good]),
        magnetic=which,
        n_drawn=n,
    )


def _states_of(types: np.ndarray) -> int:
    """How many `random_signs` of these magnetic atoms (k,) there are, but for reversal of all."""
    sizes = np.unique(types, return_counts=True)[1]
    patterns = math.prod(math.comb(n, n // 2) * (1 + n % 2) for n in sizes.tolist())
    return max(1, patterns // 2)


def _signs(keys: Any, number: Any, types: Any, magnetic: Any) -> Any:
    return random_signs(keys, number, types, magnetic)[0]
