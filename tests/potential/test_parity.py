"""Radial functions of one parity: exact evenness, free coefficients, tables, exact conversion."""

import re
from dataclasses import replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import mmtp_jax as mmtp
from mmtp_jax.potential.free import free_coefficients
from mmtp_jax.potential.jacobian import energy_jacobian
from mmtp_jax.potential.multigraphs import scalar_contractions
from mmtp_jax.potential.observables import energies
from mmtp_jax.potential.parity import (
    as_parity,
    default_pattern,
    parities_of,
    parity_tables,
)

FREE = free_coefficients("eoe", (), (1, 1, 3, 1, 3, 3))[0, 0, :, 0]


@pytest.fixture(scope="module")
def potential(random_parity):
    return random_parity(3, level=8, pattern="be")


@pytest.fixture(scope="module")
def structure(random_structure):
    return random_structure(3, 6)


@pytest.fixture(scope="session")
def random_parity(random_potential):
    """potential(seed, level, pattern): one of this form with coefficients of the size of one."""

    def of(seed, *, level, pattern, n_species=2, magnetic_size=3, max_magmom=(3.0, 2.4)):
        new = mmtp.Potential.new(
            level=level, species=("Fe", "Al")[:n_species], radial_size=3, cutoff=4.0, min_dist=1.6,
            magnetic_size=magnetic_size, max_magmom=max_magmom[:n_species], seed=seed,
            form="parity", pattern=pattern,
        )  # fmt: skip
        rng = np.random.default_rng(seed)
        return new.replace(
            moment_coeffs=rng.normal(size=new.tables.n_scalars),
            species_coeffs=rng.normal(size=n_species),
            radial_coeffs=0.3 * new.radial_coeffs,
        )

    return of


def test_energy_is_even_and_magnetic_forces_are_odd_to_the_bit(potential, structure, evaluated):
    turned = replace(structure, magmoms=-structure.magmoms)
    one, other = evaluated(potential, structure), evaluated(potential, turned)
    assert one["energy"] == other["energy"]
    np.testing.assert_array_equal(one["forces"], other["forces"])
    np.testing.assert_array_equal(one["magnetic_forces"], -other["magnetic_forces"])
    assert potential.even
    assert potential.form == "parity"


def test_energy_is_that_of_the_equations(potential, structure, evaluated, reference_energies):
    got = evaluated(potential, structure)["energies"]
    np.testing.assert_allclose(got, reference_energies(potential, structure), rtol=1e-11)


def test_it_depends_on_relative_signs(potential, structure, evaluated):
    """Even is not blind: one moment turned alone is another state."""
    flipped = structure.magmoms.copy()
    flipped[0] *= -1
    one = evaluated(potential, structure)["energy"]
    other = evaluated(potential, replace(structure, magmoms=flipped))["energy"]
    assert abs(one - other) > 1e-6 * abs(one)


# --- tables -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "pattern", "counts"),
    [
        (8, "ee", (9, 14)), (8, "oe", (5, 11)), (8, "be", (17, 32)), (8, "bb", (18, 33)),
        (12, "eee", (29, 117)), (12, "eoe", (21, 103)), (12, "bee", (69, 326)),
    ],
)  # fmt: skip
def test_number_of_contractions_and_products(level, pattern, counts):
    tables, _ = parity_tables(level, pattern)
    assert (tables.n_scalars, len(tables.products)) == counts


@pytest.mark.parametrize("pattern", ["eee", "eoe", "oee"])
def test_contractions_are_the_even_ones_of_the_level(pattern):
    odd = [letter == "o" for letter in pattern]
    even = [t for t in scalar_contractions(12) if sum(odd[mu] for mu in t.mus) % 2 == 0]
    tables, parities = parity_tables(12, pattern)
    assert (tables.n_scalars, parities) == (len(even), pattern)


def test_the_default_has_odd_functions_from_the_level_where_they_take_part():
    expected = {2: "e", 6: "ee", 10: "eee", 12: "eoe", 18: "eoeee", 20: "eoeoe"}
    for level, pattern in expected.items():
        assert default_pattern(level) == pattern
        tables, parities = parity_tables(level)
        assert parities == pattern
        assert set(tables.basic[:, 0]) == set(range(tables.n_radial))


@pytest.mark.parametrize(
    ("level", "pattern", "words"),
    [
        (8, "e", "needs 2 letters at level 8"),
        (8, "exe", "needs 2 letters"),
        (8, "ex", "has x; its letters are e \\(even\\), o \\(odd\\) and b \\(both\\)"),
        (4, "o", "has no even function"),
        (8, "eo", "the odd function of mu = 1, which takes part from level 12; give the letter e"),
        (6, "bb", "mu = 1, which takes part from level 8"),
        (16, "eoeo", "mu = 3, which takes part from level 20"),
        (9, "ee", "must be even"),
    ],
)
def test_patterns_that_cannot_be_are_refused_in_words(level, pattern, words):
    with pytest.raises(ValueError, match=words):
        parity_tables(level, pattern)


