"""Lists from the device and from the host: the same neighbours, room, and errors."""

from dataclasses import replace

import jax
import numpy as np
import pytest

import mmtp_jax as mmtp
from mmtp_jax.potential import sums
from mmtp_jax.structures import list_maker, neighbour_list
from mmtp_jax.structures.list_maker import ListMaker
from mmtp_jax.structures.neighbour_list import reverse_places, roomy_width, used_skin, warm_width
from mmtp_jax.structures.structure import Structure

CUTOFF, SKIN = 4.0, 0.5


@pytest.fixture
def makers(monkeypatch):
    """makers(room): one that searches on the host, and one on the device."""

    def both(*room):
        found = []
        for on_device in (False, True):
            monkeypatch.setattr(list_maker, "ON_DEVICE", on_device)
            found.append(ListMaker(CUTOFF, SKIN, *room))
        return found

    with mmtp.double_precision():
        yield both


def cubes(lattice=2.9, seeds=(0, 1), side=2):
    """bcc crystals, rattled."""
    corner = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3)
    sites = np.concatenate([corner, corner + 0.5]) * lattice
    n = len(sites)
    return [
        Structure(
            cell=np.eye(3) * lattice * side,
            periodic=np.ones(3, bool),
            positions=sites + np.random.default_rng(seed).normal(0.0, 0.05, sites.shape),
            types=np.zeros(n, np.int32),
            magmoms=np.zeros(n),
            name=f"crystal {seed}",
        )
        for seed in seeds
    ]


def sets(made):
    """(j, image) of each atom's neighbours."""
    index, shifts, count = (np.asarray(a) for a in made[:3])
    rows = np.concatenate([index[:, None], shifts], axis=1)
    return [{tuple(p) for p in r[:, :k].T.tolist()} for r, k in zip(rows, count, strict=True)]


def same(a, b):
    assert sets(a) == sets(b)
    for name in a._fields[2:9]:
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("room", [(), (warm_width,), (roomy_width,)])
def test_both_make_the_same_list_with_the_same_room(makers, room) -> None:
    host, device = makers(*room)
    given = {"n_atoms": 40, "n_configurations": 3}
    expected, found = (maker.first(cubes(), **given) for maker in (host, device))
    assert device.on_device
    assert not host.on_device
    assert found.width == expected.width
    same(found, expected)
    assert device.first(cubes(), width=96, **given).width == 96


def test_reverse_places_lead_to_the_other_direction(makers) -> None:
    """Also of an atom and its own images, and with atoms far outside of their cell."""
    (small,) = cubes(side=1, seeds=(3,))
    small.positions[1] += np.array([5, -700, 2]) @ small.cell
    for maker in makers():
        made = maker.first([*cubes(), small], n_atoms=40, n_configurations=4)
        reverse = np.asarray(jax.jit(reverse_places, static_argnames="chunk")(made, 10))
        index, shifts, count = (np.asarray(a) for a in made[:3])
        i, k = np.nonzero(np.arange(made.width) < count[:, None])
        assert np.all(reverse[~(np.arange(made.width) < count[:, None])] == -1)
        j, place = np.divmod(reverse[i, k], made.width)
        assert np.array_equal(j, index[i, k])
        assert np.array_equal(index[j, place], i)
        assert np.array_equal(shifts[j, :, place], -shifts[i, :, k])
        # Every pair is met once.
        assert len(np.unique(reverse[i, k])) == len(i)


