"""Second derivatives of the energy, at clamped and at relaxed moments and positions.

With the Hessian H of one configuration in displacements u, strain e and moments m, moments that
follow (T = 0) give the adiabatic second derivatives by a Schur complement,

    A_ab = H_ab - H_am H_mm^-1 H_mb        for a, b among u and e,

and atoms that follow a strain give in the same way

    V C = A_ee - A_eu A_uu^+ A_ue

with translations projected out of A_uu. Force constants are A_uu, elastic constants are C.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.interruption import check
from mmtp_jax.potential.observables import Graph
from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import with_double_precision
from mmtp_jax.properties.coordinates import N_STRAINS, energy_at, places
from mmtp_jax.structures.batch import pack
from mmtp_jax.structures.domain import check_domain
from mmtp_jax.structures.neighbours import NeighbourTable, neighbour_table
from mmtp_jax.structures.structure import Structure

Array = Any

MAGNETIC_TOLERANCE = 2e-3
"""Largest |T_i| of moments that count as equilibrated, eV/mu_B."""

AT_BOUND = 1e-6
"""mu_B from the end of its interval at which a moment is held."""

ATOMS_PER_BLOCK = 512
"""Directions times atoms that are differentiated together: bounds the memory."""


class UnstableStateError(ValueError):
    """A state that is no minimum: of the moments, of the positions, or of the cell."""


@dataclass(frozen=True, eq=False)
class Response:
    """Energy of one configuration to second order, as numpy arrays.

    Second derivatives are at fixed values of all others; see `force_constants` and
    `elastic_constants` for the adiabatic ones.
    """

    structure: Structure = field(repr=False)
    energy: float
    """eV."""
    forces: np.ndarray = field(repr=False)
    """(n, 3) eV/Angstrom."""
    stress: np.ndarray | None
    """(6,) ASE order and sign, eV/Angstrom^3; None where the cell is not periodic in 3D."""
    magnetic_forces: np.ndarray = field(repr=False)
    """(n,) eV/mu_B."""
    uu: np.ndarray = field(repr=False)
    """(3 n, 3 n) d2E/du du, eV/Angstrom^2; 3 i + a is component a of atom i."""
    ue: np.ndarray = field(repr=False)
    """(3 n, 6) d2E/du de, eV/Angstrom."""
    um: np.ndarray = field(repr=False)
    """(3 n, n) d2E/du dm, eV/(Angstrom mu_B)."""
    ee: np.ndarray = field(repr=False)
    """(6, 6) d2E/de de, eV; ASE's order, shear angles."""
    em: np.ndarray = field(repr=False)
    """(6, n) d2E/de dm, eV/mu_B."""
    mm: np.ndarray = field(repr=False)
    """(n, n) d2E/dm dm, eV/mu_B^2."""
    at_bound: np.ndarray = field(repr=False)
    """(n,) bool: moments at the end of their interval, which do not follow."""

    @property
    def n_atoms(self) -> int:
        """n."""
        return len(self.magnetic_forces)

    @property
    def held(self) -> np.ndarray:
        """(n,) bool: moments that do not follow, at a bound or held at zero by their sign."""
        at_zero = (self.structure.magmoms == 0.0) & (
            np.abs(self.magnetic_forces) > MAGNETIC_TOLERANCE
        )
        return self.at_bound | at_zero

    @property
    def message(self) -> str:
        """Which moments are held, in words; empty where all follow."""
        held = np.flatnonzero(self.held)
        if not held.size:
            return ""
        return (
            f"{held.size} of {self.n_atoms} moments are held, at the end of the interval that the "
            f"potential covers or at zero (first: atom {held[0]}, "
            f"{self.structure.magmoms[held[0]]:.4g} mu_B); they do not follow atoms and strain"
        )

    def moment_response(self) -> np.ndarray:
        """dm/d(u, e) (n, 3 n + 6) of moments that minimise the energy, mu_B per Angstrom and per 1.

        Raises:
            UnstableStateError: if the moments are at no minimum.
            ValueError: if they are not equilibrated.
        """
        free = self._free_moments()
        found = np.zeros((self.n_atoms, 3 * self.n_atoms + N_STRAINS))
        mixed = np.concatenate([self.um, self.em])
        found[free] = -np.linalg.solve(self.mm[np.ix_(free, free)], mixed[:, free].T)
        return found

    def without_moments(self, adiabatic: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(uu, ue, ee) with moments that follow, or at clamped moments.

        Raises:
            UnstableStateError: if the moments are at no minimum.
            ValueError: if they are not equilibrated.
        """
        if not adiabatic:
            return self.uu, self.ue, self.ee
        mixed = np.concatenate([self.um, self.em])
        whole = np.block([[self.uu, self.ue], [self.ue.T, self.ee]])
        whole = whole + mixed @ self.moment_response()
        whole = (whole + whole.T) / 2
        split = 3 * self.n_atoms
        return whole[:split, :split], whole[:split, split:], whole[split:, split:]

    def force_constants(self, adiabatic: bool = True) -> np.ndarray:
        """d2E/du_i du_j (n, n, 3, 3), eV/Angstrom^2; of a supercell, with the sums over images.

        Args:
            adiabatic: moments follow the atoms; else they are clamped.

        Raises:
            UnstableStateError: if the moments are at no minimum.
            ValueError: if they are not equilibrated.
        """
        uu = self.without_moments(adiabatic)[0].reshape(self.n_atoms, 3, self.n_atoms, 3)
        return uu.swapaxes(1, 2).copy()

    def elastic_constants(self, moments: bool = True, positions: bool = True) -> np.ndarray:
        """Second derivatives (6, 6) by the strain over the volume, eV/Angstrom^3.

        Elastic constants where the stress is zero.

        Args:
            moments: they follow the strain; else they are clamped.
            positions: atoms relax in the strained cell; else they only follow it.

        Raises:
            UnstableStateError: if moments or positions are at no minimum.
            ValueError: if the moments are not equilibrated, or there is no volume.
        """
        volume = self.structure.volume
        if volume is None:
            raise ValueError(
                f"{self.structure.name}: elastic constants need a cell that is periodic in three "
                "directions; set pbc"
            )
        curvature = strain_curvature(*self.without_moments(moments), self.structure.name, positions)
        return curvature / volume

    def _free_moments(self) -> np.ndarray:
        """Places of the moments that follow."""
        free = np.flatnonzero(~self.held)
        name, forces = self.structure.name, np.abs(self.magnetic_forces[free])
        largest = float(forces.max(initial=0.0))
        if largest > MAGNETIC_TOLERANCE:
            raise ValueError(
                f"{name}: the moments are not equilibrated (largest magnetic force "
                f"{largest:.3g} eV/mu_B, at most {MAGNETIC_TOLERANCE:g}), so they have no "
                "adiabatic response; equilibrate them first, or clamp them"
            )
        if free.size:
            values, vectors = np.linalg.eigh(self.mm[np.ix_(free, free)])
            if values[0] <= 0.0:
                atom = int(free[np.argmax(np.abs(vectors[:, 0]))])
                raise UnstableStateError(
                    f"{name}: the magnetic state is unstable: d2E/dm2 has the eigenvalue "
                    f"{values[0]:.3g} eV/mu_B^2, mostly at atom {atom} "
                    f"({self.structure.magmoms[atom]:.3g} mu_B); equilibrate from other moments, "
                    "or clamp them"
                )
        return free


def strain_curvature(
    uu: np.ndarray, ue: np.ndarray, ee: np.ndarray, name: str, positions: bool = True
) -> np.ndarray:
    """d2E/de de (6, 6) at positions that relax, or that only follow the cell, eV.

    Args:
        uu: (3 n, 3 n) second derivatives by positions, eV/Angstrom^2.
        ue: (3 n, 6) eV/Angstrom.
        ee: (6, 6) eV.
        name: what errors call the configuration.
        positions: they relax.

    Raises:
        UnstableStateError: if they are at no minimum.
    """
    n_atoms = len(uu) // 3
    if not positions or n_atoms == 1:
        return (ee + ee.T) / 2
    basis = without_translations(n_atoms)
    inner = basis.T @ uu @ basis
    lowest = float(np.linalg.eigvalsh(inner)[0])
    if lowest <= 0.0:
        raise UnstableStateError(
            f"{name}: the atoms are at no minimum of the energy (lowest force constant "
            f"{lowest:.3g} eV/Angstrom^2); relax the positions, or the structure is dynamically "
            "unstable"
        )
    mixed = basis.T @ ue
    relaxed = ee - mixed.T @ np.linalg.solve(inner, mixed)
    return (relaxed + relaxed.T) / 2


def without_translations(n_atoms: int) -> np.ndarray:
    """Orthonormal displacements (3 n, 3 n - 3) that leave the centre where it is."""
    if n_atoms == 1:
        return np.zeros((3, 0))
    # Helmert's basis: the mean of the first k atoms against the next one.
    rows = np.zeros((n_atoms, n_atoms - 1))
    for k in range(1, n_atoms):
        rows[:k, k - 1], rows[k, k - 1] = 1.0, -k
        rows[:, k - 1] /= np.sqrt(k * (k + 1))
    return np.kron(rows, np.eye(3))


def hessian_rows(potential: Potential, graph: Graph, columns: Array) -> tuple[Array, Array, Array]:
    """Energy (), its gradient (4 N + 6,) and rows of its Hessian (blocks, width, 4 N + 6) at x = 0.

    Args:
        potential: the potential.
        graph: one configuration of N atoms, padding included.
        columns: (blocks, width) places in x of the rows; width rows are computed together. A place
            of -1 gives zeros.
    """
    size = 4 * graph.types.shape[0] + N_STRAINS
    origin = jnp.zeros(size, graph.vectors.dtype)

    def gradient(x: Array) -> tuple[Array, Array]:
        value, found = jax.value_and_grad(lambda x: energy_at(potential, graph, x))(x)
        return found, value

    first, along, energy = jax.linearize(gradient, origin, has_aux=True)

    def block(places_of_rows: Array) -> Array:
        return jax.vmap(along)(jax.nn.one_hot(places_of_rows, size, dtype=origin.dtype))

    return energy, first, jax.lax.map(block, columns)


_hessian_rows = jax.jit(hessian_rows)


@with_double_precision
def structure_response(potential: Potential, structure: Structure) -> Response:
    """The energy of a structure to second order in displacements, strain and moments, in float64.

    The structure is taken as it is: relax it and equilibrate its moments first.

    Warns:
        ExtrapolationWarning: if distances or moments lie outside of the potential's intervals.
    """
    check()
    cutoff = float(potential.cutoff)
    table = neighbour_table(structure, cutoff)
    check_domain(potential, [structure], [table]).warn(stacklevel=3)
    graph = response_graph(structure, table, cutoff)
    n, n_padded = len(structure), graph.types.shape[0]
    real = places(n, n_padded)
    energy, first, rows = jax.device_get(
        _hessian_rows(potential.astype(np.float64), graph, blocks_of(real, n_padded))
    )
    rows = rows.reshape(-1, rows.shape[-1])[: len(real), real]
    whole, first = (rows + rows.T) / 2, first[real]
    u, e, m = slice(0, 3 * n), slice(3 * n, 3 * n + N_STRAINS), slice(3 * n + N_STRAINS, None)
    volume = structure.volume
    low = np.asarray(potential.min_magmom)[structure.types]
    high = np.asarray(potential.max_magmom)[structure.types]
    return Response(
        structure=structure,
        energy=float(energy),
        forces=-first[u].reshape(n, 3),
        stress=None if volume is None else first[e] / volume,
        magnetic_forces=-first[m],
        uu=whole[u, u],
        ue=whole[u, e],
        um=whole[u, m],
        ee=whole[e, e],
        em=whole[e, m],
        mm=whole[m, m],
        at_bound=(structure.magmoms <= low + AT_BOUND) | (structure.magmoms >= high - AT_BOUND),
    )


def response_graph(structure: Structure, table: NeighbourTable, cutoff: float) -> Graph:
    """One structure padded into fewer shapes than usual: Hessians take seconds to compile."""
    n, width = len(structure), table.index.shape[1]
    return pack(
        [structure], [table], cutoff, n_atoms=_power(n) if n < 16 else 0, width=_half_octave(width)
    ).graph


def blocks_of(columns: np.ndarray, n_padded: int) -> np.ndarray:
    """Places (blocks, width) of the rows of a Hessian, filled up with -1 to those of all atoms."""
    size = 4 * n_padded + N_STRAINS
    width = min(max(ATOMS_PER_BLOCK // n_padded, 1), size)
    found = np.full(-(-size // width) * width, -1)
    found[: len(columns)] = columns
    return found.reshape(-1, width)


def _power(n: int) -> int:
    """The smallest power of two that is not below n, at least 2."""
    return 1 << max(n - 1, 1).bit_length()


def _half_octave(n: int) -> int:
    """The smallest of 16, 24, 32, 48, 64, ... that is not below n."""
    power = max(_power(n), 16)
    return 3 * power // 4 if power > 16 and n <= 3 * power // 4 else power
