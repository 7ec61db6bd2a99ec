"""One batch of relaxations on its way: what `HostLoop` leaves to it, and its start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.potential.chunks import padded_count
from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import require_precision
from mmtp_jax.simulation.constants import GPA
from mmtp_jax.simulation.host_loop import Block, HostLoop
from mmtp_jax.simulation.relaxation.cell import basis_of
from mmtp_jax.simulation.relaxation.coordinates import Problem, geometry_of
from mmtp_jax.simulation.relaxation.loop import RelaxPlan, relax_steps, shown_system
from mmtp_jax.simulation.relaxation.options import EQUILIBRATION_SHARE, RelaxOptions
from mmtp_jax.simulation.relaxation.status import RelaxStatus
from mmtp_jax.simulation.relaxation.steps import Limits, RelaxState, before_start
from mmtp_jax.structures.batch import default_chunk
from mmtp_jax.structures.device import without_constants
from mmtp_jax.structures.list_maker import ListMaker
from mmtp_jax.structures.neighbour_list import longest_step, roomy_width
from mmtp_jax.structures.structure import Structure

STEPS_PER_CALL = 20
"""Steps until the host looks, so that Ctrl-C and progress need not wait longer."""


class RelaxModel:
    """A potential on the device, and what is common to all batches of a relaxation."""

    def __init__(self, potential: Potential, options: RelaxOptions) -> None:
        self.potential, self.options = potential, options
        self.cutoff = float(potential.cutoff)
        self.on_device, self.constants = without_constants(
            potential, require_precision(options.dtype)
        )
        step, strain = longest_step(self.cutoff, options.skin)
        bounds = Limits(
            forces=options.force_tolerance,
            stress=options.stress_tolerance_GPa * GPA,
            magnetic_forces=options.magnetic_tolerance,
            equilibration=EQUILIBRATION_SHARE * options.magnetic_tolerance,
            max_step=min(options.max_step, step),
            max_strain=strain,
            log_volume=np.log1p(options.max_volume_change),
            bounded=options.bounded,
            max_equilibration_steps=int(options.max_equilibration_steps),
        )
        self.limits = jax.device_put(Limits(*(np.asarray(value) for value in bounds)))
        self.width = 0
        """Places of the widest list so far."""


@dataclass
class RelaxRun(HostLoop):
    """A batch on its way.

    Args:
        model: potential and options.
        structures: the configurations, with collinear moments or all with vectors; with a watch,
            all of the same atoms.
        shape: least numbers N and C of atoms and configurations, padding included.
        most: least number of atoms of a configuration for which there are places.
    """

    model: RelaxModel
    structures: Sequence[Structure]
    shape: tuple[int, int] = (1, 1)
    most: int = 0

    most_steps = STEPS_PER_CALL

    def __post_init__(self) -> None:
        options, chunk = self.model.options, default_chunk(self.model.on_device)
        counts = [len(s) for s in self.structures]
        self.offsets = np.concatenate([[0], np.cumsum(counts)])
        total = int(self.offsets[-1])
        n_conf = len(counts) if self.watch is not None else max(len(counts), self.shape[1])
        self.shape = (padded_count(max(total, self.shape[0]), chunk), n_conf)
        self.plan = RelaxPlan(
            equilibrate=options.moments == "equilibrate",
            allow_flips=options.allow_flips,
            fixed_directions=options.directions == "fixed",
            chunk=chunk,
            n_shown=counts[0] if self.watch is not None else 0,
        )
        model = self.model
        self.maker = ListMaker(model.cutoff, options.skin, roomy_width)
        n_atoms, n_conf = self.shape
        self.search(
            self.structures, n_atoms=n_atoms, n_configurations=n_conf, width=model.width,
            most=self.most,
        )  # fmt: skip
        model.width = self.neighbours.width
        sums = self.neighbours.sums
        if sums is not None:
            sums = sums._replace(incoming=None)
        self.problem = jax.device_put(self._problem(counts)._replace(sums=sums))
        self.state = self._first_state()

    @property
    def has_ended(self) -> bool:
        """Does no configuration go on?"""
        return not self.running.any()

    @property
    def running(self) -> np.ndarray:
        """(c,) bool."""
        status = np.asarray(self.state.status)[: len(self.structures)]
        return status == RelaxStatus.STEP_LIMIT

    def take(self, n_steps: int) -> Block:
        """Steps of all configurations."""
        model = self.model
        if self.watch is not None and self.watched is None:
            geometry = geometry_of(self.problem, self.state.trial)
            on = jnp.ones(self.shape[1], bool)
            self.watched = self.watch.start(
                shown_system(self.plan, self.problem, geometry, self.state.at.magmoms, on)
            )
        return relax_steps(
            self.plan, model.on_device, model.constants, self.problem, model.limits, self.state,
            self.neighbours, n_steps, self.watch, self.watched, self.step,
        )  # fmt: skip

    def search_again(self, stale: Any) -> None:
        """Make the list anew for these configurations, at their last accepted geometries."""
        made, at = self.neighbours, self.state.at.geometry
        where = (at.positions, at.cell)
        if self.step == 0:
            where = (made.reference_positions, made.reference_cell)
        self.renew(*where, stale)
        # All batches that follow have the places of the widest.
        self.model.width = self.neighbours.width

    def without(self, stale: Any) -> RelaxState:
        """The state after configurations were given up."""
        status = jnp.where(stale, int(RelaxStatus.NO_DESCENT), self.state.status)
        return self.state._replace(status=status.astype(jnp.int32))

    def present(self) -> list[Structure]:
        """The configurations at the last accepted geometries and moments."""
        if self.step == 0:
            return list(self.structures)
        at = self.state.at
        positions, cell, magmoms = (
            np.asarray(a) for a in (at.geometry.positions, at.geometry.cell, at.magmoms)
        )
        return [
            replace(
                structure,
                positions=positions[low:high].astype(float),
                cell=cell[k].astype(float),
                magmoms=magmoms[low:high].astype(float),
            )
            for k, (structure, low, high) in enumerate(
                zip(self.structures, self.offsets[:-1], self.offsets[1:], strict=True)
            )
        ]

    def _problem(self, counts: list[int]) -> Problem:
        (n_atoms, n_conf), options = self.shape, self.model.options
        types = np.zeros(n_atoms, np.int32)
        configuration = np.full(n_atoms, n_conf, np.int32)
        cell = np.tile(np.eye(3), (n_conf, 1, 1))
        volume, weight = np.full(n_conf, np.inf), np.ones(n_conf)
        total = self.offsets[-1]
        types[:total] = np.concatenate([s.types for s in self.structures])
        sides = np.zeros(n_atoms)
        if not self.structures[0].vectors:
            sides[:total] = np.sign(np.concatenate([s.magmoms for s in self.structures]))
        configuration[:total] = np.repeat(np.arange(len(counts)), counts)
        for k, structure in enumerate(self.structures):
            cell[k] = structure.cell
            if structure.volume is not None:
                volume[k] = structure.volume
                weight[k] = np.sqrt(counts[k]) * np.cbrt(structure.volume / counts[k])
        return Problem(
            types=types,
            configuration=configuration,
            sides=sides,
            cell=cell,
            volume=volume,
            weight=weight,
            basis=basis_of(options.cell),
            moves=np.asarray(options.positions),
            pressure=np.float64(options.pressure_GPa * GPA),
            periodic=np.asarray(self.structures[0].periodic, bool),
        )

    def _first_state(self) -> RelaxState:
        model, n_atoms = self.model, self.shape[0]
        positions = np.zeros((n_atoms, 3))
        magmoms = np.zeros((n_atoms, *self.structures[0].magmoms.shape[1:]))
        positions[: self.offsets[-1]] = np.concatenate([s.positions for s in self.structures])
        magmoms[: self.offsets[-1]] = np.concatenate([s.magmoms for s in self.structures])
        dtype = np.dtype(model.on_device.radial_coeffs.dtype)
        return before_start(self.problem, positions, magmoms, dtype)
