"""The public names, and the whole way from a data file to a potential file."""

from importlib import resources

import numpy as np
import pytest

import mmtp_jax as mmtp

SHIPPED = resources.files("mmtp_jax") / "data" / "fe_cdft.extxyz"

PROMISED = {
    "ExtrapolationWarning",
    "FitOptions",
    "MMTPCalculator",
    "Potential",
    "Weights",
    "double_precision",
    "evaluate",
    "fit",
    "implicit",
    "lammps",
    "load",
    "read",
    "results",
    "save",
    "split",
    "write",
}


def test_public_names_exist():
    assert set(mmtp.__all__) >= PROMISED
    assert len(set(mmtp.__all__)) == len(mmtp.__all__)
    everything = {}
    exec("from mmtp_jax import *", everything)
    assert everything.keys() >= set(mmtp.__all__)
    assert isinstance(mmtp.__version__, str)
    assert set(mmtp.__all__) <= set(dir(mmtp))


def test_public_things_are_documented():
    rooms = (mmtp, mmtp.implicit, mmtp.lammps, mmtp.results)
    for name, value in [(n, getattr(room, n)) for room in rooms for n in dir(room)]:
        assert name.startswith("_") or value.__doc__, name


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = mmtp.no_such_name


def test_names_of_the_last_release_go_on_working():
    with pytest.warns(DeprecationWarning, match=r"mmtp.Phonons is now mmtp.results.Phonons"):
        assert mmtp.Phonons is mmtp.results.Phonons
    with pytest.warns(DeprecationWarning, match=r"is now mmtp.phonons with states=n"):
        assert callable(mmtp.paramagnetic_phonons)
    with pytest.warns(DeprecationWarning, match="moments='clamped' is now called moments='fixed'"):
        assert not mmtp.PhononOptions(moments="clamped").follow
    with (
        pytest.warns(DeprecationWarning, match="states=n"),
        pytest.raises(ValueError, match="at least two states, got n = 0"),
    ):
        mmtp.paramagnetic_phonons(None, None, n=0)
    assert not {"Phonons", "paramagnetic_phonons"} & set(mmtp.__all__)


@pytest.fixture(scope="module")
def atoms_list():
    return mmtp.read(SHIPPED, species=("Fe",))[::3]


@pytest.fixture(scope="module")
def fitted(atoms_list):
    start = mmtp.Potential.new(level=4, species=("Fe",), radial_size=6, cutoff=3.6)
    return mmtp.fit(start, atoms_list, validation=0.2, max_iterations=40)


def test_shipped_data_have_all_labels(atoms_list):
    assert len(atoms_list) == 34
    for atoms in atoms_list:
        results = atoms.calc.results
        assert {"energy", "forces", "stress", "magmoms"} <= set(results)
        assert atoms.arrays["magnetic_forces"].shape == (len(atoms),)


def test_fit_to_the_shipped_data_lowers_the_errors(atoms_list, fitted):
    assert fitted.n_iterations == 40
    assert fitted.loss < 0.5 * fitted.history[0]
    assert fitted.report.training.n_configurations == 27
    assert fitted.report.validation.n_configurations == 7
    # The energies of these cells differ by hundreds of meV per atom.
    spread = 1e3 * np.std([a.get_potential_energy() / len(a) for a in atoms_list])
    assert fitted.report.training["energy"].rmse < 0.4 * spread
    assert fitted.report.validation["energy"].rmse < 0.6 * spread


def test_a_saved_potential_evaluates_to_the_same_bits(atoms_list, fitted, tmp_path):
    path = tmp_path / "iron.mtp"
    mmtp.save(path, fitted.potential)
    again = mmtp.load(path)
    assert again.species == ("Fe",)
    assert again.form == fitted.potential.form
    np.testing.assert_array_equal(again.flatten(), fitted.potential.flatten())
    for one, other in zip(
        mmtp.evaluate(fitted.potential, atoms_list), mmtp.evaluate(again, atoms_list), strict=True
    ):
        assert one.energy == other.energy
        np.testing.assert_array_equal(one.forces, other.forces)
        np.testing.assert_array_equal(one.stress, other.stress)
        np.testing.assert_array_equal(one.magnetic_forces, other.magnetic_forces)


