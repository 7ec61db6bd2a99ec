"""Evaluation of all atoms of a LAMMPS, each rank its own ones, summed over the ranks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np

from mmtp_jax.active.options import NEIGHBORHOOD
from mmtp_jax.active.preselection import Preselection
from mmtp_jax.interfaces.lammps.evaluation import (
    RankValues,
    evaluate_rows,
    grade_of_row,
    grade_own_atoms,
    own_energy_row,
    packed,
)
from mmtp_jax.interfaces.lammps.host import MAGMOM, LammpsHost
from mmtp_jax.interfaces.lammps.moments import Totals
from mmtp_jax.interfaces.lammps.options import BridgeOptions
from mmtp_jax.interfaces.lammps.ranks import Ranks
from mmtp_jax.interfaces.lammps.rows import RankAtoms, RankList, Sizes, find_rows
from mmtp_jax.potential.confinement import Reach, intervals, reach
from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import double_precision, require_precision
from mmtp_jax.structures.batch import default_chunk
from mmtp_jax.structures.device import without_constants


class Sums(NamedTuple):
    """Views of the numbers that one reduction brings home, for n atoms by their ids."""

    n_own: np.ndarray
    """() own atoms."""
    n_outside: np.ndarray
    """() ranks with a distance below R_min."""
    n_close: np.ndarray
    """() ranks with one that is too short to go on."""
    energy: np.ndarray
    """() eV."""
    strain_derivative: np.ndarray
    """(3, 3) eV."""
    magnetic_forces: np.ndarray
    """(n,) eV/mu_B."""
    sites: np.ndarray
    """(n,) eV."""
    forces: np.ndarray
    """(n, 3) eV/Angstrom; zeros where LAMMPS sums them."""

    @staticmethod
    def size(n: int, with_forces: bool) -> int:
        """Numbers in all."""
        return 13 + (5 if with_forces else 2) * n

    @classmethod
    def of(cls, total: np.ndarray, n: int) -> Sums:
        """The views of an array of that size."""
        strain, magnetic_forces, sites, forces = np.split(total[4:], np.cumsum([9, n, n]))
        return cls(
            n_own=total[0, ...],
            n_outside=total[1, ...],
            n_close=total[2, ...],
            energy=total[3, ...],
            strain_derivative=strain.reshape(3, 3),
            magnetic_forces=magnetic_forces,
            sites=sites,
            forces=forces.reshape(n, 3) if len(forces) else np.zeros((n, 3)),
        )


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

    shares_forces = True
    """Does the reduction bring home the forces and the virial, too?"""

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
        self.outside = self.close = False
        """A distance of the last evaluation was below R_min, or too short to go on."""
        self._skin, self._radius = options.skin, float(potential.cutoff) + options.skin
        self.inside, self.far = (
            Reach(*(np.asarray(of, float) for of in found))
            for found in (intervals(potential), reach(potential))
        )
        """What the potential was fitted to, and how far a run may go."""
        self._device = jax.local_devices()[ranks.place_on_node() % jax.local_device_count()]
        with double_precision():
            self.precision = require_precision(options.dtype)
            self.potential, _ = without_constants(potential, self.precision, self._device)
            """With e0 = 0."""
            if preselection is not None:
                parts = preselection.factors, preselection.potential
                self._factors, self._graded = jax.device_put(parts, self._device)
                self._by_atom = preselection.mode == NEIGHBORHOOD
        self._chunk = default_chunk(self.potential)
        self._sizes = Sizes(shared=ranks.size > 1, chunk=self._chunk)
        self._list: RankList | None = None

    def at(self, magmoms: np.ndarray) -> Totals:
        """Energy and derivatives at moments (n,) and at the present positions of LAMMPS.

        Raises:
            ValueError: if they are not finite, or atoms are lost.
        """
        n = self.host.n_atoms
        total = self.ranks.total(
            Sums.size(n, self.shares_forces), lambda total: self._add(Sums.of(total, n), magmoms)
        )
        self.n_evaluations += 1
        sums = Sums.of(total, n)
        if round(float(sums.n_own)) != n:
            raise self.ranks.agreed(
                ValueError(
                    f"LAMMPS has {round(float(sums.n_own))} atoms, but had {n} when the potential "
                    "was attached; attach it after atoms are made or deleted"
                )
            )
        if not np.isfinite(total.sum()):
            raise self.ranks.agreed(
                ValueError(
                    "the energy or a force is not finite: atoms or moments are far outside of "
                    "what the potential covers; try a shorter time step"
                )
            )
        self.outside, self.close = bool(sums.n_outside > 0), bool(sums.n_close > 0)
        return Totals(
            energy=float(sums.energy),
            strain_derivative=sums.strain_derivative.copy(),
            forces=sums.forces,
            magnetic_forces=sums.magnetic_forces,
            sites=sums.sites,
        )

    def accept(self) -> None:
        """Let the last evaluation be the one whose forces LAMMPS is given."""

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

    def _add(self, sums: Sums, magmoms: np.ndarray) -> None:
        """What the own atoms contribute."""
        found, positions = self._present()
        where = packed(positions, self._of_rank(found, magmoms))
        values = RankValues.of(
            np.asarray(evaluate_rows(self.potential, found.rows, where, self._chunk)),
            found.sizes.own,
        )
        known = found.ids > 0
        places, own = found.ids[known] - 1, found.atoms.n_own
        sums.n_own[...] = own
        self._compare(sums, values.shortest)
        sums.energy[...] = np.sum(values.sites, dtype=float)
        sums.strain_derivative[:] = values.strain_derivative
        # No atom is twice in a list.
        sums.forces[places] = values.forces[known]
        sums.magnetic_forces[places] = values.magnetic_forces[known]
        sums.sites[found.own_ids - 1] = values.sites[:own]

    def _compare(self, sums: Sums, shortest: float) -> None:
        sums.n_outside[...] = self.inside.too_close(shortest)
        sums.n_close[...] = self.far.too_close(shortest)

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