def test_level_of_a_function_is_where_the_message_says():
    parity_tables(12, "eoe")
    parity_tables(8, "bb")


def test_pattern_belongs_to_this_form_only():
    with pytest.raises(ValueError, match="belongs to the form 'parity', not to 'bare'"):
        mmtp.Potential.new(level=8, species=("Fe",), form="bare", pattern="ee")
    with pytest.raises(ValueError, match="form must be one of parity, symmetrised, bare"):
        mmtp.Potential.new(level=8, species=("Fe",), form="even")


# --- parameters ---------------------------------------------------------------------


def test_parameters_are_the_free_coefficients(potential):
    free = FREE
    assert free.sum(axis=(1, 2)).tolist() == [5, 4, 5]
    sizes = potential.parameter_sizes
    assert sizes == {"species_coeffs": 2, "moment_coeffs": 17, "radial_coeffs": 4 * 3 * 14}
    assert potential.n_parameters == len(potential.flatten()) == sum(sizes.values())
    again = potential.unflatten(potential.flatten())
    np.testing.assert_array_equal(again.radial_coeffs, potential.radial_coeffs)
    other = potential.unflatten(np.arange(1.0, 1 + potential.n_parameters))
    fixed = ~np.broadcast_to(free[:, None], other.radial_coeffs.shape)
    assert not np.any(other.radial_coeffs[fixed])
    assert np.all(other.radial_coeffs[~fixed])


def test_rows_are_the_derivatives_by_the_parameters(potential, structure, graph_of, relative_error):
    graph = graph_of(structure)
    theta = potential.flatten()
    rows = jax.jit(energy_jacobian)(potential, graph)[0]
    slope = jax.jit(jax.grad(lambda t: energies(potential.unflatten(t), graph)[0]))(theta)
    assert relative_error(rows, slope) < 1e-12
    direction = np.random.default_rng(0).normal(size=len(theta))
    step = 1e-6
    ends = [energies(potential.unflatten(theta + s * direction), graph)[0] for s in (-step, step)]
    numerical = (ends[1] - ends[0]) / (2 * step)
    assert float(rows @ direction) == pytest.approx(float(numerical), rel=1e-6)


def test_derivative_by_the_whole_potential_keeps_the_zeros(potential, structure, graph_of):
    """An optimiser of the user's own, on the pytree, does not break the symmetry."""
    graph = graph_of(structure)
    slope = jax.grad(lambda p: energies(p, graph)[0])(
        jax.tree.map(np.asarray, potential)
    ).radial_coeffs
    fixed = ~np.broadcast_to(FREE[:, None], slope.shape)
    assert not np.any(slope[fixed])
    assert np.any(slope[~fixed])


# --- from the symmetrised form, and from files --------------------------------------


@pytest.mark.parametrize("intervals", ["per species", "asymmetric"])
@pytest.mark.parametrize("level", [4, 8])
def test_symmetrised_energy_as_one_of_this_form(
    level, intervals, random_potential, random_structure, evaluated, relative_error
):
    seed = 7 + level
    before = random_potential(
        seed, level=level, magnetic_size=3, intervals=intervals, form="symmetrised"
    )
    after = as_parity(before)
    assert after.form == "parity"
    assert set(after.parities) == {"e", "o"}
    structure = random_structure(seed, 6)
    expected, got = evaluated(before, structure), evaluated(after, structure)
    for name, values in expected.items():
        assert relative_error(got[name], values) < 1e-12, (seed, name)


def test_a_function_without_an_odd_half_stays_one(random_potential):
    before = random_potential(5, level=8, magnetic_size=3, n_species=1, form="symmetrised")
    c = np.array(before.radial_coeffs)
    c[:, :, 1][..., ~FREE[0]] = 0.0
    assert as_parity(before.replace(radial_coeffs=c)).parities == "eoe"


def test_products_of_the_converted_form_are_at_most_four_for_each(random_potential):
    before = random_potential(5, level=12, magnetic_size=2, form="symmetrised")
    rows = len(as_parity(before).tables.products)
    assert rows < 4 * len(before.tables.products)


def test_bare_energy_cannot_be_converted(random_potential):
    with pytest.raises(ValueError, match="not even"):
        as_parity(random_potential(1, form="bare"))


def test_zeros_and_tables_tell_the_form(random_parity, random_potential):
    even = random_parity(4, level=8, pattern="be")
    assert parities_of(even.replace(form="bare", parities="")) == "eoe"
    filled = np.array(even.radial_coeffs)
    filled[0, 0, 0, 0, 0, 1] = 1e-3
    assert parities_of(even.replace(radial_coeffs=filled)) == ""
    moved = even.replace(min_magmom=even.min_magmom + 0.1)
    assert parities_of(moved) == ""
    odd = np.zeros_like(filled)
    odd[..., 0, 1] = 1.0
    whole = random_potential(4, level=8, magnetic_size=3, form="bare", intervals="common")
    assert parities_of(whole.replace(radial_coeffs=odd[:, :, :2])) == ""