def test_again_searches_those_that_it_is_told_and_widens(makers) -> None:
    lists = [maker.first(cubes(), n_atoms=40, n_configurations=3) for maker in makers()]
    before = sets(lists[0])
    moved = np.asarray(lists[0].reference_positions)[:32] + 0.3
    moved[16:] += 0.2 * np.sin(np.arange(16))[:, None]
    cell = np.asarray(lists[0].reference_cell) * np.array([1.0, 1.01, 1.0])[:, None, None]
    which = np.array([False, True, False])
    host, device = makers()
    for maker in (host, device):
        maker.first(cubes())
    found = device.again(lists[1], moved, cell, which)
    same(found, host.again(lists[0], moved, cell, which))
    assert sets(found)[:16] == before[:16]
    assert sets(found)[16:32] != before[16:32]
    used = np.asarray(used_skin(found, moved, cell))
    assert used[0] == pytest.approx(2 * 0.3 * np.sqrt(3) / SKIN) or np.isinf(used[0])
    assert used[1] == 0.0

    # Denser, and more neighbours than there are places.
    dense = [a.reference_positions * 0.85 for a in lists]
    cells = [a.reference_cell.at[:2].multiply(0.85) for a in lists]
    wider = device.again(lists[1], dense[1], cells[1])
    expected = host.again(lists[0], dense[0], cells[0])
    assert wider.width == expected.width > lists[0].width
    same(wider, expected)


@pytest.mark.usefixtures("gpu_path")
def test_sums_are_gathered_as_they_are_scattered(makers, monkeypatch) -> None:
    """What devices need that add up by gathering, after searches of all and of some."""
    monkeypatch.setattr(neighbour_list, "adds_by_gathering", lambda: True)
    _, device = makers()
    made = device.first(cubes(), n_atoms=40, n_configurations=3)
    moved = made.reference_positions.at[:32].add(0.2 * np.sin(np.arange(32.0))[:, None])
    for which in (None, np.array([False, True, False])):
        made = device.again(made, moved, made.reference_cell, which)
        values = np.random.default_rng(1).normal(size=(*made.index.shape, 2))
        values[np.arange(made.width) >= np.asarray(made.count)[:, None]] = 0.0
        expected = np.zeros((40, 2))
        np.add.at(expected, np.asarray(made.index), values)
        found = sums.to_neighbours(values, made.index, made.sums)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    host = neighbour_list.with_sums(jax.device_get(made))
    assert np.array_equal(np.sort(host.sums.incoming), np.sort(made.sums.incoming))
    assert np.array_equal(host.sums.members, made.sums.members)


def test_positions_do_not_come_back(makers, monkeypatch) -> None:
    _, device = makers(warm_width)
    made = device.first(cubes())
    monkeypatch.setattr(device, "_structures", None)
    n_compiled = list_maker.search._cache_size()
    for k in range(3):
        made = device.again(made, made.reference_positions + 0.1 * k, made.reference_cell)
    assert list_maker.search._cache_size() == n_compiled
    with pytest.raises(TypeError, match="not callable"):
        device.again(made, 0.8 * made.reference_positions, 0.8 * made.reference_cell)


def test_crowds_in_vacuum_go_to_the_host(makers, monkeypatch) -> None:
    """Dense clusters, so far apart that all of one is in a few bins."""
    monkeypatch.setattr(list_maker, "MOST_CANDIDATES", 100)
    host, device = makers()
    (crystal,) = cubes(seeds=(0,))
    made = device.first([crystal])
    assert not device.on_device
    same(made, host.first([crystal]))
    assert isinstance(made.index, jax.Array)
    same(device.again(made, made.reference_positions + 0.1, made.reference_cell),
         host.again(made, made.reference_positions + 0.1, made.reference_cell))  # fmt: skip


def test_errors_are_those_of_the_host(makers) -> None:
    (crystal,) = cubes(seeds=(0,))
    twice = replace(
        crystal, positions=np.concatenate([crystal.positions[:-1], crystal.positions[:1]])
    )
    thin = replace(crystal, cell=crystal.cell * np.array([[1.0], [1.0], [1e-4]]))
    for wrong, words in ((twice, "at the same place"), (thin, "crystal 0: the cell")):
        messages = []
        for maker in makers():
            with pytest.raises(ValueError, match=words) as caught:
                maker.first([wrong])
            messages.append(str(caught.value))
        assert messages[0] == messages[1]
    free = replace(crystal, cell=np.zeros((3, 3)), periodic=np.zeros(3, bool),
                   positions=crystal.positions * 10.0)  # fmt: skip
    for maker in makers():
        assert not np.any(maker.first([free]).count)
