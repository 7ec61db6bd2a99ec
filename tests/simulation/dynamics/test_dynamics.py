"""Dynamics: conservation laws, the same numbers as ASE, and that no shortcut changes the course."""

import signal
from dataclasses import replace

import ase.units
import numpy as np
import pytest
from ase import Atoms
from ase.md.verlet import VelocityVerlet

import mmtp_jax as mmtp
from mmtp_jax.fitting.confine import with_confinement
from mmtp_jax.simulation.dynamics.integrate import Outcome
from mmtp_jax.simulation.dynamics.loop import take_steps
from mmtp_jax.simulation.dynamics.molecular_dynamics import simulate
from mmtp_jax.simulation.dynamics.observer import Observer
from mmtp_jax.simulation.dynamics.options import DynamicsOptions
from mmtp_jax.structures import list_maker

FIXED = DynamicsOptions(moments="fixed", chunk_steps=64)
EQUILIBRATED = replace(FIXED, moments="equilibrate", tolerance=1e-5)


def _fluctuation(series) -> np.ndarray:
    return np.std(series.conserved, axis=0)


@pytest.mark.parametrize("options", [FIXED, EQUILIBRATED], ids=["fixed", "equilibrated"])
def test_energy_is_conserved_to_second_order_of_the_time_step(iron, crystal, options) -> None:
    system = crystal(seeds=(1, 2))
    long, short = (
        simulate(iron, system, int(160 / dt), replace(options, timestep_fs=dt)) for dt in (2.0, 1.0)
    )
    for run in (long, short):
        assert run.completed, run.message
        # 300 K and 16 atoms: hundreds of meV go back and forth.
        assert np.all(_fluctuation(run.series) < 3e-3 * np.std(run.series.energy, axis=0))
        momentum = np.einsum("i,rix->rx", system.masses, run.system.velocities)
        assert np.allclose(momentum, 0.0, atol=1e-10)
    ratio = _fluctuation(long.series) / _fluctuation(short.series)
    assert np.all((ratio > 3.3) & (ratio < 4.7)), ratio
    if options is EQUILIBRATED:
        assert np.all(long.series.max_magnetic_force <= 1e-5)
        assert np.all(long.series.n_equilibration >= 1)
        assert np.std(long.series.magnetisation) > 0.01
    else:
        assert np.allclose(long.series.magnetisation, 16 * 2.2, rtol=1e-14)


def test_drift_shrinks_with_the_tolerance_of_the_moments(iron, crystal) -> None:
    """In 0.8 ps at 2 fs and 300 K; the bounds are about three times what was measured."""
    system = crystal(seeds=(1, 2))
    drifts = {}
    for tolerance in (3e-2, 1e-3):
        options = replace(EQUILIBRATED, timestep_fs=2.0, tolerance=tolerance)
        run = simulate(iron, system, 400, options)
        drifts[tolerance] = float(np.max(np.abs(run.drift())))
        assert np.all(run.series.max_magnetic_force <= tolerance)
    print("drift in meV/atom/ps", drifts)
    assert drifts[1e-3] < 0.1


def test_steps_are_those_of_ase(iron, crystal) -> None:
    system = crystal(seeds=(1, 2))
    run = simulate(iron, system, 40, replace(FIXED, timestep_fs=2.0))
    for r in range(2):
        atoms = Atoms("Fe16", system.positions[r], cell=system.cell[r], pbc=True)
        atoms.set_masses(system.masses)
        atoms.set_velocities(system.velocities[r])
        atoms.set_initial_magnetic_moments(system.magmoms[r])
        atoms.calc = mmtp.MMTPCalculator(iron)
        energies = [atoms.get_total_energy()]
        dynamics = VelocityVerlet(atoms, 2.0 * ase.units.fs)
        for _ in range(40):
            dynamics.run(1)
            energies.append(atoms.get_total_energy())
        series = run.series
        assert np.abs(atoms.positions - system.positions[r]).max() > 0.05
        assert np.allclose(run.system.positions[r], atoms.positions, atol=1e-10)
        assert np.allclose(run.system.velocities[r], atoms.get_velocities(), atol=1e-10)
        assert np.allclose(series.energy[:, r] + series.kinetic[:, r], energies, atol=1e-7)
        assert np.isclose(series.temperature[-1, r] * 45 / 48, atoms.get_temperature())
        # The ideal gas part of the pressure is that of the present velocities.
        pressure = -np.trace(atoms.get_stress(include_ideal_gas=True, voigt=False)) / 3
        assert np.isclose(series.pressure[-1, r], pressure / ase.units.GPa)


