"""Initial values: intervals of the data, species constants, linear coefficients."""

from dataclasses import replace

import numpy as np
import pytest

from mmtp_jax.fitting.dataset import make_targets
from mmtp_jax.fitting.initial import (
    DISTANCE_MARGIN,
    MAGMOM_MARGIN,
    SMALLEST_MAX_MAGMOM,
    data_domain,
    largest_magmoms,
    shortest_distance,
    solve_linear,
    species_energies,
    with_domain,
)
from mmtp_jax.fitting.weights import Weights
from mmtp_jax.interfaces.evaluation import evaluate_structures
from mmtp_jax.potential.potential import Potential
from mmtp_jax.structures.batch import make_batches
from mmtp_jax.structures.neighbours import neighbour_table


@pytest.mark.parametrize("form", ["bare", "symmetrised"])
@pytest.mark.parametrize(
    "changes",
    [
        {"min_dist": 1.1},
        {"max_magmom": 2.2},
        {"min_dist": 2.4, "max_magmom": (1.0, 5.0)},
        {},
    ],
    ids=str,
)
def test_another_domain_changes_no_energy(
    changes, form, random_potential, random_structure, evaluated, relative_error
):
    potential = random_potential(61, level=4, magnetic_size=3, form=form, intervals="asymmetric")
    moved = with_domain(potential, **changes)
    structure = random_structure(61, 5)
    got, expected = evaluated(moved, structure), evaluated(potential, structure)
    for kind in ("energies", "forces", "stress", "magnetic_forces"):
        assert relative_error(got[kind], expected[kind]) < 1e-10, kind
    if "min_dist" in changes:
        assert moved.min_dist == changes["min_dist"]
        assert moved.cutoff == potential.cutoff
    if "max_magmom" in changes:
        np.testing.assert_array_equal(moved.max_magmom, np.broadcast_to(changes["max_magmom"], 2))
        np.testing.assert_array_equal(moved.min_magmom, -moved.max_magmom)


@pytest.mark.parametrize("min_dist", [0.0, -1.0, 4.0, 7.0])
def test_min_dist_must_be_below_the_cutoff(min_dist, random_potential):
    with pytest.raises(ValueError, match=r"must lie between 0 and the cutoff 4\.0000"):
        with_domain(random_potential(62, level=2), min_dist=min_dist)


def test_data_domain_has_room_around_the_shortest_distance_and_the_largest_moments(
    random_structure, image_pairs
):
    structures = [random_structure(k, 4, n_species=3) for k in range(3)]
    for s in structures:
        s.magmoms[s.types == 2] = 0.0
    tables = [neighbour_table(s, 4.0) for s in structures]
    lengths = [np.linalg.norm(image_pairs(s, 4.0)[2], axis=1).min() for s in structures]
    assert shortest_distance(tables) == pytest.approx(min(lengths), rel=1e-14)
    types = np.concatenate([s.types for s in structures])
    magmoms = np.abs(np.concatenate([s.magmoms for s in structures]))
    largest = [magmoms[types == z].max() for z in range(3)]
    np.testing.assert_array_equal(largest_magmoms(structures, 3), largest)
    min_dist, max_magmom = data_domain(structures, tables, 3)
    assert min_dist == DISTANCE_MARGIN * shortest_distance(tables)
    expected = [MAGMOM_MARGIN * largest[0], MAGMOM_MARGIN * largest[1], SMALLEST_MAX_MAGMOM]
    np.testing.assert_allclose(max_magmom, expected)


def test_without_neighbours_there_is_no_shortest_distance(random_structure):
    alone = random_structure(63, 1, periodic=False)
    assert shortest_distance([neighbour_table(alone, 4.0)]) is None


# --- species constants --------------------------------------------------------------


def with_types(structure, types, energy):
    return replace(structure, types=np.array(types, np.int32), energy=energy)


def test_species_energies_are_found_where_compositions_tell_them_apart(random_structure):
    exact = np.array([-3455.5, -1200.25, -80.0])
    structures = []
    for k in range(6):
        types = np.random.default_rng(k).integers(0, 3, 4)
        structures.append(with_types(random_structure(k, 4), types, exact[types].sum()))
    np.testing.assert_allclose(species_energies(structures, 3), exact, rtol=1e-10)


