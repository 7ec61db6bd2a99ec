"""The bare energy and its derivatives against motep's C engine, an independent program."""

import json

import numpy as np
import pytest
from ase.data import atomic_numbers

import mmtp_jax as mmtp
from mmtp_jax.fitting.confine import with_confinement
from mmtp_jax.io.convert import to_structures

engine = pytest.importorskip("motep.potentials.mmtp.cext.engine", exc_type=ImportError)
motep_files = pytest.importorskip("motep.io.mlip.mtp")

TOLERANCE = 1e-10


def motep_results(path, species, atoms, moments):
    data = motep_files.read_mmtp(path)
    data.species = [atomic_numbers[symbol] for symbol in species]
    motep = engine.CExtMagMTPEngine(data)
    # The C code reads a strided array wrongly.
    return motep.calculate(atoms, magmoms=np.ascontiguousarray(moments, float))


def voigt(stress):
    return stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]


@pytest.mark.parametrize("level", [2, 6, 10, 16, 18])
def test_published_iron_potentials_give_what_motep_gives(
    level, reference_path, evaluated, relative_error
):
    name = f"{level:02d}.mmtp"
    expected = json.loads(reference_path("fe54/expected.json").read_text())[name]
    potential = mmtp.load(reference_path(f"fe54/{name}"), species=("Fe",))
    assert potential.form == "bare"
    (atoms,) = mmtp.read(reference_path("fe54/mag.cfg"), species=("Fe",))
    (structure,) = to_structures([atoms], ("Fe",))
    got = evaluated(potential, structure)
    assert relative_error(got["energy"], np.array(expected["energy"])) < TOLERANCE
    assert relative_error(got["forces"], expected["forces"]) < TOLERANCE
    assert relative_error(voigt(got["stress"]), expected["stress"]) < TOLERANCE
    assert relative_error(-got["magnetic_forces"], np.ravel(expected["dE_dm"])) < TOLERANCE

    structure.magmoms[:] *= -1.0
    reversed_energy = evaluated(potential, structure)["energy"]
    assert relative_error(reversed_energy, np.array(expected["energy_reversed"])) < TOLERANCE


CASES = [
    (1, 1, 8),
    (1, 2, 6),
    (1, 4, 4),
    (2, 1, 4),
    (2, 2, 8),
    (2, 3, 6),
    (3, 2, 2),
    (3, 3, 8),
    (3, 4, 6),
]


@pytest.mark.parametrize(("n_species", "magnetic_size", "level"), CASES)
def test_random_potentials_give_what_motep_gives(
    n_species,
    magnetic_size,
    level,
    tmp_path,
    random_potential,
    random_structure,
    evaluated,
    relative_error,
    atoms_of,
):
    seed = 10 * n_species + magnetic_size
    potential = random_potential(
        seed,
        level=level,
        n_species=n_species,
        magnetic_size=magnetic_size,
        radial_size=3,
        form="bare",
        intervals="asymmetric",
    )
    path = tmp_path / "random.mtp"
    mmtp.save(path, potential.with_common_interval())
    for n_atoms in (2, 5, 8):
        structure = random_structure(seed, n_atoms, n_species=n_species)
        atoms = atoms_of(structure, potential.species)
        expected = motep_results(path, potential.species, atoms, structure.magmoms)
        got = evaluated(potential, structure)
        message = f"seed {seed}, {n_atoms} atoms"
        energy = np.array(expected["energy"])
        assert relative_error(got["energy"], energy) < TOLERANCE, message
        assert relative_error(got["energies"], expected["energies"]) < TOLERANCE, message
        assert relative_error(got["forces"], expected["forces"]) < TOLERANCE, message
        assert relative_error(voigt(got["stress"]), expected["stress"]) < TOLERANCE, message
        if magnetic_size > 1:
            mgrad = np.ravel(expected["mgrad"])
            assert relative_error(-got["magnetic_forces"], mgrad) < TOLERANCE, message
        else:
            np.testing.assert_array_equal(got["magnetic_forces"], 0.0)


