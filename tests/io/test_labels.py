"""Counting labels, and finding those that go by other names."""

from importlib import resources

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mmtp_jax.io.convert import to_structures
from mmtp_jax.io.labels import count_labels, tell_of_other_names, unread_labels
from mmtp_jax.io.reading import read
from mmtp_jax.io.writing import write


def configurations():
    full = Atoms("Fe2", positions=[[0, 0, 0], [1, 1, 1]], cell=[3, 3, 3], pbc=True)
    full.set_array("magnetic_forces", np.ones(2))
    full.calc = SinglePointCalculator(full, energy=1.0, forces=np.ones((2, 3)), stress=np.ones(6))
    slab = Atoms("Fe", cell=[3, 3, 0], pbc=(True, True, False))
    slab.calc = SinglePointCalculator(slab, energy=1.0, stress=np.ones(6))
    slab.info["weight"] = 0
    moved = full.copy()
    moved.calc = SinglePointCalculator(moved, energy=1.0)
    moved.positions += 0.1
    return [full, slab, moved]


def test_counts():
    atoms_list = configurations()
    counts = count_labels(to_structures(atoms_list, ("Fe",)), atoms_list)
    assert counts.configurations == {
        "energy": 2, "forces": 1, "stress": 1, "magnetic_forces": 1, "magmoms": 0,
    }  # fmt: skip
    assert counts.numbers == {
        "energy": 2, "forces": 6, "stress": 6, "magnetic_forces": 2, "magmoms": 0,
    }  # fmt: skip
    assert (counts.n_configurations, counts.n_atoms) == (3, 5)
    assert sorted(counts.ignored.items()) == [
        ("all labels of configurations with weight 0", 1),
        ("results of a calculator for other positions, cell or moments", 1),
        ("stress of configurations that are not periodic in 3 directions", 1),
    ]


def test_table():
    atoms_list = configurations()
    counts = count_labels(to_structures(atoms_list, ("Fe",)), atoms_list)
    assert str(counts) == (
        "3 configurations, 5 atoms\n"
        "label            configurations     numbers\n"
        "energy                        2           2\n"
        "forces                        1           6\n"
        "stress                        1           6\n"
        "magnetic forces               1           2\n"
        "moments                       0           0\n"
        "ignored: all labels of configurations with weight 0 (1)\n"
        "ignored: stress of configurations that are not periodic in 3 directions (1)\n"
        "ignored: results of a calculator for other positions, cell or moments (1)"
    )


def test_shipped_data():
    atoms_list = read(str(resources.files("mmtp_jax") / "data" / "fe_cdft.extxyz"))
    counts = count_labels(to_structures(atoms_list, ("Fe",)), atoms_list)
    assert counts.n_atoms == 96 * 2 + 4 * 4
    assert set(counts.configurations.values()) == {100}
    assert counts.numbers["forces"] == 3 * counts.n_atoms
    assert counts.numbers["stress"] == 600
    assert counts.numbers["magnetic_forces"] == counts.n_atoms
    assert not counts.ignored
    assert unread_labels(atoms_list) == []


def test_none():
    counts = count_labels([])
    assert counts.n_atoms == 0
    assert set(counts.numbers.values()) == {0}


def with_entry(key, value, per_atom):
    atoms = Atoms("Fe4", positions=np.eye(4)[:, :3])
    if per_atom:
        atoms.set_array(key, np.array(value))
    else:
        atoms.info[key] = value
    return atoms


N3, N = np.ones((4, 3)), np.ones(4)