def test_species_energies_of_one_composition_are_the_mean_per_atom(random_structure):
    """Nothing tells the species apart, so none gets a share of its own."""
    structures = [with_types(random_structure(k, 4), [0, 0, 1, 1], -40.0 + k) for k in range(3)]
    np.testing.assert_allclose(species_energies(structures, 2), [-9.75, -9.75], rtol=1e-12)


def test_species_energies_leave_unlabelled_configurations_out(random_structure):
    structures = [
        with_types(random_structure(0, 2), [0, 0], -8.0),
        with_types(random_structure(1, 2), [0, 1], -6.0),
        with_types(random_structure(2, 2), [1, 1], None),
    ]
    np.testing.assert_allclose(species_energies(structures, 2), [-4.0, -2.0], rtol=1e-10)
    assert species_energies(structures[2:], 2) is None


# --- linear coefficients ------------------------------------------------------------


def vector_of(structure, values, weights, counts):
    """Weighted numbers of one configuration, as they enter the loss (scaling 'vibrations')."""
    n, volume = len(structure), structure.volume
    xx, yy, zz, yz, xz, xy = values["stress"]
    stress = np.array([xx, xy, xz, xy, yy, yz, xz, yz, zz])
    return np.concatenate(
        [
            [values["energy"] * np.sqrt(weights.energy / n)],
            np.ravel(values["forces"]) * np.sqrt(weights.forces),
            stress * volume * np.sqrt(weights.stress / n),
            values["magnetic_forces"] * np.sqrt(weights.magnetic_forces),
        ]
    ) / np.sqrt(counts)


def all_numbers(potential, structures, weights):
    return np.concatenate(
        [
            vector_of(s, vars(result), weights, len(structures))
            for s, result in zip(
                structures, evaluate_structures(potential, structures), strict=True
            )
        ]
    )


def test_linear_coefficients_are_the_least_squares_optimum(two_species_data, relative_error):
    """Against numpy's lstsq on a design matrix from unit coefficients, one after the other."""
    potential = Potential.new(
        level=6, species=("Fe", "Al"), radial_size=3, min_dist=1.9, cutoff=4.0, seed=8
    )
    weights = Weights(energy=1.0, forces=0.05, stress=0.01, magnetic_forces=0.2)
    batches = make_batches(two_species_data, 4.0, max_atoms=12)
    targets = make_targets(two_species_data, batches, weights)
    solved = solve_linear(potential, np.zeros(0), targets)[0]

    n_moments = len(potential.moment_coeffs)
    columns = []
    for unit in np.eye(n_moments + 2):
        one = potential.replace(moment_coeffs=unit[:n_moments], species_coeffs=unit[n_moments:])
        columns.append(all_numbers(one, two_species_data, weights))
    labels = np.concatenate(
        [
            vector_of(
                s,
                {
                    "energy": s.energy,
                    "forces": s.forces,
                    "stress": s.stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]],
                    "magnetic_forces": s.magnetic_forces,
                },
                weights,
                len(two_species_data),
            )
            for s in two_species_data
        ]
    )
    design = np.array(columns).T
    best, *_ = np.linalg.lstsq(design, labels, rcond=None)
    expected = np.sum((design @ best - labels) ** 2)
    got = np.sum((all_numbers(solved, two_species_data, weights) - labels) ** 2)
    assert expected > 1e-6, "an exact solution would hide wrong weights"
    assert got == pytest.approx(expected, rel=1e-8)
    np.testing.assert_array_equal(solved.radial_coeffs, potential.radial_coeffs)


def test_linear_coefficients_of_the_teacher_are_recovered(teacher, data, relative_error):
    targets = make_targets(data, make_batches(data, 4.0), Weights())
    wrong = teacher.replace(
        moment_coeffs=np.zeros_like(teacher.moment_coeffs),
        species_coeffs=teacher.species_coeffs + 5.0,
    )
    solved = solve_linear(wrong, np.zeros(0), targets)[0]
    assert relative_error(solved.moment_coeffs, teacher.moment_coeffs) < 1e-6
    assert relative_error(solved.species_coeffs, teacher.species_coeffs) < 1e-6
