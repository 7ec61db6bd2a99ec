"""A run of dynamics on its way: what `HostLoop` leaves to it, its start and its result."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.language import argument
from mmtp_jax.potential.chunks import padded_count
from mmtp_jax.potential.confinement import reach
from mmtp_jax.potential.potential import Potential
from mmtp_jax.simulation.constants import FS, GPA, KB
from mmtp_jax.simulation.dynamics.barostats import mobility
from mmtp_jax.simulation.dynamics.evaluation import Moments, model_of
from mmtp_jax.simulation.dynamics.integrate import Ensemble, Outcome, State
from mmtp_jax.simulation.dynamics.loop import Plan, Rules, before_start, take_steps
from mmtp_jax.simulation.dynamics.observer import Observer, Saved, Snapshot
from mmtp_jax.simulation.dynamics.options import DynamicsOptions
from mmtp_jax.simulation.dynamics.outcome import Simulation
from mmtp_jax.simulation.dynamics.precession import thermal_speeds
from mmtp_jax.simulation.dynamics.series import Series
from mmtp_jax.simulation.dynamics.spin_start import check_timestep, with_gauge, with_past
from mmtp_jax.simulation.dynamics.thermostats import Bath, keys_of
from mmtp_jax.simulation.host_loop import Block, HostLoop
from mmtp_jax.simulation.neighbours import structures_of, used_skin
from mmtp_jax.simulation.spins.dynamics import SpinPlan, SpinSites
from mmtp_jax.simulation.spins.moves import magnetic_atoms
from mmtp_jax.simulation.system import System, volumes
from mmtp_jax.structures.batch import default_chunk
from mmtp_jax.structures.domain import moment_at_end
from mmtp_jax.structures.list_maker import ListMaker
from mmtp_jax.structures.neighbour_list import NeighbourList, warm_width

SEARCH_AGAIN = 0.5
"""Share of the skin beyond which a replica's neighbours are searched along with another's."""


SPIN_TEMPERATURE_EVERY = 10
"""Steps: it takes a good part of the time of one that computes it."""


@jax.jit
def _where(system: System, neighbours: NeighbourList, stale: Any) -> tuple[Any, Any, Any]:
    """Positions, cells and which replicas (R,) are to be searched again."""
    near = used_skin(system, neighbours) > SEARCH_AGAIN
    positions = system.positions.reshape(-1, 3)
    return positions, system.cell, stale | (near & system.running)


def refuse_signs_of_vectors(options: DynamicsOptions, system: System) -> None:
    """ValueError where signs are to change of vectors, or moments are to turn that are none."""
    if options.spins == "dynamics":
        if not system.vectors:
            raise ValueError("moments that precess must be vectors, (R, n, 3)")
    elif options.spins != "none" and system.vectors:
        raise ValueError(
            f"{argument('spins', options.spins)} changes signs, and the moments are vectors, which "
            "have none; give collinear moments, one number for each atom, or leave it out"
        )


@dataclass
class Run(HostLoop):
    """A run on its way; the step before the first evaluation is -1."""

    potential: Potential
    system: System
    options: DynamicsOptions
    record: Callable[[np.ndarray, Series], None] | None = None
    steps: list[np.ndarray] = field(default_factory=list)
    rows: list[Series] = field(default_factory=list)
    spin_sites: SpinSites | None = None
    own_speeds: np.ndarray | None = None
    """(R, n, 3) of lengths at the start; None for thermal ones."""

    def __post_init__(self) -> None:
        options, n_replicas = self.options, self.system.n_replicas
        refuse_signs_of_vectors(options, self.system)
        self.model = model_of(self.potential, options.dtype, options.tolerance)
        self.chunk, self.most_steps = default_chunk(self.model.potential), options.chunk_steps
        self.maker = ListMaker(float(self.potential.cutoff), options.skin_of_list, warm_width)
        self.n_padded = padded_count(self.system.n_atoms * n_replicas, self.chunk)
        without_bath, precesses = options.ensemble == "nve", options.spins == "dynamics"
        kind = options.moments
        if precesses:
            kind = "equilibrate" if options.lengths == "equilibrate" else "fixed"
        self.plan = Plan(
            ensemble=Ensemble(
                None if without_bath or options.fixed_atoms else options.thermostat,
                options.barostat if options.ensemble == "npt" else None,
                options.lengths if precesses else None,
                precesses and not without_bath,
                options.fixed_atoms,
            ),
            moments=Moments(
                kind,
                options.moments_every,
                options.max_equilibration_steps,
                options.allow_flips,
                self.chunk,
                precesses or options.directions == "fixed",
                SPIN_TEMPERATURE_EVERY if precesses else 0,
            ),
            n_rows=options.chunk_steps,
            spins=self.spin_plan(),
        )
        if self.plan.spins is not None:
            magnitudes = np.abs(self.system.magmoms)
            self.spin_sites = jax.device_put(SpinSites(self.magnetic_atoms(), magnitudes))
        self.rules = Rules(np.asarray(options.bounded), np.asarray(options.when_stopped == "all"))
        if options.ensemble == "npt" and not np.all(self.system.periodic):
            raise ValueError(
                "npt needs a cell that is periodic in three directions; set pbc, or use nvt"
            )
        temperature = options.per_replica("temperature_K", n_replicas)
        volume = np.asarray(volumes(self.system))
        self.bath = jax.device_put(
            Bath(
                timestep=np.float64(options.timestep_fs * FS),
                thermal_energy=KB * temperature,
                time=np.float64(options.thermostat_time_fs * FS),
                pressure=GPA * options.per_replica("pressure_GPa", n_replicas),
                mobility=mobility(
                    options.bulk_modulus_GPa * GPA, options.barostat_time_fs * FS, volume
                ),
                damping=np.float64(options.gilbert),
                stretch=np.float64(1.0 / (np.sqrt(options.length_mass) * FS)),
            )
        )

    def magnetic_atoms(self) -> np.ndarray:
        """Atoms (n,) that change their signs, by the moments of the very start."""
        start = self.system
        return magnetic_atoms(start.types, start.magmoms, self.potential, self.options.magnetic)

    def spin_plan(self) -> SpinPlan | None:
        """How signs change."""
        options = self.options
        if options.spins in ("none", "dynamics"):
            return None
        trials = options.trials or int(self.magnetic_atoms().sum())
        return SpinPlan(options.spins, options.spin_every, trials)

    @property
    def has_ended(self) -> bool:
        """Have the replicas stopped?"""
        running = np.asarray(self.state.system.running)
        return not (running.all() if self.options.when_stopped == "all" else running.any())

    def begin(self, resume: Saved | None, begins: Callable[[], None] | None = None) -> None:
        """Make the first list of neighbours, and the first state; see `simulate`."""
        begins = begins or (lambda: None)
        self.started = time.perf_counter()
        if resume is None:
            self.search(structures_of(self.system), n_atoms=self.n_padded)
            keys = keys_of(self.options.seed + k for k in range(self.system.n_replicas))
            dtype = self.model.potential.radial_coeffs.dtype
            self.step = -1
            self.state = before_start(self.system, keys, self.n_padded, dtype, self.speeds(keys))
            if self.watch is not None:
                self.watched = self.watch.start(self.state.system)
            if self.options.spins == "dynamics":
                self.state = with_gauge(self)
                check_timestep(self)
            begins()
            self.advance(1, bath=self.at_rest)
            if self.options.spins == "dynamics":
                self.state = with_past(self)
            return
        reference = resume.state.system._replace(
            positions=resume.reference_positions, cell=resume.reference_cell
        )
        self.search(structures_of(reference), n_atoms=self.n_padded, width=int(resume.width))
        if self.watch is not None:
            self.watched = self.watch.start(resume.state.system)
        self.state, self.step = jax.device_put(resume.state), int(resume.state.step)
        begins()

    @property
    def at_rest(self) -> Bath:
        """A bath in which a step moves nothing, and evaluates."""
        return self.bath._replace(timestep=0.0 * self.bath.timestep)

    def speeds(self, keys: Any) -> Any:
        """Speeds (R, n, 3) of lengths at the start of spin dynamics; None without it."""
        if self.options.spins != "dynamics":
            return None
        if self.options.lengths != "dynamic":
            return np.zeros(self.system.magmoms.shape)
        if self.own_speeds is not None:
            return self.own_speeds
        return thermal_speeds(self.system.magmoms, self.bath.thermal_energy, keys)

    def take(self, n_steps: int, bath: Bath | None = None, state: State | None = None) -> Block:
        """Steps with the bath and from the state of the run, or others."""
        found = take_steps(
            self.plan, self.model, bath or self.bath, self.rules, state or self.state,
            self.neighbours, n_steps, self.watch, self.watched, self.spin_sites,
        )  # fmt: skip
        return found._replace(rows=Series(*np.asarray(found.rows)))

    def search_again(self, stale: Any) -> None:
        """Make the list anew for these replicas, and for those that are near to it."""
        system = self.state.system
        self.renew(*_where(system, self.neighbours, stale))

    def without(self, stale: Any) -> State:
        """The state after replicas blew up."""
        state = self.state
        return state._replace(
            system=state.system._replace(running=state.system.running & ~stale),
            outcome=jnp.where(stale, int(Outcome.BLEW_UP), state.outcome).astype(jnp.int32),
            stopped_at=jnp.where(stale, state.step, state.stopped_at).astype(jnp.int32),
        )

    def add(self, steps: np.ndarray, rows: Series) -> None:
        """Record rows."""
        wanted = steps % self.options.log_every == 0
        if not wanted.any():
            return
        steps, rows = steps[wanted], jax.tree.map(lambda a: a[wanted], rows)
        self.steps.append(steps)
        self.rows.append(rows)
        if self.record is not None:
            self.record(steps, rows)

    def tell(
        self,
        observers: Sequence[Observer],
        n_steps: int,
        is_due: Callable[[int], bool],
        final: bool = False,
    ) -> None:
        """Call the observers that are due."""
        due = [o for o in observers if is_due(o.every)]
        if not due:
            return
        if any(observer.drains for observer in due):
            self.drain()
        shape, made = self.system.positions.shape, self.neighbours
        saved = Saved(
            *jax.device_get((self.state, made.reference_positions, made.reference_cell)),
            np.asarray(made.width),
        )
        # Without the padding.
        reference = saved.reference_positions[: shape[0] * shape[1]].reshape(shape)
        saved = saved._replace(reference_positions=reference)
        snapshot = Snapshot(self.step, n_steps, self.options.timestep_fs, saved, final)
        for observer in due:
            observer.tell(snapshot)

    def result(self, n_steps: int) -> Simulation:
        """What has come of it."""
        state: State = jax.device_get(self.state)
        rows = jax.tree.map(lambda *parts: np.concatenate(parts), *self.rows) if self.rows else None
        if rows is None:
            rows = Series(*(np.zeros((0, state.system.n_replicas)) for _ in Series._fields))
        return Simulation(
            system=state.system,
            forces=state.known.forces,
            steps=np.concatenate(self.steps) if self.steps else np.zeros(0, int),
            timestep_fs=self.options.timestep_fs,
            series=rows,
            outcomes=tuple(Outcome(int(k)) for k in state.outcome),
            stopped_at=state.stopped_at,
            n_steps=int(state.step),
            n_wanted=n_steps,
            interrupted=self.interrupted,
            n_unconverged=state.n_unconverged,
            n_outside=state.n_outside,
            spins=state.spins,
            n_searches=self.n_searches,
            n_widened=self.n_widened,
            seconds=time.perf_counter() - self.started,
            kept=tuple(self.kept),
            min_dist=float(reach(self.potential).min_dist),
            moments=tuple(
                moment_at_end(self.potential, state.system.types, of) if k == Outcome.MOMENT else ""
                for of, k in zip(state.system.magmoms, state.outcome, strict=True)
            ),
        )
