"""Second derivatives with vectors: finite differences, collinear states, rotations, properties."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk

import mmtp_jax as mmtp
from mmtp_jax.properties.response import without_rotations
from mmtp_jax.properties.second_derivatives import structure_response

STEP = 1e-4


def _with(atoms, moments):
    copy = atoms.copy()
    copy.arrays.pop("initial_magmoms", None)
    copy.set_initial_magnetic_moments(moments)
    return copy


def test_blocks_are_finite_differences(
    random_potential, random_structure, strained, atoms_of
) -> None:
    potential = random_potential(3)
    moments = np.random.default_rng(5).normal(size=(3, 3))
    structure = replace(random_structure(5, 3, margin=0.01), magmoms=moments)
    found = structure_response(potential, structure)
    atoms = _with(atoms_of(replace(structure, magmoms=np.zeros(3))), moments)
    columns = np.concatenate([found.um, found.em, found.mm])

    def gradient(at) -> np.ndarray:
        (there,) = mmtp.evaluate(potential, at)
        of_strain = there.stress * at.get_volume()
        return np.concatenate([-there.forces.ravel(), of_strain, -there.magnetic_forces.ravel()])

    for k in range(9):
        change = (STEP * np.eye(9)[k]).reshape(3, 3)
        ends = [gradient(_with(atoms, moments + sign * change)) for sign in (1, -1)]
        expected = (ends[0] - ends[1]) / (2 * STEP)
        scale = np.abs(columns).max()
        np.testing.assert_allclose(columns[:, k], expected, atol=1e-6 * scale)


def test_collinear_states_have_the_same_constants_as_vectors(iron, ferromagnet, tight) -> None:
    axis = np.array([0.48, -0.6, 0.64])
    vectors = _with(ferromagnet, ferromagnet.get_initial_magnetic_moments()[:, None] * axis)
    found, expected = (mmtp.response(iron, atoms) for atoms in (vectors, ferromagnet))
    np.testing.assert_allclose(found.force_constants(), expected.force_constants(), atol=1e-6)
    constants = mmtp.elastic_constants(iron, vectors, **tight)
    collinear = mmtp.elastic_constants(iron, ferromagnet, **tight)
    np.testing.assert_allclose(constants.constants, collinear.constants, atol=1e-3)
    assert constants.magmoms.shape == (2, 3)


def test_adiabatic_constants_of_vectors_are_re_equilibrated_differences(iron, tight) -> None:
    """A rattled crystal whose moments follow in length and direction."""
    atoms = bulk("Fe", a=2.83, cubic=True)
    atoms.rattle(0.05, seed=1)
    start = mmtp.equilibrate(iron, _with(atoms, [[2.2, 0.1, 0.0], [2.0, 0.0, 0.2]]), tolerance=1e-9)
    assert start.converged
    found = mmtp.response(iron, start.atoms)
    # All moments may turn together: three, or two of parallel ones, cost nothing.
    flat = np.linalg.eigvalsh(found.mm)
    assert np.sum(np.abs(flat) < 1e-6) == 2
    assert without_rotations(start.magmoms).shape == (6, 4)
    constants = found.force_constants()
    ends = []
    for sign in (1, -1):
        moved = start.atoms.copy()
        moved.positions[0, 1] += sign * STEP
        ends.append(mmtp.equilibrate(iron, moved, tolerance=1e-9).atoms.get_forces())
    expected = -(ends[0] - ends[1]) / (2 * STEP)
    np.testing.assert_allclose(constants[0, :, 1, :], expected, atol=1e-4)
    assert np.abs(constants - found.force_constants(adiabatic=False)).max() > 1e-3


def test_equations_of_state_phonons_and_what_refuses(iron, ferromagnet) -> None:
    axis = np.array([0.48, -0.6, 0.64])
    vectors = _with(ferromagnet, ferromagnet.get_initial_magnetic_moments()[:, None] * axis)
    found, expected = (
        mmtp.equation_of_state(iron, atoms, scales=[0.98, 0.99, 1.0, 1.01, 1.02])
        for atoms in (vectors, ferromagnet)
    )
    np.testing.assert_allclose(found.moments, expected.moments, atol=1e-4)
    np.testing.assert_allclose(found.magnetisations, expected.magnetisations, atol=1e-4)
    np.testing.assert_allclose(found.energies, expected.energies, atol=1e-7)
    canted = _with(ferromagnet, [[2.0, 0.1, 0.0], [2.0, 0.0, 0.0]])
    for refuses in (
        lambda: mmtp.elastic_constants(iron, canted, states=2, relax=False),
        lambda: mmtp.DifferentiableState(iron, canted),
        lambda: mmtp.montecarlo(iron, canted, [300], sweeps=1, move="flip"),
        lambda: mmtp.sample_disorder(iron, canted, n=2),
    ):
        with pytest.raises(ValueError, match="has noncollinear magnetic moments; give collinear"):
            refuses()
    # In one column they are collinear moments there.
    up = _with(ferromagnet, ferromagnet.get_initial_magnetic_moments()[:, None] * [0, 0, 1])
    assert mmtp.DifferentiableState(iron, up).start.magmoms.shape == (2,)
    pytest.importorskip("phonopy")
    bands = [mmtp.phonons(iron, a, 2).frequencies([[0.5, 0, 0]]) for a in (vectors, ferromagnet)]
    np.testing.assert_allclose(*bands, atol=1e-4)
