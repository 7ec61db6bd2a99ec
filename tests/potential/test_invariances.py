"""What must not change the energy, and how the energy ends at the cutoff."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmtp_jax.potential.observables import Observables, evaluate_graph, parameter_gradient
from mmtp_jax.structures.structure import Structure

KINDS = ("energies", "forces", "stress", "magnetic_forces")


@pytest.fixture(scope="module", params=["bare", "symmetrised"])
def potential(request, random_potential):
    return random_potential(31, level=8, form=request.param, intervals="asymmetric")


@pytest.fixture(scope="module")
def structure(random_structure):
    return random_structure(31, 6)


@pytest.fixture
def expected(potential, structure, evaluated):
    return evaluated(potential, structure)


def random_rotation(seed):
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q *= np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))


@pytest.mark.parametrize("reflected", [False, True])
def test_rotation_turns_forces_and_stress_with_it(
    reflected, potential, structure, expected, evaluated, relative_error
):
    q = random_rotation(1) * (-1 if reflected else 1)
    assert np.linalg.det(q) == pytest.approx(-1 if reflected else 1)
    turned = replace(structure, cell=structure.cell @ q.T, positions=structure.positions @ q.T)
    got = evaluated(potential, turned)
    assert relative_error(got["energies"], expected["energies"]) < 1e-12
    assert relative_error(got["forces"], expected["forces"] @ q.T) < 1e-12
    assert relative_error(got["stress"], q @ expected["stress"] @ q.T) < 1e-12
    assert relative_error(got["magnetic_forces"], expected["magnetic_forces"]) < 1e-12


def test_translation_and_wrapping_change_nothing(
    potential, structure, expected, evaluated, relative_error
):
    rng = np.random.default_rng(2)
    images = rng.integers(-2, 3, (len(structure), 3)) @ structure.cell
    moved = replace(structure, positions=structure.positions + np.array([0.3, -7.0, 1.1]) + images)
    got = evaluated(potential, moved)
    for kind in KINDS:
        assert relative_error(got[kind], expected[kind]) < 1e-12, kind


def test_another_basis_of_the_same_lattice_changes_nothing(
    potential, structure, expected, evaluated, relative_error
):
    basis = np.array([[1, 1, 0], [0, 1, 0], [-1, 0, 1]])
    got = evaluated(potential, replace(structure, cell=basis @ structure.cell))
    for kind in KINDS:
        assert relative_error(got[kind], expected[kind]) < 1e-12, kind


def test_permutation_of_atoms_permutes_their_values(
    potential, structure, expected, evaluated, relative_error
):
    order = np.random.default_rng(3).permutation(len(structure))
    got = evaluated(
        potential,
        replace(
            structure,
            positions=structure.positions[order],
            types=structure.types[order],
            magmoms=structure.magmoms[order],
        ),
    )
    for kind in ("energies", "forces", "magnetic_forces"):
        assert relative_error(got[kind], expected[kind][order]) < 1e-12, kind
    assert relative_error(got["stress"], expected["stress"]) < 1e-12


def test_reversal_of_all_moments(potential, structure, expected, evaluated, relative_error):
    """Exact for the symmetrised energy (Burov 2026, Eq. 7); the bare one has no such symmetry."""
    got = evaluated(potential, replace(structure, magmoms=-structure.magmoms))
    if potential.even:
        for kind in ("energies", "forces", "stress"):
            assert relative_error(got[kind], expected[kind]) < 1e-12, kind
        assert relative_error(got["magnetic_forces"], -expected["magnetic_forces"]) < 1e-12
    else:
        assert relative_error(got["energies"], expected["energies"]) > 1e-3


def test_reversal_of_one_moment_changes_the_energy(potential, structure, expected, evaluated):
    magmoms = structure.magmoms * [-1, 1, 1, 1, 1, 1]
    got = evaluated(potential, replace(structure, magmoms=magmoms))
    assert abs(got["energy"] - expected["energy"]) > 1e-3


def test_magnetic_forces_vanish_at_zero_moments_of_the_symmetrised_energy(
    random_potential, structure, evaluated
):
    potential = random_potential(32, level=4)
    got = evaluated(potential, replace(structure, magmoms=np.zeros(len(structure))))
    assert np.abs(got["magnetic_forces"]).max() < 1e-13 * np.abs(got["energies"]).max()


def test_two_copies_of_the_cell_have_twice_the_energy(
    potential, random_structure, evaluated, relative_error
):
    one = random_structure(33, 3)
    expected = evaluated(potential, one)
    for axis in range(3):
        cell = one.cell.copy()
        cell[axis] *= 2
        two = replace(
            one,
            cell=cell,
            positions=np.vstack([one.positions, one.positions + one.cell[axis]]),
            types=np.tile(one.types, 2),
            magmoms=np.tile(one.magmoms, 2),
        )
        got = evaluated(potential, two)
        assert got["energy"] == pytest.approx(2 * expected["energy"], rel=1e-12)
        assert relative_error(got["stress"], expected["stress"]) < 1e-12
        for kind in ("energies", "forces", "magnetic_forces"):
            assert relative_error(got[kind][:3], expected[kind]) < 1e-12, kind
            assert relative_error(got[kind][3:], expected[kind]) < 1e-12, kind


def test_one_atom_cell_with_many_images_is_a_supercell(
    potential, random_structure, evaluated, relative_error
):
    one = random_structure(34, 1, volume_per_atom=9.0)
    shifts = np.array(list(np.ndindex(2, 2, 2)))
    eight = replace(
        one,
        cell=2 * one.cell,
        positions=one.positions + shifts @ one.cell,
        types=np.tile(one.types, 8),
        magmoms=np.tile(one.magmoms, 8),
    )
    got, expected = evaluated(potential, eight), evaluated(potential, one)
    assert relative_error(got["energies"], np.tile(expected["energies"], 8)) < 1e-12
    assert relative_error(got["stress"], expected["stress"]) < 1e-12
    # By symmetry, an atom of a Bravais lattice feels no force.
    scale = np.abs(expected["energies"]).max()
    assert np.abs(expected["forces"]).max() < 1e-12 * scale
    assert np.abs(got["forces"]).max() < 1e-12 * scale


@pytest.mark.parametrize(
    "flags", [(True, True, False), (False, True, False), (False,) * 3], ids=str
)
def test_open_directions_are_a_big_vacuum(
    flags, potential, random_structure, evaluated, relative_error
):
    """Slabs, wires and clusters equal periodic boxes whose images are beyond the cutoff."""
    flags = np.array(flags)
    open_ended = random_structure(35, 5, periodic=flags, volume_per_atom=16.0)
    cell = open_ended.cell.copy()
    # Vectors along the open directions, long and at right angles to the others.
    _, _, complement = np.linalg.svd(cell)
    cell[~flags] = 40.0 * complement[int(flags.sum()) :]
    boxed = replace(open_ended, cell=cell, periodic=np.ones(3, bool))
    got, expected = evaluated(potential, open_ended), evaluated(potential, boxed)
    for kind in ("energies", "forces", "magnetic_forces"):
        assert relative_error(got[kind], expected[kind]) < 1e-12, kind
    assert open_ended.volume is None
    np.testing.assert_array_equal(got["stress"], 0.0)


# --- the program's own freedom: padding and blocks ----------------------------------


def test_padding_changes_nothing(potential, structure, expected, graph_of, relative_error):
    """More atoms, wider rows and more configurations than there are."""
    sites, values = evaluate_graph(potential, graph_of(structure, n_atoms=15, width=80, n_conf=3))
    n = len(structure)
    assert relative_error(sites[:n], expected["energies"]) < 1e-13
    assert relative_error(values.forces[:n], expected["forces"]) < 1e-13
    assert relative_error(values.stress[0], expected["stress"]) < 1e-13
    assert relative_error(values.magnetic_forces[:n], expected["magnetic_forces"]) < 1e-13
    # What is not there has no values of its own.
    np.testing.assert_array_equal(values.forces[n:], 0.0)
    np.testing.assert_array_equal(values.magnetic_forces[n:], 0.0)
    np.testing.assert_array_equal(values.energy[1:], 0.0)
    np.testing.assert_array_equal(values.stress[1:], 0.0)


def test_values_do_not_depend_on_company(
    random_potential, random_structure, graph_of, evaluated, relative_error
):
    """Several configurations in one graph are the same as each alone."""
    potential = random_potential(36, level=4)
    structures = [random_structure(k, n) for k, n in enumerate((3, 1, 4))]
    graph = graph_of(structures)
    _, values = jax.device_get(evaluate_graph(potential, graph))
    start = 0
    for k, one in enumerate(structures):
        alone = evaluated(potential, one)
        inside = slice(start, start + len(one))
        start += len(one)
        assert values.energy[k] == pytest.approx(alone["energy"], rel=1e-13)
        assert relative_error(values.forces[inside], alone["forces"]) < 1e-13
        assert relative_error(values.stress[k], alone["stress"]) < 1e-13
        assert relative_error(values.magnetic_forces[inside], alone["magnetic_forces"]) < 1e-13


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_blocks_of_atoms_change_nothing(
    chunk, random_potential, structure, graph_of, relative_error
):
    potential = random_potential(37, level=4)
    graph = graph_of(structure)
    whole = evaluate_graph(potential, graph)
    for a, b in zip(
        jax.tree.leaves(evaluate_graph(potential, graph, chunk)),
        jax.tree.leaves(whole),
        strict=True,
    ):
        assert relative_error(a, b) < 1e-13


def test_padding_does_not_change_the_parameter_gradient(
    random_potential, structure, graph_of, relative_error
):
    potential = random_potential(37, level=4)
    theta = jnp.asarray(potential.flatten())
    gradient = jax.jit(parameter_gradient)
    rng = np.random.default_rng(4)
    n = len(structure)
    small = graph_of(structure)
    cotangents = Observables(
        rng.normal(size=1),
        rng.normal(size=(len(small.types), 3)),
        rng.normal(size=(1, 3, 3)),
        rng.normal(size=len(small.types)),
    )
    expected = gradient(theta, potential, small, cotangents)
    large = graph_of(structure, n_atoms=15, n_conf=2)
    padded = Observables(
        np.append(cotangents.energy, 0.0),
        np.zeros((len(large.types), 3)),
        np.concatenate([cotangents.stress, np.zeros((1, 3, 3))]),
        np.zeros(len(large.types)),
    )
    padded.forces[:n] = cotangents.forces[:n]
    padded.magnetic_forces[:n] = cotangents.magnetic_forces[:n]
    # Cotangents of atoms that are not there must not count either.
    padded.forces[n:] = 17.0
    assert relative_error(gradient(theta, potential, large, padded), expected) < 1e-12


# --- few neighbours, and the cutoff -------------------------------------------------


def free(positions, types=None, magmoms=None):
    n = len(positions)
    return Structure(
        cell=np.zeros((3, 3)),
        periodic=np.zeros(3, bool),
        positions=np.array(positions, float),
        types=np.zeros(n, np.int32) if types is None else np.array(types, np.int32),
        magmoms=np.full(n, 1.7) if magmoms is None else np.array(magmoms, float),
    )


def pair(distance):
    direction = np.array([2.0, -1.0, 0.5]) / np.linalg.norm([2.0, -1.0, 0.5])
    return free([np.zeros(3), distance * direction], types=[0, 1], magmoms=[1.7, -0.6])


def test_isolated_atom_has_the_energy_of_its_species_and_no_derivatives(potential, evaluated):
    for species in (0, 1):
        got = evaluated(potential, free([[0.1, 0.2, 0.3]], types=[species]))
        assert got["energy"] == potential.species_coeffs[species]
        for kind in ("forces", "stress", "magnetic_forces"):
            np.testing.assert_array_equal(got[kind], 0.0)


def test_isolated_atom_in_a_box_has_no_stress(potential, evaluated):
    atom = replace(free([[0.0] * 3]), cell=9.0 * np.eye(3), periodic=np.ones(3, bool))
    got = evaluated(potential, atom)
    assert got["energy"] == potential.species_coeffs[0]
    np.testing.assert_array_equal(got["stress"], 0.0)


@pytest.mark.parametrize("excess", [0.0, 1e-12, 1e-6, 0.5])
def test_two_atoms_at_or_beyond_the_cutoff_do_not_see_each_other(excess, potential, evaluated):
    got = evaluated(potential, pair(float(potential.cutoff) + excess))
    assert got["energy"] == pytest.approx(potential.species_coeffs.sum(), rel=1e-12)
    # At the cutoff itself the vector's length may round to below it.
    np.testing.assert_allclose(got["forces"], 0.0, atol=1e-12)
    np.testing.assert_allclose(got["magnetic_forces"], 0.0, atol=1e-12)


def test_a_neighbour_in_the_graph_at_exactly_the_cutoff_contributes_nothing(potential, graph_of):
    """Tables with a skin hold such neighbours: the potential, not the table, cuts them off."""
    cutoff = float(potential.cutoff)
    for distance in (cutoff, cutoff + 0.3):
        graph = graph_of(free([[0.0] * 3, [0.0, 0.0, distance]]), cutoff + 0.5)
        sites, values = evaluate_graph(potential, graph)
        np.testing.assert_array_equal(sites[:2], potential.species_coeffs[[0, 0]])
        np.testing.assert_array_equal(values.forces, 0.0)
        np.testing.assert_array_equal(values.magnetic_forces, 0.0)


def test_a_skin_in_the_neighbour_table_changes_nothing(
    potential, random_structure, graph_of, relative_error
):
    structure = random_structure(38, 2, volume_per_atom=16.0)
    cutoff = float(potential.cutoff)
    tight, loose = (
        evaluate_graph(potential, graph_of(structure, cutoff + skin)) for skin in (0.0, 0.5)
    )
    for a, b in zip(jax.tree.leaves(loose), jax.tree.leaves(tight), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_energy_and_force_go_to_zero_smoothly_at_the_cutoff(potential, evaluated):
    """E ~ (R_cut - r)^2 and f ~ (R_cut - r) as a neighbour leaves."""
    cutoff = float(potential.cutoff)
    depths = np.array([1e-3, 1e-4, 1e-5])
    inside = [evaluated(potential, pair(cutoff - depth)) for depth in depths]
    alone = potential.species_coeffs.sum()
    energy = np.array([got["energy"] - alone for got in inside])
    force = np.array([np.linalg.norm(got["forces"][0]) for got in inside])
    torque = np.array([np.abs(got["magnetic_forces"]).max() for got in inside])
    assert force[0] > 1e-5, "a potential without a force there tests nothing"
    np.testing.assert_allclose(force / depths, force[-1] / depths[-1], rtol=0.05)
    np.testing.assert_allclose(energy[:2] / depths[:2] ** 2, energy[1] / depths[1] ** 2, rtol=0.05)
    np.testing.assert_allclose(torque / depths**2, torque[1] / depths[1] ** 2, rtol=0.05)


def test_energy_and_force_are_continuous_as_neighbours_cross_the_cutoff(
    potential, random_structure, image_pairs, evaluated
):
    """Along a path of growing cells some images leave, and no value jumps."""
    structure = random_structure(39, 2)
    cutoff = float(potential.cutoff)
    lengths = np.linalg.norm(image_pairs(structure, cutoff + 0.1)[2], axis=1)
    crossing = cutoff / lengths.max()
    path = []
    for scale in crossing * (1.0 + np.linspace(-1e-4, 1e-4, 40)):
        path.append(
            replace(structure, cell=scale * structure.cell, positions=scale * structure.positions)
        )
    assert len(image_pairs(path[0], cutoff)[0]) > len(image_pairs(path[-1], cutoff)[0])
    values = [evaluated(potential, there) for there in path]
    for kind in ("energy", "forces", "stress", "magnetic_forces"):
        steps = np.abs(np.diff([there[kind] for there in values], axis=0)).reshape(39, -1)
        # A jump would stand out against the other steps.
        assert np.all(steps.max(axis=0) <= 1.5 * np.median(steps, axis=0) + 1e-9), kind
