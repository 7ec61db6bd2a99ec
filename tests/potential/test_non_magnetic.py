"""Species without moments: which coefficients are left, and that no energy depends on theirs."""

from dataclasses import replace

import jax
import numpy as np
import pytest

import mmtp_jax as mmtp
from mmtp_jax.fitting.confine import with_confinement
from mmtp_jax.potential.free import free_coefficients
from mmtp_jax.potential.jacobian import energy_jacobian
from mmtp_jax.potential.observables import energies
from mmtp_jax.potential.parity import as_parity

FORMS = ("parity", "symmetrised", "bare")
SPECIES = ("Fe", "Al")


def new(form="parity", *, level=8, magnetic_size=3, non_magnetic=("Al",), **more):
    found = mmtp.Potential.new(
        level=level, species=SPECIES, radial_size=3, cutoff=4.0, min_dist=1.6, form=form,
        magnetic_size=magnetic_size, non_magnetic=non_magnetic, seed=3, **more,
    )  # fmt: skip
    rng = np.random.default_rng(3)
    return found.replace(
        moment_coeffs=rng.normal(size=found.tables.n_scalars),
        species_coeffs=rng.normal(size=2),
        radial_coeffs=0.3 * found.radial_coeffs,
    )


@pytest.fixture(scope="module", params=FORMS)
def potential(request):
    return with_confinement(new(request.param))


@pytest.fixture(scope="module")
def structure(random_structure):
    return random_structure(3, 6)


@pytest.mark.parametrize(
    ("form", "level", "per_mu"),
    [
        # Fe-Fe 9, Fe-Al and Al-Fe 3, Al-Al 1 of each mu and radial polynomial
        ("bare", 8, [16, 16]),
        ("symmetrised", 8, [16, 16]),
        # of these, those with an even sum of orders: 5, 2, 2, 1; and an odd one: 4, 1, 1, 0
        ("parity", 8, [10, 10]),
        ("parity", 12, [10, 6, 10]),
    ],
)
def test_number_of_parameters(form, level, per_mu):
    potential = new(form, level=level)
    sizes = potential.parameter_sizes
    assert sizes["radial_coeffs"] == 3 * sum(per_mu)
    assert potential.n_parameters == len(potential.flatten()) == sum(sizes.values())
    again = potential.unflatten(potential.flatten())
    np.testing.assert_array_equal(again.radial_coeffs, potential.radial_coeffs)
    other = potential.unflatten(np.arange(1.0, 1 + potential.n_parameters)).radial_coeffs
    free = np.broadcast_to(
        free_coefficients(potential.parities, (True, False), other.shape), other.shape
    )
    assert np.all(other[free])
    assert not np.any(other[~free])
    assert not np.any(other[1, ..., 1:, :])
    assert not np.any(other[:, 1, ..., 1:])


def test_energy_does_not_depend_on_their_moments_to_the_bit(potential, structure, evaluated):
    rest = np.where(structure.types == 1, 0.0, structure.magmoms)
    expected = evaluated(potential, replace(structure, magmoms=rest))
    for moment in (0.05, -2.0, 7.0):
        magmoms = np.where(structure.types == 1, moment, structure.magmoms)
        got = evaluated(potential, replace(structure, magmoms=magmoms))
        for name, values in expected.items():
            np.testing.assert_array_equal(got[name], values, name)
    assert not np.any(expected["magnetic_forces"][structure.types == 1])
    assert np.all(expected["magnetic_forces"][structure.types == 0])


def test_energies_are_those_of_the_equations(potential, structure, reference_energies, evaluated):
    potential = potential.replace(confinement=None)
    expected = reference_energies(potential, structure)
    np.testing.assert_allclose(evaluated(potential, structure)["energies"], expected, rtol=1e-10)


def test_rows_are_the_derivatives_by_the_parameters(potential, structure, graph_of, relative_error):
    graph, theta = graph_of(structure), potential.flatten()
    rows = jax.jit(energy_jacobian)(potential, graph)[0]
    assert rows.shape == theta.shape
    direction = np.random.default_rng(0).normal(size=len(theta))
    step = 1e-6
    of = jax.jit(lambda t: energies(potential.unflatten(t), graph)[0])
    numerical = (of(theta + step * direction) - of(theta - step * direction)) / (2 * step)
    assert float(rows @ direction) == pytest.approx(float(numerical), rel=1e-6)
    assert relative_error(rows, jax.grad(of)(theta)) < 1e-12