def test_many_searches_and_none_give_the_same_course(iron, crystal) -> None:
    system = crystal(temperature=800.0, seeds=(1, 2))
    thick = simulate(iron, system, 60, replace(FIXED, skin=0.9, timestep_fs=2.0))
    thin = simulate(iron, system, 60, replace(FIXED, skin=0.08, timestep_fs=2.0))
    assert thick.n_searches == 1
    assert thin.n_searches > 15
    assert np.abs(thick.system.positions - system.positions).max() > 0.2
    assert np.allclose(thin.system.positions, thick.system.positions, atol=1e-9)
    assert np.allclose(thin.series.conserved, thick.series.conserved, atol=1e-8)


def test_a_cell_smaller_than_the_cutoff_moves_as_its_supercell(iron, crystal) -> None:
    small = crystal(1, rattle=0.1, seeds=(5,))
    shifts = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), -1).reshape(-1, 1, 3) * 2.82
    large = crystal(2, seeds=(5,))._replace(
        positions=(small.positions[0] + shifts).reshape(1, 16, 3),
        velocities=np.tile(small.velocities, (1, 8, 1)),
    )
    both = (small, large)
    runs = [simulate(iron, system, 25, replace(FIXED, timestep_fs=2.0)) for system in both]
    moved, expected = runs[0].system.positions[0], runs[1].system.positions[0]
    assert np.abs(moved - small.positions[0]).max() > 0.1
    assert np.allclose(expected.reshape(8, 2, 3), moved + shifts, atol=1e-9)
    assert np.allclose(8 * runs[0].series.energy, runs[1].series.energy, rtol=1e-12)
    assert np.allclose(runs[0].series.pressure, runs[1].series.pressure, atol=1e-8)


def test_a_replica_moves_as_it_would_alone(iron, crystal) -> None:
    both = crystal(seeds=(1, 2))
    options = replace(FIXED, ensemble="nvt", temperature_K=(300.0, 700.0), seed=10)
    together = simulate(iron, both, 40, options)
    alone = simulate(iron, crystal(seeds=(2,)), 40, replace(options, temperature_K=700.0, seed=11))
    assert np.allclose(together.system.positions[1], alone.system.positions[0], atol=1e-9)
    assert np.allclose(together.series.conserved[:, 1], alone.series.conserved[:, 0], atol=1e-8)
    # Other noise, another course.
    other = simulate(iron, both, 40, replace(options, seed=12))
    assert np.abs(other.system.positions - together.system.positions).max() > 1e-3


def test_a_restart_is_exact(iron, crystal) -> None:
    """Bit for bit, in an ensemble with everything: noise, cell, moments, searches in between."""
    system = crystal(temperature=600.0, seeds=(1, 2))
    options = DynamicsOptions(
        ensemble="npt", barostat="full", temperature_K=600.0, skin=0.3, timestep_fs=2.0,
        moments_every=3, chunk_steps=16,
    )  # fmt: skip
    saved = {}

    def save(snapshot) -> None:
        saved[snapshot.step] = snapshot.saved

    # Two runs of one length, with returns to the host at other steps.
    whole = simulate(iron, system, 90, options)
    watched = simulate(iron, system, 90, options, observers=[Observer(37, save)])
    assert sorted(saved) == [0, 37, 74, 90]
    resumed = simulate(iron, system, 90, options, resume=saved[37])
    assert whole.n_searches > 3
    assert resumed.n_steps == 90
    assert np.array_equal(resumed.steps, np.arange(38, 91))
    for run in (watched, resumed):
        for name in ("positions", "velocities", "cell", "magmoms"):
            assert np.array_equal(getattr(run.system, name), getattr(whole.system, name)), name
    assert np.array_equal(resumed.series.conserved, whole.series.conserved[38:])


