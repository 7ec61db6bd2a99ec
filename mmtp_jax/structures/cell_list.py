"""The search of neighbours on the device: a cell list inside jit, with all images, linear in atoms.

A cell is cut into n_a n_b n_c bins, at least a radius thick along a and b, and finer along c. Atoms
are sorted by configuration, a, b, c, so that what an atom may see of a column (a, b), from bin
c - s to c + s, is a run of consecutive atoms. Where s reaches beyond the cell, the run goes on in
the next image: with q atoms in the column, its place p holds atom p mod q of image floor(p / q).
Likewise a bin a + o is bin (a + o) mod n_a of image floor((a + o) / n_a). So cells may be smaller
than the radius. Along a direction that is not periodic, bins are counted modulo n as well: distant
atoms may share one, and are told apart by their distance.

Nothing is scattered. The candidates of an atom are marked by bits, and the place k of its row takes
the candidate of the k-th set bit. The order in a row depends on positions and cell alone, and not
on the sizes of the program, so that a search can be repeated bit for bit.

How many columns, candidates of a column and neighbours there may be is static (`Places`). What a
search needed is returned with it: where that is more, its rows are not complete.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.potential.chunks import in_chunks

Array = Any

BINS_PER_ATOM = 2
"""Bins of a configuration, at most, and `MORE_BINS`; where it is dilute, bins are larger."""
MORE_BINS = 27
FINE = 4
"""Bins per radius along c."""
MARGIN = 1.0 + 1e-9
"""Bins are thicker than the radius by this, so that rounding puts no pair a bin too far."""
WORD = 32


class Places(NamedTuple):
    """The static sizes of a search."""

    reach: tuple[int, int]
    """Bins along a and b on either side of an atom; above 1 where a cell is thinner than the
    radius."""
    run: int
    """Candidates of one column."""
    width: int
    """K, neighbours of an atom."""

    @property
    def n_candidates(self) -> int:
        """Of an atom."""
        along_a, along_b = (2 * reach + 1 for reach in self.reach)
        return along_a * along_b * self.run

    def hold(self, needed: Places) -> bool:
        """Whether a search that needed so much was complete."""
        reach = all(have >= need for have, need in zip(self.reach, needed.reach, strict=True))
        return reach and self.run >= needed.run and self.width >= needed.width


class Found(NamedTuple):
    """Rows of neighbours, as in `mmtp_jax.structures.neighbour_list.NeighbourList`."""

    index: Array
    """(N, K) int32."""
    shifts: Array
    """(N, 3, K) int32."""
    count: Array
    """(N,) int32; more than K where places did not suffice."""
    needed: Places
    """What the search needed, as arrays: ``reach`` (2,), ``run`` (), ``width`` ()."""


class _Sorted(NamedTuple):
    """Atoms in the order of their bins, and what their search looks at."""

    box: Array
    """(C, 3, 3), and what follows, of each configuration."""
    bins: Array
    """(C, 3)."""
    periodic: Array
    """(C, 3) bool."""
    reach: Array
    """(C, 3) bins on either side of an atom."""
    first: Array
    """(C,) first bin."""
    starts: Array
    """(M + 1,) first place of each bin."""
    order: Array
    """(N,) the atom at each place."""
    wrapped: Array
    """(N, 3) positions inside of the cell, by place."""
    image: Array
    """(N, 3) int32, the cell that each atom is in, by place."""


@partial(jax.jit, static_argnames=("places", "chunk"))
def search(
    places: Places,
    configuration: Array,
    positions: Array,
    cell: Array,
    radius: Array,
    chunk: int | None = None,
) -> Found:
    """All pairs within a radius.

    Args:
        places: static sizes.
        configuration: (N,) of each atom, ascending; C for padding.
        positions: (N, 3) Angstrom, anywhere.
        cell: (C, 3, 3) Angstrom; zero rows where not periodic.
        radius: () Angstrom.
        chunk: most atoms per block of a loop.
    """
    at, own, reach = _sorted(configuration, positions, cell, radius)
    real = configuration < cell.shape[0]
    rows = (jnp.arange(positions.shape[0], dtype=jnp.int32), real, *own)
    find = partial(_rows, places, at, jnp.asarray(radius, positions.dtype))
    index, shifts, count, run = in_chunks(lambda block: find(*block), rows, chunk)
    return Found(index, shifts, count, Places(reach, jnp.max(run), jnp.max(count)))


@jax.jit
def expected_places(configuration: Array, cell: Array, radius: Array) -> Places:
    """About what a search will need where atoms are spread evenly; ``width`` is not said."""
    offsets = jnp.searchsorted(configuration, jnp.arange(cell.shape[0] + 1))
    *_, bins, _, reach = _grid(cell, jnp.diff(offsets), radius)
    run = jnp.diff(offsets) * (2 * reach[:, 2] + 1) / jnp.prod(bins, axis=1)
    return Places(jnp.max(reach[:, :2], axis=0), jnp.ceil(jnp.max(run)) + 4, 0)


def spanning(cell: Array) -> tuple[Array, Array]:
    """Cells (C, 3, 3) with unit vectors across the others in place of zero rows; the inverses."""
    periodic = jnp.any(cell != 0.0, axis=2)
    rest = jnp.broadcast_to(jnp.eye(3, dtype=cell.dtype), cell.shape)

    def without(rest: Array, vector: Array) -> Array:
        length = jnp.maximum(jnp.linalg.norm(vector, axis=1), jnp.finfo(cell.dtype).tiny)
        unit = vector / length[:, None]
        return rest - unit[:, :, None] * unit[:, None, :]

    for k in range(3):
        rest = without(rest, jnp.einsum("ca,cab->cb", cell[:, k], rest))
    rows = []
    for k in range(3):
        # The axis that is most across: its share in the rest has a length of at least 1/sqrt(3).
        most = jnp.argmax(jnp.diagonal(rest, axis1=1, axis2=2), axis=1)
        across = jnp.take_along_axis(rest, most[:, None, None], axis=1)[:, 0]
        across = across / jnp.maximum(jnp.linalg.norm(across, axis=1), 1e-6)[:, None]
        across = jnp.where(periodic[:, k, None], 0.0, across)
        rows.append(jnp.where(periodic[:, k, None], cell[:, k], across))
        rest = without(rest, across)
    box = jnp.stack(rows, axis=1)
    a, b, c = rows
    normals = jnp.stack([jnp.cross(b, c), jnp.cross(c, a), jnp.cross(a, b)], axis=2)
    return box, normals / jnp.sum(a * normals[:, :, 0], axis=1)[:, None, None]


def pseudo_inverse(cell: Array) -> Array:
    """Of cells (C, 3, 3) with zero rows where not periodic."""
    return jnp.where(jnp.any(cell != 0.0, axis=2)[:, None], spanning(cell)[1], 0.0)


def _grid(cell: Array, n_atoms: Array, radius: Array) -> tuple[Array, ...]:
    """Box, inverse, periodic, bins, bins per unit of the coordinate, and bins in reach (C, 3)."""
    box, inverse = spanning(cell)
    periodic = jnp.any(cell != 0.0, axis=2)
    radius = radius * MARGIN
    fine = jnp.asarray([1, 1, FINE], cell.dtype)
    heights = 1.0 / jnp.linalg.norm(inverse, axis=1)
    most = (BINS_PER_ATOM * n_atoms + MORE_BINS).astype(cell.dtype)
    n_free = jnp.sum(~periodic, axis=1)
    bins = jnp.where(periodic, jnp.maximum(jnp.floor(fine * heights / radius), 1.0), 1.0)
    for _ in range(3):
        # Every time the number is small enough, or one more direction has a single bin.
        excess = jnp.maximum(jnp.prod(bins, axis=1) * 3.0**n_free / most, 1.0)
        share = excess ** (1.0 / jnp.maximum(jnp.sum(bins > 1.0, axis=1), 1))
        bins = jnp.maximum(jnp.floor(bins / share[:, None]), 1.0)
    left = (most / jnp.prod(bins, axis=1)) ** (1.0 / jnp.maximum(n_free, 1))
    bins = jnp.where(periodic, bins, jnp.floor(left + 1e-6)[:, None]).astype(jnp.int32)
    scale = jnp.where(periodic, bins.astype(cell.dtype), 1.0 / radius)
    reach = jnp.where(periodic, jnp.ceil(radius * bins / heights / MARGIN), 1.0)
    # Nothing is searched where there are no atoms.
    reach = jnp.where(n_atoms[:, None] > 0, reach, 0.0).astype(jnp.int32)
    return box, inverse, periodic, bins, scale, reach


def _sorted(
    configuration: Array, positions: Array, cell: Array, radius: Array
) -> tuple[_Sorted, tuple[Array, ...], Array]:
    """Atoms by bins; what each atom has of its own; and the reach (2,) along a and b."""
    n_conf, size = cell.shape[0], positions.shape[0]
    offsets = jnp.searchsorted(configuration, jnp.arange(n_conf + 1)).astype(jnp.int32)
    box, inverse, periodic, bins, scale, reach = _grid(cell, jnp.diff(offsets), radius)
    first = BINS_PER_ATOM * offsets[:-1] + MORE_BINS * jnp.arange(n_conf, dtype=jnp.int32)
    n_bins = BINS_PER_ATOM * size + MORE_BINS * n_conf

    owner = jnp.minimum(configuration, n_conf - 1)
    fractional = jnp.einsum("na,nab->nb", positions, inverse[owner])
    image = jnp.where(periodic[owner], jnp.floor(fractional), 0.0)
    wrapped = positions - jnp.einsum("na,nab->nb", image, box[owner])
    image, bins_of = image.astype(jnp.int32), bins[owner]
    place = jnp.floor((fractional - image) * scale[owner]).astype(jnp.int32)
    place = jnp.where(periodic[owner], jnp.clip(place, 0, bins_of - 1), jnp.mod(place, bins_of))
    key = first[owner] + (place[:, 0] * bins_of[:, 1] + place[:, 1]) * bins_of[:, 2] + place[:, 2]
    key = jnp.where(configuration < n_conf, key, n_bins)
    in_order, order = jax.lax.sort_key_val(key, jnp.arange(size, dtype=jnp.int32))
    starts = jnp.searchsorted(in_order, jnp.arange(n_bins + 1))
    at = _Sorted(
        box=box,
        bins=bins,
        periodic=periodic,
        reach=reach,
        first=first,
        starts=starts.astype(jnp.int32),
        order=order,
        wrapped=wrapped[order],
        image=image[order],
    )
    return at, (owner, wrapped, image, place), jnp.max(reach[:, :2], axis=0)


def _rows(
    places: Places,
    at: _Sorted,
    radius: Array,
    atom: Array,
    real: Array,
    owner: Array,
    wrapped: Array,
    image: Array,
    place: Array,
) -> tuple[Array, ...]:
    """The rows of n atoms, and the longest run of each."""
    box, bins, periodic = at.box[owner], at.bins[owner], at.periodic[owner]
    run = places.run

    # Columns: where the run in each begins, in places of the column that go on through its images.
    offsets = np.indices([2 * r + 1 for r in places.reach]).reshape(2, -1)
    offsets = jnp.asarray(offsets - np.array(places.reach)[:, None], jnp.int32)
    across = place[:, :2, None] + offsets
    across_image = across // bins[:, :2, None]
    across -= across_image * bins[:, :2, None]
    column = (across[:, 0] * bins[:, 1, None] + across[:, 1]) * bins[:, 2, None]
    column += at.first[owner][:, None]
    origin = at.starts[column]
    held = at.starts[column + bins[:, 2, None]] - origin

    def unrolled(c: Array) -> Array:
        turns = c // bins[:, 2]
        within = at.starts[column + (c - turns * bins[:, 2])[:, None]] - origin
        return turns[:, None] * held + within

    reach = at.reach[owner]
    begin = unrolled(place[:, 2] - reach[:, 2])
    length = unrolled(place[:, 2] + reach[:, 2] + 1) - begin
    # Counted modulo n, columns further away would be met twice along a direction without images.
    inside = jnp.all(jnp.abs(offsets) <= reach[:, :2, None], axis=1) & real[:, None]
    length = jnp.where(inside, length, 0)
    moved = jnp.where(periodic[:, :2, None], across_image, 0)
    across_vector = jnp.einsum("nkq,nkx->nxq", moved.astype(wrapped.dtype), box[:, :2])

    def candidate(p: Array, origin: Array, held: Array) -> tuple[Array, Array]:
        """Place among the sorted atoms, and image along c."""
        # Exact below 2^22: the quotient is at least 1/(2 held) from an integer.
        held = jnp.maximum(held, 1)
        turns = jnp.floor((p.astype(jnp.float32) + 0.5) / held.astype(jnp.float32))
        turns = turns.astype(jnp.int32)
        spot = jnp.minimum(origin + p - turns * held, at.order.shape[0] - 1)
        return spot.astype(jnp.uint32), turns

    p = begin[:, :, None] + jnp.arange(run, dtype=jnp.int32)
    spot, turns = candidate(p, origin[:, :, None], held[:, :, None])
    turns = jnp.where(periodic[:, 2, None, None], turns, 0)
    square = sum(
        (
            (at.wrapped[:, x][spot] - wrapped[:, x, None, None])
            + (
                across_vector[:, x, :, None]
                + turns.astype(wrapped.dtype) * box[:, 2, x, None, None]
            )
        )
        ** 2
        for x in range(3)
    )
    itself = (at.order[spot] == atom[:, None, None]) & (turns == 0)
    itself &= jnp.all(moved == 0, axis=1)[:, :, None]
    near = (jnp.arange(run) < length[:, :, None]) & (square < radius * radius) & ~itself

    # Words of bits.
    flat = near.reshape(near.shape[0], -1)
    flat = jnp.pad(flat, [(0, 0), (0, -flat.shape[1] % WORD)])
    bits = flat.reshape(flat.shape[0], -1, WORD).astype(jnp.uint32)
    words = jnp.sum(bits << jnp.arange(WORD, dtype=jnp.uint32), axis=2, dtype=jnp.uint32)
    up_to = jnp.cumsum(jax.lax.population_count(words).astype(jnp.int32), axis=1)
    count = up_to[:, -1]

    wanted = jnp.broadcast_to(jnp.arange(places.width, dtype=jnp.int32), (len(atom), places.width))
    word = jnp.sum(up_to[:, None] <= wanted[:, :, None], axis=2, dtype=jnp.int32)
    word = jnp.minimum(word, words.shape[1] - 1)
    before = jnp.take_along_axis(up_to, jnp.maximum(word - 1, 0), axis=1)
    rank = wanted - jnp.where(word > 0, before, 0)
    q = word * WORD + _set_bit(jnp.take_along_axis(words, word, axis=1), rank)
    which = jnp.minimum(q // run, length.shape[1] - 1)

    def of_column(values: Array) -> Array:
        return jnp.take_along_axis(values, which, axis=1)

    p = of_column(begin) + q % run
    spot, turns = candidate(p, of_column(origin), of_column(held))
    turns = jnp.where(periodic[:, 2, None], turns, 0)
    used = wanted < count[:, None]
    index = jnp.where(used, at.order[spot], atom[:, None])
    along = (of_column(moved[:, 0]), of_column(moved[:, 1]), turns)
    shifts = [m - at.image[:, x][spot] + image[:, x, None] for x, m in enumerate(along)]
    shifts = jnp.where(used[:, None], jnp.stack(shifts, axis=1), 0)
    return index, shifts, count, jnp.max(length, axis=1)


def _set_bit(word: Array, rank: Array) -> Array:
    """The number of the set bit that has ``rank`` set bits below it."""
    at = jnp.zeros_like(rank)
    for half in (16, 8, 4, 2, 1):
        low = jax.lax.population_count(word & jnp.uint32((1 << half) - 1)).astype(rank.dtype)
        above = rank >= low
        rank = jnp.where(above, rank - low, rank)
        word = jnp.where(above, word >> half, word)
        at = jnp.where(above, at + half, at)
    return at