def test_noncollinear_terms_are_skipped_and_change_nothing_there(
    tmp_path, random_potential, random_structure, evaluated, relative_error, atoms_of
):
    plain = random_potential(8, level=6, magnetic_size=3, form="parity", intervals="common")
    potential = plain.with_noncollinear_terms(2)
    terms = potential.noncollinear
    potential = potential.replace(noncollinear=terms._replace(coeffs=np.ones_like(terms.coeffs)))
    path = tmp_path / "terms.mtp"
    mmtp.save(path, potential)
    structure = random_structure(8, 5)
    atoms = atoms_of(structure, potential.species)
    expected = motep_results(path, potential.species, atoms, structure.magmoms)
    got = evaluated(potential, structure)
    assert relative_error(got["energy"], np.array(expected["energy"])) < TOLERANCE
    assert relative_error(got["forces"], expected["forces"]) < TOLERANCE
    assert relative_error(-got["magnetic_forces"], np.ravel(expected["mgrad"])) < TOLERANCE


def test_symmetrised_energy_is_the_mean_of_motep_over_reversal(
    tmp_path, random_potential, random_structure, evaluated, relative_error, atoms_of
):
    potential = random_potential(7, level=6, magnetic_size=3, intervals="asymmetric")
    path = tmp_path / "random.mtp"
    mmtp.save(path, potential.with_common_interval())
    structure = random_structure(7, 6)
    atoms = atoms_of(structure, potential.species)
    as_it_is, turned = (
        {
            name: np.array(value)
            for name, value in motep_results(
                path, potential.species, atoms, sign * structure.magmoms
            ).items()
        }
        for sign in (1, -1)
    )
    assert abs(as_it_is["energy"] - turned["energy"]) > 1e-3
    got = evaluated(potential, structure)

    def mean(name, sign=1):
        return np.squeeze(as_it_is[name] + sign * turned[name]) / 2

    assert relative_error(got["energy"], mean("energy")) < TOLERANCE
    assert relative_error(got["forces"], mean("forces")) < TOLERANCE
    assert relative_error(voigt(got["stress"]), mean("stress")) < TOLERANCE
    assert relative_error(-got["magnetic_forces"], mean("mgrad", -1)) < TOLERANCE


@pytest.mark.parametrize(
    ("species", "pattern", "max_magmom"),
    [(("Fe",), "be", 3.0), (("Fe", "Al"), "ee", 2.4), (("Fe", "Al"), "be", (3.0, 0.1))],
)
def test_radial_functions_of_one_parity_are_even_in_motep(
    species, pattern, max_magmom, tmp_path, random_structure, evaluated, relative_error, atoms_of
):
    seed = 5
    potential = mmtp.Potential.new(
        level=8, species=species, radial_size=3, magnetic_size=3, cutoff=4.0, min_dist=1.6,
        max_magmom=max_magmom, seed=seed, form="parity", pattern=pattern,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    potential = potential.replace(moment_coeffs=rng.normal(size=potential.tables.n_scalars))
    potential = with_confinement(potential)
    common = potential.with_common_interval()
    path = tmp_path / "even.mtp"
    mmtp.save(path, common)
    assert mmtp.load(path).parities == potential.parities
    structure = random_structure(seed, 5, n_species=len(species))
    structure.magmoms[:] *= np.where(structure.types == 1, 0.04, 1.0)
    atoms = atoms_of(structure, species)
    one, other = (motep_results(path, species, atoms, sign * structure.magmoms) for sign in (1, -1))
    assert one["energy"] == other["energy"]
    got = evaluated(potential, structure)
    assert relative_error(got["energy"], np.array(one["energy"])) < TOLERANCE
    assert relative_error(got["forces"], one["forces"]) < TOLERANCE
    assert relative_error(-got["magnetic_forces"], np.ravel(one["mgrad"])) < TOLERANCE
