"""Flips, swaps and disorder within dynamics: weights, bookkeeping, restart, what watches see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mmtp_jax.simulation.constants import KB
from mmtp_jax.simulation.dynamics.molecular_dynamics import simulate
from mmtp_jax.simulation.dynamics.observer import Observer
from mmtp_jax.simulation.dynamics.options import DynamicsOptions
from mmtp_jax.simulation.dynamics.thermostats import keys_of
from mmtp_jax.simulation.spins.disorder import random_signs

FLIPS = DynamicsOptions(
    ensemble="nvt", temperature_K=3000.0, timestep_fs=2.0, spins="flip", spin_every=3, trials=8,
    moments="fixed", bounded=False, chunk_steps=64, thermostat_time_fs=20.0,
)  # fmt: skip
SWAPS = replace(FLIPS, spins="swap")
DISORDER = replace(FLIPS, spins="disorder", moments="equilibrate", spin_every=5)


def test_flips_are_counted_and_their_energy_is_the_baths(iron, crystal) -> None:
    system = crystal(seeds=(1, 2))
    run = simulate(iron, system, 30, FLIPS)
    assert np.all(run.spins.tried == 10 * 8)
    assert np.all((run.acceptance > 0.0) & (run.acceptance < 1.0))
    assert "% of the spin changes accepted" in run.message
    flips = run.series.n_flips
    assert np.array_equal(flips[-1], run.spins.accepted)
    changes = np.flatnonzero(np.diff(flips[:, 0])) + 1
    assert np.all(run.steps[changes] % 3 == 0)
    # Energies jump by tenths of an eV, the conserved one does not.
    jumps = np.abs(np.diff(run.series.energy + run.series.kinetic, axis=0)).max()
    assert jumps > 0.1
    assert np.std(run.series.conserved) < 0.05 * jumps
    # Magnitudes are fixed.
    assert np.allclose(np.abs(run.system.magmoms), 2.2)
    with_energy = run.series.energy[-1]
    system = run.system._replace(running=np.ones(2, bool))
    again = simulate(iron, system, 0, replace(FLIPS, spins="none"))
    assert np.allclose(again.series.energy[0], with_energy, atol=1e-9)


def test_swaps_keep_the_total(iron, crystal) -> None:
    system = crystal(seeds=(1, 2))
    signs = np.where(np.arange(16) < 6, -1.0, 1.0)
    run = simulate(iron, system._replace(magmoms=system.magmoms * signs), 15, SWAPS)
    assert np.all(run.spins.accepted > 0)
    assert np.allclose(run.series.magnetisation, 4 * 2.2)
    assert not np.array_equal(np.sign(run.system.magmoms[0]), signs)


def test_disorder_is_drawn_at_intervals_and_equilibrated(iron, crystal) -> None:
    system = crystal(seeds=(1, 2))
    states: dict[int, np.ndarray] = {}
    watch = Observer(1, lambda s: states.setdefault(s.step, np.array(s.state.system.magmoms)))
    run = simulate(iron, system, 12, replace(DISORDER, temperature_K=300.0), observers=[watch])
    for step in (0, 5, 10):
        drawn = random_signs(keys_of([0, 1]), step, system.types, np.ones(16, bool))
        # Where all around point the other way, a moment of this potential may fall to zero.
        alive = np.abs(states[step]) > 0.05
        assert np.array_equal(np.sign(states[step])[alive], np.asarray(drawn)[alive])
        assert alive.mean() > 0.5
    for step, moments in states.items():
        # Not even a moment that is held at zero forgets its sign before the next draw.
        assert np.array_equal(np.sign(moments), np.sign(states[5 * (step // 5)]))
    lost = [np.abs(states[step]) < 0.05 for step in (4, 9, 12)]
    back = [np.abs(states[step]) > 0.05 for step in (5, 10)]
    assert any(np.any(was & now) for was, now in zip(lost, back, strict=False))
    assert np.std(run.series.conserved) < 0.2 * np.std(run.series.energy + run.series.kinetic)


@pytest.mark.parametrize(
    "options", [replace(FLIPS, moments="equilibrate", trials=2), DISORDER],
    ids=["equilibrated", "disorder"],
)  # fmt: skip
def test_resumed_run_is_the_same(iron, crystal, options) -> None:
    system = crystal(seeds=(1, 2))
    saved = {}
    keep = Observer(7, lambda s: saved.setdefault(s.step, s.saved))
    whole = simulate(iron, system, 12, options, observers=[keep])
    rest = simulate(iron, system, 12, options, resume=saved[7])
    assert np.array_equal(rest.system.positions, whole.system.positions)
    assert np.array_equal(rest.system.magmoms, whole.system.magmoms)
    assert np.array_equal(rest.spins.accepted, whole.spins.accepted)


def test_frozen_atoms_sample_the_weights_of_their_patterns(iron, crystal) -> None:
    """Steps so short that nothing moves leave Metropolis' walk: two atoms, three energies."""
    system = crystal(1, temperature=0.0, seeds=tuple(range(40)), rattle=0.0)
    options = replace(
        FLIPS, timestep_fs=1e-6, spin_every=1, trials=3, temperature_K=1e4, log_every=2
    )
    run = simulate(iron, system, 120, options)
    found = run.series.magnetisation[10:] / 4.4
    energies = {m: run.series.energy[10:][np.isclose(found, m)].mean() for m in (-1.0, 0.0, 1.0)}
    weights = np.array([energies[-1.0], energies[0.0], energies[0.0], energies[1.0]])
    weights = np.exp(-(weights - weights.min()) / (KB * 1e4))
    share = (weights[1] + weights[2]) / weights.sum()
    means = np.isclose(found, 0.0).mean(axis=0)
    error = means.std(ddof=1) / np.sqrt(40)
    print("share of opposite moments", means.mean(), "+-", error, "exact", share)
    assert 0.05 < share < 0.95
    assert error < 0.03
    assert abs(means.mean() - share) < 4 * error


def test_a_heat_bath_is_needed() -> None:
    with pytest.raises(ValueError, match="only a heat bath can give or take"):
        DynamicsOptions(spins="flip")
    with pytest.raises(ValueError, match="spins must be one of"):
        DynamicsOptions(spins="turn", ensemble="nvt")
    with pytest.raises(ValueError, match="trials must be at least 0"):
        replace(FLIPS, trials=-1)
