"""From ASE atoms to structures: what is taken, and what is refused by name."""

import subprocess
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from mmtp_jax.io.convert import to_structure, to_structures

FEAL = ("Fe", "Al")


def labelled(pbc=True, moments=(2.0, -0.5), initial=(1.0, 0.0), **results):
    atoms = Atoms("AlFe", positions=[[0, 0, 0], [1.5, 1.5, 1.5]], cell=[3, 3, 3], pbc=pbc)
    if initial is not None:
        atoms.set_initial_magnetic_moments(initial)
    atoms.set_array("magnetic_forces", np.array([0.1, -0.2]))
    if moments is not None:
        results["magmoms"] = np.array(moments)
    results = {"energy": -3000.5, "forces": np.arange(6.0).reshape(2, 3)} | results
    atoms.calc = SinglePointCalculator(atoms)
    atoms.calc.results.update(results)
    return atoms


def test_everything():
    structure = to_structure(labelled(stress=np.arange(1.0, 7.0)), FEAL, "here")
    assert structure.name == "here"
    np.testing.assert_array_equal(structure.types, [1, 0])
    assert structure.types.dtype == np.int32
    np.testing.assert_array_equal(structure.cell, 3 * np.eye(3))
    assert structure.periodic.tolist() == [True] * 3
    np.testing.assert_array_equal(structure.positions[1], [1.5, 1.5, 1.5])
    np.testing.assert_array_equal(structure.magmoms, [2.0, -0.5])
    assert structure.energy == -3000.5
    np.testing.assert_array_equal(structure.forces, [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(structure.stress, [[1, 6, 5], [6, 2, 4], [5, 4, 3]])
    np.testing.assert_array_equal(structure.magnetic_forces, [0.1, -0.2])
    assert structure.weight == 1.0


def test_nothing():
    structure = to_structure(Atoms("Fe"), FEAL)
    for name in ("energy", "forces", "stress", "magnetic_forces"):
        assert getattr(structure, name) is None
    np.testing.assert_array_equal(structure.magmoms, [0.0])
    assert structure.volume is None


class TestMoments:
    def test_achieved_or_initial(self):
        atoms = labelled()
        np.testing.assert_array_equal(to_structure(atoms, FEAL).magmoms, [2.0, -0.5])
        initial = to_structure(atoms, FEAL, moments="initial")
        np.testing.assert_array_equal(initial.magmoms, [1.0, 0.0])

    def test_initial_where_none_was_achieved(self):
        atoms = labelled(moments=None)
        np.testing.assert_array_equal(to_structure(atoms, FEAL).magmoms, [1.0, 0.0])

    def test_zero_where_there_is_none(self):
        atoms = labelled(initial=None)
        structure = to_structure(atoms, FEAL, moments="initial")
        np.testing.assert_array_equal(structure.magmoms, [0.0, 0.0])

    def test_one_column(self):
        atoms = labelled(moments=[[0, 0, 2.0], [0, 0, -1.0]])
        np.testing.assert_array_equal(to_structure(atoms, FEAL).magmoms, [2, -1])

    def test_magnetic_forces_follow_the_axis_of_the_moments(self):
        atoms = labelled(moments=[[0, 0, 2.0], [0, 0, -1.0]])
        atoms.arrays["magnetic_forces"] = np.array([[0.5, 0, 0.1], [0, 0, 0.2]])
        structure = to_structure(atoms, FEAL)
        np.testing.assert_array_equal(structure.magnetic_forces, [0.1, 0.2])

    def test_noncollinear(self):
        atoms = labelled(moments=[[1.0, 0, 2.0], [0, 0, -1.0]])
        with pytest.raises(ValueError, match=r"train\.cfg, configuration 3: .*noncollinear"):
            to_structure(atoms, FEAL, "train.cfg, configuration 3")

    def test_kind(self):
        with pytest.raises(ValueError, match="'achieved' or 'initial', got 'final'"):
            to_structure(labelled(), FEAL, moments="final")


class TestLabels:
    def test_forces_without_constraints(self):
        atoms = labelled()
        atoms.set_constraint(FixAtoms([0, 1]))
        np.testing.assert_array_equal(to_structure(atoms, FEAL).forces, [[0, 1, 2], [3, 4, 5]])

    @pytest.mark.parametrize("pbc", [False, (True, True, False)])
    def test_stress_needs_three_periodic_directions(self, pbc):
        structure = to_structure(labelled(pbc=pbc, stress=np.ones(6)), FEAL)
        assert structure.stress is None
        assert not structure.cell[~structure.periodic].any()

    def test_stress_matrix(self):
        matrix = np.array([[1, 6, 5], [6, 2, 4], [5, 4, 3.0]])
        structure = to_structure(labelled(stress=matrix), FEAL)
        np.testing.assert_array_equal(structure.stress, matrix)
        with pytest.raises(ValueError, match="stress is a matrix that is not symmetric"):
            to_structure(labelled(stress=np.arange(9.0).reshape(3, 3)), FEAL)

    def test_calculator(self):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=1)
        atoms.calc = EMT()
        assert to_structure(atoms, ("Cu",)).energy is None  # nothing was calculated yet
        atoms.get_forces()
        structure = to_structure(atoms, ("Cu",))
        assert structure.energy == atoms.get_potential_energy()
        np.testing.assert_array_equal(structure.forces, atoms.get_forces())

    @pytest.mark.parametrize("change", ["positions", "cell", "moments"])
    def test_labels_of_other_atoms_do_not_count(self, change, caplog):
        atoms = labelled()
        if change == "positions":
            atoms.positions[0, 0] += 0.01
        elif change == "cell":
            atoms.set_cell([3, 3, 3.01])
        else:
            atoms.set_initial_magnetic_moments([1.5, 1.5])
        assert to_structure(atoms, FEAL, moments="initial").energy is None
        assert not caplog.records
        structure = to_structure(atoms, FEAL, "moved")
        assert "moved: the results of its calculator are for other positions" in caplog.text
        for name in ("energy", "forces", "magnetic_forces"):
            assert getattr(structure, name) is None
        assert structure.magmoms.tolist() == ([1.5, 1.5] if change == "moments" else [1.0, 0.0])
        assert atoms.calc.results["energy"] == -3000.5  # and it is all still there

    def test_magnetic_forces_of_the_calculator_win(self):
        atoms = labelled()
        atoms.calc.results["magnetic_forces"] = np.array([5.0, 6.0])
        np.testing.assert_array_equal(to_structure(atoms, FEAL).magnetic_forces, [5, 6])

    def test_weight(self):
        atoms = labelled()
        atoms.info["weight"] = 2
        assert to_structure(atoms, FEAL).weight == 2.0


def broken(change):
    atoms = labelled(stress=np.ones(6))
    atoms.calc.atoms = None  # changes of atoms are no concern of this calculator
    atoms.calc.check_state = lambda atoms: []
    change(atoms)
    return atoms


def results(**values):
    return lambda atoms: atoms.calc.results.update(values)


def array(name, values):
    return lambda atoms: atoms.arrays.update({name: np.array(values)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (results(energy=np.nan), "energy: a value is not finite"),
        (results(energy=[1.0]), "energy has 1 numbers, expected one"),
        (results(forces=np.full((2, 3), np.inf)), "forces: a value is not finite"),
        (results(forces=np.ones((3, 3))), "forces has 3 x 3 numbers, expected 2 x 3"),
        (results(stress=np.full(6, np.nan)), "stress: a value is not finite"),
        (results(stress=np.ones(9)), "stress has 9 numbers, expected 6 or 3 x 3"),
        (results(magmoms=np.array([1.0, np.nan])), "moments: a value is not finite"),
        (results(magmoms=np.ones(3)), "magnetic moments has 3 numbers"),
        (array("magnetic_forces", [np.nan, 1]), "magnetic_forces: a value is not finite"),
        (array("magnetic_forces", [[1, 2], [1, 2]]), "magnetic_forces has 2 x 2 numbers"),
        (array("magnetic_forces", [[1, 2, 0], [1, 2, 0]]), "magnetic_forces has several comp"),
        (array("positions", [[0, 0, np.nan], [1, 1, 1]]), "positions: a value is not"),
        (lambda atoms: atoms.info.update(weight=-1), "weight -1.0 is negative"),
        (lambda atoms: atoms.info.update(weight=np.inf), "weight: a value is not finite"),
        (
            lambda atoms: atoms.info.update(weight="high"),
            r"weight cannot be read as numbers \('high' is no number\)",
        ),
        (lambda atoms: atoms.set_cell(np.zeros((3, 3))), "periodic along 3 .*set cell or pbc"),
        (lambda atoms: atoms.set_cell([[1, 0, 0], [1, 0, 0], [0, 0, 1]]), "not independent"),
        (lambda atoms: atoms.set_chemical_symbols("CoFe"), "has Co, but .* for Fe, Al"),
    ],
)  # fmt: skip
def test_messages(change, message):
    with pytest.raises(ValueError, match=r"^set\.xyz, configuration 7: ") as caught:
        to_structure(broken(change), FEAL, "set.xyz, configuration 7")
    assert caught.match(message)


def test_empty():
    with pytest.raises(ValueError, match="configuration: has no atoms"):
        to_structure(Atoms(), FEAL)


class TestNames:
    def test_numbers(self):
        structures = to_structures([labelled(), labelled()], FEAL)
        assert [s.name for s in structures] == ["configuration 1", "configuration 2"]

    def test_source(self):
        atoms = labelled()
        atoms.source = "train.cfg, configuration 5"
        assert to_structures([atoms], FEAL)[0].name == "train.cfg, configuration 5"
        assert to_structure(atoms, FEAL).name == "train.cfg, configuration 5"

    def test_given(self):
        assert to_structures([labelled()], FEAL, ["mine"])[0].name == "mine"
        with pytest.raises(ValueError, match="2 names for 1 configurations"):
            to_structures([labelled()], FEAL, ["a", "b"])


def test_atoms_are_not_changed_or_shared():
    atoms = labelled(stress=np.ones(6))
    before = atoms.copy()
    structure = to_structure(atoms, FEAL)
    for name in ("positions", "cell", "magmoms", "forces", "stress", "magnetic_forces"):
        getattr(structure, name)[...] = 99.0
    assert atoms == before
    np.testing.assert_array_equal(atoms.arrays["magnetic_forces"], [0.1, -0.2])
    np.testing.assert_array_equal(atoms.calc.results["magmoms"], [2.0, -0.5])
    np.testing.assert_array_equal(atoms.calc.results["forces"], [[0, 1, 2], [3, 4, 5]])


def test_only_potentials_need_jax():
    modules = ", ".join(f"mmtp_jax.io.{m}" for m in ("cfg", "formats", "convert", "labels"))
    code = (
        "import sys, mmtp_jax, mmtp_jax.structures; before = 'jax' in sys.modules;"
        f"import {modules}; sys.exit('jax' in sys.modules and not before)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