@pytest.mark.parametrize(
    ("key", "value", "per_atom", "advice"),
    [
        ("REF_energy", -1.0, False, "rename it to 'energy'"),
        ("dft_total_energy", np.float64(-1), False, "rename it to 'energy'"),
        ("TotEn", -1, False, "rename it to 'energy'"),
        ("energy", -1.0, False, "not where labels of its format stand"),
        ("force", N3, True, "rename it to 'forces'"),
        ("forces", np.ones(12), False, "not where labels of its format stand"),
        ("dft_forces", N3, True, "rename it to 'forces'"),
        ("magmom_forces", N, True, "if it is -dE/dm"),
        ("force_mag", N3, True, "rename it to 'magnetic_forces'"),
        ("mforces", N, True, "'magnetic_forces'"),
        ("forces_mag", N3, True, "'magnetic_forces'"),
        ("b_eff", N3, True, "'magnetic_forces'"),
        ("en_der_m", N3, True, "'magnetic_forces'"),
        ("en_der_mx", N, True, "'magnetic_forces'"),
        ("dE_dm", N, True, "'magnetic_forces'"),
        ("spin_torque", N3, True, "'magnetic_forces'"),
        ("REF_magmoms", N, True, "rename it to 'magmoms'"),
        ("magmom", N[:, None], True, "rename it to 'magmoms'"),
        ("spin", N, True, "rename it to 'magmoms'"),
        ("spinvec", N3, True, "rename it to 'magmoms'"),
        ("spinz", N, True, "rename it to 'magmoms'"),
        ("REF_stress", np.ones(6), False, "rename it to 'stress'"),
        ("mlip_virial", np.ones((3, 3)), False, "the virial divided by minus the volume"),
        ("virials", np.ones((4, 9)), True, "virials of atoms"),
        ("spin", 2, False, "one number, not the moment of each atom"),
        ("magmoms", np.ones(3), False, "not one number, or vector, for each atom"),
        ("my_spins", N, True, 'keys={"magmoms": "my_spins"}'),
    ],
)
def test_found(key, value, per_atom, advice):
    (sentence,) = unread_labels([with_entry(key, value, per_atom), Atoms("Fe")], "train.xyz")
    start = f"train.xyz: '{key}' in 1 of 2 configurations is not read as a label; "
    assert sentence.startswith(start)
    assert advice in sentence


@pytest.mark.parametrize(
    ("key", "value", "per_atom"),
    [
        ("magnetic_forces", N, True),
        ("initial_magmoms", N, True),
        ("momenta", N3, True),
        ("energy_weight", 2.0, False),
        ("force_std", N3, True),
        ("energy_per_atom", 1.0, False),
        ("constrained_spins", 1, False),
        ("label", "energy", False),
        ("energy_unit", "eV", False),
        ("forced", 1, False),
        ("forces_file", np.ones(4), True),
        ("MV_grade", 1.5, False),
        ("config_id", 3, False),
        ("ragged", [[1], [1, 2]], False),
    ],
)
def test_not_found(key, value, per_atom):
    assert unread_labels([with_entry(key, value, per_atom)]) == []


def test_the_example_of_the_documentation(tmp_path):
    for k in range(3):
        text = f"1\nProperties=species:S:1:pos:R:3 REF_energy=-{k}.5\nFe 0 0 0\n"
        with (tmp_path / "train.xyz").open("a") as file:
            file.write(text)
    assert unread_labels(read(tmp_path / "train.xyz"), "train.xyz") == [
        "train.xyz: 'REF_energy' in 3 of 3 configurations is not read as a label; "
        'rename it to \'energy\', or map it: keys={"energy": "REF_energy"}'
    ]


def test_names_in_atoms_of_other_readers_are_told(tmp_path, caplog):
    mine = with_entry("REF_magmoms", N, True)
    mine.info.update(REF_energy=1.0, spin=2)
    write(tmp_path / "a.extxyz", mine)
    tell_of_other_names([*read(tmp_path / "a.extxyz", keys={"energy": "REF_energy"}), Atoms("Fe")])
    assert "look like labels" not in caplog.text
    tell_of_other_names([mine, mine, Atoms("Fe")])
    assert caplog.messages[-1].startswith("'REF_energy' (2), 'REF_magmoms' (2) of 3 configurations")
