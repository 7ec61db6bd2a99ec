"""The search inside jit against vesin's: the same pairs in the same images, for any cell."""

import jax
import numpy as np
import pytest

import mmtp_jax as mmtp
from mmtp_jax.structures.cell_list import Places, expected_places, pseudo_inverse, search
from mmtp_jax.structures.neighbour_list import find_neighbours, placed
from mmtp_jax.structures.structure import Structure

RADIUS = 4.0
MOST = 8
"""Atoms of a random cell: all of them share a program."""
PLACES = Places((3, 3), 48, 160)


def pairs(found) -> np.ndarray:
    """Rows (i, j, image) of all neighbours, in an order of their own."""
    index, shifts, count = (np.asarray(a) for a in (found.index, found.shifts, found.count))
    used = np.arange(index.shape[1]) < count[:, None]
    i = np.broadcast_to(np.arange(len(count))[:, None], index.shape)[used]
    rows = np.column_stack([i, index[used], np.swapaxes(shifts, 1, 2)[used]])
    return rows[np.lexsort(rows.T[::-1])]


def random_cell(rng: np.random.Generator) -> Structure:
    """Cells of any shape, thin or sheared, with any directions periodic, atoms inside or not."""
    n = int(rng.integers(1, MOST + 1))
    periodic = rng.random(3) < 0.7
    cell = np.eye(3) + rng.uniform(0.0, 0.7) * rng.uniform(-1.0, 1.0, (3, 3))
    cell *= rng.uniform(0.4, 3.0, (3, 1))
    cell *= np.cbrt(rng.uniform(6.0, 30.0) * n / abs(np.linalg.det(cell)))
    positions = rng.uniform(-1.0, 2.0, (n, 3)) @ cell
    cell = np.where(periodic[:, None], cell, 0.0)
    return Structure(cell, periodic, positions, np.zeros(n, np.int32), np.zeros(n))


def compared(seed: int, n_cells: int, places: Places) -> int:
    """How many of so many random cells fitted into the places; their pairs are vesin's."""
    rng = np.random.default_rng(seed)
    n_held = 0
    for k in range(n_cells):
        structure = random_cell(rng)
        host = find_neighbours([structure], RADIUS, 0.0, n_atoms=MOST)
        found = search(
            places, host.configuration, host.reference_positions, host.reference_cell, RADIUS
        )
        if not places.hold(jax.device_get(found.needed)):
            continue
        n_held += 1
        assert np.array_equal(pairs(found), pairs(host)), f"seed {seed}, cell {k}: {structure}"
        inverse = pseudo_inverse(host.reference_cell)
        np.testing.assert_allclose(inverse, host.inverse_cell, rtol=1e-9, atol=1e-12)
    return n_held


def test_pairs_are_those_of_the_host() -> None:
    seed = int(np.random.default_rng().integers(2**31))
    print(f"seed {seed}")
    with mmtp.double_precision():
        assert compared(seed, 200, PLACES) > 150


@pytest.mark.slow
@pytest.mark.optimised
def test_pairs_of_thousands_of_cells_are_those_of_the_host() -> None:
    seed = int(np.random.default_rng().integers(2**31))
    print(f"seed {seed}")
    with mmtp.double_precision():
        assert compared(seed, 5000, Places((8, 8), 160, 300)) > 4900


@pytest.mark.parametrize("periodic", [True, (True, False, True), (False, False, True), False])
def test_many_bins_of_several_configurations(periodic) -> None:
    """Larger than the radius along some directions, far from the origin, with padding."""
    rng = np.random.default_rng(3)
    flags = np.broadcast_to(periodic, 3)
    structures = []
    for n, lengths in ((150, (9.0, 14.0, 22.0)), (40, (5.0, 9.0, 13.0))):
        cell = np.diag(lengths) + rng.uniform(-1.5, 1.5, (3, 3))
        positions = rng.uniform(-1.0, 2.0, (n, 3)) @ cell - 1e3
        cell = np.where(flags[:, None], cell, 0.0)
        structures.append(
            Structure(cell, flags.copy(), positions, np.zeros(n, np.int32), np.zeros(n))
        )
    with mmtp.double_precision():
        host = find_neighbours(structures, RADIUS, 0.0, n_atoms=192, n_configurations=3)
        found = search(
            Places((2, 1), 64, 80), host.configuration, host.reference_positions,
            host.reference_cell, RADIUS, 64,
        )  # fmt: skip
        needed = jax.device_get(found.needed)
        assert Places((2, 1), 64, 80).hold(needed), needed
    assert np.array_equal(pairs(found), pairs(host))
    # Padding has no neighbours, and free places hold the atom itself.
    assert not np.any(found.count[190:])
    assert np.array_equal(found.index[:, -1], np.arange(192))


def test_rows_depend_on_the_atoms_alone_and_what_lacks_is_said() -> None:
    rng = np.random.default_rng(5)
    n, cell = 64, np.diag([9.0, 10.0, 11.0])
    s = Structure(
        cell, np.ones(3, bool), rng.uniform(0, 10, (n, 3)), np.zeros(n, np.int32), np.zeros(n)
    )
    with mmtp.double_precision():
        at = placed([s], RADIUS, 0.0)
        where = (at.configuration, at.reference_positions, at.reference_cell, RADIUS)
        full = search(Places((1, 1), 40, 40), *where)
        needed = jax.device_get(full.needed)
        other = search(Places((2, 3), int(needed.run), int(needed.width)), *where)
        assert np.array_equal(full.index[:, : needed.width], other.index)
        assert np.array_equal(full.shifts[:, :, : needed.width], other.shifts)
        expected = jax.device_get(expected_places(at.configuration, at.reference_cell, RADIUS))
        assert expected.reach.tolist() == needed.reach.tolist() == [1, 1]
        assert 0.3 * needed.run < expected.run < 1.5 * needed.run
        few = search(Places((1, 1), 40, 3), *where)
        assert not Places((1, 1), 40, 3).hold(jax.device_get(few.needed))
        assert np.array_equal(few.count, full.count)
        short = Places((1, 1), int(needed.run) - 1, 40)
        assert not short.hold(jax.device_get(search(short, *where).needed))


def test_a_gpu_gets_no_scatter_and_one_sort() -> None:
    with mmtp.double_precision():
        at = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(np.shape(a), np.asarray(a).dtype),
            placed([], RADIUS, 0.0, n_atoms=64, n_configurations=2),
        )
        where = (at.configuration, at.reference_positions, at.reference_cell, at.cutoff)
        traced = search.trace(Places((1, 1), 32, 40), *where)
        text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert "scatter" not in text
    assert "custom_call" not in text
    assert text.count('"stablehlo.sort"') == 1
