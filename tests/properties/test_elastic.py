"""Elastic constants against re-relaxed finite strains, symmetry, rotation, disordered states."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.units import GPa
from scipy.spatial.transform import Rotation

import mmtp_jax as mmtp
from mmtp_jax.properties.elastic_results import Averages
from mmtp_jax.properties.states import flipped, lost_state, vanished
from mmtp_jax.properties.symmetry import (
    averaged,
    full_tensor,
    operations,
    rotated,
    voigt_tensor,
)
from mmtp_jax.structures.neighbours import neighbour_table
from mmtp_jax.structures.structure import Structure

STEP = 5e-4


def finite_strain_constants(potential, atoms, strained, tight, **options) -> np.ndarray:
    """(6, 6) GPa by central differences of the stress after positions and moments relax."""
    ends = [strained(atoms, sign * STEP * row) for row in np.eye(6) for sign in (1.0, -1.0)]
    found = mmtp.relax(potential, ends, **{**tight, "cell": False, **options})
    assert all(end.converged for end in found), [end.message for end in found]
    stress = np.array([end.details.result.stress for end in found]).reshape(6, 2, 6)
    return (stress[:, 0] - stress[:, 1]) / (2 * STEP * GPa)


@pytest.fixture(scope="module")
def distorted(iron, tight) -> Atoms:
    """Every third layer is reversed: atoms with inner freedom and moments that differ."""
    atoms = bulk("Fe", a=2.83).repeat((1, 1, 3))
    atoms.set_initial_magnetic_moments([2.3, 2.3, -2.0])
    found = mmtp.relax(iron, atoms, **tight)
    assert found.converged, found.message
    assert np.ptp(found.magmoms) > 0.01
    return found.atoms


@pytest.mark.parametrize("free", ["all", "clamped moments", "clamped ions"])
def test_schur_complements_are_re_relaxed_finite_strains(
    iron, distorted, strained, tight, relative_error, free
) -> None:
    found = mmtp.elastic_constants(iron, distorted, **tight)
    exact, options = {
        "all": (found.constants, {}),
        "clamped moments": (found.clamped_moments, {"moments": "fixed"}),
        "clamped ions": (found.clamped_ions, {"positions": False}),
    }[free]
    differences = finite_strain_constants(iron, distorted, strained, tight, **options)
    assert relative_error(differences, exact) < 1e-4
    if free != "all":
        assert relative_error(found.constants, exact) > 1e-2
    assert np.abs(found.stress).max() < 1e-5


def test_a_cubic_crystal_has_cubic_constants(iron, ferromagnet) -> None:
    found = mmtp.elastic_constants(iron, ferromagnet)
    c11, c12, c44 = found.cubic
    cubic = np.zeros((6, 6))
    cubic[:3, :3] = c12
    np.fill_diagonal(cubic, [c11] * 3 + [c44] * 3)
    assert np.allclose(found.constants, cubic, atol=1e-4)
    assert found.is_stable
    assert found.lowest == pytest.approx(c11 - c12)
    assert found.averages.bulk == pytest.approx((c11 + 2 * c12) / 3)
    primitive = bulk("Fe", a=2.83)
    primitive.set_initial_magnetic_moments([2.2])
    other = mmtp.elastic_constants(iron, primitive)
    assert other.cubic == pytest.approx((c11, c12, c44), abs=1e-2)
    text = str(found)
    assert "Born: stable" in text
    assert "-0.00" not in text


def test_constants_turn_with_the_crystal(iron, ferromagnet) -> None:
    turn = Rotation.from_rotvec([0.3, -0.7, 0.4]).as_matrix()
    atoms = ferromagnet.copy()
    atoms.set_cell(atoms.cell.array @ turn.T, scale_atoms=True)
    whole = mmtp.elastic_constants(iron, ferromagnet, relax=False).constants
    found = mmtp.elastic_constants(iron, atoms, relax=False).constants
    assert np.allclose(found, voigt_tensor(rotated(full_tensor(whole), turn)), atol=1e-6)
    assert not np.allclose(found, whole, atol=1.0)


def test_averages_of_an_isotropic_and_of_a_cubic_solid() -> None:
    def cubic(c11, c12, c44) -> np.ndarray:
        c = np.full((6, 6), 0.0)
        c[:3, :3] = c12
        np.fill_diagonal(c, [c11] * 3 + [c44] * 3)
        return c

    same = Averages.of(cubic(300.0, 100.0, 100.0))
    assert same.bulk == pytest.approx(500 / 3)
    assert same.shear_voigt == pytest.approx(100.0)
    assert same.shear_reuss == pytest.approx(100.0)
    assert same.anisotropy == pytest.approx(0.0, abs=1e-12)
    assert same.young == pytest.approx(250.0)
    assert same.poisson == pytest.approx(0.25)
    # Hill 1952 for a cubic crystal, in closed form.
    c11, c12, c44 = 231.0, 135.0, 116.0
    found = Averages.of(cubic(c11, c12, c44))
    assert found.shear_voigt == pytest.approx((c11 - c12 + 3 * c44) / 5)
    wanted = 5 * (c11 - c12) * c44 / (4 * c44 + 3 * (c11 - c12))
    assert found.shear_reuss == pytest.approx(wanted)
    assert found.shear_reuss < found.shear < found.shear_voigt
    assert found.anisotropy > 0


def test_an_unstable_crystal_is_said_to_be(iron) -> None:
    """Stretched far beyond the inflection of its energy."""
    atoms = bulk("Fe", a=3.25, cubic=True)
    atoms.set_initial_magnetic_moments([2.8, 2.8])
    atoms = mmtp.equilibrate(iron, atoms, tolerance=1e-7).atoms
    with pytest.raises(ValueError, match="second derivatives of the energy"):
        mmtp.elastic_constants(iron, atoms, relax=False)
    found = mmtp.elastic_constants(iron, atoms, relax=False, max_stress_GPa=1e3)
    assert found.is_stable == (found.lowest > 0)
    assert not found.is_stable
    assert "UNSTABLE" in str(found)


def test_states_that_are_lost_are_named(iron) -> None:
    atoms = bulk("Fe", a=2.83, cubic=True)
    atoms.set_initial_magnetic_moments([1.5, -1.5])
    with pytest.raises(mmtp.UnstableStateError, match="2 of 2 moments have vanished"):
        mmtp.elastic_constants(iron, atoms)
    atoms.set_initial_magnetic_moments([2.2, 2.2])
    with pytest.raises(ValueError, match="not relaxed"):
        mmtp.elastic_constants(iron, atoms, max_steps=1)
    start, end = np.array([2.0, -2.0, 2.0, 0.1, 0.0]), np.array([2.1, 1.0, 0.05, -0.1, 1.0])
    assert flipped(start, end).tolist() == [False, True, False, False, False]
    assert vanished(start, end).tolist() == [False, False, True, False, False]
    assert "have changed their sign (atom 1" in lost_state(start, end)
    assert lost_state(start, start) == ""


# --- paramagnetic -------------------------------------------------------------------


def _ideal(lattice: float = 2.82) -> Atoms:
    atoms = bulk("Fe", a=lattice, cubic=True).repeat((2, 1, 1))
    atoms.set_initial_magnetic_moments([2.2] * 4)
    return atoms


def test_point_operations_of_crystals(iron) -> None:
    def count(atoms: Atoms) -> int:
        structure = Structure(
            atoms.cell.array, np.ones(3, bool), atoms.positions, atoms.numbers,
            np.zeros(len(atoms)),
        )  # fmt: skip
        return len(operations(neighbour_table(structure, 4.2), structure.types))

    assert count(_ideal()) == 48
    rock_salt = bulk("CrN", "rocksalt", a=4.14)
    assert count(rock_salt) == 48
    tetragonal = bulk("Fe", a=2.8, cubic=True)
    tetragonal.set_cell([2.8, 2.8, 3.0], scale_atoms=True)
    assert count(tetragonal) == 16
    tetragonal.set_cell([2.8, 2.9, 3.0], scale_atoms=True)
    assert count(tetragonal) == 8
    assert count(bulk("GaAs", "zincblende", a=5.65)) == 24
    moved = _ideal()
    moved.positions[0] += [0.1, 0.05, 0.02]
    assert count(moved) == 1


def test_averages_over_operations_have_the_symmetry() -> None:
    rng = np.random.default_rng(0)
    tensor = rng.normal(size=(6, 6))
    tensor = tensor + tensor.T
    structure = Structure(
        np.eye(3) * 3.0, np.ones(3, bool), np.zeros((1, 3)), np.zeros(1, int), np.zeros(1)
    )
    group = operations(neighbour_table(structure, 5.0), structure.types)
    mean = averaged(tensor, group)
    assert np.ptp(np.diag(mean)[:3]) < 1e-12
    assert np.abs(mean[:3, 3:]).max() < 1e-12
    assert mean[0, 0] == pytest.approx(np.trace(tensor[:3, :3]) / 3)
    assert np.allclose(voigt_tensor(full_tensor(tensor)), tensor)


def test_paramagnetic_constants_are_the_mean_of_all_states(iron) -> None:
    """Of four atoms there are six states without net moment."""
    atoms = _ideal()
    exact = []
    for up in combinations(range(4), 2):
        state = atoms.copy()
        moments = np.full(4, -2.2)
        moments[list(up)] = 2.2
        state.set_initial_magnetic_moments(moments)
        state = mmtp.equilibrate(iron, state, tolerance=1e-8).atoms
        second = mmtp.response(iron, state)
        if np.linalg.eigvalsh(second.mm)[0] > 0:
            exact.append(second.elastic_constants(positions=False) / GPa)
    assert 2 <= len(exact) < 6
    spread = np.array([[np.mean(np.diag(c)[:3]), np.mean(np.diag(c)[3:])] for c in exact])
    found = mmtp.elastic_constants(iron, atoms, states=12, seed=2, relax=False, max_stress_GPa=10.0)
    assert found.n_states + found.n_failed == 12
    assert found.n_failed
    c11, c12, c44 = found.cubic
    cubic = np.zeros((6, 6))
    cubic[:3, :3] = c12
    np.fill_diagonal(cubic, [c11] * 3 + [c44] * 3)
    assert np.allclose(found.constants, cubic, atol=1e-8)
    # The minima of four atoms are rotations of each other: without inner freedom nothing varies.
    got = np.array([np.diag(found.clamped_ions)[0], np.diag(found.clamped_ions)[3]])
    assert np.allclose(got, spread.mean(axis=0), atol=1e-3)
    # The mean force of a strain is zero by symmetry in the limit only; errors say how far it is.
    assert 0.1 < found.error.max() < 10.0
    assert np.abs(found.constants - found.clamped_ions).max() < 3 * found.error.max()


def test_paramagnetic_volume_has_no_mean_pressure(iron) -> None:
    done = []
    found = mmtp.elastic_constants(iron, _ideal(2.80), states=6, callback=done.append)
    assert np.abs(found.stress).max() < 0.02
    assert found.is_stable
    assert done == [*range(1, len(done) + 1)]
    lattice = np.cbrt(2 * found.volume)
    assert 2.80 < lattice < 2.83
    with pytest.raises(ValueError, match="at least two states"):
        mmtp.elastic_constants(iron, _ideal(), states=1)
