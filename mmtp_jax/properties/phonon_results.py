"""What is found of phonons: frequencies, bands, densities, thermal properties, by phonopy.

Frequencies are in THz; imaginary ones are negative, as in phonopy. Energies are per atom.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mmtp_jax.properties.bands import Bands, Mode, Path, distances_along, lowest_mode
from mmtp_jax.properties.crystal import SYMPREC
from mmtp_jax.readable import readable
from mmtp_jax.simulation.constants import KB
from mmtp_jax.warn import warn

if TYPE_CHECKING:
    from phonopy import Phonopy

IMAGINARY = 0.05
"""THz below zero from which a mode counts as imaginary, not as noise of an acoustic one."""

MESH = 60.0
"""Angstrom; the larger, the denser the mesh of q. phonopy divides it by the cell vectors."""

_EV_PER_KJ_MOL = 1.0 / 96.48533212331
_ZERO = 1e-3


class ImaginaryModesWarning(UserWarning):
    """A crystal is dynamically unstable."""


class DensityOfStates(NamedTuple):
    """Phonon density of states per atom; its integral is 3, as that of dynamics."""

    frequencies: np.ndarray
    """(k,) THz."""
    total: np.ndarray
    """(k,) 1/THz per atom."""
    species: dict[str, np.ndarray]
    """Parts of it by chemical symbol."""


class Thermal(NamedTuple):
    """Harmonic thermal properties at constant volume, per atom."""

    temperatures: np.ndarray
    """(t,) K."""
    free_energy: np.ndarray
    """(t,) vibrational, zero-point energy included, eV."""
    entropy: np.ndarray
    """(t,) k_B."""
    heat_capacity: np.ndarray
    """(t,) k_B; 3 by Dulong and Petit."""
    zero_point: float
    """eV."""


@readable
@dataclass(frozen=True, eq=False)
class Phonons:
    """Phonons of one crystal in one magnetic state, or averaged over many."""

    phonopy: Phonopy = field(repr=False)
    """With the force constants; all that phonopy can do is at hand."""
    energy: float
    """Static energy, eV per atom."""
    volume: float
    """Angstrom^3 per atom."""
    magmoms: np.ndarray = field(repr=False)
    """(n,) mu_B of the unit cell; of averages (states, N) of the supercell."""
    moments: str
    """``"equilibrate"``: they follow the atoms; or ``"fixed"``."""
    drift: float
    """Largest violation of the acoustic sum rule, eV/Angstrom^2."""
    path: Path | None = field(repr=False, default=None)
    """Where `bands` goes."""
    note: str = ""
    """Which moments are held, in words."""
    name: str = "structure"
    samples: np.ndarray | None = field(repr=False, default=None)
    """(states, n of the primitive cell, N, 3, 3) force constants of the states of an average."""
    energy_error: float | None = None
    """Standard error of the energy of an average, eV per atom."""
    n_failed: int = 0
    """States of an average that do not count because their moments are at no minimum."""
    imaginary: tuple[Mode, ...] = ()
    """Imaginary modes at the q that the supercell holds, lowest first; see `with_imaginary`."""

    @property
    def n_atoms(self) -> int:
        """Atoms of the primitive cell."""
        return len(self.phonopy.primitive)

    @property
    def is_stable(self) -> bool:
        """No imaginary modes at the q that the supercell holds."""
        return not self.imaginary

    @property
    def n_states(self) -> int:
        """Magnetic states of an average, else 1."""
        return 1 if self.samples is None else len(self.samples)

    def frequencies(self, q: Any, direction: Any = None) -> np.ndarray:
        """Frequencies (k, modes) at q (k, 3), THz.

        Args:
            q: in reciprocal vectors of the primitive cell.
            direction: from which Gamma is come near, where polar modes depend on it.
        """
        return self.phonopy.run_qpoints(q, nac_q_direction=direction).frequencies

    def frequency_errors(self, q: Any) -> np.ndarray:
        """Standard errors (k, modes) of an average over magnetic states, THz, to first order.

        Raises:
            ValueError: if it is not an average.
        """
        if self.samples is None:
            raise ValueError("phonons of a single magnetic state have no standard error")
        found = self.phonopy.run_qpoints(q, with_eigenvectors=True)
        frequencies, vectors = np.array(found.frequencies), np.array(found.eigenvectors)
        with_states = without_force_constants(self.phonopy)
        squares = []
        for constants in self.samples:
            with_states.force_constants = constants
            matrices = with_states.run_qpoints(q, with_dynamical_matrices=True).dynamical_matrices
            squares.append(np.einsum("qai,qab,qbi->qi", vectors.conj(), matrices, vectors).real)
        error = np.std(squares, axis=0, ddof=1) / np.sqrt(len(squares))
        factor = self.phonopy.unit_conversion_factor**2
        return factor * error / (2.0 * np.maximum(np.abs(frequencies), _ZERO))

    def bands(self, path: Path | None = None) -> Bands:
        """Frequencies along a path, by default `path`.

        Warns:
            ImaginaryModesWarning: if there are imaginary modes.
        """
        path = self.path if path is None else path
        if path is None:
            raise ValueError("give a path of q-points")
        # Gamma belongs to the line that it is on.
        found = [self.frequencies(s, direction=s[-1] - s[0]) for s in path.segments]
        bands = Bands(path, distances_along(path, self.phonopy.primitive.cell), found)
        self._warn(bands.lowest, "along the path")
        return bands

    def dos(self, mesh: float | Any = MESH, pitch: float | None = None) -> DensityOfStates:
        """Density of states by the tetrahedron method, total and by species.

        Args:
            mesh: length in Angstrom, or three integers.
            pitch: distance of the frequencies, THz.
        """
        symbols = np.array(self.phonopy.primitive.symbols)
        several = len(set(symbols.tolist())) > 1
        # By species every q counts, else those that symmetry leaves.
        grid = self.phonopy.run_mesh(mesh, with_eigenvectors=several, is_mesh_symmetry=not several)
        lowest = float(np.min(grid.frequencies))
        options = {
            "freq_min": 0.0 if lowest > -IMAGINARY else 1.05 * lowest,
            "freq_max": 1.03 * float(np.max(grid.frequencies)),
            "freq_pitch": pitch,
        }
        if not several:
            found = self.phonopy.run_total_dos(**options)
            total = np.array(found.dos)
            species = {str(symbols[0]): total}
        else:
            found = self.phonopy.run_projected_dos(**options)
            by_atom = np.array(found.projected_dos)
            species = {
                s: by_atom[symbols == s].sum(axis=0) for s in dict.fromkeys(symbols.tolist())
            }
            total = by_atom.sum(axis=0)
        species = {symbol: part / self.n_atoms for symbol, part in species.items()}
        return DensityOfStates(np.array(found.frequency_points), total / self.n_atoms, species)

    def thermal(self, temperatures: Any, mesh: float | Any = MESH) -> Thermal:
        """Free energy, entropy and heat capacity at temperatures (K).

        Warns:
            ImaginaryModesWarning: if there are imaginary modes, which do not count.
        """
        self._warn(self.lowest(mesh), "on the mesh, left out")
        found = self.phonopy.run_thermal_properties(
            temperatures=np.asarray(temperatures, float), exclude_gamma_acoustic=True
        )
        n = self.n_atoms
        in_kb = 1e-3 * _EV_PER_KJ_MOL / KB / n
        return Thermal(
            np.array(found.temperatures),
            np.array(found.free_energy) * _EV_PER_KJ_MOL / n,
            np.array(found.entropy) * in_kb,
            np.array(found.heat_capacity) * in_kb,
            float(found.zero_point_energy) * _EV_PER_KJ_MOL / n,
        )

    def lowest(self, mesh: float | Any = MESH) -> Mode:
        """The mode of the lowest frequency on a mesh of q, most of which are interpolated."""
        grid = self.phonopy.run_mesh(mesh)
        return lowest_mode(grid.qpoints, grid.frequencies)

    def commensurate(self) -> np.ndarray:
        """(k, 3) q that the supercell holds: frequencies are not interpolated there."""
        from phonopy.harmonic.dynmat_to_fc import get_commensurate_points

        matrix = np.linalg.inv(self.phonopy.primitive_matrix) @ self.phonopy.supercell_matrix
        return get_commensurate_points(np.rint(matrix).astype(int))

    def _warn(self, lowest: Mode, where: str) -> None:
        if lowest.frequency < -IMAGINARY:
            warn(
                f"{self.name}: imaginary modes {where}; lowest {lowest}: the crystal is "
                "dynamically unstable, or the supercell is too small",
                ImaginaryModesWarning,
            )

    def __str__(self) -> str:
        """A few lines."""
        cell = self.phonopy.supercell
        lines = [
            f"phonons of {self.name}: {self.n_atoms} atoms in the primitive cell, {len(cell)} in "
            f"the supercell, moments {'follow' if self.moments == 'equilibrate' else 'fixed'}",
            f"acoustic sum rule: violated by at most {self.drift:.2g} eV/Angstrom^2",
        ]
        if self.samples is not None:
            lines.append(f"mean of {self.n_states} magnetic states, {self.n_failed} more failed")
        if self.imaginary:
            lines.append(
                f"UNSTABLE: {len(self.imaginary)} imaginary modes at the q of the supercell, "
                f"lowest {self.imaginary[0]}"
            )
        else:
            lines.append(
                f"stable at the {len(self.commensurate())} q of the supercell, which are all that "
                "was calculated; other q are interpolated"
            )
        if self.note:
            lines.append(f"note: {self.note}")
        return "\n".join(lines)


def without_force_constants(phonopy: Phonopy) -> Phonopy:
    """A new object of the same cells."""
    return type(phonopy)(
        phonopy.unitcell,
        supercell_matrix=phonopy.supercell_matrix,
        primitive_matrix=phonopy.primitive_matrix,
        symprec=SYMPREC,
        log_level=0,
    )


def with_imaginary(phonons: Phonons) -> Phonons:
    """The same, with the imaginary modes at the q that the supercell holds.

    Warns:
        ImaginaryModesWarning: if there are any.
    """
    q = phonons.commensurate()
    frequencies = phonons.frequencies(q)
    modes = [
        Mode(tuple(float(x) for x in q[k]), float(value))
        for k, row in enumerate(frequencies)
        for value in row[row < -IMAGINARY]
    ]
    modes.sort(key=lambda mode: mode.frequency)
    found = replace(phonons, imaginary=tuple(modes))
    if modes:
        warn(
            f"{phonons.name}: {len(modes)} imaginary modes, lowest {modes[0]}: in this magnetic "
            "state and at this volume the crystal is dynamically unstable for this potential",
            ImaginaryModesWarning,
        )
    return found
