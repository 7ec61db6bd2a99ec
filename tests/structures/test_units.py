"""Sizes of labels that point to other units are named; ordinary and all-electron data pass."""

from dataclasses import replace

import numpy as np
import pytest

from mmtp_jax.fitting.initial import species_energies
from mmtp_jax.io.convert import to_structures
from mmtp_jax.io.reading import read
from mmtp_jax.structures.neighbours import neighbour_table
from mmtp_jax.structures.units import UnitsWarning, doubts, warn_of_units


@pytest.fixture(scope="module")
def structures():
    import mmtp_jax

    path = f"{mmtp_jax.__path__[0]}/data/fe_cdft.extxyz"
    return to_structures(read(path), ("Fe",))[:20]


def found(structures):
    tables = [neighbour_table(s, 4.0) for s in structures]
    return doubts(structures, tables, species_energies(structures, 1))


def test_all_electron_energies_and_ordinary_labels_pass(structures):
    assert np.mean([s.energy / len(s) for s in structures]) < -3000
    assert found(structures) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: replace(s, stress=s.stress * 160.2), "stresses .*eV/Angstrom"),
        (lambda s: replace(s, forces=s.forces * 1e3), "forces .*eV/Angstrom"),
        (lambda s: replace(s, magnetic_forces=s.magnetic_forces * 1e3), "magnetic forces .*mu_B"),
        (lambda s: replace(s, magmoms=s.magmoms * 9.274), "moment is .*mu_B"),
        (lambda s: replace(s, positions=s.positions / 10), "shortest distance"),
    ],
)
def test_each_wrong_unit_is_named_alone(structures, change, words):
    (message,) = found([change(s) for s in structures])
    assert np.all([part in message for part in words.split(".*")])


def test_mixed_references_of_energy_are_named(structures):
    mixed = [replace(s, energy=s.energy / 27.2114) for s in structures[:5]] + structures[5:]
    (message,) = found(mixed)
    assert "energies of like compositions" in message


@pytest.mark.parametrize(
    ("factor", "words"),
    [(1.0, None), (1.889726, "positions and cells in bohr"), (0.529177, "closer than 0.6 times")],
)
def test_lengths_in_other_units_are_named(structures, factor, words):
    scaled = [replace(s, positions=factor * s.positions, cell=factor * s.cell) for s in structures]
    tables = [neighbour_table(s, 6.0) for s in scaled]
    messages = doubts(scaled, tables, None, ("Fe",))
    assert messages == [] if words is None else words in messages[0]
    # Solid argon is as far apart as that.
    assert factor < 1.0 or doubts(scaled, tables, None, ("Ar",)) == []


def test_doubts_become_warnings(structures):
    wrong = [replace(s, forces=s.forces * 1e3) for s in structures]
    with pytest.warns(UnitsWarning, match="are they in eV/Angstrom"):
        warn_of_units(wrong, [neighbour_table(s, 4.0) for s in wrong], None)
