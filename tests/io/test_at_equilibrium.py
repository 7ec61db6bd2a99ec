"""Moments declared at equilibrium give magnetic forces of zero, and only where there are none."""

import logging

import numpy as np
import pytest

from mmtp_jax.io.convert import to_structures
from mmtp_jax.io.labels import count_labels
from mmtp_jax.io.reading import read
from mmtp_jax.io.schema import MAGNETIC_FORCES, set_magnetic_forces
from mmtp_jax.io.writing import write
from tests.io.test_formats import OUTCAR


@pytest.fixture
def free(tmp_path):
    path = tmp_path / "free" / "OUTCAR"
    path.parent.mkdir()
    path.write_text(OUTCAR)
    return path


def forces_of(atoms_list):
    structures = to_structures(atoms_list, ("Fe",))
    return [None if s.magnetic_forces is None else list(s.magnetic_forces) for s in structures]


def test_outcar_whose_moments_are_free(free, caplog):
    assert forces_of(read(free)) == [None]
    with caplog.at_level(logging.INFO):
        found = read(free, moments_at_equilibrium=True)
    assert forces_of(found) == [[0.0, 0.0]]
    assert found[0].get_magnetic_moments() == pytest.approx([2.2, -2.1])
    counts = count_labels(to_structures(found, ("Fe",)), found)
    assert (counts.numbers["magnetic_forces"], counts.ignored) == (2, {})
    assert "1 configuration: moments declared at equilibrium, magnetic forces 0" in caplog.text


def test_of_files_and_patterns_only(free, tmp_path, monkeypatch):
    other = tmp_path / "OUTCAR"
    other.write_text(OUTCAR)
    assert forces_of(read([free, other], moments_at_equilibrium=free)) == [[0.0, 0.0], None]
    pattern = str(tmp_path / "*" / "OUTCAR")
    assert forces_of(read([other, free], moments_at_equilibrium=[pattern])) == [None, [0.0, 0.0]]
    monkeypatch.chdir(tmp_path)
    assert forces_of(read(free, moments_at_equilibrium="free/OUTCAR")) == [[0.0, 0.0]]
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read(free, moments_at_equilibrium="else/OUTCAR")


@pytest.mark.parametrize(
    ("line", "held"),
    [
        ("   NUPDOWN=      4.0000000 fix difference up-down\n", "NUPDOWN = 4 has held"),
        ("   I_CONSTRAINED_M = 2\n", "a penalty of VASP"),
        (" E_p =  0.36856E-07  lambda =  0.200E+01\n", "a penalty of VASP"),
    ],
)
def test_moments_that_vasp_held_are_not_free(free, line, held):
    free.write_text(line + OUTCAR)
    assert forces_of(read(free)) == [None]
    with pytest.raises(ValueError, match=f"OUTCAR: {held}"):
        read(free, moments_at_equilibrium=True)


def test_free_total_moment_of_vasp(free):
    free.write_text("   NUPDOWN=     -1.0000000 fix difference up-down\n" + OUTCAR)
    assert forces_of(read(free, moments_at_equilibrium=True)) == [[0.0, 0.0]]


@pytest.mark.parametrize("name", ["a.extxyz", "a.cfg"])
def test_one_configuration_says_so_itself(free, tmp_path, name, caplog):
    one, two, three = (read(free)[0] for _ in range(3))
    one.info["moments_at_equilibrium"] = True
    two.info["moments_at_equilibrium"] = False
    write(tmp_path / name, [one, two, three])
    found = read(tmp_path / name, species=("Fe",))
    assert forces_of(found) == [[0.0, 0.0], None, None]
    # The label has taken its place.
    assert [a.info.get("moments_at_equilibrium") for a in found] == [None, False, None]
    found = read(tmp_path / name, species=("Fe",), moments_at_equilibrium=True)
    assert forces_of(found) == [[0.0, 0.0], None, [0.0, 0.0]]
    write(tmp_path / name, found)
    assert forces_of(read(tmp_path / name)) == [[0.0, 0.0], None, [0.0, 0.0]]
    one.info["moments_at_equilibrium"] = "perhaps"
    write(tmp_path / name, [two, one])
    with pytest.raises(ValueError, match="configuration 2: moments_at_equilibrium must be true"):
        read(tmp_path / name)


def test_given_magnetic_forces_stay(free, tmp_path, caplog):
    (atoms,) = read(free)
    set_magnetic_forces(atoms, np.array([0.1, -0.2]))
    write(tmp_path / "a.extxyz", [atoms])
    with caplog.at_level(logging.INFO):
        found = read([tmp_path / "a.extxyz", free], moments_at_equilibrium=True)
    assert forces_of(found) == [[0.1, -0.2], [0.0, 0.0]]
    assert "1 configuration declared so keeps those of the file" in caplog.text


def test_moments_to_start_from_are_no_equilibrium(free, tmp_path, caplog):
    (atoms,) = read(free)
    del atoms.calc.results["magmoms"]
    write(tmp_path / "a.extxyz", [atoms])
    found = read(tmp_path / "a.extxyz", moments_at_equilibrium=True)
    assert found[0].has("initial_magmoms")
    assert MAGNETIC_FORCES not in found[0].arrays
    assert "declared so without an energy or moments of a calculation (magmoms)" in caplog.text
    keys = {"magmoms": "initial_magmoms"}
    found = read(tmp_path / "a.extxyz", keys=keys, moments_at_equilibrium=True)
    assert forces_of(found) == [[0.0, 0.0]]
