"""Evaluation on the route of ``pair_style mliap unified``: LAMMPS sums forces and virials.

Forces of pairs stay on their rank; LAMMPS adds them to its atoms and returns those of ghosts to
their owners. Energies and magnetic forces are summed over ranks as on the other route.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import numpy as np

from mmtp_jax.interfaces.lammps.evaluator import SharedEvaluator, Sums
from mmtp_jax.interfaces.lammps.host import LammpsHost
from mmtp_jax.interfaces.lammps.options import BridgeOptions
from mmtp_jax.interfaces.lammps.pairs import PairBuffers, PairValues, RankPairs, evaluate_pairs
from mmtp_jax.interfaces.lammps.ranks import Ranks
from mmtp_jax.interfaces.lammps.rows import warm_width
from mmtp_jax.potential.potential import Potential
from mmtp_jax.structures.batch import rounded_size
from mmtp_jax.structures.neighbours import SAME_PLACE


class PairEvaluator(SharedEvaluator):
    """As `SharedEvaluator`, for the pairs that LAMMPS has at the moment.

    Grades, which are seldom asked for, have a list of neighbours of their own.
    """

    shares_forces = False

    def __init__(
        self,
        host: LammpsHost,
        ranks: Ranks,
        potential: Potential,
        preselection: Any,
        options: BridgeOptions,
    ) -> None:
        super().__init__(host, ranks, potential, preselection, options)
        self._cutoff = float(potential.cutoff)
        self._e0 = np.asarray(potential.species_coeffs, float)
        self._pair_sizes = self._sizes
        self._buffers: PairBuffers | None = None
        self._data: Any = None
        self._pairs: RankPairs | None = None
        self._last: PairValues | None = None
        self._accepted: PairValues | None = None

    def begin(self, data: Any) -> None:
        """From now on, pairs are those of ``data``; its energies are zero until `give`."""
        self._data, self._pairs = data, None
        data.energy = 0.0
        if data.nlistatoms:
            data.eatoms = np.zeros(data.nlistatoms)

    def accept(self) -> None:
        """Let the last evaluation be the one whose forces LAMMPS is given."""
        self._accepted = self._last

    def give(self) -> None:
        """Energies of own atoms and forces of pairs."""
        pairs, values = self._pairs, self._accepted
        n_own = len(pairs.own_ids)
        sites = np.asarray(values.sites[:n_own], float) + self._e0[pairs.types]
        self._data.energy = sites.sum()
        if n_own:
            self._data.eatoms = sites
        if len(pairs.places):
            self._data.update_pair_forces(self._buffers.forces_of(pairs, values.vectors))

    def end(self) -> None:
        """LAMMPS goes on, and its arrays are no longer what they were."""
        self._data = self._pairs = self._last = self._accepted = None

    def _add(self, sums: Sums, magmoms: np.ndarray) -> None:
        if self._pairs is None:
            self._pairs = self._present_pairs()
        pairs, n = self._pairs, self.host.n_atoms
        own = len(pairs.own_ids)
        by_id = np.concatenate([[0.0], magmoms])
        values = jax.device_get(evaluate_pairs(self.potential, pairs.rows, by_id, self._chunk))
        shortest = np.sqrt(np.min(values.squares[:own], initial=np.inf))
        if shortest < SAME_PLACE:
            raise ValueError("two atoms are at the same place; remove one of them")
        sums.n_own[...] = own
        self._compare(sums, shortest)
        sums.energy[...] = np.sum(values.sites[:own], dtype=float)
        # Zero, unless a force is not finite.
        sums.strain_derivative[:] = 0.0 * np.sum(values.vectors)
        sums.sites[pairs.own_ids - 1] = values.sites[:own]
        # Free places have the id 0.
        to_neighbours = np.bincount(
            pairs.targets, weights=values.neighbour_magmoms.ravel(), minlength=n + 1
        )
        sums.magnetic_forces[:] = -to_neighbours[1:]
        sums.magnetic_forces[pairs.own_ids - 1] -= values.magmoms[:own]
        self._last = values

    def _present_pairs(self) -> RankPairs:
        data = self._data
        ids = self.host.ids(data.ntotal)
        # The list of LAMMPS leaves out what has no distance.
        if not np.isfinite(np.sum(self.host.own("x"))):
            raise ValueError("a position in LAMMPS is not finite; try a shorter time step")
        most = int(np.max(data.numneighs[: data.nlistatoms])) if data.nlistatoms else 0
        if most > self._pair_sizes.width:
            warm = warm_width(self.host.atoms(), self._cutoff)
            most = rounded_size(max(most, warm) + 1)
        # At least one place, also on a rank without atoms.
        sizes = self._pair_sizes.with_room(data.nlistatoms, 0, 0, max(most, 1))
        if self._buffers is None or sizes != self._pair_sizes:
            self._pair_sizes, self._buffers = sizes, PairBuffers(sizes, self.host.n_atoms)
        pairs = self._buffers.fill(data, ids)
        return replace(pairs, rows=jax.device_put(pairs.rows, self._device))