def _as_mlip_reads(text: str) -> SimpleNamespace:
    """A file row by row, by the rules of MLIP-3: one interval, no gaps, no key but its own."""

    def value(key):
        return re.search(rf"^\s*{key} = (.*)$", text, re.M).group(1)

    def rows(key):
        found = re.findall(r"\{([^{}]*)\}", value(key))
        return np.array([[float(x) for x in row.split(",")] for row in found])

    n_species, n_mu = int(value("species_count")), int(value("radial_funcs_count"))
    n_phi, n_psi = int(value("radial_basis_size")), int(value("basis_size"))
    basic, products = rows("alpha_index_basic").astype(int), rows("alpha_index_times").astype(int)
    scalars = rows("alpha_moment_mapping").astype(int)[0]
    assert basic[:, 0].max() + 1 == n_mu
    assert len(basic) == int(value("alpha_index_basic_count"))
    assert len(products) == int(value("alpha_index_times_count"))
    assert len(scalars) == int(value("alpha_scalar_moments"))
    block = text[text.index("radial_coeffs") : text.index("alpha_moments_count")]
    c = [[float(x) for x in row.split(",")] for row in re.findall(r"\{([^{}]*)\}", block)]
    low, high = (np.full(n_species, float(value(key))) for key in ("min_val", "max_val"))
    return SimpleNamespace(
        form="bare",
        cutoff=float(value("max_dist")),
        min_dist=float(value("min_dist")),
        min_magmom=low,
        max_magmom=high,
        scaling=float(value("scaling")),
        species_coeffs=rows("species_coeffs")[0],
        moment_coeffs=rows("moment_coeffs")[0],
        radial_coeffs=np.reshape(c, (n_species, n_species, n_mu, n_phi, n_psi, n_psi)),
        tables=SimpleNamespace(
            basic=basic,
            products=products,
            scalars=scalars,
            n_moments=int(value("alpha_moments_count")),
        ),
    )


@pytest.mark.parametrize("pattern", ["eoe", "eee"])
def test_another_reader_evaluates_the_file_to_the_same_even_energy(
    pattern, random_parity, structure, tmp_path, evaluated, reference_energies
):
    potential = random_parity(5, level=12, pattern=pattern)
    mmtp.save(tmp_path / "pot.mtp", potential.with_common_interval())
    text = (tmp_path / "pot.mtp").read_text()
    assert "-0.0," not in text
    other = _as_mlip_reads(text)
    turned = replace(structure, magmoms=-structure.magmoms)
    got = reference_energies(other, structure)
    np.testing.assert_allclose(got, reference_energies(other, turned), rtol=1e-13)
    np.testing.assert_allclose(got, evaluated(potential, structure)["energies"], rtol=1e-10)


def test_other_intervals_keep_the_form(random_parity, random_structure, evaluated, relative_error):
    before = random_parity(6, level=8, pattern="be")
    after = before.with_intervals(np.array([-4.0, -5.0]), np.array([4.0, 5.0]))
    structure = random_structure(6, 6)
    got, expected = evaluated(after, structure), evaluated(before, structure)
    assert relative_error(got["forces"], expected["forces"]) < 1e-11
    assert parities_of(after) == before.parities
    with pytest.raises(ValueError, match="intervals \\[-M, M\\]"):
        before.with_intervals(np.array([-4.0, -5.0]), np.array([4.0, 5.1]))


# --- what even functions can and cannot say ------------------------------------------


def test_two_magnetic_functions_are_too_few_for_an_atom_among_atoms_without_moment(
    random_parity, random_structure, evaluated
):
    """With N_psi = 2 an even function is c00 + c11 y_i y_j: nothing depends on m_i at m_j = 0."""
    structure = random_structure(8, 6, periodic=False)
    alone = np.zeros(6)
    alone[0] = 1.7
    for size, vanishes in ((2, True), (3, False)):
        potential = random_parity(8, level=8, pattern="ee", magnetic_size=size)
        force = evaluated(potential, replace(structure, magmoms=alone))["magnetic_forces"][0]
        assert (abs(force) < 1e-12) == vanishes, (size, force)


def test_superexchange_through_an_atom_without_moment_needs_an_odd_function(
    random_parity, random_structure, evaluated
):
    """The energy of two moments on either side of an atom without one, beyond R_cut of each other.

    All-even functions centred on the middle atom know m_i^2 and m_j^2 only.
    """
    chain = replace(
        random_structure(9, 3),
        cell=np.zeros((3, 3)), periodic=np.zeros(3, bool),
        positions=np.array([[0.0, 0, 0], [2.5, 0, 0], [5.0, 0, 0]]),
        types=np.array([0, 1, 0], np.int32),
    )  # fmt: skip
    for pattern, tells in (("ee", False), ("be", True)):
        potential = random_parity(9, level=8, pattern=pattern)
        parallel, opposed = (
            evaluated(potential, replace(chain, magmoms=np.array([2.0, 0.0, sign * 2.0])))["energy"]
            for sign in (1, -1)
        )
        assert (abs(parallel - opposed) > 1e-9) == tells, (pattern, parallel - opposed)