def test_largest_moment_of_zero_is_the_declaration():
    by_name, by_zero = (
        mmtp.Potential.new(level=8, species=SPECIES, **how)
        for how in ({"max_magmom": 3.0, "non_magnetic": "Al"}, {"max_magmom": (3.0, 0.0)})
    )
    assert by_zero.non_magnetic == by_name.non_magnetic == ("Al",)
    assert by_zero.magnetic == (True, False)
    np.testing.assert_array_equal(by_zero.max_magmom, [3.0, 0.1])
    np.testing.assert_array_equal(by_zero.max_magmom, by_name.max_magmom)
    np.testing.assert_array_equal(by_zero.radial_coeffs, by_name.radial_coeffs)
    assert "Al non-magnetic" in repr(by_name)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"non_magnetic": ("N",)}, "non_magnetic names N, but the species are Fe, Al"),
        ({"non_magnetic": SPECIES}, "magnetic_size=1"),
        ({"max_magmom": 0.0}, "magnetic_size=1"),
        ({"max_magmom": (3.0, -1.0)}, "must not be negative"),
        ({"max_magmom": (3.0, 0.3), "non_magnetic": ("Al",)}, "max_magmom of 0.3"),
    ],
)
def test_what_cannot_be_declared(arguments, words):
    with pytest.raises(ValueError, match=words):
        mmtp.Potential.new(level=8, species=SPECIES, **arguments)


def test_other_forms_and_intervals_keep_the_declaration(structure, evaluated, relative_error):
    before = new("symmetrised")
    for after in (as_parity(before), before.with_common_interval()):
        assert after.non_magnetic == ("Al",)
        expected, got = evaluated(before, structure), evaluated(after, structure)
        for name, values in expected.items():
            assert relative_error(got[name], values) < 1e-12, name


def test_file_brings_it_back(potential, tmp_path):
    path = tmp_path / "pot.mtp"
    mmtp.save(path, potential)
    found = mmtp.load(path)
    assert (found.non_magnetic, found.form, found.parities) == (
        ("Al",), potential.form, potential.parities
    )  # fmt: skip
    for name in ("radial_coeffs", "moment_coeffs", "species_coeffs", "min_magmom", "max_magmom"):
        np.testing.assert_array_equal(getattr(found, name), getattr(potential, name))
    assert np.all(found.max_magmom > found.min_magmom)
    assert found.n_parameters == potential.n_parameters
    np.testing.assert_array_equal(found.confinement.stiffness, [100.0, 0.0])


def test_file_whose_zeros_another_program_has_filled(tmp_path):
    path = tmp_path / "pot.mtp"
    filled = new("bare")
    # What another program leaves: our tag, and numbers everywhere.
    mmtp.save(path, filled)
    tag = next(line for line in path.read_text().splitlines() if "potential_tag" in line)
    mmtp.save(path, filled.replace(non_magnetic=(), radial_coeffs=filled.radial_coeffs + 0.1))
    lines = [tag if "potential_tag" in x else x for x in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n")
    with pytest.warns(UserWarning, match="non-magnetic Al, but coefficients"):
        found = mmtp.load(path)
    assert found.non_magnetic == ()
    np.testing.assert_array_equal(found.radial_coeffs, filled.radial_coeffs + 0.1)


@pytest.mark.parametrize("names", ['["N"]', '["Fe","Al"]'])
def test_tag_that_cannot_be(names, tmp_path):
    path = tmp_path / "pot.mtp"
    mmtp.save(path, new())
    text = path.read_text()
    path.write_text(text.replace('"non_magnetic":["Al"]', f'"non_magnetic":{names}'))
    with pytest.raises(ValueError, match="non_magnetic"):
        mmtp.load(path)


@pytest.mark.parametrize("form", ["parity", "bare"])
def test_motep_gives_the_same(form, tmp_path, structure, evaluated, relative_error, atoms_of):
    engine = pytest.importorskip("motep.potentials.mmtp.cext.engine", exc_type=ImportError)
    files = pytest.importorskip("motep.io.mlip.mtp")
    potential = new(form)
    path = tmp_path / "pot.mtp"
    mmtp.save(path, potential.with_common_interval())
    data = files.read_mmtp(path)
    data.species = [26, 13]
    atoms = atoms_of(structure)
    expected = engine.CExtMagMTPEngine(data).calculate(
        atoms, magmoms=np.ascontiguousarray(structure.magmoms)
    )
    got = evaluated(potential, structure)
    assert relative_error(got["energy"], np.array(expected["energy"])) < 1e-10
    assert relative_error(got["forces"], expected["forces"]) < 1e-10
    assert relative_error(-got["magnetic_forces"], np.ravel(expected["mgrad"])) < 1e-10
