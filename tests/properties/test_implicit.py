"""Gradients through relaxation against finite differences of full relaxations."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

import mmtp_jax as mmtp
from mmtp_jax.potential.observables import energies
from mmtp_jax.properties.coordinates import changed, parts, strain_tensor
from mmtp_jax.properties.differentiable import DifferentiableState
from mmtp_jax.properties.implicit import (
    RelaxedState,
    bulk_modulus,
    curvature,
    elastic_tensor,
    frequencies,
    harmonic_free_energy,
    lattice_parameter,
)
from mmtp_jax.simulation.constants import FS, GPA, KB

STEP = 2e-4
TEMPERATURE = 300.0
HBAR = 6.582119569e-16
NAMES = (
    "lattice parameter", "first moment", "second moment", "bulk modulus", "C11", "C12", "C44",
    "clamped-ion C44", "mean frequency", "free energy",
)  # fmt: skip


@pytest.fixture(scope="module")
def iron(pair_iron) -> mmtp.Potential:
    return pair_iron()


@pytest.fixture(scope="module")
def atoms() -> Atoms:
    """Two atoms in a tetragonal cell of primitive iron: moments and positions have a choice."""
    cell = bulk("Fe", a=2.8, cubic=True)
    cell.set_initial_magnetic_moments([2.2, 2.2])
    return cell


@pytest.fixture(scope="module")
def relaxed(iron, atoms) -> DifferentiableState:
    return DifferentiableState(iron, atoms)


@pytest.fixture(scope="module")
def properties(relaxed):
    """theta -> all properties as one vector."""

    def of(theta):
        state = relaxed(theta)
        second = curvature(state)
        c = elastic_tensor(second)
        return jnp.stack(
            [
                lattice_parameter(state),
                state.magmoms[0],
                state.magmoms[1],
                bulk_modulus(second),
                c[0, 0],
                c[0, 1],
                c[3, 3],
                elastic_tensor(second, positions=False)[3, 3],
                frequencies(second, relaxed.masses).mean(),
                harmonic_free_energy(second, relaxed.masses, TEMPERATURE),
            ]
        )

    return of


@pytest.fixture(scope="module")
def along(properties):
    """(theta, direction) -> properties and their derivatives, compiled once."""
    return jax.jit(lambda t, d: jax.jvp(properties, (t,), (d,)))


@pytest.fixture(scope="module")
def slopes(iron, along):
    return along(iron.flatten(), _direction(iron))[1]


def _by_relaxation(potential, atoms) -> np.ndarray:
    """The same by an independent route: relax, then evaluate on the host."""
    found = mmtp.relax(
        potential, atoms, force_tolerance=1e-7, stress_tolerance_GPa=1e-6, magnetic_tolerance=1e-8
    )
    assert found.converged, found.message
    second = mmtp.response(potential, found.atoms)
    c = second.elastic_constants() / GPA
    masses = np.repeat(atoms.get_masses(), 3)
    constants = second.force_constants().swapaxes(1, 2).reshape(len(masses), -1)
    square = np.linalg.eigvalsh(constants / np.sqrt(np.outer(masses, masses)))[3:]
    omega = np.sqrt(square) * FS * 1e15
    quanta, thermal = HBAR * omega, KB * TEMPERATURE
    free = quanta / 2 + thermal * np.log(1 - np.exp(-quanta / thermal))
    clamped = second.elastic_constants(positions=False)[3, 3] / GPA
    reuss = 1 / np.linalg.inv(c)[:3, :3].sum()
    values = [np.cbrt(2 * found.volume / len(atoms)), *found.magmoms, reuss]
    values += [c[0, 0], c[0, 1], c[3, 3], clamped]
    return np.array([*values, omega.mean() / (2e12 * np.pi), found.energy + free.sum()])


def _direction(potential) -> np.ndarray:
    rng = np.random.default_rng(3)
    theta = potential.flatten()
    return 0.1 * theta * rng.normal(size=theta.shape) * (np.abs(theta) < 100)


def test_derivatives_are_those_of_full_relaxations(iron, atoms, relaxed, along) -> None:
    theta, direction = iron.flatten(), _direction(iron)
    values, slopes = along(theta, direction)
    wanted = _by_relaxation(iron, atoms)
    assert np.allclose(values, wanted, rtol=1e-6), dict(zip(NAMES, values - wanted, strict=True))
    ends = [
        _by_relaxation(iron.unflatten(theta + s * STEP * direction), relaxed_atoms(relaxed, atoms))
        for s in (1, -1)
    ]
    differences = (ends[0] - ends[1]) / (2 * STEP)
    for name, slope, difference in zip(NAMES, slopes, differences, strict=True):
        assert slope == pytest.approx(difference, rel=2e-4), name
    # Newton's method finds the state of other parameters too.
    moved, _ = along(theta + STEP * direction, direction)
    assert np.allclose(moved, ends[0], rtol=1e-6)


def relaxed_atoms(relaxed, atoms) -> Atoms:
    copy = atoms.copy()
    copy.set_cell(relaxed.start.cell, scale_atoms=True)
    copy.set_initial_magnetic_moments(relaxed.start.magmoms)
    return copy


@pytest.mark.slow
def test_reverse_mode_agrees(iron, relaxed, slopes) -> None:
    def target(t):
        state = relaxed(t)
        return elastic_tensor(curvature(state))[3, 3] + 10 * state.magmoms[0]

    gradient = jax.jit(jax.grad(target))(jnp.asarray(iron.flatten()))
    wanted = slopes[NAMES.index("C44")] + 10 * slopes[NAMES.index("first moment")]
    assert gradient @ _direction(iron) == pytest.approx(float(wanted), rel=1e-8)


def test_a_state_that_is_lost_is_not_a_number(iron, along) -> None:
    upside_down = iron.replace(moment_coeffs=-iron.moment_coeffs).flatten()
    values, slopes = along(upside_down, _direction(iron))
    assert np.isnan(values).all()
    assert np.isnan(slopes).all()


def test_what_is_fixed_stays(iron, atoms) -> None:
    """At fixed cell and positions only the moments follow, by -T_theta / H_mm in closed form."""
    atoms = mmtp.equilibrate(iron, atoms, tolerance=1e-9).atoms
    only = DifferentiableState(iron, atoms, cell=False, positions=False, relax=False)
    theta, direction = iron.flatten(), _direction(iron)

    def total(t):
        state = only(t)
        return state.magmoms.sum(), state

    (gradient, state) = jax.jit(jax.grad(total, has_aux=True))(jnp.asarray(theta))
    assert np.allclose(state.deformation, np.eye(3), atol=0)
    assert np.allclose(state.magmoms, atoms.get_initial_magnetic_moments(), atol=1e-7)
    forces = [
        mmtp.evaluate(iron.unflatten(theta + s * STEP * direction), atoms)[0].magnetic_forces
        for s in (1, -1)
    ]
    second = mmtp.response(iron, atoms)
    wanted = np.linalg.solve(second.mm, (forces[0] - forces[1]) / (2 * STEP))
    assert gradient @ direction == pytest.approx(wanted.sum(), rel=1e-5)


def test_mistakes_are_named(iron, atoms) -> None:
    high = atoms.copy()
    high.set_initial_magnetic_moments([float(iron.max_magmom[0])] * 2)
    with pytest.raises(ValueError, match="at the end of the interval"):
        DifferentiableState(iron, high, relax=False)


def test_a_state_as_a_graph_has_its_energy(iron) -> None:
    atoms = bulk("Fe", a=2.83, cubic=True)
    atoms.set_initial_magnetic_moments([2.2, 2.0])
    relaxed = DifferentiableState(iron, atoms, relax=False)
    x = jnp.asarray(np.random.default_rng(5).normal(size=4 * 2 + 6) * 0.02)
    with mmtp.double_precision():
        change = parts(x, 2)
        deformation = jnp.eye(3) + strain_tensor(change.strain)
        state = RelaxedState(
            relaxed.potential, changed(relaxed.graph, x), deformation, change.displacements
        )
        found = mmtp.energy(relaxed.potential, relaxed.graph_at(state))
        np.testing.assert_allclose(found, energies(state.potential, state.graph), rtol=1e-12)
