"""Energies against an independent evaluation of the equations in plain numpy."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmtp_jax.potential.chebyshev import chebyshev, reversal, to_unit_interval
from mmtp_jax.potential.energy import site_energies
from mmtp_jax.potential.observables import neighborhoods, per_configuration
from mmtp_jax.potential.sums import Sums, members_of

# seed, level, species, N_psi, radial size, form, intervals, atoms, periodic directions
CASES = [
    (0, 2, 1, 1, 3, "bare", "common", 3, True),
    (1, 2, 2, 2, 4, "symmetrised", "per species", 4, True),
    (2, 4, 1, 3, 4, "symmetrised", "asymmetric", 2, True),
    (3, 4, 3, 2, 2, "bare", "per species", 6, False),
    (4, 6, 2, 4, 3, "symmetrised", "asymmetric", 4, True),
    (5, 6, 3, 1, 4, "symmetrised", "common", 6, True),
    (6, 8, 2, 2, 8, "bare", "asymmetric", 5, (True, True, False)),
    (7, 8, 1, 4, 3, "symmetrised", "per species", 4, (False, True, False)),
    (8, 10, 3, 3, 2, "symmetrised", "asymmetric", 6, True),
    (9, 12, 2, 2, 4, "bare", "per species", 2, True),
    (10, 14, 2, 2, 2, "symmetrised", "asymmetric", 4, False),
    (11, 16, 1, 2, 3, "symmetrised", "per species", 3, True),
    (12, 16, 2, 3, 2, "bare", "asymmetric", 2, True),
]

compiled_sites = jax.jit(lambda potential, graph: site_energies(potential, neighborhoods(graph)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"seed{case[0]}-level{case[1]}")
def test_site_energies_are_those_of_the_equations(
    case, random_potential, random_structure, graph_of, reference_energies, relative_error
):
    seed, level, n_species, magnetic_size, radial_size, form, intervals, n, periodic = case
    potential = random_potential(
        seed,
        level=level,
        n_species=n_species,
        magnetic_size=magnetic_size,
        radial_size=radial_size,
        form=form,
        intervals=intervals,
    )
    for repeat in range(2):
        structure = random_structure(seed + 100 * repeat, n, n_species=n_species, periodic=periodic)
        sites = compiled_sites(potential, graph_of(structure))[:n]
        expected = reference_energies(potential, structure)
        assert np.ptp(expected) > 1e-3, "a test on equal numbers tests nothing"
        assert relative_error(sites, expected) < 1e-12, f"case {case}, repeat {repeat}"


def test_neighbour_moment_and_central_moment_are_not_exchanged(
    random_potential, random_structure, graph_of, reference_energies, relative_error
):
    """c is no symmetric matrix: beta belongs to the central atom and gamma to the neighbour."""
    potential = random_potential(5, n_species=1, intervals="asymmetric")
    structure = random_structure(5, 4, n_species=1)
    swapped = potential.replace(radial_coeffs=np.swapaxes(potential.radial_coeffs, -1, -2))
    graph = graph_of(structure)
    expected = reference_energies(potential, structure)
    assert relative_error(compiled_sites(potential, graph)[:4], expected) < 1e-12
    assert relative_error(compiled_sites(swapped, graph)[:4], expected) > 1e-3


def test_energies_are_the_sums_of_site_energies_per_configuration(
    random_potential, random_structure, graph_of, energies_of, reference_energies, relative_error
):
    potential = random_potential(3)
    structures = [random_structure(k, n) for k, n in enumerate((2, 5, 1))]
    graph = graph_of(structures)
    expected = [reference_energies(potential, s).sum() for s in structures]
    assert relative_error(energies_of(potential, graph)[:3], np.array(expected)) < 1e-12


def test_sum_per_configuration_leaves_padding_out():
    like = SimpleNamespace(configuration=jnp.array([1, 0, 1, 2]), n_configurations=2, sums=None)
    sites = jnp.array([1.0, 2.0, 4.0, 8.0])
    np.testing.assert_array_equal(per_configuration(like, sites), [2.0, 5.0])


@pytest.mark.parametrize("gathers", [False, True])
def test_energies_in_32_bits_are_added_up_in_64(gathers):
    owner = np.zeros(60_000, np.int32)
    sums = Sums(np.zeros((len(owner), 0), np.int32), members_of(owner, 1)) if gathers else None
    sites = jnp.full(len(owner), -4.1, jnp.float32)
    (total,) = per_configuration(
        SimpleNamespace(configuration=owner, n_configurations=1, sums=sums), sites
    )
    assert total.dtype == np.float64
    assert float(total) == pytest.approx(len(owner) * float(sites[0]), abs=1e-7)


# --- the basis ----------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_chebyshev_polynomials_are_cosines(size):
    angle = np.linspace(0, np.pi, 11)
    values = chebyshev(jnp.cos(angle), size)
    assert len(values) == size
    for n, value in enumerate(values):
        np.testing.assert_allclose(value, np.cos(n * angle), atol=1e-13)


def test_interval_ends_map_to_minus_one_and_one():
    ends = to_unit_interval(jnp.array([-1.5, 0.5, 2.5]), -1.5, 2.5)
    np.testing.assert_allclose(ends, [-1.0, 0.0, 1.0], atol=1e-15)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("interval", [(-3.0, 3.0), (-1.0, 4.0), (-3.5, 0.25)])
def test_reversal_matrix_gives_the_basis_of_the_reversed_moment(size, interval):
    moments = np.linspace(-4.0, 4.0, 9)

    def basis(m):
        y = (2 * m - sum(interval)) / (interval[1] - interval[0])
        return np.polynomial.chebyshev.chebvander(y, size - 1)

    expected = basis(-moments)
    got = basis(moments) @ np.asarray(reversal(*map(jnp.float64, interval), size)).T
    np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-11 * np.abs(expected).max())


def test_reversal_matrix_of_a_symmetric_interval_is_the_parity():
    matrix = reversal(jnp.float64(-2.7), jnp.float64(2.7), 5)
    np.testing.assert_array_equal(matrix, np.diag([1.0, -1.0, 1.0, -1.0, 1.0]))