def test_lists_of_the_device_give_the_same_course(iron, crystal, monkeypatch) -> None:
    """Searches there and on the host, with moments, cell and replicas that need them at times."""
    system = crystal(temperature=600.0, seeds=(1, 2))
    options = DynamicsOptions(
        ensemble="npt", barostat="full", temperature_K=600.0, skin=0.3, timestep_fs=2.0,
        moments_every=3, chunk_steps=16,
    )  # fmt: skip
    host = simulate(iron, system, 60, options)
    monkeypatch.setattr(list_maker, "ON_DEVICE", True)
    monkeypatch.setattr(list_maker, "find_neighbours", None)
    device = simulate(iron, system, 60, options)
    assert device.n_searches == host.n_searches > 3
    for name in ("positions", "velocities", "cell", "magmoms"):
        np.testing.assert_allclose(
            getattr(device.system, name), getattr(host.system, name), atol=1e-9, err_msg=name
        )
    saved = {}
    watched = simulate(
        iron, system, 60, options,
        observers=[Observer(37, lambda at: saved.update({at.step: at.saved}))],
    )  # fmt: skip
    resumed = simulate(iron, system, 60, options, resume=saved[37])
    for run in (watched, resumed):
        assert np.array_equal(run.system.positions, device.system.positions)


def test_a_run_compiles_once(iron, crystal) -> None:
    system = crystal(seeds=(1, 2))
    simulate(iron, system, 3, FIXED)
    n_compiled = take_steps._cache_size()
    longer = replace(FIXED, timestep_fs=1.5, tolerance=1e-2, log_every=7, seed=5)
    run = simulate(iron, system, 333, longer, observers=[Observer(50, lambda _: None)])
    assert run.completed
    assert run.n_widened == 0
    assert take_steps._cache_size() == n_compiled
    assert np.array_equal(run.steps, np.arange(0, 334, 7))
    # Another potential of the same form needs no other program.
    simulate(iron.replace(moment_coeffs=1.01 * iron.moment_coeffs), system, 3, FIXED)
    assert take_steps._cache_size() == n_compiled


def test_replicas_that_leave_what_is_covered_stop_and_say_why(iron, crystal) -> None:
    system = crystal(seeds=(1, 2))
    close = np.array(system.positions)
    close[1, 1] = close[1, 0] + 1.9 / np.sqrt(3)
    run = simulate(iron, system._replace(positions=close), 20, FIXED)
    assert run.outcomes == (Outcome.RUNNING, Outcome.TOO_CLOSE)
    assert run.stopped_at.tolist() == [-1, 0]
    assert "closer than the shortest distance" in run.message
    assert not run.completed
    # It has not moved, and the other one did as if nothing had happened.
    assert np.array_equal(run.system.positions[1], close[1])
    expected = simulate(iron, system, 20, FIXED)
    assert np.allclose(run.system.positions[0], expected.system.positions[0], atol=1e-12)
    unbounded = simulate(iron, system._replace(positions=close), 2, replace(FIXED, bounded=False))
    assert unbounded.outcomes == (Outcome.RUNNING, Outcome.BLEW_UP)
    assert np.allclose(unbounded.series.energy[:3, 0], expected.series.energy[:3, 0])

    large = np.array(system.magmoms)
    large[0, 3] = 3.4
    run = simulate(iron, system._replace(magmoms=large), 20, replace(FIXED, when_stopped="all"))
    assert run.outcomes == (Outcome.MOMENT, Outcome.RUNNING)
    assert run.n_steps == 0
    assert (
        "the moment of atom 3 (Fe), 3.4 mu_B, is at the end of the interval -3.3 to 3.3 mu_B"
        in (run.message)
    )


