"""Padding: many configurations of different sizes in one graph of few possible shapes.

Every array shape costs a compilation, so sizes are rounded up to m * 2^k with m of 8 to 15: at
most one eighth is padding, and there are eight shapes between n and 2 n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import jax
import numpy as np

from mmtp_jax.potential.observables import Graph
from mmtp_jax.potential.potential import Potential
from mmtp_jax.potential.sums import Sums, incoming_pairs, members_of
from mmtp_jax.structures.neighbours import PADDING, NeighbourTable, neighbour_table
from mmtp_jax.structures.structure import Structure

CPU_CHUNK = 64

BYTES_PER_ATOM = 2**19
"""Memory that a loop takes at most for an atom of its blocks, where nothing is known of it."""

LOCKSTEP_ATOMS = 2**15
"""Atoms of a batch on a GPU whose configurations wait for the slowest of them: from there on
launches take less time than evaluations."""

MAX_WIDTHS = 3
"""A data set is split into at most this many graphs, by the number of neighbours."""

ROWS_PER_COMPILATION = 100_000
"""Padded neighbours that a further shape must save: it takes seconds to compile."""


def rounded_size(n: int) -> int:
    """The smallest m * 2^k >= n with m of 8 to 15; at least 1, and n itself below 16."""
    size = max(int(n), 1)
    step = 1
    while size > 15 * step:
        step *= 2
    return -(-size // step) * step


@dataclass(frozen=True, eq=False)
class Batch:
    """Configurations packed into one graph (numpy arrays), and where to find them in it."""

    graph: Graph
    members: np.ndarray
    """(c,) index of each configuration in the list that was packed, c <= C."""
    offsets: np.ndarray
    """(c + 1,) first atom of each configuration."""
    n_neighbours: int
    """Neighbours of all atoms together, padding not counted."""

    @property
    def fill(self) -> float:
        """Share of the padded rows that hold real neighbours."""
        return self.n_neighbours / self.graph.neighbours.size

    def split(self, per_atom: np.ndarray) -> list[np.ndarray]:
        """An array (N, ...) cut into one array per configuration."""
        return [
            per_atom[low:high]
            for low, high in zip(self.offsets[:-1], self.offsets[1:], strict=True)
        ]


def pack(
    structures: Sequence[Structure],
    tables: Sequence[NeighbourTable],
    cutoff: float,
    *,
    members: np.ndarray | None = None,
    n_atoms: int = 0,
    width: int = 0,
    n_configurations: int = 0,
    most: int = 0,
) -> Batch:
    """Put configurations and their neighbours into one padded graph.

    Moments are collinear in all of them, or vectors in all of them.

    The minimal sizes ``n_atoms``, ``width`` and ``n_configurations``, and ``most`` of the atoms of
    one configuration, let a caller keep the shape of an earlier graph.
    """
    counts = np.array([len(s) for s in structures], int)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    total = max(rounded_size(offsets[-1]), n_atoms)
    width = max(rounded_size(max((t.index.shape[1] for t in tables), default=0)), width)
    n_conf = max(rounded_size(len(structures)), n_configurations)

    types = np.zeros(total, np.int32)
    magmoms = np.zeros((total, *(structures[0].magmoms.shape[1:] if structures else ())))
    neighbours = np.tile(np.arange(total, dtype=np.int32)[:, None], (1, width))
    vectors = np.zeros((total, 3, width))
    vectors[:, 0] = PADDING * cutoff
    configuration = np.full(total, n_conf, np.int32)
    volumes = np.full(n_conf, np.inf)
    for k, (structure, table) in enumerate(zip(structures, tables, strict=True)):
        low, high = offsets[k], offsets[k + 1]
        types[low:high] = structure.types
        magmoms[low:high] = structure.magmoms
        configuration[low:high] = k
        volume = structure.volume
        volumes[k] = np.inf if volume is None else volume
        used = table.index.shape[1]
        own = neighbours[low:high, :used]
        neighbours[low:high, :used] = np.where(table.index >= 0, table.index + low, own)
        vectors[low:high, :, :used] = table.vectors
    sums = None
    if adds_by_gathering():
        count = np.zeros(total, int)
        count[: offsets[-1]] = np.concatenate([table.count for table in tables])
        incoming = incoming_pairs(neighbours, count, total, width)
        most = rounded_size(max(most, counts.max(initial=0)))
        sums = Sums(incoming, members_of(configuration, n_conf, most))
    graph = Graph(types, magmoms, vectors, neighbours, configuration, volumes, sums)
    members = np.arange(len(structures)) if members is None else members
    return Batch(graph, members, offsets, int(sum(table.count.sum() for table in tables)))


def make_batches(
    structures: Sequence[Structure],
    cutoff: float,
    *,
    max_atoms: int | None = None,
    tables: Sequence[NeighbourTable] | None = None,
) -> list[Batch]:
    """Pack configurations into graphs of at most ``max_atoms`` atoms and few different shapes.

    Configurations are grouped by their number of neighbours into at most `MAX_WIDTHS` widths,
    chosen to waste the least; the graphs of one width share one shape. Collinear moments and
    vectors, which go through different programs, are apart.
    """
    if tables is None:
        tables = [neighbour_table(s, cutoff) for s in structures]
    widths = np.array([rounded_size(t.index.shape[1]) for t in tables], int)
    sizes = np.array([len(s) for s in structures], int)
    vectors = np.array([s.vectors for s in structures], bool)
    batches = []
    low = 0
    for high in _best_widths(widths, sizes):
        inside = np.flatnonzero((low < widths) & (widths <= high))
        low = high
        kinds = [inside[vectors[inside] == of] for of in (False, True)]
        parts = [part for of in kinds if of.size for part in _fill(of, sizes, max_atoms)]
        shape = {
            "n_atoms": rounded_size(max(int(sizes[part].sum()) for part in parts)),
            "n_configurations": rounded_size(max(len(part) for part in parts)),
            "width": int(high),
            "most": int(sizes[inside].max()),
        }
        batches += [
            pack(
                [structures[k] for k in part],
                [tables[k] for k in part],
                cutoff,
                members=part,
                **shape,
            )
            for part in parts
        ]
    return batches


def _best_widths(widths: np.ndarray, sizes: np.ndarray) -> tuple[int, ...]:
    """At most `MAX_WIDTHS` row widths for which the padded rows have the smallest total size."""
    unique = np.unique(widths)
    atoms = np.array([sizes[widths == width].sum() for width in unique])
    best: tuple[int, ...] = (int(unique[-1]),)
    least = float(unique[-1]) * atoms.sum()
    for n_cuts in range(1, min(MAX_WIDTHS, len(unique))):
        for cuts in combinations(range(len(unique) - 1), n_cuts):
            ends = (*cuts, len(unique) - 1)
            starts = (0, *(c + 1 for c in cuts))
            cost = sum(
                float(unique[end]) * atoms[start : end + 1].sum()
                for start, end in zip(starts, ends, strict=True)
            )
            if cost < 0.9 * least and least - cost > ROWS_PER_COMPILATION:
                best, least = tuple(int(unique[end]) for end in ends), cost
    return best


def _fill(members: np.ndarray, sizes: np.ndarray, max_atoms: int | None) -> list[np.ndarray]:
    if max_atoms is None:
        return [members]
    parts: list[list[int]] = [[]]
    used = 0
    for k in members:
        if parts[-1] and used + sizes[k] > max_atoms:
            parts.append([])
            used = 0
        parts[-1].append(int(k))
        used += int(sizes[k])
    return [np.array(part) for part in parts]


def device_in_use() -> jax.Device:
    """The device that programs of this process run on: `jax.default_device`, or the first."""
    chosen = jax.config.jax_default_device
    if chosen is None or isinstance(chosen, str):
        chosen = jax.local_devices(backend=chosen)[0]
    return chosen


def adds_by_gathering() -> bool:
    """Whether graphs get a list of the terms of their sums, for the device in use."""
    return device_in_use().platform != "cpu"


def default_chunk(potential: Potential | None = None) -> int:
    """Atoms per block of a loop on the device in use; of evaluations of a potential, if given.

    On a CPU a block should stay in the cache; elsewhere it only bounds the memory, to a quarter
    of what the device has.
    """
    device = device_in_use()
    if device.platform == "cpu":
        return CPU_CHUNK
    limit = (device.memory_stats() or {}).get("bytes_limit", 16 * 2**30)
    of_atom = BYTES_PER_ATOM if potential is None else scratch(potential)
    return 2 ** max(10, int(np.log2(limit / (4 * of_atom))))


def scratch(potential: Potential, width: int = 96) -> int:
    """Bytes that any loop over atoms with ``width`` neighbours takes at most for one of them.

    Gradients of the loss take most, half of it for the products of radial and magnetic functions
    and their derivatives. Compiled for an H200 with 60 neighbours (`scripts/README.md`), they take
    0.9 of it and more at levels 8 and 16, and evaluations a quarter to a third up to level 20.
    """
    lanes = 2 if potential.form == "symmetrised" else 1
    products = potential.radial_size * potential.magnetic_size * potential.n_species
    of_pairs = 2 * products + 20 * lanes
    numbers = of_pairs * width + 4 * lanes * potential.tables.n_moments
    return np.dtype(potential.radial_coeffs.dtype).itemsize * numbers


def lockstep_atoms(potential: Potential, on_cpu: int) -> int:
    """Atoms of a batch whose configurations wait for the slowest; ``on_cpu`` on a CPU."""
    if device_in_use().platform == "cpu":
        return on_cpu
    return min(LOCKSTEP_ATOMS, default_chunk(potential))
