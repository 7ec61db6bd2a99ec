"""Batches: every structure once, few shapes, and the way back."""

from math import log2

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmtp_jax.potential.potential import Potential
from mmtp_jax.structures import batch as batch_module
from mmtp_jax.structures.batch import make_batches, pack, rounded_size
from mmtp_jax.structures.neighbours import neighbour_table
from mmtp_jax.structures.structure import Structure

CUTOFF = 4.0


@given(st.integers(0, 10**7))
def test_rounded_size_is_a_little_larger_and_one_of_few(n):
    size = rounded_size(n)
    assert size >= max(n, 1)
    assert size <= max(n, 1) * 9 / 8 or size < 16
    if n <= 15:
        assert size == max(n, 1)
    else:
        odd = size
        while odd > 15:
            assert odd % 2 == 0
            odd //= 2
        assert 8 <= odd <= 15


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_rounded_size_keeps_the_order_and_is_its_own_fixed_point(a, b):
    assert rounded_size(rounded_size(a)) == rounded_size(a)
    assert rounded_size(min(a, b)) <= rounded_size(max(a, b))


def test_there_are_eight_sizes_per_factor_of_two():
    sizes = {rounded_size(n) for n in range(16, 100_000)}
    assert len(sizes) <= 8 * (log2(100_000 / 16) + 1)


@pytest.fixture(scope="module")
def structures(random_structure):
    sizes = [2, 7, 1, 4, 4, 9, 3, 1, 12, 5, 2, 6]
    return [
        random_structure(k, n, volume_per_atom=(9.0, 14.0, 40.0)[k % 3], shortest=1.5)
        for k, n in enumerate(sizes)
    ]


@pytest.mark.parametrize("max_atoms", [None, 12, 20, 1])
def test_every_structure_is_in_exactly_one_batch(structures, max_atoms):
    batches = make_batches(structures, CUTOFF, max_atoms=max_atoms)
    members = np.concatenate([batch.members for batch in batches])
    np.testing.assert_array_equal(np.sort(members), np.arange(len(structures)))
    for batch in batches:
        sizes = [len(structures[k]) for k in batch.members]
        np.testing.assert_array_equal(np.diff(batch.offsets), sizes)
        # One configuration may be larger than allowed; several together may not.
        if max_atoms is not None and len(sizes) > 1:
            assert sum(sizes) <= max_atoms
        if max_atoms is None:
            assert sum(sizes) <= len(batch.graph.types)
    shapes = {jax.tree.map(np.shape, batch.graph) for batch in batches}
    assert len(shapes) <= 3


def test_batches_hold_the_neighbours_of_every_structure(structures):
    for batch in make_batches(structures, CUTOFF, max_atoms=20):
        graph = batch.graph
        length = np.linalg.norm(graph.vectors, axis=1)
        assert np.all(length > 0), "a vector of length zero has no derivative"
        for slot, member in enumerate(batch.members):
            structure, table = structures[member], neighbour_table(structures[member], CUTOFF)
            low, high = batch.offsets[slot : slot + 2]
            inside = slice(low, high)
            np.testing.assert_array_equal(graph.types[inside], structure.types)
            np.testing.assert_array_equal(graph.magmoms[inside], structure.magmoms)
            np.testing.assert_array_equal(graph.configuration[inside], slot)
            assert graph.volumes[slot] == structure.volume
            for atom in range(len(structure)):
                near = length[low + atom] < CUTOFF
                got = graph.neighbours[low + atom][near] - low
                here = table.index[atom] >= 0
                np.testing.assert_array_equal(got, table.index[atom][here])
                np.testing.assert_array_equal(
                    graph.vectors[low + atom][:, near], table.vectors[atom][:, here]
                )
        n_real = batch.offsets[-1]
        np.testing.assert_array_equal(graph.configuration[n_real:], graph.n_configurations)
        assert np.all(length[n_real:] > CUTOFF)


def test_split_is_the_way_back_for_atoms(structures):
    for batch in make_batches(structures, CUTOFF, max_atoms=20):
        per_atom = np.arange(3.0 * len(batch.graph.types)).reshape(-1, 3)
        parts = batch.split(per_atom)
        assert [len(p) for p in parts] == [len(structures[k]) for k in batch.members]
        np.testing.assert_array_equal(np.concatenate(parts), per_atom[: batch.offsets[-1]])