def test_a_confined_potential_goes_on_outside_and_counts(iron, crystal) -> None:
    confined = with_confinement(iron)
    system = crystal(seeds=(1, 2))
    expected = simulate(iron, system, 3, FIXED)
    inside = simulate(confined, system, 3, FIXED)
    assert not np.any(inside.n_outside)
    np.testing.assert_allclose(inside.series.energy, expected.series.energy, atol=1e-9)

    close = np.array(system.positions)
    close[1, 8] = close[1, 0] + 1.9 / np.sqrt(3)
    shorter = replace(FIXED, timestep_fs=0.5)
    run = simulate(confined, system._replace(positions=close), 200, shorter)
    assert run.completed
    assert run.n_outside[0] == 0
    assert 1 <= run.n_outside[1] < 100
    assert f"{run.n_outside[1]} steps outside" in run.message
    # The repulsion is strong and short; the energy is conserved through the collision.
    assert np.ptp(run.series.conserved[:, 1]) < 5e-3 * np.ptp(run.series.energy[:, 1])

    close[1, 8] = close[1, 0] + 1.3 / np.sqrt(3)
    run = simulate(confined, system._replace(positions=close), 5, shorter)
    assert run.outcomes == (Outcome.RUNNING, Outcome.TOO_CLOSE)


def test_a_time_step_that_is_too_long_is_found_out(iron, crystal) -> None:
    run = simulate(
        iron, crystal(seeds=(1, 2)), 50, replace(FIXED, timestep_fs=200.0, bounded=False)
    )
    assert run.outcomes == (Outcome.BLEW_UP, Outcome.BLEW_UP)
    assert "shorter time step" in run.message
    assert np.all(np.isfinite(run.system.positions))


def test_interruption_leaves_a_whole_state(iron, crystal) -> None:
    told = []

    def interrupt(snapshot) -> None:
        told.append((snapshot.step, snapshot.final))
        if snapshot.step == 20 and not snapshot.final:
            signal.raise_signal(signal.SIGINT)
            told.append("goes on")

    system = crystal(seeds=(1, 2))
    run = simulate(iron, system, 50, FIXED, observers=[Observer(10, interrupt)])
    assert run.interrupted
    assert run.n_steps == 20
    assert told == [(0, False), (10, False), (20, False), "goes on", (20, True)]
    assert "interrupted after step 20 of 50" in run.message
    expected = simulate(iron, system, 20, FIXED)
    assert np.array_equal(run.system.positions, expected.system.positions)


def test_options_say_what_is_wrong(iron, crystal) -> None:
    for change, words in (
        ({"ensemble": "nph"}, "ensemble must be one of nve, nvt, npt"),
        ({"timestep_fs": 0.0}, "timestep_fs must be above 0"),
        ({"moments_every": 0}, "moments_every must be at least 1"),
        ({"temperature_K": -1.0}, "temperature_K must be at least 0"),
        (
            {"ensemble": "nvt", "thermostat": "nose-hoover", "temperature_K": 0.0},
            "needs a temperature_K above zero",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            replace(FIXED, **change)
    with pytest.raises(ValueError, match="temperature_K has 3 numbers for 2 replicas"):
        simulate(iron, crystal(seeds=(1, 2)), 1, replace(FIXED, temperature_K=(1.0, 2.0, 3.0)))
    slab = crystal()._replace(periodic=np.array([True, True, False]))
    with pytest.raises(ValueError, match="npt needs a cell"):
        simulate(iron, slab, 1, replace(FIXED, ensemble="npt"))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["mixed", "float32"])
def test_lower_precision_of_the_evaluation_keeps_positions_in_float64(iron, crystal, dtype) -> None:
    system = crystal(seeds=(1, 2))
    options = replace(FIXED, moments="equilibrate", tolerance=2e-3)
    exact = simulate(iron, system, 50, options)
    run = simulate(iron, system, 50, replace(options, dtype=dtype))
    assert run.completed, run.message
    assert run.system.positions.dtype == run.series.energy.dtype == np.float64
    assert np.allclose(run.system.positions, exact.system.positions, atol=2e-4)
    assert np.allclose(run.series.energy, exact.series.energy, atol=5e-3)
    momentum = np.einsum("i,rix->rx", system.masses, run.system.velocities)
    assert np.allclose(momentum, 0.0, atol=1e-4)
