"""The potential as a pytree: sizes, parameters, changes of interval, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmtp_jax.potential.chebyshev import chebyshev_rescaling
from mmtp_jax.potential.moments import moment_tables
from mmtp_jax.potential.observables import evaluate_graph
from mmtp_jax.potential.potential import Potential

FIELDS = ("species_coeffs", "moment_coeffs", "radial_coeffs")


@pytest.mark.parametrize(
    ("level", "magnetic_size", "expected"),
    [(12, 2, 415), (12, 3, 895), (12, 4, 1567), (12, 5, 2431), (16, 2, 606)],
)
def test_number_of_parameters_is_that_of_the_papers(level, magnetic_size, expected):
    """Kotykhov 2024, Table 1 (Fe-Al), and Kotykhov 2025 (CrN)."""
    potential = Potential.new(
        level=level, species=("A", "B"), radial_size=8, magnetic_size=magnetic_size, form="bare"
    )
    assert potential.n_parameters == expected
    assert potential.flatten().shape == (expected,)
    assert sum(potential.parameter_sizes.values()) == expected


def test_flatten_and_unflatten_are_inverse_and_in_the_documented_order(random_potential):
    potential = random_potential(0, level=6, n_species=3, magnetic_size=3)
    theta = potential.flatten()
    assert isinstance(theta, np.ndarray)
    np.testing.assert_array_equal(potential.parameters, theta)
    expected = [np.ravel(getattr(potential, name)) for name in FIELDS]
    np.testing.assert_array_equal(theta, np.concatenate(expected))
    other = potential.unflatten(2 * theta + 1)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(other, name), 2 * getattr(potential, name) + 1)
    for name in ("scaling", "min_dist", "cutoff", "min_magmom", "max_magmom"):
        assert getattr(other, name) is getattr(potential, name)
    np.testing.assert_array_equal(other.flatten(), 2 * theta + 1)
    np.testing.assert_array_equal(potential.flatten(), theta)


def test_flatten_works_on_traced_parameters(random_potential):
    potential = random_potential(1)
    theta = jnp.asarray(potential.flatten())
    again = jax.jit(lambda t: potential.unflatten(t).flatten())(theta)
    np.testing.assert_array_equal(again, theta)


def test_unflatten_refuses_another_length(random_potential):
    potential = random_potential(2)
    with pytest.raises(ValueError, match=rf"{potential.n_parameters} parameters"):
        potential.unflatten(np.zeros(potential.n_parameters + 1))


def test_sizes_are_read_from_the_coefficients():
    potential = Potential.new(level=6, species=("Fe", "Al"), radial_size=5, magnetic_size=3)
    assert potential.radial_coeffs.shape == (2, 2, 2, 5, 3, 3)
    assert (potential.n_species, potential.radial_size, potential.magnetic_size) == (2, 5, 3)
    assert potential.level == 6
    assert potential.form == "parity"


def test_the_seed_decides_the_coefficients():
    one, same, other = (Potential.new(level=2, species=("Fe",), seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.flatten(), same.flatten())
    assert not np.array_equal(one.flatten(), other.flatten())


def test_potential_is_a_pytree_of_numbers(random_potential):
    potential = random_potential(3)
    leaves, tree = jax.tree.flatten(potential)
    assert len(leaves) == 8
    again = jax.tree.unflatten(tree, leaves)
    assert again.species == potential.species
    assert again.tables == potential.tables
    doubled = jax.tree.map(lambda leaf: 2 * leaf, potential)
    np.testing.assert_array_equal(doubled.flatten(), 2 * potential.flatten())
    assert doubled.cutoff == 2 * potential.cutoff


def test_potentials_of_one_form_share_one_compilation(random_potential, random_structure, graph_of):
    """New coefficients, cutoffs and intervals are numbers, not a new program."""
    graph = graph_of(random_structure(4, 3))
    compiled = jax.jit(lambda potential, graph: evaluate_graph(potential, graph)[1].energy)
    first = random_potential(4, level=2)
    energies = [
        float(compiled(potential, graph)[0])
        for potential in (
            first,
            random_potential(5, level=2),
            first.replace(cutoff=np.float64(3.8), min_dist=np.float64(1.1)),
            first.replace(min_magmom=first.min_magmom - 1, scaling=np.float64(2.0)),
        )
    ]
    assert len(set(energies)) == len(energies)
    # Tables that are equal but not the same object.
    tables = moment_tables(2)
    copied = type(tables)(tables.basic.copy(), tables.products.copy(), tables.scalars.copy())
    assert float(compiled(first.replace(tables=copied), graph)[0]) == energies[0]
    assert compiled._cache_size() == 1
    compiled(first.replace(form="bare"), graph)
    assert compiled._cache_size() == 2


def test_astype_changes_every_number(random_potential):
    single = random_potential(6).astype(np.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(single)} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("magnetic_size", "form"), [(1, "symmetrised"), (2, "bare"), (4, "symmetrised")]
)
def test_common_interval_changes_no_energy(
    magnetic_size, form, random_potential, random_structure, evaluated, relative_error
):
    potential = random_potential(
        7,
        level=2,
        n_species=3,
        magnetic_size=magnetic_size,
        form=form,
        intervals="asymmetric",
    )
    common = potential.with_common_interval()
    assert np.ptp(common.min_magmom) == np.ptp(common.max_magmom) == 0
    assert common.min_magmom[0] == potential.min_magmom.min()
    assert common.max_magmom[0] == potential.max_magmom.max()
    structure = random_structure(7, 6, n_species=3)
    got, expected = evaluated(common, structure), evaluated(potential, structure)
    for kind in ("energies", "forces", "stress"):
        assert relative_error(got[kind], expected[kind]) < 1e-11, kind
    np.testing.assert_allclose(got["magnetic_forces"], expected["magnetic_forces"], atol=1e-10)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_rescaling_matrix_rewrites_the_polynomials(size):
    old, new = (-2.0, 1.0), (-3.0, 5.0)
    value = np.linspace(-4, 6, 11)

    def basis(low, high):
        argument = (2 * value - low - high) / (high - low)
        return np.polynomial.chebyshev.chebvander(argument, size - 1)

    got = basis(*new) @ chebyshev_rescaling(size, old, new).T
    np.testing.assert_allclose(got, basis(*old), rtol=1e-10, atol=1e-10)


def test_one_max_magmom_serves_all_species_and_several_serve_each():
    kwargs = {"level": 2, "species": ("Fe", "Al")}
    np.testing.assert_array_equal(Potential.new(max_magmom=2.5, **kwargs).max_magmom, [2.5, 2.5])
    each = Potential.new(max_magmom=(3.0, 0.3), **kwargs)
    np.testing.assert_array_equal(each.max_magmom, [3.0, 0.3])
    np.testing.assert_array_equal(each.min_magmom, [-3.0, -0.3])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"level": None}, "give the level"),
        ({"level": 3}, "even"),
        ({"level": 0}, "at least 2"),
        ({"species": ()}, "different chemical symbols"),
        ({"species": ("Fe", "Fe")}, "different chemical symbols"),
        ({"radial_size": 0}, "at least 1"),
        ({"magnetic_size": 0}, "at least 1"),
        ({"min_dist": 5.0}, "must be positive and below cutoff"),
        ({"min_dist": 0.0}, "must be positive and below cutoff"),
        (
            {"min_dist": 6.0, "cutoff": 5.5},
            r"min_dist \(6 Angstrom\) must be positive and below cutoff \(5.5 Angstrom\)",
        ),
        ({"max_magmom": (1.0, 2.0, 3.0)}, "3 numbers for the species Fe Al"),
        ({"max_magmom": (1.0, -2.0)}, "must not be negative"),
        ({"max_magmom": 0.0}, "magnetic_size=1"),
    ],
    ids=str,
)
def test_new_refuses_what_makes_no_sense(changes, message):
    good = {"level": 2, "species": ("Fe", "Al"), "radial_size": 3, "magnetic_size": 2}
    Potential.new(**good)
    with pytest.raises(ValueError, match=message):
        Potential.new(**(good | changes))


def test_one_species_may_be_given_as_a_string():
    assert Potential.new(level=2, species="Fe").species == ("Fe",)


def test_own_tables_take_the_place_of_a_level():
    tables = moment_tables(4)
    potential = Potential.new(species=("Fe",), tables=tables)
    assert potential.tables is tables
    assert len(potential.moment_coeffs) == tables.n_scalars
