"""Differentiable quasi-harmonic thermodynamics: known answers, phonopy's, finite differences."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk

import mmtp_jax as mmtp
from mmtp_jax.properties.differentiable import DifferentiableQuasiHarmonic
from mmtp_jax.properties.hessian import hessian
from mmtp_jax.properties.implicit_thermal import HarmonicVolumes, thermal_state
from mmtp_jax.simulation.constants import FS, GPA, KB

STRAINS = (-0.01, -0.003, 0.003, 0.01, 0.017)
TEMPERATURE = 300.0
REPEAT = (1, 1, 3)
N_ATOMS = 3
STEP = 2e-3


@pytest.fixture(scope="module")
def crystal():
    """One atom of iron; three of them in a row hold three q, Gamma among them."""
    atoms = bulk("Fe", a=2.8)
    atoms.set_initial_magnetic_moments([2.2])
    return atoms


@pytest.fixture(scope="module")
def iron(pair_iron) -> mmtp.Potential:
    return pair_iron()


@pytest.fixture(scope="module")
def volumes(iron, crystal) -> DifferentiableQuasiHarmonic:
    return DifferentiableQuasiHarmonic(iron, crystal, REPEAT, STRAINS)


@pytest.fixture(scope="module")
def along(volumes):
    """(theta, direction) -> thermal state and its derivative, compiled once."""
    return jax.jit(
        lambda t, d: jax.jvp(lambda t: thermal_state(volumes(t), TEMPERATURE), (t,), (d,))
    )


def _direction(potential) -> np.ndarray:
    rng = np.random.default_rng(5)
    theta = potential.flatten()
    return 0.1 * theta * rng.normal(size=theta.shape) * (np.abs(theta) < 100)


def _classical(
    gamma: float, modulus: float, at_zero: float, n: int = N_ATOMS, spring: float = 1e-4
) -> HarmonicVolumes:
    """Vibrations so slow that they are classical, omega ~ V^-gamma."""
    v = at_zero * np.linspace(0.97, 1.06, len(STRAINS))
    x = (v / at_zero) ** (-2 / 3) - 1
    # The Birch-Murnaghan energy with K' = 4 has no cubic term.
    energies = 9 / 8 * modulus * GPA * at_zero * x**2
    squared = spring * (v / at_zero) ** (-2 * gamma)
    return HarmonicVolumes(v, energies, np.repeat(squared[:, None], 3 * n - 3, axis=1))


def test_a_solid_whose_answers_are_known() -> None:
    """gamma constant and classical: V alpha_V K = gamma C_V; C_p - C_V = alpha_V^2 V K T."""
    gamma, n, t = 2.0, N_ATOMS, 500.0
    at = _classical(gamma, 150.0, 36.0)
    found = jax.device_get(thermal_state(at, t))
    volume, modulus = found.volume * n, found.bulk_modulus * GPA
    by_volume = 3 * found.expansion
    modes = (3 * n - 3) * KB
    assert volume * by_volume * modulus == pytest.approx(gamma * modes, rel=2e-3)
    difference = by_volume**2 * volume * modulus * t
    assert found.heat_capacity * n * KB == pytest.approx(modes + difference, rel=1e-4)
    step = 0.5
    ends = [jax.device_get(thermal_state(at, t + s * step)) for s in (1, -1)]
    slope = np.log(ends[0].volume / ends[1].volume) / (6 * step)
    assert found.expansion == pytest.approx(slope, rel=1e-6)
    second = (ends[0].free_energy - 2 * found.free_energy + ends[1].free_energy) / step**2
    assert found.heat_capacity == pytest.approx(-t * second / KB, rel=1e-3)


def test_pressure_compresses() -> None:
    at = _classical(2.0, 150.0, 36.0)
    free, pressed = (jax.device_get(thermal_state(at, 300.0, p)) for p in (0.0, 0.1))
    ratio = np.log(free.volume / pressed.volume)
    middle = (free.bulk_modulus + pressed.bulk_modulus) / 2
    assert ratio == pytest.approx(0.1 / middle, rel=1e-5)
    slope = jax.jit(jax.grad(lambda p: thermal_state(at, 300.0, p).free_energy))(0.1)
    assert slope / GPA == pytest.approx(float(pressed.volume), rel=1e-8)


def test_no_minimum_is_not_a_number() -> None:
    at = _classical(2.0, 150.0, 36.0)
    assert np.isnan(np.array(thermal_state(at, 1e5))).all()
    imaginary = at._replace(squared_frequencies=-at.squared_frequencies)
    assert np.isnan(np.array(thermal_state(imaginary, 300.0))).all()


@pytest.fixture(scope="module")
def by_phonopy(iron, crystal):
    """potential -> the same at the same volumes by an independent route."""
    (relaxed,) = mmtp.relax(
        iron, [crystal], force_tolerance=1e-5, stress_tolerance_GPa=1e-3, magnetic_tolerance=1e-5
    )

    def of(potential) -> mmtp.results.QuasiHarmonic:
        return mmtp.quasiharmonic(
            potential, relaxed.atoms, np.diag(REPEAT), np.arange(290, 311, 1.0), relax=False,
            strains=STRAINS, eos="birch_murnaghan", mesh=REPEAT,
        )  # fmt: skip

    return of


def _volumes_of(found) -> HarmonicVolumes:
    """What phonopy found, at the q of the supercell, without translations."""
    n = int(np.prod(REPEAT))
    square = []
    for phonons in found.phonons:
        by_q = phonons.frequencies(phonons.commensurate())
        square.append((2e-3 * np.pi / FS * np.sort(by_q.ravel())[3:]) ** 2)
    return HarmonicVolumes(n * found.volumes, n * found.energies, np.array(square))


@pytest.mark.filterwarnings("ignore:Mesh")
def test_it_agrees_with_phonopy(iron, along, by_phonopy) -> None:
    found, _ = along(iron.flatten(), _direction(iron))
    wanted = by_phonopy(iron).at(TEMPERATURE)
    for name in ("volume", "free_energy", "bulk_modulus"):
        assert getattr(found, name) == pytest.approx(wanted[name], rel=1e-5), name
    # phonopy takes differences between its temperatures.
    for name in ("expansion", "heat_capacity"):
        assert getattr(found, name) == pytest.approx(wanted[name], rel=3e-3), name


@pytest.mark.filterwarnings("ignore:Mesh")
def test_derivatives_are_those_of_whole_calculations(iron, along, by_phonopy) -> None:
    theta, direction = iron.flatten(), _direction(iron)
    values, slopes = along(theta, direction)
    middle, *ends = (
        jax.device_get(thermal_state(_volumes_of(by_phonopy(potential)), TEMPERATURE))
        for potential in (iron.unflatten(theta + s * STEP * direction) for s in (0, 1, -1))
    )
    for name, value, slope, at_zero, high, low in zip(
        values._fields, values, slopes, middle, *ends, strict=True
    ):
        assert value == pytest.approx(at_zero, rel=1e-6), name
        assert slope == pytest.approx((high - low) / (2 * STEP), rel=1e-3), name


@pytest.mark.slow
def test_reverse_mode_agrees(iron, volumes, along) -> None:
    def expansion(theta):
        return thermal_state(volumes(theta), TEMPERATURE).expansion

    gradient = jax.jit(jax.grad(expansion))(jnp.asarray(iron.flatten()))
    _, slopes = along(iron.flatten(), _direction(iron))
    assert gradient @ _direction(iron) == pytest.approx(float(slopes.expansion), rel=1e-6)


def test_the_hessian_is_that_of_the_response(random_potential, crystal, volumes) -> None:
    """And its derivative in reverse mode is that of the response."""
    potential = random_potential(7, n_species=1, form="parity", magnetic_size=3)
    start = volumes.starts[0]
    atoms = crystal.repeat(REPEAT)
    atoms.set_cell(start.cell, scale_atoms=True)
    atoms.set_initial_magnetic_moments(start.magmoms)
    graph = jax.tree.map(lambda a: jnp.asarray(a[0]), volumes.graphs)
    theta, direction = potential.flatten(), _direction(potential)
    weights = np.random.default_rng(1).normal(size=(18, 18))

    def contracted(t):
        return jnp.sum(weights * hessian(potential.unflatten(t), graph))

    def by_response(t) -> float:
        of = mmtp.response(potential.unflatten(t), atoms)
        rows = [[of.uu, of.ue, of.um], [of.ue.T, of.ee, of.em], [of.um.T, of.em.T, of.mm]]
        return np.sum(weights * np.block(rows))

    value, gradient = jax.jit(jax.value_and_grad(contracted))(jnp.asarray(theta))
    assert value == pytest.approx(by_response(theta), rel=1e-9)
    high, low = (by_response(theta + s * STEP * direction) for s in (1, -1))
    assert gradient @ direction == pytest.approx((high - low) / (2 * STEP), rel=1e-6)
