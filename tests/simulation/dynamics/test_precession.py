"""Spin dynamics: against formulae, conservation, the heat bath, resuming, what is refused."""

from __future__ import annotations

import warnings
from itertools import pairwise

import jax
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from scipy.spatial.transform import Rotation

import mmtp_jax as mmtp
from mmtp_jax.simulation.constants import FS, KB
from mmtp_jax.simulation.dynamics.loop import take_steps
from mmtp_jax.simulation.dynamics.precession import (
    EXTRAPOLATION,
    Precession,
    precessed,
    turned,
)
from mmtp_jax.simulation.dynamics.spin_start import TimestepWarning
from mmtp_jax.simulation.dynamics.thermostats import Bath, keys_of

GAMMA = 2.0 / 0.6582119569
"""g / hbar in 1 / fs for fields in eV/mu_B."""

MOMENT, LONGEST = 1.6, 2.0
"""mu_B."""

SPINS = {"spins": "dynamics", "lengths": "fixed", "fixed_atoms": True, "chunk_steps": 64}


def teacher(exchange: float, well: tuple[float, float] = (0.0, 0.0)) -> mmtp.Potential:
    """E = sum over pairs, 2 Angstrom apart, of -exchange y_i.y_j, and for each atom and neighbour
    -a y^2 + b y^4 with y = m / LONGEST."""
    cutoff = 2.4
    new = mmtp.Potential.new(
        level=2, species=("Fe",), radial_size=1, magnetic_size=5, min_dist=1.0, cutoff=cutoff,
        max_magmom=LONGEST,
    )  # fmt: skip
    c, scale, (a, b) = np.zeros_like(new.radial_coeffs), (cutoff - 2.0) ** 2, well
    c[0, 0, 0, 0, 1, 1] = -exchange / 2 / scale
    c[0, 0, 0, 0, 2, 0], c[0, 0, 0, 0, 4, 0] = (b - a) / 2 / scale, b / 8 / scale
    return new.replace(radial_coeffs=c, moment_coeffs=np.ones(1))


def with_moments(atoms: Atoms, moments: np.ndarray) -> Atoms:
    copy = atoms.copy()
    copy.arrays.pop("initial_magmoms", None)
    copy.set_initial_magnetic_moments(moments)
    return copy


def random_directions(rng: np.random.Generator, n: int) -> np.ndarray:
    drawn = rng.normal(size=(n, 3))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


DIMER = Atoms("Fe2", positions=[[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]], cell=[8.0] * 3, pbc=True)


def crystal(repeats: int) -> Atoms:
    """A bcc crystal, 2 Angstrom between first neighbours."""
    return bulk("Fe", "bcc", a=4.0 / np.sqrt(3.0), cubic=True).repeat(repeats)


def test_vectors_turn_as_rotations_do() -> None:
    rng = np.random.default_rng(0)
    for size in (0.0, 1e-9, 0.3, 3.0):
        vectors, angles = rng.normal(size=(5, 3)), size * rng.normal(size=(5, 3))
        expected = Rotation.from_rotvec(angles).apply(vectors)
        np.testing.assert_allclose(turned(vectors, angles), expected, atol=1e-14)
        slope = jax.jvp(lambda a, v=vectors: turned(v, a), (angles,), (angles,))[1]
        assert np.all(np.isfinite(slope))


def test_a_spin_precesses_about_its_field_as_an_electron_does() -> None:
    """dm/dt = -gamma m x B with the energy -m.B: from x towards y about z."""
    field, dt = np.array([0.0, 0.0, 0.2]), 1.0
    forces = np.broadcast_to(field, (1, len(EXTRAPOLATION), 1, 3))
    bath = Bath(dt * FS, np.zeros(1), 1.0, np.zeros(1), np.zeros(1))
    start = np.array([[[1.5, 0.0, 0.5]]])
    found = precessed(
        start, Precession(forces, *[np.zeros((1, 1))] * 2), bath, None, 0, False
    ).magmoms
    angle = GAMMA * 0.2 * dt
    expected = [1.5 * np.cos(angle), 1.5 * np.sin(angle), 0.5]
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-8)


