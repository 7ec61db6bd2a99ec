"""Magnetic forces are labels of the results that they came with, and of no others."""

import copy
import pickle

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

import mmtp_jax as mmtp
from mmtp_jax.io.convert import to_structure, to_structures
from mmtp_jax.io.schema import MAGNETIC_FORCES, STAMP, labels_of

T = np.array([0.25, -0.5])


def calculated(atoms, energy=-6771.5):
    atoms.calc = SinglePointCalculator(
        atoms,
        energy=energy,
        forces=np.zeros((2, 3)),
        magmoms=atoms.get_initial_magnetic_moments(),
    )
    return atoms


def iron():
    atoms = Atoms("Fe2", [[0, 0, 0], [1.43, 1.41, 1.4]], cell=[2.86] * 3, pbc=True)
    atoms.set_initial_magnetic_moments([2.2, -2.1])
    return calculated(atoms)


@pytest.fixture(params=["function", "extxyz", "cfg", "by ase"])
def labelled(request, tmp_path):
    atoms = iron()
    if request.param in ("extxyz", "cfg"):
        atoms.set_array(MAGNETIC_FORCES, T)
        path = tmp_path / f"a.{request.param}"
        mmtp.write(path, atoms, species="Fe")
        (atoms,) = mmtp.read(path)
        assert STAMP not in atoms.info
    else:
        mmtp.set_magnetic_forces(atoms, T)
    if request.param == "by ase":
        # Eight decimals of each number.
        ase.io.write(tmp_path / "a.extxyz", atoms)
        (atoms,) = mmtp.read(tmp_path / "a.extxyz")
    return atoms


def moved(atoms):
    atoms.positions[1, 0] += 1e-4


def strained(atoms):
    atoms.set_cell(1.0001 * atoms.cell.array)


def turned(atoms):
    atoms.set_initial_magnetic_moments(-atoms.get_initial_magnetic_moments())


def lowered(atoms):
    return -6771.501


@pytest.mark.parametrize("change", [moved, strained, turned, lowered])
def test_forces_of_another_state_are_no_labels(change, labelled, caplog):
    fresh = labelled.copy()
    energy = change(fresh) or -6771.5
    calculated(fresh, energy)
    assert labels_of(fresh).forces_stale
    assert to_structure(fresh, ("Fe",)).magnetic_forces is None
    assert caplog.text.count("belong to other results") == 1


@pytest.mark.parametrize("make", [copy.deepcopy, lambda a: pickle.loads(pickle.dumps(a))])
def test_copies_with_the_same_results_keep_them(make, labelled, caplog):
    for same in (make(labelled), calculated(labelled.copy())):
        np.testing.assert_allclose(to_structure(same, ("Fe",)).magnetic_forces, T, atol=1e-8)
    assert not caplog.records
    same = make(labelled)
    same.calc = None
    assert labels_of(same).magnetic_forces is None


def test_one_line_for_many(labelled, caplog):
    several = [calculated(labelled.copy(), -6770.0 - k) for k in range(3)]
    by_hand = iron()
    by_hand.set_array(MAGNETIC_FORCES, T)
    structures = to_structures([labelled, *several, by_hand], ("Fe",))
    kept = [s.magnetic_forces is not None for s in structures]
    assert kept == [True, False, False, False, True]
    stale, hand = (record.getMessage() for record in caplog.records)
    assert "magnetic forces of 3 of 5 configurations (first: configuration 2) belong" in stale
    assert "magnetic forces of 1 of 5 configurations (first: configuration 5) were set" in hand


def test_others_that_are_set_by_hand_are_not_those_of_the_file(tmp_path, caplog):
    atoms = iron()
    mmtp.set_magnetic_forces(atoms, T)
    atoms.info.clear()
    mmtp.write(tmp_path / "a.extxyz", atoms)
    (read,) = mmtp.read(tmp_path / "a.extxyz")
    caplog.clear()
    read.set_array(MAGNETIC_FORCES, 2 * T)
    np.testing.assert_array_equal(to_structure(read, ("Fe",)).magnetic_forces, 2 * T)
    assert "set by hand" in caplog.text


@pytest.mark.parametrize("suffix", ["extxyz", "cfg"])
def test_no_file_makes_labels_of_them(suffix, labelled, tmp_path, caplog):
    path = tmp_path / f"b.{suffix}"
    mmtp.write(path, calculated(labelled.copy(), -6770.0), species="Fe")
    (read,) = mmtp.read(path)
    assert MAGNETIC_FORCES not in read.arrays
    assert STAMP not in read.info
    assert "belong to other results" in caplog.text


def test_nor_does_a_file_by_ase(tmp_path, caplog):
    """Its comment line carries the stamp."""
    atoms = iron()
    mmtp.set_magnetic_forces(atoms, T)
    ase.io.write(tmp_path / "c.extxyz", calculated(atoms.copy(), -6770.0))
    (read,) = mmtp.read(tmp_path / "c.extxyz")
    assert labels_of(read).magnetic_forces is None
    assert "c.extxyz: magnetic forces of 1 of 1" in caplog.text


def test_forces_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="one number, or a vector, for each of 2 atoms"):
        mmtp.set_magnetic_forces(iron(), np.zeros(3))
    canted = iron()
    canted.calc = None
    del canted.arrays["initial_magmoms"]
    canted.set_initial_magnetic_moments(np.ones((len(canted), 3)))
    with pytest.raises(ValueError, match="the moments are vectors; give a vector for each"):
        mmtp.set_magnetic_forces(canted, np.zeros(len(canted)))


def test_a_calculator_knows_its_own(random_potential):
    potential = random_potential(3, level=2, n_species=1, radial_size=3)
    atoms = iron()
    mmtp.set_magnetic_forces(atoms, T)
    atoms.calc = mmtp.MMTPCalculator(potential)
    atoms.get_potential_energy()
    np.testing.assert_array_equal(labels_of(atoms).magnetic_forces, atoms.calc.magnetic_forces)
    atoms.positions[0, 0] += 0.01
    assert labels_of(atoms).magnetic_forces is None


def test_what_is_no_number_is_what_it_was() -> None:
    atoms = Atoms("Fe2", positions=np.eye(2, 3))
    atoms.set_initial_magnetic_moments([2.0, np.nan])
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0)
    assert not labels_of(atoms).stale
    atoms.positions[0, 0] = 0.5
    assert labels_of(atoms).stale