def test_fill_is_the_share_of_rows_that_hold_neighbours(structures):
    for batch in make_batches(structures, CUTOFF, max_atoms=20):
        real = np.linalg.norm(batch.graph.vectors, axis=1) < CUTOFF
        assert batch.fill == pytest.approx(real.mean(), abs=1e-12)


def test_minimal_sizes_keep_the_shape_of_an_earlier_graph(structures):
    tables = [neighbour_table(s, CUTOFF) for s in structures]
    graph = pack(structures[:1], tables[:1], CUTOFF, n_atoms=24, width=96, n_configurations=5).graph
    assert graph.vectors.shape == (24, 3, 96)
    assert graph.n_configurations == 5
    assert np.all(np.isinf(graph.volumes[1:]))


def test_structures_without_any_neighbours_make_a_batch():
    alone = Structure(
        cell=np.zeros((3, 3)),
        periodic=np.zeros(3, bool),
        positions=np.zeros((1, 3)),
        types=np.zeros(1, np.int32),
        magmoms=np.ones(1),
    )
    (batch,) = make_batches([alone, alone], CUTOFF)
    assert np.linalg.norm(batch.graph.vectors, axis=1).min() > CUTOFF
    assert np.all(np.isinf(batch.graph.volumes))


def test_structures_of_very_different_density_go_to_different_widths(random_structure, monkeypatch):
    dense = [random_structure(k, 8, volume_per_atom=9.0, shortest=1.5) for k in range(4)]
    thin = [random_structure(k, 8, volume_per_atom=80.0) for k in range(4)]
    assert len(make_batches([*dense, *thin], CUTOFF)) == 1, "so few are not worth a compilation"
    monkeypatch.setattr(batch_module, "ROWS_PER_COMPILATION", 100)
    batches = make_batches([*dense, *thin], CUTOFF)
    widths = {batch.graph.vectors.shape[2] for batch in batches}
    assert len(widths) == 2
    assert all(set(b.members) in ({0, 1, 2, 3}, {4, 5, 6, 7}) for b in batches)


@pytest.mark.parametrize(("gibibytes", "expected"), [(80, 32768), (8, 4096), (0.1, 1024)])
def test_blocks_on_a_device_take_a_quarter_of_its_memory(monkeypatch, gibibytes, expected):
    class Device:
        platform = "gpu"

        def memory_stats(self):
            return {"bytes_limit": int(gibibytes * 2**30)}

    monkeypatch.setattr(batch_module.jax, "local_devices", lambda backend: [Device()])
    assert batch_module.default_chunk() == expected
    assert expected == 1024 or 4 * expected * batch_module.BYTES_PER_ATOM <= gibibytes * 2**30


@pytest.mark.parametrize(("level", "dtype"), [(6, "float32"), (12, "float64")])
def test_blocks_of_an_evaluation_are_sized_by_its_scratch(monkeypatch, level, dtype):
    class Device:
        platform = "gpu"

        def memory_stats(self):
            return {"bytes_limit": 40 * 2**30}

    potential = Potential.new(level=level, species=("Fe",)).astype(dtype, dtype)
    monkeypatch.setattr(batch_module, "device_in_use", Device)
    size = batch_module.default_chunk(potential)
    assert 5 * 2**30 < size * batch_module.scratch(potential) <= 10 * 2**30
    assert size > batch_module.default_chunk()
    assert batch_module.lockstep_atoms(potential, on_cpu=1) == 2**15
    other = Potential.new(level=level, species=("Fe",), form="symmetrised").astype(dtype, dtype)
    assert batch_module.scratch(other) > batch_module.scratch(potential)


def test_blocks_are_those_of_the_device_that_is_chosen(monkeypatch):
    cpu = jax.local_devices(backend="cpu")[0]

    class Device:
        platform = "gpu"

        def memory_stats(self):
            return None

    monkeypatch.setattr(batch_module.jax, "local_devices", lambda backend: [Device()])
    assert batch_module.default_chunk() > batch_module.CPU_CHUNK
    with jax.default_device(cpu):
        assert batch_module.default_chunk() == batch_module.CPU_CHUNK