def test_fields_are_extrapolated_without_growth() -> None:
    """Of exp(i w t), the extrapolation to the middle of a step differs by a real factor."""
    for w in (0.1, 0.2):
        past = np.exp(-1j * w * (np.arange(len(EXTRAPOLATION)) + 0.5))
        factor = EXTRAPOLATION @ past
        assert abs(factor.imag) < 0.02 * w**9
        assert 0.1 * w**2 < factor.real - 1 < 0.3 * w**2


def test_damping_and_noise_have_their_strengths() -> None:
    """Drift a gamma / (1 + a^2) B and variance 2 a gamma k_B T t / ((1 + a^2) m) of angles."""
    n, damping, thermal, dt = 20000, 0.3, 0.02, 0.5
    print("seed 5")
    forces = np.zeros((1, len(EXTRAPOLATION), n, 3))
    bath = Bath(dt * FS, np.full(1, thermal), 1.0, np.zeros(1), np.zeros(1), damping)
    start = np.broadcast_to([0.0, 0.0, MOMENT], (1, n, 3))
    go = jax.jit(precessed, static_argnums=5)
    keys = keys_of([5])
    noisy = go(start, Precession(forces, *[np.zeros((1, n))] * 2), bath, keys, 1, True).magmoms
    variance = np.mean(np.asarray(noisy)[0, :, :2] ** 2) / MOMENT**2
    rate = damping * GAMMA / (1 + damping**2)
    expected = 2 * rate * thermal * dt / MOMENT
    assert variance == pytest.approx(expected, rel=0.05)
    # Without noise: towards the field along x, and about it.
    field = np.broadcast_to([0.01, 0.0, 0.0], forces.shape)
    still = bath._replace(thermal_energy=np.zeros(1))
    drift = go(start, Precession(field, *[np.zeros((1, n))] * 2), still, keys, 1, True)
    moved = np.asarray(drift.magmoms[0, 0]) / MOMENT
    assert moved[0] == pytest.approx(rate * 0.01 * dt, rel=1e-3)
    assert moved[1] == pytest.approx(-GAMMA / (1 + damping**2) * 0.01 * dt, rel=1e-3)
    # What it gives to the bath is what it loses, to third order.
    np.testing.assert_allclose(
        -np.sum(drift.by_bath * field[:, 0]), -np.sum((drift.magmoms - start) * field[:, 0]),
        rtol=1e-3,
    )  # fmt: skip


def test_two_spins_precess_about_their_sum() -> None:
    moments = MOMENT * np.array([[np.sin(0.5), 0, np.cos(0.5)], [-np.sin(0.8), 0, np.cos(0.8)]])
    exchange, time = 0.1, 24.0
    total = exchange / LONGEST**2 * moments.sum(axis=0)
    turn = Rotation.from_rotvec(GAMMA * total * time)
    errors = []
    for dt in (2.0, 1.0, 0.5):
        run = mmtp.md(
            teacher(exchange), with_moments(DIMER, moments), int(time / dt), timestep_fs=dt, **SPINS
        )
        assert run.completed, run.message
        found = run.system.magmoms[0]
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), MOMENT, rtol=1e-12)
        errors.append(np.abs(found - turn.apply(moments)).max())
    assert errors[-1] < 0.01
    # Second order: a quarter for half of the step.
    assert all(3.5 < a / b < 4.5 for a, b in pairwise(errors)), errors


