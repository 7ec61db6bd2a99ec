"""Second derivatives of the energy, at clamped and at relaxed moments and positions.

With the Hessian H of one configuration in displacements u, strain e and moments m, moments that
follow (T = 0) give the adiabatic second derivatives by a Schur complement,

    A_ab = H_ab - H_am H_mm^-1 H_mb        for a, b among u and e,

and atoms that follow a strain give in the same way

    V C = A_ee - A_eu A_uu^+ A_ue

with translations projected out of A_uu. Force constants are A_uu, elastic constants are C.

Moments may be vectors; then m are their components, and as the energy does not change when all of
them turn, these rotations are projected out of H_mm.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mmtp_jax.readable import readable
from mmtp_jax.structures.structure import Structure, lengths

MAGNETIC_TOLERANCE = 2e-3
"""Largest |T_i| of moments that count as equilibrated, eV/mu_B."""

AT_BOUND = 1e-6
"""mu_B from the end of its interval at which a moment is held."""


class UnstableStateError(ValueError):
    """A state that is no minimum: of the moments, of the positions, or of the cell."""


@readable
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
    """(n,) or (n, 3) eV/mu_B."""
    uu: np.ndarray = field(repr=False)
    """(3 n, 3 n) d2E/du du, eV/Angstrom^2; 3 i + a is component a of atom i."""
    ue: np.ndarray = field(repr=False)
    """(3 n, 6) d2E/du de, eV/Angstrom."""
    um: np.ndarray = field(repr=False)
    """(3 n, n) d2E/du dm, eV/(Angstrom mu_B); (3 n, 3 n) for vectors, as below."""
    ee: np.ndarray = field(repr=False)
    """(6, 6) d2E/de de, eV; ASE's order, shear angles."""
    em: np.ndarray = field(repr=False)
    """(6, n) d2E/de dm, eV/mu_B."""
    mm: np.ndarray = field(repr=False)
    """(n, n) d2E/dm dm, eV/mu_B^2."""
    at_bound: np.ndarray = field(repr=False)
    """(n,) bool: moments at the end of their interval, which do not follow."""
    magnetic: np.ndarray | None = field(default=None, repr=False)
    """(n,) bool: atoms that have moments in the potential; None for all."""

    @property
    def n_atoms(self) -> int:
        """n."""
        return len(self.magnetic_forces)

    @property
    def held(self) -> np.ndarray:
        """(n,) bool: moments that do not follow, at a bound or held at zero by their sign."""
        at_zero = (self.structure.lengths == 0.0) & (
            lengths(self.magnetic_forces) > MAGNETIC_TOLERANCE
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
            f"{self._moment(held[0])} mu_B); they do not follow atoms and strain"
        )

    def moment_response(self) -> np.ndarray:
        """dm/d(u, e) (n, 3 n + 6) of moments that minimise the energy, mu_B per Angstrom and per 1.

        Of vectors (3 n, 3 n + 6), without rotations of all moments together.

        Raises:
            UnstableStateError: if the moments are at no minimum.
            ValueError: if they are not equilibrated.
        """
        basis = self._free_moments()
        mixed = np.concatenate([self.um, self.em])
        return -basis @ np.linalg.solve(basis.T @ self.mm @ basis, (mixed @ basis).T)

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

    def _moment(self, atom: int) -> str:
        """A moment in words, or the length of a vector."""
        size = self.structure.lengths if self.structure.vectors else self.structure.magmoms
        return f"{size[atom]:.3g}"

    def _free_moments(self) -> np.ndarray:
        """Orthonormal changes (m, k) of the moments that follow."""
        free = np.flatnonzero(~self.held & (True if self.magnetic is None else self.magnetic))
        name, forces = self.structure.name, lengths(self.magnetic_forces[free])
        largest = float(forces.max(initial=0.0))
        if largest > MAGNETIC_TOLERANCE:
            raise ValueError(
                f"{name}: the moments are not equilibrated (largest magnetic force "
                f"{largest:.3g} eV/mu_B, at most {MAGNETIC_TOLERANCE:g}), so they have no "
                "adiabatic response; equilibrate them first, or clamp them"
            )
        of_moment = self.mm.shape[0] // self.n_atoms
        chosen = (of_moment * free[:, None] + np.arange(of_moment)).ravel()
        basis = np.eye(len(self.mm))[:, chosen]
        if self.structure.vectors and not self.held.any():
            basis = basis @ without_rotations(self.structure.magmoms[free])
        if basis.shape[1]:
            values, vectors = np.linalg.eigh(basis.T @ self.mm @ basis)
            if values[0] <= 0.0:
                atom = int(np.argmax(np.abs(basis @ vectors[:, 0]))) // of_moment
                raise UnstableStateError(
                    f"{name}: the magnetic state is unstable: d2E/dm2 has the eigenvalue "
                    f"{values[0]:.3g} eV/mu_B^2, mostly at atom {atom} "
                    f"({self._moment(atom)} mu_B); equilibrate from other moments, or clamp them"
                )
        return basis


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


def without_rotations(magmoms: np.ndarray) -> np.ndarray:
    """Orthonormal changes (3 n, k) of vectors (n, 3) that do not turn all of them together."""
    turned = np.stack([np.cross(axis, magmoms).ravel() for axis in np.eye(3)], axis=1)
    columns, sizes, _ = np.linalg.svd(turned, full_matrices=True)
    # Parallel moments do not change when they turn about themselves.
    return columns[:, int(np.sum(sizes > 1e-8 * sizes.max(initial=0.0))) :]


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
