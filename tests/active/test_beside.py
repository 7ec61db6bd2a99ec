"""The active set beside a potential: found where it belongs to it, told where it does not."""

import logging

import numpy as np
import pytest
from ase.build import bulk

import mmtp_jax as mmtp
from mmtp_jax.active.beside import find_beside, path_beside


def test_names():
    assert path_beside("run/pot.mtp").name == "pot.active.npz"
    assert path_beside("pot.0.mtp").name == "pot.0.active.npz"
    assert path_beside("potential").name == "potential.active.npz"


@pytest.fixture
def iron(tmp_path):
    """A small potential in a file, its active set beside it, and a configuration."""
    atoms = bulk("Fe", a=2.83, cubic=True)
    atoms.set_initial_magnetic_moments([2.2, 2.0])
    potential = mmtp.Potential.new(level=2, species=("Fe",), radial_size=3, cutoff=3.5, seed=1)
    mmtp.save(tmp_path / "pot.mtp", potential)
    active = mmtp.ActiveSet.from_configurations(potential, [atoms], mode="neighborhood")
    active.save(path_beside(tmp_path / "pot.mtp"))
    return tmp_path / "pot.mtp", potential, active, atoms


def test_found_or_said(iron, tmp_path):
    path, potential, active, _ = iron
    found, said = find_beside(path, potential)
    assert (found.mode, said) == ("neighborhood", "")
    np.testing.assert_array_equal(found.submatrix, active.submatrix)
    refitted = potential.unflatten(potential.flatten() * 1.01)
    found, said = find_beside(path, refitted)
    assert found is None
    assert "pot.active.npz is not used" in said
    assert "the active set of another potential" in said
    path_beside(path).write_text("no active set")
    assert "is not a readable active set" in find_beside(path, potential)[1]
    assert find_beside(tmp_path / "other.mtp", potential) == (None, "")


def test_calculator_of_a_file(iron, caplog):
    path, potential, active, atoms = iron
    atoms.rattle(0.1, seed=1)
    atoms.calc = mmtp.MMTPCalculator(str(path))
    atoms.get_potential_energy()
    (expected,) = active.grade([atoms])
    assert atoms.calc.grade == pytest.approx(expected)
    assert mmtp.MMTPCalculator(potential).active_set is None
    mmtp.save(path, potential.unflatten(potential.flatten() * 1.01))
    with caplog.at_level(logging.WARNING):
        assert mmtp.MMTPCalculator(path).active_set is None
    assert "pot.active.npz is not used" in caplog.text
