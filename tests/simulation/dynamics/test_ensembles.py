"""Heat baths and barostats against the distributions that they must sample.

Thousands of replicas of a free gas show the distributions themselves, without a potential; crystals
show that averages are right with all parts together. Seeds are fixed; bounds are four to five
standard errors unless said otherwise.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmtp_jax.simulation.constants import FS, GPA, KB
from mmtp_jax.simulation.dynamics.barostats import mobility, strain_of_step, strained
from mmtp_jax.simulation.dynamics.molecular_dynamics import simulate
from mmtp_jax.simulation.dynamics.options import DynamicsOptions
from mmtp_jax.simulation.dynamics.thermostats import (
    Bath,
    bussi,
    chain_at_rest,
    chain_energy,
    keys_of,
    langevin,
    nose_hoover,
)
from mmtp_jax.simulation.neighbours import structures_of, used_skin
from mmtp_jax.simulation.system import (
    System,
    degrees_of_freedom,
    kinetic_energy,
    kinetic_tensor,
    temperatures,
    volumes,
)
from mmtp_jax.structures.neighbour_list import find_neighbours

N_REPLICAS = 3000
TEMPERATURE = 500.0


def _gas(n: int, temperature: float = TEMPERATURE) -> System:
    """Free atoms of different masses, with thermal momenta and no total one."""
    rng = np.random.default_rng(1)
    masses = np.linspace(10.0, 60.0, n)
    velocities = rng.normal(size=(N_REPLICAS, n, 3)) * np.sqrt(KB * temperature / masses)[:, None]
    velocities -= np.einsum("i,rix->rx", masses, velocities)[:, None] / masses.sum()
    return System(
        positions=jnp.asarray(rng.uniform(0.0, 5.0, (N_REPLICAS, n, 3))),
        velocities=jnp.asarray(velocities),
        cell=jnp.tile(5.0 * jnp.eye(3), (N_REPLICAS, 1, 1)),
        magmoms=jnp.zeros((N_REPLICAS, n)),
        masses=jnp.asarray(masses),
        types=np.zeros(n, np.int32),
        periodic=np.ones(3, bool),
        running=np.ones(N_REPLICAS, bool),
    )


def _bath(time: float = 20.0, pressure: float = 0.0, moves: float = 0.0) -> Bath:
    thermal = jnp.full(N_REPLICAS, KB * TEMPERATURE)
    return Bath(
        timestep=jnp.asarray(2.0 * FS),
        thermal_energy=thermal,
        time=jnp.asarray(time * FS),
        pressure=jnp.full(N_REPLICAS, pressure),
        mobility=jnp.full(N_REPLICAS, moves),
    )


def _keys() -> jax.Array:
    return jax.vmap(lambda s: jax.random.key_data(jax.random.key(s)))(jnp.arange(N_REPLICAS))


def test_keys_differ_by_seed_only() -> None:
    assert np.array_equal(keys_of([3, 4]), np.asarray(_keys())[3:5])


@pytest.mark.parametrize("thermostat", [langevin, bussi])
@pytest.mark.parametrize("start", [1.0, 0.2])
def test_kinetic_energy_has_the_canonical_distribution(thermostat, start) -> None:
    system, bath, keys = _gas(3, start * TEMPERATURE), _bath(), _keys()

    def step(system, number):
        system = system._replace(velocities=thermostat(system, bath, keys, number))
        return system, kinetic_energy(system)

    system, kinetic = jax.jit(lambda s: jax.lax.scan(step, s, jnp.arange(100)))(system)
    freedom = degrees_of_freedom(3)
    scaled = np.asarray(kinetic) / (KB * TEMPERATURE)
    # The kinetic energy is a gamma variable of shape N_f / 2 once it forgot its start.
    for moment, expected, variance in (
        (scaled[-1].mean(), freedom / 2, freedom / 2),
        (scaled[-1].var(), freedom / 2, 3 * freedom / 2 * (freedom / 2 + 2) - (freedom / 2) ** 2),
    ):
        assert abs(moment - expected) < 5 * np.sqrt(variance / N_REPLICAS), (moment, expected)
    momentum = jnp.einsum("i,rix->rx", system.masses, system.velocities)
    assert np.allclose(momentum, 0.0, atol=1e-10)
    # Each degree of freedom has its share, light and heavy atoms alike.
    free = 1.0 - system.masses / system.masses.sum()
    share = system.masses * jnp.mean(system.velocities**2, axis=(0, 2)) / (KB * TEMPERATURE)
    if start == 1.0 or thermostat is langevin:
        assert np.allclose(share / free, 1.0, atol=5 * np.sqrt(2 / (3 * N_REPLICAS)))
    # It forgets at the rate that was asked for.
    deviation = scaled[:, :] - freedom / 2
    if start < 1.0:
        left = deviation.mean(axis=1)[9] / (scaled.mean(axis=1)[0] - freedom / 2)
        rate = 2.0 if thermostat is langevin else 1.0
        assert np.isclose(left, np.exp(-9 * rate * 2.0 / 20.0), atol=0.05)


def test_nose_hoover_chain_conserves_its_energy() -> None:
    system, bath = _gas(3), _bath()
    chain = chain_at_rest(N_REPLICAS)
    total = kinetic_energy(system) + chain_energy(3, chain, bath)

    def after(parts: int):
        shorter = bath._replace(timestep=bath.timestep / parts)

        def half_step(_, now):
            s, c = now
            velocities, c = nose_hoover(s, c, shorter)
            return s._replace(velocities=velocities), c

        s, c = jax.jit(lambda s, c: jax.lax.fori_loop(0, 20 * parts, half_step, (s, c)))(
            system, chain
        )
        moved = jnp.abs(kinetic_energy(s) - kinetic_energy(system)).mean()
        error = jnp.abs(kinetic_energy(s) + chain_energy(3, c, shorter) - total).mean()
        return float(moved), float(error)

    moved, error = after(1)
    assert error < 1e-2 * moved
    # Fourth order of Suzuki and Yoshida.
    assert after(2)[1] < error / 8


@pytest.mark.optimised
@pytest.mark.parametrize("shape", ["isotropic", "full"])
def test_volume_of_an_ideal_gas_has_its_distribution(shape) -> None:
    """p(V) ~ V^(n-1) exp(-P V / k_B T): gamma of shape n, for the n - 1 relative positions."""
    n = 4
    pressure = n * KB * TEMPERATURE / 125.0
    bath = _bath(pressure=pressure, moves=0.004 / (KB * TEMPERATURE * 2.0 * FS))
    keys = _keys()
    nothing = jnp.zeros((N_REPLICAS, 3, 3))

    def step(system, number):
        system = system._replace(velocities=langevin(system, bath, keys, number))
        system = strained(system, strain_of_step(shape, system, nothing, bath, keys, number))
        return system, None

    system, _ = jax.jit(lambda s: jax.lax.scan(step, s, jnp.arange(800)))(_gas(n))
    scaled = np.asarray(volumes(system)) * pressure / (KB * TEMPERATURE)
    # The time step makes errors of a few percent of a standard deviation.
    assert abs(scaled.mean() - n) < 5 * np.sqrt(n / N_REPLICAS), scaled.mean()
    assert abs(scaled.var() - n) < 0.15 * n, scaled.var()
    internal = np.asarray(kinetic_tensor(system)) / np.asarray(volumes(system))[:, None, None]
    assert abs(np.trace(internal.mean(axis=0)) / 3 / pressure - 1.0) < 0.05
    cubic = np.allclose(system.cell, np.asarray(system.cell)[:, :1, :1] * np.eye(3))
    assert cubic == (shape == "isotropic")


@pytest.mark.parametrize("shape", ["isotropic", "full"])
def test_strain_moves_atoms_with_the_cell_and_is_symmetric(shape) -> None:
    system, keys = _gas(4), _keys()
    bath = _bath(pressure=0.001, moves=1e-5 / (KB * TEMPERATURE * 2.0 * FS))
    strain = strain_of_step(shape, system, jnp.zeros((N_REPLICAS, 3, 3)), bath, keys, 7)
    assert np.allclose(strain, np.swapaxes(strain, 1, 2))
    after = strained(system, strain)
    assert np.std(np.asarray(volumes(after))) > 0.3
    scaled = after.positions @ jnp.linalg.inv(after.cell)
    assert np.allclose(scaled, system.positions / 5.0, atol=1e-12)
    # Phase space is kept: dr grows by what dp shrinks, so that p.r is the same.
    product = jnp.sum(system.velocities * system.positions, axis=2)
    assert np.allclose(jnp.sum(after.velocities * after.positions, axis=2), product, atol=1e-12)
    assert np.allclose(jnp.log(volumes(after) / 125.0), jnp.trace(strain, axis1=1, axis2=2))


def test_strain_in_the_list_of_neighbours_counts_all_directions(crystal) -> None:
    system = crystal()
    neighbours = find_neighbours(structures_of(system), 4.2, 0.5)
    small = strained(system, 0.02 * np.diag([1.0, -1.0, 0.5])[None])
    assert 0.0 <= used_skin(small, neighbours)[0] < 1e-6
    assert np.isinf(used_skin(strained(system, -0.08 * np.eye(3)[None]), neighbours)[0])


def _averages(iron, crystal, n_steps, n_replicas, **options):
    seeds = tuple(range(n_replicas))
    chosen = DynamicsOptions(
        **{
            "moments": "fixed", "timestep_fs": 2.0, "temperature_K": 300.0, "bounded": False,
            "thermostat_time_fs": 40.0, "seed": 100, **options,
        }
    )  # fmt: skip
    run = simulate(iron, crystal(seeds=seeds), n_steps, chosen)
    assert not any(run.outcomes), run.message
    half = n_steps // 3
    return run, {name: getattr(run.series, name)[half:] for name in run.series._fields}


def _error_of_mean(values: np.ndarray) -> float:
    """Of the average over replicas, which are independent."""
    return float(values.mean(axis=0).std(ddof=1) / np.sqrt(values.shape[1]))


def test_crystal_at_constant_temperature(iron, crystal) -> None:
    run, of = _averages(iron, crystal, 600, 12, ensemble="nvt")
    mean, error = of["temperature"].mean(), _error_of_mean(of["temperature"])
    assert error < 6.0
    assert abs(mean - 300.0) < 5 * error, (mean, error)
    relative = of["kinetic"].var() / of["kinetic"].mean() ** 2
    assert np.isclose(relative, 2 / degrees_of_freedom(16), rtol=0.25)
    # What the bath gave is accounted for: hundreds of meV went in and out.
    drift = run.series.conserved - run.series.conserved[0]
    assert np.abs(drift).max() < 0.02 * np.ptp(run.series.energy + run.series.kinetic)
    assert np.allclose(temperatures(run.system), run.series.temperature[-1])


def test_crystal_at_constant_pressure(iron, crystal) -> None:
    run, of = _averages(
        iron, crystal, 900, 12, ensemble="npt", pressure_GPa=2.0, barostat_time_fs=150.0,
        thermostat="bussi",
    )  # fmt: skip
    mean, error = of["pressure"].mean(), _error_of_mean(of["pressure"])
    assert error < 0.5
    assert abs(mean - 2.0) < 5 * error, (mean, error)
    assert of["volume"].std() > 0.3
    drift = run.series.conserved - run.series.conserved[0]
    assert np.abs(drift).max() < 0.05 * np.ptp(run.series.energy + run.series.kinetic)


@pytest.mark.slow
@pytest.mark.parametrize("thermostat", ["langevin", "bussi", "nose-hoover"])
def test_long_runs_at_constant_temperature(iron, crystal, thermostat) -> None:
    run, of = _averages(
        iron, crystal, 10000, 12, ensemble="nvt", thermostat=thermostat, moments="equilibrate"
    )
    mean, error = of["temperature"].mean(), _error_of_mean(of["temperature"])
    print(f"{thermostat}: {mean:.2f} +- {error:.2f} K")
    assert abs(mean - 300.0) < max(5 * error, 0.5)
    relative = of["kinetic"].var() / of["kinetic"].mean() ** 2
    expected = 2 / degrees_of_freedom(16)
    print(f"relative variance of the kinetic energy {relative:.4f}, canonical {expected:.4f}")
    # Sixteen nearly harmonic atoms are too few for a Nose-Hoover chain: it is not ergodic there.
    assert relative > 0.9 * expected
    if thermostat != "nose-hoover":
        assert np.isclose(relative, expected, rtol=0.05)
    assert np.all(run.n_unconverged == 0)
    slope = np.polyfit(run.time_fs, run.series.conserved.mean(axis=1), 1)[0]
    assert abs(slope) * 1e3 / 16 * 1e3 < 0.5, "meV/atom/ps"


@pytest.mark.slow
@pytest.mark.parametrize("barostat", ["isotropic", "full"])
@pytest.mark.parametrize("thermostat", ["langevin", "bussi", "nose-hoover"])
def test_long_runs_at_constant_pressure(iron, crystal, thermostat, barostat) -> None:
    run, of = _averages(
        iron, crystal, 10000, 12, ensemble="npt", thermostat=thermostat, barostat=barostat,
        pressure_GPa=3.0, barostat_time_fs=300.0, moments="equilibrate",
    )  # fmt: skip
    for name, target, floor in (("pressure", 3.0, 0.03), ("temperature", 300.0, 0.7)):
        mean, error = of[name].mean(), _error_of_mean(of[name])
        print(f"{thermostat} {barostat}: {name} {mean:.3f} +- {error:.3f}")
        assert abs(mean - target) < max(5 * error, floor)
    assert np.all(run.n_unconverged == 0)


@pytest.mark.slow
def test_compressibility_from_volume_fluctuations(iron, crystal) -> None:
    """var(V) = k_B T V / B, with B from the volumes at two pressures."""
    volume = {}
    for pressure in (0.0, 4.0):
        _, of = _averages(
            iron, crystal, 15000, 12, ensemble="npt", pressure_GPa=pressure,
            barostat_time_fs=200.0,
        )  # fmt: skip
        volume[pressure] = of["volume"]
    low, high = (v.mean() for v in volume.values())
    modulus = 4.0 * GPA * (low + high) / 2 / (low - high)
    fluctuation = np.mean([v.var() / v.mean() for v in volume.values()])
    from_fluctuation = KB * 300.0 / fluctuation
    print(f"B {modulus / GPA:.1f} GPa from pressures, {from_fluctuation / GPA:.1f} from var(V)")
    assert np.isclose(from_fluctuation, modulus, rtol=0.1)


def test_mobility_is_one_over_three_b_tau_v() -> None:
    assert np.isclose(mobility(2.0, 3.0, 5.0), 1 / 90.0)
