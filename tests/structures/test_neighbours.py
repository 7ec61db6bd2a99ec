"""Neighbour tables against ASE's neighbour list and against trying all images."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list

from mmtp_jax.structures.neighbours import neighbour_table
from mmtp_jax.structures.structure import Structure

CUTOFF = 4.0


def triples(i, j, vectors):
    """Neighbours as rows that can be compared whatever their order."""
    rows = np.column_stack([i, j, np.round(vectors, 6) + 0.0])
    return rows[np.lexsort(rows.T[::-1])]


def of_table(table):
    row, place = np.nonzero(table.index >= 0)
    return row, table.index[row, place], table.vectors[row, :, place]


def same(a, b):
    a, b = triples(*a), triples(*b)
    assert a.shape == b.shape, f"{len(a)} and {len(b)} neighbours"
    # Sorting by rounded numbers may exchange rows that differ in the last digit only.
    np.testing.assert_allclose(a, b, atol=3e-6)


CELLS = {
    "tiny": {"n_atoms": 1, "volume_per_atom": 8.0},
    "small": {"n_atoms": 3},
    "larger": {"n_atoms": 12, "shear": 0.1},
    "very triclinic": {"n_atoms": 4, "shear": 0.45},
    "slab": {"n_atoms": 5, "periodic": (True, False, True)},
    "wire": {"n_atoms": 4, "periodic": (False, False, True)},
    "free": {"n_atoms": 8, "periodic": False},
}


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", CELLS)
def test_neighbours_are_those_of_ase_and_of_all_images(name, seed, random_structure, image_pairs):
    structure = random_structure(seed, **CELLS[name])
    table = neighbour_table(structure, CUTOFF)
    got = of_table(table)
    atoms = Atoms(
        "H" * len(structure),
        positions=structure.positions,
        cell=structure.cell,
        pbc=structure.periodic,
    )
    same(got, neighbor_list("ijD", atoms, CUTOFF))
    same(got, image_pairs(structure, CUTOFF))
    np.testing.assert_array_equal(table.count, np.bincount(got[0], minlength=len(structure)))
    assert table.index.shape[1] == table.count.max()


def test_every_pair_is_there_in_both_directions(random_structure):
    i, j, vectors = of_table(neighbour_table(random_structure(3, 5), CUTOFF))
    same((i, j, vectors), (j, i, -vectors))


def test_vectors_lead_to_an_image_of_the_neighbour(random_structure):
    structure = random_structure(4, 4)
    i, j, vectors = of_table(neighbour_table(structure, CUTOFF))
    shift = vectors - (structure.positions[j] - structure.positions[i])
    images = shift @ np.linalg.inv(structure.cell)
    np.testing.assert_allclose(images, np.round(images), atol=1e-12)
    assert np.abs(images).max() >= 1.0


def test_atoms_outside_of_the_cell_have_the_same_neighbours(random_structure):
    structure = random_structure(5, 4)
    shifted = replace(
        structure,
        positions=structure.positions + np.array([[3], [0], [-2], [1]]) * structure.cell[0],
    )
    same(of_table(neighbour_table(structure, CUTOFF)), of_table(neighbour_table(shifted, CUTOFF)))


def test_atoms_without_neighbours_have_empty_rows():
    structure = Structure(
        cell=np.zeros((3, 3)),
        periodic=np.zeros(3, bool),
        positions=np.array([[0.0, 0, 0], [0, 0, 2.0], [0, 0, 50.0]]),
        types=np.zeros(3, np.int32),
        magmoms=np.zeros(3),
    )
    table = neighbour_table(structure, CUTOFF)
    np.testing.assert_array_equal(table.count, [1, 1, 0])
    np.testing.assert_array_equal(table.index[2], -1)
    alone = replace(structure, positions=structure.positions[:1], types=structure.types[:1])
    assert neighbour_table(alone, CUTOFF).index.shape == (1, 0)


def test_coincident_atoms_are_an_error_that_names_them(random_structure):
    structure = random_structure(6, 3)
    structure.positions[2] = structure.positions[0] + structure.cell[1]
    structure = replace(structure, name="train.cfg, configuration 7")
    with pytest.raises(ValueError, match=r"configuration 7: atoms [02] and [02] are at the same"):
        neighbour_table(structure, CUTOFF)


def test_periodic_direction_without_a_cell_vector_is_an_error(random_structure):
    structure = random_structure(7, 2)
    structure.cell[1] = 0.0
    with pytest.raises(ValueError, match="cell vector for each periodic direction"):
        neighbour_table(structure, CUTOFF)