def test_report_and_evaluation_agree(atoms_list, fitted):
    _, held_out = mmtp.split(len(atoms_list), 0.2, seed=0)
    chosen = [atoms_list[k] for k in held_out]
    forces = [
        result.forces - atoms.get_forces(apply_constraint=False)
        for atoms, result in zip(chosen, mmtp.evaluate(fitted.potential, chosen), strict=True)
    ]
    rmse = 1e3 * np.sqrt(np.mean(np.concatenate(forces) ** 2))
    assert fitted.report.validation["forces"].rmse == pytest.approx(rmse, rel=1e-9)


def test_atoms_are_not_changed_by_a_fit(atoms_list, fitted):
    fresh = mmtp.read(SHIPPED, species=("Fe",))[::3]
    for atoms, old in zip(atoms_list, fresh, strict=True):
        assert atoms == old
        assert atoms.calc.results.keys() == old.calc.results.keys()


# --- options ------------------------------------------------------------------------


def test_unknown_options_are_an_error_that_says_what_may_have_been_meant(atoms_list):
    potential = mmtp.Potential.new(level=2, species=("Fe",))
    with pytest.raises(TypeError, match="unknown option 'max_iteration'; did you mean 'max_iterat"):
        mmtp.fit(potential, atoms_list[:2], max_iteration=3)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1.5])
def test_validation_fraction_must_be_a_fraction(fraction, atoms_list):
    potential = mmtp.Potential.new(level=2, species=("Fe",))
    with pytest.raises(ValueError, match=r"must be in \[0, 1\)"):
        mmtp.fit(potential, atoms_list[:4], validation=fraction)


@pytest.mark.parametrize(("n", "fraction"), [(4, 0.1), (4, 0.95), (1, 0.5)])
def test_validation_fraction_must_leave_both_parts(n, fraction):
    with pytest.raises(ValueError, match="for validation"):
        mmtp.split(n, fraction)


def test_split_is_a_partition_that_the_seed_decides():
    training, validation = mmtp.split(20, 0.25, seed=3)
    assert (len(training), len(validation)) == (15, 5)
    np.testing.assert_array_equal(np.sort(np.concatenate([training, validation])), np.arange(20))
    assert np.all(np.diff(training) > 0)
    assert np.all(np.diff(validation) > 0)
    np.testing.assert_array_equal(mmtp.split(20, 0.25, seed=3)[1], validation)
    assert not np.array_equal(mmtp.split(20, 0.25, seed=4)[1], validation)
    training, validation = mmtp.split(7, 0.0)
    np.testing.assert_array_equal(training, np.arange(7))
    assert len(validation) == 0


def test_unknown_elements_in_a_data_set_are_named(atoms_list):
    potential = mmtp.Potential.new(level=2, species=("Al",))
    with pytest.raises(ValueError, match="has Fe, but the potential is for Al"):
        mmtp.fit(potential, atoms_list[:2])


def test_an_empty_data_set_is_an_error():
    potential = mmtp.Potential.new(level=2, species=("Fe",))
    with pytest.raises(ValueError, match="empty"):
        mmtp.fit(potential, [])
    assert mmtp.evaluate(potential, []) == []


def test_files_are_taken_for_configurations_and_other_things_are_named(
    atoms_list, fitted, tmp_path
):
    path = tmp_path / "two.extxyz"
    mmtp.write(path, atoms_list[:2])
    for given in (path, str(path), [path]):
        found = mmtp.evaluate(fitted.potential, given)
        assert [r.energy for r in found] == [
            r.energy for r in mmtp.evaluate(fitted.potential, atoms_list[:2])
        ]
    for verb in (mmtp.fit, mmtp.relax, mmtp.md, mmtp.equilibrate):
        with pytest.raises(FileNotFoundError, match=r"there is no file 'none\.cfg'"):
            verb(fitted.potential, "none.cfg")
        with pytest.raises(TypeError, match=r"must be ase\.Atoms.*of type int: 3"):
            verb(fitted.potential, [3])