def test_spin_waves_of_a_chain_have_their_frequencies() -> None:
    """w(q) = 2 gamma J m (1 - cos q) for E = -J sum m_i.m_{i+1}."""
    n, exchange, dt, steps = 8, 0.05, 0.5, 400
    chain = Atoms("Fe" * n, positions=[[2.0 * k, 0, 0] for k in range(n)], cell=[2.0 * n, 9, 9],
                  pbc=True)  # fmt: skip
    rng = np.random.default_rng(2)
    tilt = 1e-4 * rng.normal(size=(n, 3))
    tilt[:, 2] = MOMENT
    phases: list[np.ndarray] = []

    def look(step, atoms) -> None:
        moments = atoms[0].get_initial_magnetic_moments()
        phases.append(np.fft.fft(moments[:, 0] + 1j * moments[:, 1]))

    mmtp.md(teacher(exchange), with_moments(chain, tilt), steps, timestep_fs=dt, observe=look,
            observe_every=4, **SPINS)  # fmt: skip
    times = 4 * dt * np.arange(steps // 4 + 1)
    of_q = np.unwrap(np.angle(np.array(phases[: len(times)])), axis=0)
    found = np.polyfit(times, of_q, 1)[0]
    q = 2 * np.pi * np.arange(n) / n
    expected = 2 * GAMMA * exchange / LONGEST**2 * MOMENT * (1 - np.cos(q))
    np.testing.assert_allclose(found, expected, atol=2e-3 * expected.max())


@pytest.mark.optimised
def test_energy_and_total_moment_do_not_drift() -> None:
    """Hot spins on a bcc lattice whose fastest precession turns by 0.25 rad in a step."""
    rng = np.random.default_rng(4)
    moments = random_directions(rng, 16) + np.array([0.0, 0.0, 1.0])
    moments *= MOMENT / np.linalg.norm(moments, axis=1, keepdims=True)
    run = mmtp.md(teacher(0.02), with_moments(crystal(2), moments), 6000, timestep_fs=0.5, **SPINS)
    energy = run.series.energy[:, 0]
    # Without drift on the scale of meV: the first picosecond against the last.
    assert abs(energy[-2000:].mean() - energy[:2000].mean()) < 2e-6 * 16
    assert abs(run.drift()[0]) < 2e-3
    total = np.stack([getattr(run.series, f"magnetisation_{k}")[:, 0] for k in "xyz"], axis=1)
    np.testing.assert_allclose(total, np.tile(total[0], (len(total), 1)), atol=2e-3)
    np.testing.assert_allclose(np.linalg.norm(total, axis=1), run.series.magnetisation[:, 0])


def test_the_first_steps_are_as_good_as_others() -> None:
    """The start knows the forces before it: with those of the start alone, energies jump by 3e-4 eV
    and the total moment by 4e-3 mu_B in the first steps."""
    rng = np.random.default_rng(7)
    atoms = with_moments(crystal(2), MOMENT * random_directions(rng, 16))
    run = mmtp.md(teacher(0.02), atoms, 20, timestep_fs=0.5, **SPINS)
    energy = run.series.conserved[:, 0]
    np.testing.assert_allclose(energy, energy[0], rtol=0, atol=3e-6)
    total = np.stack([getattr(run.series, f"magnetisation_{k}")[:, 0] for k in "xyz"], axis=1)
    np.testing.assert_allclose(total, np.tile(total[0], (len(total), 1)), rtol=0, atol=6e-4)


def test_a_run_goes_on_from_a_frame_of_another(iron, tmp_path) -> None:
    """With the speeds of lengths, which a frame has; without them, at the temperature of its atoms,
    whatever that of velocities that would be drawn."""
    cell = bulk("Fe", a=2.84, cubic=True).repeat((2, 1, 1))
    rng = np.random.default_rng(5)
    moments = 2.1 * (0.2 * random_directions(rng, 4) + np.array([0.0, 0.0, 1.0]))
    options = {"timestep_fs": 0.1, "spins": "dynamics", "chunk_steps": 64}
    path = tmp_path / "run.extxyz"
    whole = mmtp.md(iron, with_moments(cell, moments), 40, temperature_K=40, **options,
                    trajectory=path, trajectory_every=20)  # fmt: skip
    half = mmtp.read(str(path), vectors=True)[1]
    rest = mmtp.md(iron, half, 20, **options)
    # Files have eight decimals.
    np.testing.assert_allclose(rest.atoms[0].positions, whole.atoms[0].positions, rtol=0, atol=1e-6)
    np.testing.assert_allclose(rest.system.magmoms, whole.system.magmoms, rtol=0, atol=5e-4)
    np.testing.assert_allclose(
        rest.series.conserved[0], whole.series.conserved[20], rtol=0, atol=1e-5
    )
    del half.arrays["length_speeds"]
    cold = mmtp.md(iron, half, 0, **options)
    drawn = cold.atoms[0].arrays["length_speeds"]
    size = np.sum(drawn**2) / (3 * 4 * 8.617333e-5)
    assert 0.3 < size / cold.series.temperature[0, 0] < 2.5
    assert cold.series.temperature[0, 0] < 100
    half.arrays["length_speeds"] = np.full((4, 3), np.nan)
    with pytest.raises(ValueError, match="'length_speeds' are three finite numbers"):
        mmtp.md(iron, half, 1, **options)


@pytest.mark.parametrize("lengths", ["fixed", "dynamic", "equilibrate"])
def test_the_energy_of_atoms_and_spins_is_conserved(lengths, iron) -> None:
    cell = bulk("Fe", a=2.84, cubic=True)
    cell.rattle(0.05, seed=3)
    moments = 2.1 * (
        random_directions(np.random.default_rng(3), 2) * 0.2 + np.array([0.0, 0.0, 1.0])
    )
    spreads = []
    for dt in (0.2, 0.1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TimestepWarning)
            run = mmtp.md(iron, with_moments(cell, moments), int(20 / dt), timestep_fs=dt,
                          temperature_K=300, spins="dynamics", lengths=lengths, tolerance=1e-6,
                          chunk_steps=64)  # fmt: skip
        assert run.completed, run.message
        spreads.append(float(np.std(run.series.conserved)))
    sizes = np.linalg.norm(run.system.magmoms[0], axis=1)
    kept = np.allclose(sizes, np.linalg.norm(moments, axis=1), rtol=1e-9)
    assert kept == (lengths == "fixed")
    assert spreads[1] < 0.02 * np.std(run.series.energy)
    assert spreads[0] > 3.0 * spreads[1], spreads


@pytest.mark.optimised
def test_a_dimer_has_the_distribution_of_langevin() -> None:
    """<e1.e2> = coth x - 1/x with x = J / k_B T."""
    exchange, temperature = 0.05, 300.0
    rng = np.random.default_rng(0)
    print("seed 0")
    replicas = [with_moments(DIMER, MOMENT * random_directions(rng, 2)) for _ in range(64)]
    run = mmtp.md(teacher(exchange), replicas, 5000, timestep_fs=0.5, ensemble="nvt",
                  temperature_K=temperature, damping=0.5,
                  **{**SPINS, "chunk_steps": 256})  # fmt: skip
    scale = exchange * (MOMENT / LONGEST) ** 2
    means = np.mean(-run.series.energy[800:] / scale, axis=0)
    x = scale / (KB * temperature)
    error = means.std() / np.sqrt(len(means))
    assert error < 0.01
    assert abs(means.mean() - (1 / np.tanh(x) - 1 / x)) < 4 * error


@pytest.mark.optimised
def test_lengths_have_the_measure_d3m() -> None:
    """p(m) = m^2 exp(-E / k_B T) for one moment in a well, by quadrature."""
    a, b, temperature = 0.6, 0.7, 500.0
    print("seed 0")
    replicas = [with_moments(DIMER, [[0.0, 0.0, 1.3], [1.2, 0.0, 0.0]])] * 64
    run = mmtp.md(
        teacher(0.0, (a, b)), replicas, 5000, timestep_fs=1.0, ensemble="nvt", bounded=False,
        temperature_K=temperature, thermostat_time_fs=20.0,
        **{**SPINS, "lengths": "dynamic", "chunk_steps": 256},
    )  # fmt: skip
    m = np.linspace(0.0, 1.3 * LONGEST, 4000)
    y = m / LONGEST
    weights = np.exp(-(b * y**4 - a * y**2) / (KB * temperature))
    without, expected = (np.sum(w * m) / np.sum(w) for w in (weights, m**2 * weights))
    means = run.series.mean_moment[1000:].mean(axis=0)
    error = means.std() / np.sqrt(len(means))
    assert error < 0.05 * (expected - without)
    assert abs(means.mean() - expected) < 4 * error


@pytest.mark.optimised
@pytest.mark.parametrize("well", [(0.0, 0.0), (0.3, 0.4)])
def test_the_temperature_of_the_spins_is_that_of_the_bath(well) -> None:
    """Without and with on-site terms, of which Nurdin's own formula knows nothing."""
    ferromagnet = with_moments(crystal(2), np.full((16, 1), MOMENT) * [0.0, 0.0, 1.0])
    print("seeds 0 to 7")
    run = mmtp.md(teacher(0.02, well), [ferromagnet] * 8, 4000, timestep_fs=0.5, damping=0.3,
                  ensemble="nvt", temperature_K=200.0, **{**SPINS, "chunk_steps": 256})  # fmt: skip
    found = run.series.spin_temperature[1000::10].mean(axis=0)
    error = found.std() / np.sqrt(len(found))
    assert error < 8.0
    # One over the number of atoms, and the time step, make it too high by some percent.
    assert abs(found.mean() / 200.0 - 1.0) < 0.12


def test_a_resumed_run_takes_the_same_steps(iron, tmp_path) -> None:
    start = with_moments(bulk("Fe", a=2.84, cubic=True), [[0.0, 0.4, 2.1], [0.3, 0.0, 2.0]])
    options = {"spins": "dynamics", "ensemble": "nvt", "timestep_fs": 0.2, "chunk_steps": 64}
    whole = mmtp.md(iron, start, 10, **options)
    before = take_steps._cache_size()
    file = tmp_path / "md.npz"
    mmtp.md(iron, start, 6, checkpoint=file, log=tmp_path / "log.csv", **options)
    rest = mmtp.md(
        iron, start, 10, checkpoint=file, log=tmp_path / "log.csv", resume=True, **options
    )
    assert take_steps._cache_size() == before
    for name in ("positions", "velocities", "magmoms"):
        np.testing.assert_array_equal(getattr(rest.system, name), getattr(whole.system, name))
    log = (tmp_path / "log.csv").read_text().splitlines()
    assert len(log) == 12
    assert "spin_temperature (K)" in log[0]
    assert "grade" not in log[0]


def test_moments_that_are_numbers_start_along_z(iron) -> None:
    start = bulk("Fe", a=2.84, cubic=True)
    start.set_initial_magnetic_moments([2.1, -2.0])
    run = mmtp.md(iron, start, 1, spins="dynamics", lengths="fixed", timestep_fs=0.1)
    np.testing.assert_allclose(run.system.magmoms[0], [[0, 0, 2.1], [0, 0, -2.0]], atol=1e-8)


def test_what_cannot_be_is_refused_before_anything_is_written(tmp_path) -> None:
    log, pot = tmp_path / "log.csv", teacher(0.05)
    start = with_moments(DIMER, MOMENT * random_directions(np.random.default_rng(1), 2))
    field = 0.05 / LONGEST**2
    largest = field * np.linalg.norm(start.get_initial_magnetic_moments().sum(axis=0))
    with pytest.raises(ValueError, match="too long for the precession") as caught:
        mmtp.md(pot, start, 5, timestep_fs=40.0, log=log, **SPINS)
    words = str(caught.value).split()
    assert float(words[words.index("eV/mu_B,") - 1]) == pytest.approx(largest, rel=0.05)
    assert not log.exists()
    longest = float(words[words.index("timestep_fs") + 1])
    with pytest.warns(TimestepWarning, match="look at the drift"):
        mmtp.md(pot, start, 1, timestep_fs=1.3 * longest, **SPINS)
    with warnings.catch_warnings():
        warnings.simplefilter("error", TimestepWarning)
        mmtp.md(pot, start, 1, timestep_fs=0.8 * longest, **SPINS)
    for options, words in (
        ({"moments": "fixed"}, "lengths"),
        ({"directions": "fixed"}, "moments turn"),
        ({"damping": 0.1}, "only a heat bath"),
        ({"ensemble": "npt"}, "changes the cell"),
        ({"spins": "none"}, "is for moments that precess"),
        ({"spins": "none", "fixed_atoms": False, "lengths": "equilibrate"}, "lengths is for"),
    ):
        with pytest.raises(ValueError, match=words):
            mmtp.md(pot, start, 2, **{**SPINS, **options})
    bare = mmtp.Potential.new(level=2, species=("Fe",), form="bare", cutoff=4.2)
    with pytest.raises(ValueError, match=r'spins="dynamics": .*even under reversal'):
        mmtp.md(bare, with_moments(DIMER, [1.0, 1.0]), 2, spins="dynamics")
    with pytest.raises(ValueError, match="all moments are zero"):
        mmtp.md(pot, with_moments(DIMER, [0.0, 0.0]), 2, spins="dynamics")


def test_a_moment_that_grows_too_long_stops_the_run() -> None:
    """Lengths of a bilinear energy have no minimum."""
    start = with_moments(DIMER, [[0.0, 0.0, 1.9], [0.0, 0.1, 1.9]])
    run = mmtp.md(teacher(0.5).replace(confinement=None), start, 400, timestep_fs=0.3,
                  **{**SPINS, "lengths": "dynamic"})  # fmt: skip
    assert not run.completed
    assert "is at the end of the interval" in run.message
