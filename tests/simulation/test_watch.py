"""Watching a run: everything is shown, nothing that is kept is lost, replicas stop when told."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmtp_jax.simulation.dynamics.integrate import Outcome
from mmtp_jax.simulation.dynamics.molecular_dynamics import simulate
from mmtp_jax.simulation.dynamics.options import DynamicsOptions

FIXED = DynamicsOptions(moments="fixed", chunk_steps=64, timestep_fs=2.0)


@partial(
    jax.tree_util.register_dataclass, data_fields=["stop_at", "every"], meta_fields=["capacity"]
)
@dataclass(frozen=True)
class Keeper:
    """Keeps the energies of every so many steps, and stops replica r at its own step."""

    stop_at: jax.Array
    every: jax.Array
    capacity: int

    def start(self, system):
        n = system.n_replicas
        return {
            "rows": jnp.zeros((self.capacity, n + 2)),
            "n": jnp.zeros((), jnp.int32),
            "looks": jnp.zeros((), jnp.int32),
            "stop": jnp.zeros(n, bool),
        }

    def look(self, state, system, graph, observables, step):
        row = jnp.concatenate([jnp.array([step, graph.magmoms[0]]), observables.energy])
        wanted = step % self.every == 0
        # Out of range, the row is dropped: full() undoes the step, so it is not lost.
        place = jnp.where(wanted, state["n"], self.capacity)
        return {
            "rows": state["rows"].at[place].set(row, mode="drop"),
            "n": state["n"] + wanted,
            "looks": state["looks"] + 1,
            "stop": state["stop"] | (step >= self.stop_at) & system.running,
        }

    def stops(self, state):
        return state["stop"]

    def full(self, state):
        return state["n"] > self.capacity

    def drain(self, state):
        kept = list(np.asarray(state["rows"][: int(state["n"])]))
        return kept, state | {"n": jnp.zeros((), jnp.int32)}


def _keeper(stop_at=(10**6, 10**6), every=1, capacity=5):
    return Keeper(jnp.array(stop_at), jnp.array(every), capacity)


def test_what_is_kept_survives_a_full_buffer(iron, crystal) -> None:
    system = crystal(seeds=(1, 2))
    batches = []
    run = simulate(iron, system, 33, FIXED, watch=_keeper(), keep=batches.append)
    rows = np.array(run.kept)
    assert len(batches) > 5
    assert max(map(len, batches)) == 5
    assert np.array_equal(rows[:, 0], np.arange(34))
    assert np.allclose(rows[:, 2:], run.series.energy)
    # A watch that only looks does not change the course.
    unwatched = simulate(iron, system, 33, FIXED)
    assert np.allclose(run.system.positions, unwatched.system.positions, atol=1e-12)


def test_a_replica_stops_and_the_others_go_on(iron, crystal) -> None:
    system = crystal(seeds=(1, 2))
    watch = _keeper(stop_at=(12, 10**6), every=7)
    run = simulate(iron, system, 30, FIXED, watch=watch)
    assert run.outcomes == (Outcome.WATCH, Outcome.RUNNING)
    assert run.stopped_at.tolist() == [12, -1]
    assert run.n_steps == 30
    assert "replica 0 stopped at step 12" in run.message
    free = simulate(iron, system, 30, FIXED)
    at_stop = simulate(iron, system, 12, FIXED)
    assert np.allclose(run.system.positions[0], at_stop.system.positions[0], atol=1e-12)
    assert np.allclose(run.system.positions[1], free.system.positions[1], atol=1e-12)
    assert np.array_equal(np.array(run.kept)[:, 0], [0, 7, 14, 21, 28])
    # All have stopped: there is nothing left to do.
    both = simulate(iron, system, 30, FIXED, watch=_keeper(stop_at=(12, 17), every=7))
    assert both.n_steps == 17
    assert both.stopped_at.tolist() == [12, 17]


def test_all_stop_with_one_if_asked(iron, crystal) -> None:
    options = DynamicsOptions(**{**vars(FIXED), "when_stopped": "all"})
    watch = _keeper(stop_at=(12, 10**6), every=7)
    run = simulate(iron, crystal(seeds=(1, 2)), 30, options, watch=watch)
    assert run.n_steps == 12
    assert run.outcomes == (Outcome.WATCH, Outcome.RUNNING)


def test_the_iterates_of_an_equilibration_are_shown(iron, crystal) -> None:
    options = DynamicsOptions(**{**vars(FIXED), "moments": "equilibrate", "tolerance": 1e-6})
    run = simulate(iron, crystal(seeds=(1, 2)), 6, options, watch=_keeper(capacity=64))
    rows = np.array(run.kept)
    shown = np.bincount(rows[:, 0].astype(int))
    # One look for each evaluation, of all replicas together.
    assert np.array_equal(shown, run.series.n_equilibration.max(axis=1).astype(int))
    assert shown[0] > 3
    first = rows[rows[:, 0] == 0]
    assert np.all(np.diff(first[:, 2]) <= 1e-9), "the energy falls towards the minimum"
    assert first[0, 1] != first[-1, 1], "the moments shown are those of the iterate"
    assert np.allclose(rows[-1, 2:], run.series.energy[-1])


def test_a_buffer_too_small_for_one_step_is_an_error(iron, crystal) -> None:
    options = DynamicsOptions(**{**vars(FIXED), "moments": "equilibrate", "tolerance": 1e-6})
    with pytest.raises(ValueError, match="larger buffer"):
        simulate(iron, crystal(seeds=(1, 2)), 6, options, watch=_keeper(capacity=2))
