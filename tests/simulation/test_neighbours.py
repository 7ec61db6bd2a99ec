"""Lists with a skin: the graphs are exact after motion and strain, and no pair is ever missed."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from mmtp_jax.interfaces.evaluation import evaluate_graph
from mmtp_jax.potential.chunks import padded_count
from mmtp_jax.simulation.neighbours import graph_of, structures_of, used_skin
from mmtp_jax.simulation.system import system_of
from mmtp_jax.structures import neighbour_list

CUTOFF = 4.0
SHAPES = [True, False, (True, True, False), (False, False, True)]


def find_neighbours(system, cutoff, skin, *, chunk=None, **options):
    """The list of a system, with room for the neighbours of warm atoms."""
    return neighbour_list.find_neighbours(
        structures_of(system), cutoff, skin, room=neighbour_list.warm_width,
        n_atoms=padded_count(system.n_atoms * system.n_replicas, chunk), **options,
    )  # fmt: skip


def _moved(rng, structure, length, strain=0.0):
    """Displacements up to a length, after a strain of all that is periodic."""
    change = np.eye(3) + strain * rng.uniform(-1.0, 1.0, (3, 3))
    steps = rng.normal(size=structure.positions.shape)
    steps *= length / np.linalg.norm(steps, axis=1).max()
    cell, positions = structure.cell, structure.positions
    if strain:
        cell, positions = cell @ change, positions @ change
    return replace(structure, cell=cell, positions=positions + steps)


@pytest.mark.parametrize("periodic", SHAPES)
def test_observables_after_motion_are_those_of_a_fresh_search(
    random_potential, random_structure, evaluated, periodic
) -> None:
    rng = np.random.default_rng(7)
    potential = random_potential(5)
    before = [random_structure(k, 3, periodic=periodic) for k in (21, 22)]
    before = [replace(b, types=before[0].types, periodic=before[0].periodic) for b in before]
    # Atoms that have left the cell are where they are.
    away = before[0].positions + np.array([[2.0, 0.0, -1.0]]) @ before[0].cell
    before[0] = replace(before[0], positions=away)
    strain = 0.02 if periodic is True else 0.0
    after = [_moved(rng, b, 0.15, strain) for b in before]
    system = system_of(before, np.ones(3))
    # One shape for all cases, with rows of padding.
    neighbours = find_neighbours(system, CUTOFF, 0.8, chunk=4, width=64)
    moved = system_of(after, np.ones(3))
    used = np.asarray(used_skin(moved, neighbours))
    assert np.all((used > 0.1) & (used < 1.0)), used

    graph, shortest = jax.jit(graph_of)(moved, neighbours)
    sites, values = evaluate_graph(potential, graph)
    for r, structure in enumerate(after):
        expected = evaluated(potential, structure)
        rows = slice(3 * r, 3 * r + 3)
        assert np.allclose(sites[rows], expected["energies"], rtol=1e-10)
        assert np.allclose(values.forces[rows], expected["forces"], rtol=1e-8, atol=1e-9)
        assert np.allclose(values.magnetic_forces[rows], expected["magnetic_forces"], atol=1e-9)
        assert np.allclose(values.stress[r], expected["stress"], rtol=1e-8, atol=1e-10)
    table = [np.linalg.norm(a.positions[:, None] - a.positions, axis=2) for a in after]
    if periodic is False:
        assert np.allclose(shortest, [np.min(t[t > 0]) for t in table])


@pytest.mark.parametrize("seed", range(20))
def test_no_pair_is_missed_within_the_skin(random_structure, image_pairs, seed) -> None:
    rng = np.random.default_rng(seed)
    structure = random_structure(seed, 1 + seed % 4)
    skin = 0.6
    system = system_of([structure], np.ones(len(structure)))
    neighbours = find_neighbours(system, CUTOFF, skin)
    # The largest motion along this direction that counts as safe.
    strain = (seed % 3) * 0.01
    rng_state = rng.bit_generator.state
    length = 0.5
    while True:
        rng.bit_generator.state = rng_state
        moved = _moved(rng, structure, length, strain)
        after = system_of([moved], np.ones(len(structure)))
        if used_skin(after, neighbours)[0] <= 1.0:
            break
        length *= 0.98
    graph, shortest = graph_of(after, neighbours)
    distance = np.linalg.norm(graph.vectors, axis=1)
    i, _, vectors = image_pairs(moved, CUTOFF)
    found = np.sum(distance[: len(structure)] < CUTOFF, axis=1)
    assert np.array_equal(found, np.bincount(i, minlength=len(structure))), f"seed {seed}"
    assert np.isclose(shortest[0], np.linalg.norm(vectors, axis=1).min())
    # And it is not given up much too early: without strain, half the skin is allowed.
    if strain == 0.0:
        assert length > 0.96 * skin / 2


def test_positions_that_are_not_finite_are_never_safe(crystal) -> None:
    system = crystal()
    neighbours = find_neighbours(system, CUTOFF, 0.5)
    broken = np.array(system.positions)
    broken[0, 3, 1] = np.nan
    assert used_skin(system, neighbours)[0] == 0.0
    assert used_skin(system._replace(positions=broken), neighbours)[0] == np.inf
    # A cell that shrinks by more than the skin makes up for.
    assert used_skin(system._replace(cell=0.9 * system.cell), neighbours)[0] == np.inf


def test_one_replica_can_be_searched_again(crystal) -> None:
    system = crystal(seeds=(1, 2))
    old = find_neighbours(system, CUTOFF, 0.5)
    moved = system._replace(positions=system.positions + 0.2 * np.sin(np.arange(16))[:, None])
    new = find_neighbours(moved, CUTOFF, 0.5, previous=old, which=np.array([False, True]))
    whole = find_neighbours(moved, CUTOFF, 0.5, width=new.width)
    assert np.array_equal(new.index[:16, : old.width], old.index[:16])
    assert np.array_equal(new.reference_positions[:16], system.positions[0])
    assert np.array_equal(new.index[16:], whole.index[16:])
    assert np.array_equal(new.shifts[16:], whole.shifts[16:])
    assert np.asarray(used_skin(moved, new))[1] == 0.0
    assert np.asarray(used_skin(moved, new))[0] > 0.1


def test_lists_become_wider_and_never_narrower(crystal) -> None:
    system = crystal(lattice=3.2)
    wide = find_neighbours(system, CUTOFF, 0.5)
    dense = crystal(lattice=2.6)
    wider = find_neighbours(dense, CUTOFF, 0.5, previous=wide)
    assert wider.width > wide.width
    assert find_neighbours(system, CUTOFF, 0.5, previous=wider).width == wider.width
    # A warm crystal fits into the list that was made for a cold one.
    cold, warm = crystal(rattle=0.0), crystal(rattle=0.07)
    first = find_neighbours(cold, CUTOFF, 0.5)
    assert find_neighbours(warm, CUTOFF, 0.5, previous=first).width == first.width


@pytest.mark.parametrize(("n", "padded"), [(54, 54), (250, 250), (1458, 1472), (127, 127), (3, 3)])
def test_atoms_are_padded_so_that_blocks_fit(n, padded) -> None:
    assert padded_count(n, 128) == padded
    assert padded_count(n, None) == n
