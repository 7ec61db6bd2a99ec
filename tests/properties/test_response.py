"""Second derivatives against finite differences, and what symmetry and Schur complements imply."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

import mmtp_jax as mmtp
from mmtp_jax.properties.response import (
    Response,
    UnstableStateError,
    without_translations,
)
from mmtp_jax.properties.second_derivatives import structure_response

STEP = 1e-4


@pytest.fixture(scope="module")
def low_symmetry(random_potential, random_structure):
    """Two species without any symmetry, in a cell smaller than twice the cutoff."""
    potential = random_potential(3)
    structure = random_structure(5, 4, margin=0.01)
    return potential, structure, structure_response(potential, structure)


def _gradient(potential, atoms) -> np.ndarray:
    """dE/d(u, e, m) from a plain evaluation."""
    (found,) = mmtp.evaluate(potential, atoms)
    return np.concatenate(
        [-found.forces.ravel(), found.stress * atoms.get_volume(), -found.magnetic_forces]
    )


def test_blocks_are_finite_differences_of_evaluations(
    low_symmetry, strained, relative_error, atoms_of
) -> None:
    potential, structure, found = low_symmetry
    atoms = atoms_of(structure)
    n = len(atoms)
    whole = np.block(
        [
            [found.uu, found.ue, found.um],
            [found.ue.T, found.ee, found.em],
            [found.um.T, found.em.T, found.mm],
        ]
    )

    def moved(place: int, step: float) -> np.ndarray:
        copy = atoms.copy()
        if place < 3 * n:
            copy.positions[place // 3, place % 3] += step
        else:
            copy.set_initial_magnetic_moments(
                structure.magmoms + step * np.eye(n)[place - 3 * n - 6]
            )
        return _gradient(potential, copy)

    assert relative_error(_gradient(potential, atoms), np.concatenate(
        [-found.forces.ravel(), found.stress * atoms.get_volume(), -found.magnetic_forces]
    )) < 1e-10  # fmt: skip
    for place in [*range(3 * n), *range(3 * n + 6, 4 * n + 6)]:
        difference = (moved(place, STEP) - moved(place, -STEP)) / (2 * STEP)
        row = whole[place].copy()
        if place < 3 * n:
            # An evaluation strains from where the atoms are, x before it moves them.
            atom, axis = divmod(place, 3)
            force = -found.forces[atom]
            carried = np.outer(np.eye(3)[axis], force)
            carried = (carried + carried.T) / 2
            row[3 * n : 3 * n + 6] += carried[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        assert relative_error(difference, row) < 1e-5, place

    def energy(voigt) -> float:
        return mmtp.evaluate(potential, strained(atoms, voigt))[0].energy

    step, unit = 2e-3, np.eye(6)
    for a, b in ((0, 0), (0, 1), (3, 3), (2, 4), (3, 5)):
        corners = [
            i * j * energy(step * (i * unit[a] + j * unit[b])) for i in (1, -1) for j in (1, -1)
        ]
        assert sum(corners) / (4 * step**2) == pytest.approx(found.ee[a, b], rel=1e-3, abs=0.05)


def test_translations_cost_nothing(low_symmetry) -> None:
    found = low_symmetry[2]
    scale = np.abs(found.uu).max()
    translation = np.tile(np.eye(3), (found.n_atoms, 1))
    for block in (found.uu, found.ue.T, found.um.T):
        assert np.abs(block @ translation).max() < 1e-11 * scale
    basis = without_translations(found.n_atoms)
    assert np.allclose(basis.T @ basis, np.eye(3 * found.n_atoms - 3), atol=1e-14)
    assert np.abs(basis.T @ translation).max() < 1e-14


def test_schur_complements_are_second_derivatives_of_the_minimum() -> None:
    """A quadratic energy is minimised over moments and positions by plain algebra."""
    rng = np.random.default_rng(1)
    n = 3
    root = rng.normal(size=(4 * n + 6, 4 * n + 6))
    root[:, : 3 * n] -= np.tile(root[:, : 3 * n].reshape(-1, n, 3).mean(axis=1), (1, n))
    whole = root.T @ root
    u, e, m = slice(0, 3 * n), slice(3 * n, 3 * n + 6), slice(3 * n + 6, None)
    structure = mmtp.structures.structure.Structure(
        np.eye(3) * 2, np.ones(3, bool), np.zeros((n, 3)), np.zeros(n, int), np.ones(n)
    )
    found = Response(
        structure, 0.0, np.zeros((n, 3)), np.zeros(6), np.zeros(n), whole[u, u], whole[u, e],
        whole[u, m], whole[e, e], whole[e, m], whole[m, m], np.zeros(n, bool),
    )  # fmt: skip
    inner = np.r_[0 : 3 * n, 3 * n + 6 : 4 * n + 6]
    minimum = whole[e, e] - whole[e][:, inner] @ np.linalg.pinv(
        whole[np.ix_(inner, inner)], rcond=1e-10
    ) @ whole[inner][:, e]  # fmt: skip
    assert np.allclose(found.elastic_constants(), minimum / 8, atol=1e-10 * np.abs(whole).max())
    assert np.allclose(found.elastic_constants(moments=False, positions=False), whole[e, e] / 8)
    change = found.moment_response() @ rng.normal(size=3 * n + 6)
    assert np.abs(change).max() > 0


def test_moments_follow_as_an_equilibration_says(iron, ferromagnet, relative_error) -> None:
    """Force constants and dm/du of a supercell against equilibrations at displaced atoms."""
    # The difference of two sublattices, so that moments do change to first order.
    atoms = ferromagnet.copy()
    atoms.positions[1] += [0.10, 0.06, 0.02]
    atoms = mmtp.equilibrate(iron, atoms, tolerance=1e-10).atoms
    found = mmtp.response(iron, atoms)
    plus, minus = atoms.copy(), atoms.copy()
    plus.positions[0, 0] += STEP
    minus.positions[0, 0] -= STEP
    ends = mmtp.equilibrate(iron, [plus, minus], tolerance=1e-10)
    forces = [mmtp.evaluate(iron, end.atoms)[0].forces for end in ends]
    constants = found.force_constants()
    assert relative_error(constants[0, :, 0], -(forces[0] - forces[1]) / (2 * STEP)) < 1e-6
    moments = (ends[0].magmoms - ends[1].magmoms) / (2 * STEP)
    assert relative_error(found.moment_response()[:, 0], moments) < 1e-5
    clamped = found.force_constants(adiabatic=False)
    assert np.abs(clamped - constants).max() > 1e-3 * np.abs(constants).max()
    assert np.allclose(constants.sum(axis=1), 0.0, atol=1e-10)
    assert np.allclose(constants, constants.transpose(1, 0, 3, 2), atol=1e-12)


def test_a_supercell_gives_the_same(iron, ferromagnet) -> None:
    small = mmtp.response(iron, ferromagnet)
    large = mmtp.response(iron, ferromagnet.repeat((2, 1, 2)))
    assert np.allclose(large.elastic_constants(), small.elastic_constants(), atol=1e-9)
    assert np.allclose(large.force_constants()[0, ::2].sum(axis=0), small.force_constants()[0, 0])


def test_held_moments_do_not_follow(iron, ferromagnet) -> None:
    atoms = ferromagnet.copy()
    atoms.set_initial_magnetic_moments([float(iron.max_magmom[0])] * 2)
    found = mmtp.response(iron, atoms)
    assert found.held.all()
    assert "2 of 2 moments are held" in found.message
    assert np.array_equal(found.force_constants(), found.force_constants(adiabatic=False))
    assert not mmtp.response(iron, ferromagnet).message


def test_states_that_are_no_minima_are_refused(iron, ferromagnet) -> None:
    atoms = ferromagnet.copy()
    atoms.set_initial_magnetic_moments([2.0, 2.0])
    found = mmtp.response(iron, atoms)
    found.force_constants(adiabatic=False)
    with pytest.raises(ValueError, match="not equilibrated"):
        found.force_constants()
    atoms.set_initial_magnetic_moments([0.0, 0.0])
    with pytest.raises(UnstableStateError, match="magnetic state is unstable"):
        mmtp.response(iron, atoms).elastic_constants()
    molecule = ferromagnet.copy()
    molecule.pbc = False
    with pytest.raises(ValueError, match="periodic in three"):
        mmtp.response(iron, molecule).elastic_constants(moments=False)


def test_atoms_at_a_saddle_are_refused(iron) -> None:
    atoms = bulk("Fe", "sc", a=2.4).repeat((2, 1, 1))
    atoms.set_initial_magnetic_moments([2.0, 2.0])
    atoms = mmtp.equilibrate(iron, atoms, tolerance=1e-6).atoms
    found = mmtp.response(iron, atoms)
    with pytest.raises(UnstableStateError, match="atoms are at no minimum"):
        found.elastic_constants(moments=False)


def test_rows_of_moments_alone_are_those_of_the_whole(low_symmetry) -> None:
    potential, structure, whole = low_symmetry
    found = structure_response(potential, structure, moments_only=True)
    for name in ("energy", "forces", "stress", "magnetic_forces"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))
    for name in ("um", "em", "mm"):
        np.testing.assert_allclose(getattr(found, name), getattr(whole, name), atol=1e-12)
    for name in ("uu", "ue", "ee"):
        assert np.isnan(getattr(found, name)).all()
