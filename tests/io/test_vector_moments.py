"""Moments that are vectors in files: what is read, what is written, and what is refused."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

import mmtp_jax as mmtp
from mmtp_jax.io.convert import to_structure
from mmtp_jax.io.schema import TRANSVERSE, labels_of
from tests.io.test_formats import OUTCAR


def labelled(moments, forces, transverse=False, seed=1):
    rng = np.random.default_rng(seed)
    n = len(moments)
    atoms = Atoms(f"Fe{n}", positions=rng.normal(size=(n, 3)), cell=[4, 4, 4], pbc=True)
    atoms.set_initial_magnetic_moments(np.array(moments, float))
    atoms.calc = SinglePointCalculator(
        atoms, energy=-1.5, forces=rng.normal(size=(n, 3)), magmoms=np.array(moments, float)
    )
    mmtp.set_magnetic_forces(atoms, np.array(forces, float), transverse=transverse)
    return atoms


CANTED = labelled([[1.0, 2.0, 0.0], [0.0, -1.0, 0.5]], [[0.3, 0.1, -0.2], [0.0, 0.4, 0.0]])
FORCES_ON_ONE_AXIS = labelled([[1.0, 2.0, 0.0], [0.0, -1.0, 0.5]], np.outer([0.3, -0.1], [0, 0, 1]))
ALONG_Z = labelled(np.outer([2.0, -1.0], [0, 0, 1]), np.outer([0.2, 0.3], [0, 0, 1]))


def same(got, expected):
    for values in (
        lambda a: a.get_magnetic_moments(),
        lambda a: a.get_initial_magnetic_moments(),
        lambda a: a.arrays["magnetic_forces"],
    ):
        np.testing.assert_array_equal(values(got), values(expected))


@pytest.mark.parametrize("name", ["a.cfg", "a.extxyz", "a.traj", "a.json"])
def test_vectors_come_back_from_files(tmp_path, name, caplog):
    """Beside canted moments those along one axis keep it, for who asks for vectors."""
    mmtp.write(tmp_path / name, [CANTED, ALONG_Z, FORCES_ON_ONE_AXIS])
    if name not in ("a.traj", "a.json"):
        assert not caplog.messages
        for got, expected in zip(
            mmtp.read(tmp_path / name, vectors=True),
            (CANTED, ALONG_Z, FORCES_ON_ONE_AXIS),
            strict=True,
        ):
            same(got, expected)
            assert labels_of(got).magnetic_forces is not None
        _, collinear, one_axis = mmtp.read(tmp_path / name)
        same(one_axis, FORCES_ON_ONE_AXIS)
        np.testing.assert_array_equal(collinear.get_magnetic_moments(), [2, -1])
        np.testing.assert_array_equal(collinear.arrays["magnetic_forces"], [0.2, 0.3])
    # Those formats hold no magnetic forces as labels; moments they do.
    got, along_z, _ = mmtp.read(tmp_path / name, vectors=True)
    np.testing.assert_array_equal(got.get_magnetic_moments(), CANTED.get_magnetic_moments())
    np.testing.assert_array_equal(along_z.get_magnetic_moments(), ALONG_Z.get_magnetic_moments())


@pytest.mark.parametrize("name", ["a.cfg", "a.extxyz"])
def test_moments_along_one_axis_are_collinear_unless_vectors_are_asked_for(tmp_path, name):
    mmtp.write(tmp_path / name, ALONG_Z)
    (got,) = mmtp.read(tmp_path / name)
    np.testing.assert_array_equal(got.get_magnetic_moments(), [2, -1])
    mmtp.write(tmp_path / name, ALONG_Z, vectors=True)
    (got,) = mmtp.read(tmp_path / name, vectors=True)
    same(got, ALONG_Z)


def test_a_total_that_ase_writes_is_none_that_is_lost(tmp_path, caplog):
    atoms = labelled(ALONG_Z.get_magnetic_moments(), np.zeros((2, 3)))
    atoms.calc.results["magmom"] = np.array([0.0, 0.0, 1.0])
    mmtp.write(tmp_path / "a.extxyz", [atoms, CANTED])
    got, _ = mmtp.read(tmp_path / "a.extxyz")
    assert got.calc.results["magmom"] == 1.0
    mmtp.write(tmp_path / "a.cfg", got)
    assert not caplog.messages


def test_sign_of_the_columns_of_cfg(tmp_path):
    mmtp.write(tmp_path / "a.cfg", CANTED)
    names = (tmp_path / "a.cfg").read_text().splitlines()[7].split()[1:]
    row = dict(zip(names, (tmp_path / "a.cfg").read_text().splitlines()[8].split(), strict=True))
    assert [float(row[f"magmom_{k}"]) for k in "xyz"] == [1.0, 2.0, 0.0]
    assert [float(row[f"en_der_m{k}"]) for k in "xyz"] == [0.3, 0.1, -0.2]
    (got,) = mmtp.read(tmp_path / "a.cfg", magnetic_gradient=True)
    np.testing.assert_array_equal(got.arrays["magnetic_forces"], -CANTED.arrays["magnetic_forces"])


@pytest.mark.parametrize("name", ["a.cfg", "a.extxyz"])
def test_files_say_that_only_the_part_across_is_known(tmp_path, name):
    canted = labelled(CANTED.get_magnetic_moments(), [[2.0, -1, 3], [1, 0, 0]], transverse=True)
    along_z = labelled(np.outer([2.0, 1.0], [0, 0, 1]), [[0.1, 0, 0], [0, 0.2, 0]], transverse=True)
    mmtp.write(tmp_path / name, [canted, along_z])
    got, across = mmtp.read(tmp_path / name)
    assert got.info[TRANSVERSE] is True
    assert labels_of(got).transverse
    same(got, canted)
    structure = to_structure(got, ("Fe",), vectors=True)
    assert structure.transverse
    assert structure.count("magnetic_forces") == 4
    # Across collinear moments there is nothing to know.
    assert to_structure(across, ("Fe",), vectors=True).magnetic_forces is None
    again = mmtp.read(tmp_path / name, vectors=True)[1]
    assert to_structure(again, ("Fe",), vectors=True).transverse
    # Other magnetic forces, set later, are whole ones.
    mmtp.set_magnetic_forces(got, canted.arrays["magnetic_forces"])
    assert not labels_of(got).transverse
    got.info[TRANSVERSE] = "perhaps"
    with pytest.raises(ValueError, match=r"configuration 1: transverse_magnetic_forces must be"):
        to_structure(got, ("Fe",), vectors=True)


def test_a_column_of_constraint_fields_is_mapped(tmp_path):
    (tmp_path / "a.extxyz").write_text(
        "1\nProperties=species:S:1:pos:R:3:m:R:3:constraint_field:R:3 energy=-1.0\n"
        "Fe 0 0 0  1 0 2.0  0.5 0 -0.25\n"
    )
    keys = {"magmoms": "m", "transverse_magnetic_forces": "constraint_field"}
    (atoms,) = mmtp.read(tmp_path / "a.extxyz", keys=keys)
    assert labels_of(atoms).transverse
    np.testing.assert_array_equal(atoms.arrays["magnetic_forces"], [[0.5, 0, -0.25]])
    assert "constraint_field" not in atoms.arrays
    with pytest.raises(ValueError, match="are two labels of one kind"):
        mmtp.read(tmp_path / "a.extxyz", keys=keys | {"magnetic_forces": "constraint_field"})


TABLE = OUTCAR[OUTCAR.index(" magnetization (x)") : OUTCAR.index("  in kB")]


def outcar(x, y, z):
    """The file of a noncollinear run: a table for each axis."""
    tables = ""
    for axis, (first, second) in zip("xyz", (x, y, z), strict=True):
        table = TABLE.replace("(x)", f"({axis})")
        table = table.replace("2.2     2.2", f"{first}     {first}")
        tables += table.replace("-2.1    -2.1", f"{second}    {second}")
    return OUTCAR.replace(TABLE, tables).replace("ISPIN  =      2", "ISPIN  =      1")


def test_outcar_of_a_noncollinear_run(tmp_path):
    (tmp_path / "OUTCAR").write_text(outcar((0.5, 0.0), (0.0, -1.5), (2.0, 1.0)))
    (atoms,) = mmtp.read(tmp_path / "OUTCAR")
    expected = [[0.5, 0.0, 2.0], [0.0, -1.5, 1.0]]
    np.testing.assert_array_equal(atoms.get_magnetic_moments(), expected)
    np.testing.assert_array_equal(to_structure(atoms, ("Fe",), vectors=True).magmoms, expected)
    with pytest.raises(ValueError, match=r"configuration 1: .*noncollinear.*take vectors"):
        to_structure(atoms, ("Fe",))
    (free,) = mmtp.read(tmp_path / "OUTCAR", moments_at_equilibrium=True)
    np.testing.assert_array_equal(free.arrays["magnetic_forces"], np.zeros((2, 3)))
    (tmp_path / "OUTCAR").write_text(outcar((0.0, 0.0), (0.0, 0.0), (2.0, -1.0)))
    (atoms,) = mmtp.read(tmp_path / "OUTCAR")
    np.testing.assert_array_equal(atoms.get_magnetic_moments(), [2, -1])
    (atoms,) = mmtp.read(tmp_path / "OUTCAR", vectors=True)
    np.testing.assert_array_equal(atoms.get_magnetic_moments(), [[0, 0, 2], [0, 0, -1]])


def test_formats_that_hold_numbers_refuse_vectors(tmp_path):
    path = tmp_path / "a.cell"
    with pytest.raises(ValueError, match=r"holds one number for each moment.*\.extxyz or \.cfg"):
        mmtp.write(path, CANTED, format="castep-cell")
    assert not path.exists()
    atoms = labelled(CANTED.get_magnetic_moments(), np.zeros((2, 3)))
    atoms.arrays["magnetic_forces"] = np.array([0.1, 0.2])
    with pytest.raises(ValueError, match="magnetic forces are one number for each atom"):
        mmtp.write(tmp_path / "a.cfg", atoms)


def test_shapes_that_are_neither():
    atoms = labelled([1.0, 2.0], [0.1, 0.2])
    atoms.calc.results["magmoms"] = np.ones((2, 2))
    with pytest.raises(ValueError, match=r"2 x 2 numbers, expected 2 numbers or 2 x 3 numbers"):
        to_structure(atoms, ("Fe",), vectors=True)
    with pytest.raises(ValueError, match="2 x 2 numbers; give one number, or a vector, for each"):
        mmtp.set_magnetic_forces(atoms, np.ones((2, 2)))
    atoms = labelled([[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]], np.zeros((2, 3)))
    atoms.arrays["magnetic_forces"] = np.array([0.1, 0.2])
    with pytest.raises(ValueError, match="magnetic_forces has 2 numbers, expected 2 x 3"):
        to_structure(atoms, ("Fe",), vectors=True)
