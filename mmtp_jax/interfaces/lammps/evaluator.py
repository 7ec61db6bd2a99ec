"""Evaluation of all atoms of a LAMMPS, each rank its own ones, summed over the ranks."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import jax
import numpy as np

from mmtp_jax.active.jacobian import NEIGHBORHOOD
from mmtp_jax.active.preselection import Preselection
from mmtp_jax.interfaces.lammps.evaluation import (
    evaluate_rows,
    grade_of_row,
    grade_own_atoms,
    own_energy_row,
)
from mmtp_jax.interfaces.lammps.host import MAGMOM, LammpsHost
from mmtp_jax.interfaces.lammps.moments import Totals
from mmtp_jax.interfaces.lammps.options import BridgeOptions
from mmtp_jax.interfaces.lammps.ranks import Ranks
from mmtp_jax.interfaces.lammps.rows import RankAtoms, RankList, Sizes, find_rows
from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import double_precision, require_precision
from mmtp_jax.structures.batch import default_chunk

_NUMBERS = 12
"""Of the whole: atoms, close distances, energy, and nine of the strain derivative."""


class SharedEvaluator:
    """A potential on the device of this rank, and the neighbours of the rank's atoms.

    Methods are called by all ranks at the same time, with the same moments.

    Args:
        host: LAMMPS.
        ranks: its ranks.
        potential: the potential.
        preselection: who asks for grades, if anyone does.
        options: skin and precision.
    """

    def __init__(
        self,
        host: LammpsHost,
        ranks: Ranks,
        potential: Potential,
        preselection: Preselection | None,
        options: BridgeOptions,
    ) -> None:
        self.host, self.ranks = host, ranks
        self.n_evaluations = self.n_searches = 0
        self.close = False
        """A distance of the last evaluation was below R_min."""
        self._skin, self._radius = options.skin, float(potential.cutoff) + options.skin
        # The shortest pair of a training set defines R_min, and must not count by round-off.
        self._shortest = float(potential.min_dist) * (1 - 1e-9)
        self._device = jax.local_devices()[ranks.place_on_node() % jax.local_device_count()]
        with double_precision():
            self.precision = require_precision(options.dtype)
            without = potential.replace(species_coeffs=np.zeros(potential.n_species))
            self.potential = jax.device_put(without.astype(*self.precision), self._device)
            """With e0 = 0."""
            if preselection is not None:
                parts = preselection.factors, preselection.potential
                self._factors, self._graded = jax.device_put(parts, self._device)
                self._by_atom = preselection.mode == NEIGHBORHOOD
        self._chunk = default_chunk()
        self._sizes = Sizes(shared=ranks.size > 1, chunk=self._chunk)
        self._list: RankList | None = None

    def at(self, magmoms: np.ndarray) -> Totals:
        """Energy and derivatives at moments (n,) and at the present positions of LAMMPS.

        Raises:
            ValueError: if they are not finite, or atoms are lost.
        """
        n = self.host.n_atoms

        def add(total: np.ndarray) -> None:
            found, positions = self._present()
            values = jax.device_get(
                evaluate_rows(
                    self.potential, found.rows, positions, self._of_rank(found, magmoms),
                    self._chunk,
                )
            )  # fmt: skip
            known = found.ids > 0
            places, own = found.ids[known] - 1, found.atoms.n_own
            total[0] = own
            total[1] = values.shortest < self._shortest
            total[2] = np.sum(values.sites, dtype=float)
            total[3:_NUMBERS] = values.strain_derivative.ravel()
            forces, magnetic_forces, sites = _parts(total, n)
            # No atom is twice in a list.
            forces[places] = values.forces[known]
            magnetic_forces[places] = values.magnetic_forces[known]
            sites[found.own_ids - 1] = values.sites[:own]

        total = self.ranks.total(_NUMBERS + 5 * n, add)
        self.n_evaluations += 1
        forces, magnetic_forces, sites = _parts(total, n)
        if round(total[0]) != n:
            raise self.ranks.agreed(
                ValueError(
                    f"LAMMPS has {round(total[0])} atoms, but had {n} when the potential was "
                    "attached; attach it after atoms are made or deleted"
                )
            )
        if not np.isfinite(total.sum()):
            raise self.ranks.agreed(
                ValueError(
                    "the energy or a force is not finite: atoms or moments are far outside of "
                    "what the potential covers; try a shorter time step"
                )
            )
        self.close = total[1] > 0
        return Totals(
            energy=float(total[2]),
            strain_derivative=total[3:_NUMBERS].reshape(3, 3).copy(),
            forces=forces,
            magnetic_forces=magnetic_forces,
            sites=sites,
        )

    def grades(self, magmoms: np.ndarray) -> tuple[float, np.ndarray | float]:
        """The grade of the configuration, and those of own atoms (its own where they have none)."""
        of_atoms: list[np.ndarray] = []

        def largest() -> float:
            found, positions = self._present()
            grades = grade_own_atoms(
                self._factors, self._graded, found.rows, positions,
                self._of_rank(found, magmoms), self._chunk,
            )  # fmt: skip
            of_atoms.append(np.asarray(grades)[: found.atoms.n_own])
            return float(np.max(of_atoms[0], initial=0.0))

        def add(total: np.ndarray) -> None:
            found, positions = self._present()
            total[:] = own_energy_row(
                self._graded, found.rows, positions, self._of_rank(found, magmoms), self._chunk
            )

        if self._by_atom:
            grade = self.ranks.largest(largest)
            return grade, of_atoms[0]
        row = self.ranks.total(self._graded.n_parameters, add)
        grade = float(grade_of_row(self._factors, row))
        return grade, grade

    def gathered(self, values_of: Any, width: int) -> np.ndarray:
        """(n, width) in the order of ids, from ``values_of(atoms)`` (own atoms, width)."""
        n = self.host.n_atoms

        def add(total: np.ndarray) -> None:
            atoms = self.host.atoms()
            total.reshape(n, width)[atoms.ids[: atoms.n_own] - 1] += values_of(atoms)

        return self.ranks.total(width * n, add).reshape(n, width)

    def moments_of_lammps(self) -> np.ndarray:
        """(n,) mu_B, in the order of ids, as LAMMPS has them."""
        return self.gathered(lambda _: self.host.own(MAGMOM)[:, None], 1)[:, 0]

    def _present(self) -> tuple[RankList, np.ndarray]:
        """The neighbours, searched again if need be, and padded positions."""
        atoms = self.host.atoms()
        if self._list is None or not self._list.is_valid(atoms, self._skin):
            found = find_rows(atoms, self.host.n_atoms, self._radius, self._sizes)
            self._list = replace(found, rows=jax.device_put(found.rows, self._device))
            self._sizes = found.sizes
            self.n_searches += 1
        return self._list, self._list.padded(atoms.positions)

    @staticmethod
    def _of_rank(found: RankList, magmoms: np.ndarray) -> np.ndarray:
        return np.where(found.ids > 0, magmoms[found.ids - 1], 0.0)


def own_positions(atoms: RankAtoms) -> np.ndarray:
    """(own atoms, 3) Angstrom."""
    return atoms.positions[: atoms.n_own]


def _parts(total: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Views: forces (n, 3), magnetic forces (n,), site energies (n,)."""
    ends = np.cumsum([_NUMBERS, 3 * n, n, n])
    forces, magnetic_forces, sites = (total[low:high] for low, high in pairwise(ends))
    return forces.reshape(n, 3), magnetic_forces, sites
