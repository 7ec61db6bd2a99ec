"""One mesh for cells alike, equal sampling by supercells, and what is kept for later runs."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms

from mmtp_jax.oracles.abinit import AbinitOracle
from mmtp_jax.oracles.jobs import label_all
from mmtp_jax.oracles.meshes import plan_meshes
from mmtp_jax.oracles.oracle import Provenance
from mmtp_jax.oracles.sampling import equal_sampling, good_size, mesh_of, same_lattice

A = 4.17
"""Angstrom; 2 pi / A is just below two steps of the spacing."""
SPACING = 0.76


@pytest.fixture
def oracle(dataset, tmp_path):
    names = {symbol: str(dataset(symbol)) for symbol in ("Cr", "N")}
    return AbinitOracle(names, kspacing=SPACING, ecut_Ha=16, pawecutdg_Ha=32)


@pytest.fixture
def table(tmp_path):
    return tmp_path / "meshes.json"


def cell(repeat=(1, 1, 1), strain=0.0, seed=0, scale=1.0):
    """Rocksalt cells of eight atoms and their supercells; positions do not matter."""
    n = 4 * int(np.prod(repeat))
    change = np.random.default_rng(seed).uniform(-strain, strain, (3, 3))
    vectors = np.diag(A * np.array(repeat)) * scale @ (np.eye(3) + (change + change.T) / 2)
    return Atoms(f"Cr{n}N{n}", np.zeros((2 * n, 3)), cell=vectors, pbc=True)


def meshes(plan):
    return [one.kmesh for one in plan.oracles]


def test_strained_cells_get_one_mesh_and_one_grid(oracle, table):
    cells = [cell(strain=0.04, seed=k) for k in range(22)]
    alone = {mesh_of(atoms.cell.array[None], SPACING) for atoms in cells}
    assert len(alone) > 1
    plan = plan_meshes(oracle, cells, table)
    plan.check()
    assert set(meshes(plan)) == {(2, 2, 2)}
    assert len({str(one.extra) for one in plan.oracles}) == 1
    assert "Cr4 N4    22" in str(plan)
    for scale in np.arange(0.9, 1.11, 0.05):
        found = plan_meshes(oracle, [cell(scale=s) for s in (1.0, scale)], table)
        assert len(set(meshes(found))) == 1, scale


def test_a_wide_set_is_not_torn_apart(oracle, table):
    plan = plan_meshes(oracle, [cell(scale=s) for s in np.linspace(0.7, 1.4, 30)], table)
    assert len(plan.groups) == 1
    plan.check()


def test_later_runs_have_the_meshes_of_the_first(oracle, table):
    plan_meshes(oracle, [cell()], table).save()
    compressed = [cell(scale=0.93)]
    assert meshes(plan_meshes(oracle, compressed, table)) == [(2, 2, 2)]
    other = replace(oracle, kspacing=0.4)
    plan = plan_meshes(other, compressed, table)
    assert meshes(plan) == [(5, 5, 5)]
    plan.save()
    assert meshes(plan_meshes(oracle, compressed, table)) == [(2, 2, 2)]
    assert "as before" in str(plan_meshes(oracle, compressed, table))
    table.unlink()
    assert meshes(plan_meshes(oracle, compressed, table)) == [(3, 3, 3)]


@pytest.mark.parametrize("content", ["", "[]", '{"format": "x"}', '{"format": 1, "groups": 2}'])
def test_a_damaged_table_is_refused(oracle, table, content):
    table.write_text(content)
    with pytest.raises(ValueError, match=r"meshes\.json is not a table of meshes"):
        plan_meshes(oracle, [cell()], table)


def test_supercells_sample_the_same_points(oracle, table):
    oracle = replace(oracle, kspacing=0.4)
    cells = [cell(), cell((1, 1, 2)), cell((2, 1, 1)), cell((1, 2, 2)), cell((1, 1, 2), 0.03)]
    plan = plan_meshes(oracle, cells, table)
    assert meshes(plan) == [(4, 4, 4), (4, 4, 2), (2, 4, 4), (4, 2, 2), (4, 4, 2)]
    assert len(set(plan.samplings)) == 1
    assert not plan.notes
    grids = [np.array(one.extra["ngfft"]) * one.kmesh for one in plan.oracles]
    assert all(np.array_equal(grid, grids[0]) for grid in grids)
    plan.check()


def test_cells_without_a_common_mesh_are_told(oracle, table):
    turned = Atoms("Cr2N2", np.zeros((4, 3)), cell=[A / 2**0.5, A / 2**0.5, A], pbc=True)
    plan = plan_meshes(oracle, [cell(), turned], table)
    assert len(set(plan.samplings)) == 2
    assert "no common mesh" in str(plan)


def test_a_given_mesh_is_kept_and_refused_for_turned_cells(oracle, table):
    oracle = replace(oracle, kmesh=(4, 4, 2))
    cells = [cell((1, 1, 2)), cell((2, 1, 1))]
    plan = plan_meshes(oracle, cells, table)
    assert meshes(plan) == [(4, 4, 2)] * 2
    with pytest.raises(ValueError, match="2 cells alike of Cr8N8 1 have 4x4x2, 1 have 4x2x4"):
        plan.check()
    plan.check(mixed=True)
    plan_meshes(oracle, [cell((1, 1, 2)), cell()], table).check()


def test_labels_beside_give_their_meshes_and_must_be_of_the_same_making(oracle, table):
    beside = [cell(scale=0.95), cell((1, 1, 2))]
    made = {k: v for k, v in oracle.making().items() if k != "code"}
    for atoms, mesh in zip(beside, ((4, 4, 4), (4, 4, 2)), strict=True):
        atoms.info |= Provenance("ABINIT", "9.6.2", making=made, kmesh=mesh).info
    plan = plan_meshes(oracle, [cell(), cell((1, 2, 1))], table, beside)
    plan.check()
    assert meshes(plan) == [(4, 4, 4), (4, 2, 4)]
    finer = plan_meshes(replace(oracle, ecut_Ha=20.0), [cell()], table, beside)
    with pytest.raises(ValueError, match="ecut_Ha 16 against 20 in 1 of 3"):
        finer.check()
    finer.check(making="ignore")


def test_labels_have_the_mesh_and_the_grids_of_the_set(stand_in, iron, tmp_path):
    oracle = stand_in("default", kspacing=2.2, pawecutdg_Ha=40)
    jobs = label_all(oracle, [iron], tmp_path / "jobs")
    (answer,) = jobs.labelled
    assert answer.atoms.info["kmesh"] == "2x2x2"
    assert answer.atoms.info["making"].startswith("code: ABINIT; version: 9.6.2; functional:")
    text = (tmp_path / "jobs" / "job-00000" / "1-default" / "run.abi").read_text()
    assert "ngkpt 2 2 2\n" in text
    assert "ngfft 24 24 24\n" in text
    again = label_all(oracle, [iron], tmp_path / "jobs")
    assert again.n_found == 1
    assert again.labelled[0].atoms.info == answer.atoms.info


def test_lattices_are_compared_whatever_their_bases():
    base = np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]])
    other = np.array([[1, 1, 0], [0, 1, 0], [2, 0, 1]]) @ base
    matrix, _ = same_lattice(other, base)
    np.testing.assert_array_equal(matrix @ base, other)
    assert same_lattice(base, np.eye(3) * 4 ** (1 / 3)) is None
    # A shift of (1/2, 1/2, 1/2) is another one in the other basis.
    assert equal_sampling(other, 1, base, 1, (4, 4, 4), (0, 0, 0)) == (4, 4, 4)
    assert equal_sampling(other, 1, base, 1, (4, 4, 4), (0.5, 0.5, 0.5)) is None


def test_sizes_of_grids():
    assert [good_size(x) for x in (0.5, 7, 18.1, 29, 97)] == [1, 8, 20, 30, 100]
