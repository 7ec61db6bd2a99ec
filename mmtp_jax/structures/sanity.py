"""Whether atoms can be where they are said to be, and what a search of their neighbours will cost.

Lengths in metres or nanometres, or a digit too much, make millions of neighbours, or a search that
never ends, misses pairs or kills the process. All of that is recognised from the numbers alone,
before anything is allocated. The limits leave room for all that exists: hydrogen at 10 TPa, slabs
in hundreds of Angstrom of vacuum, atoms a million Angstrom from the origin.
"""

from __future__ import annotations

import numpy as np

SMALLEST_VOLUME = 0.15
"""Angstrom^3 per atom of a crystal; in nanometres taken for Angstrom, cesium would have 0.12."""
FARTHEST = 1e7
"""Largest coordinate in Angstrom; float64 resolves 2e-9 there."""
LARGEST = 1e6
"""Longest cell vector, and largest distance of two atoms along an axis, in Angstrom."""
MOST_NEIGHBOURS = 3000
"""Neighbours per atom; a configuration may have `FREE_PAIRS` more in all."""
FREE_PAIRS = 1_000_000
MOST_VISITS = 30_000_000
"""Boxes that a search may look into."""

# How vesin searches: it cuts the cell into boxes as wide as the radius, numbered in int32, and
# where these are too many it makes all three numbers smaller by one factor. One that gets below 1
# kills the process.
_MOST_BOXES = 50_000
_INT32 = 2.0**31
_BALL = (1.0, 2.0, np.pi, 4.0 * np.pi / 3.0)
_UNITS = "are cell and positions in Angstrom?"


def search_radius(
    cell: np.ndarray, periodic: np.ndarray, positions: np.ndarray, cutoff: float
) -> float:
    """The radius to search neighbours within, at least the cutoff.

    It is the cutoff but for cells that are thousands of times longer than they are wide, where
    what is found beyond the cutoff is to be left out.

    Args:
        cell: (3, 3) Angstrom; rows that are not periodic do not count.
        periodic: (3,) bool.
        positions: (n, 3) Angstrom.
        cutoff: Angstrom.

    Raises:
        ValueError: if a periodic direction has no cell vector, lengths cannot be in Angstrom, or
            the search would find or look through more than the limits of this file.
    """
    vectors = cell[periodic]
    _check_lengths(vectors, positions)
    box, area = _box(vectors, periodic)
    if len(vectors) == 3 and area < SMALLEST_VOLUME * len(positions):
        raise ValueError(
            f"the cell has {area:.3g} Angstrom^3 for {len(positions)} atom(s), less than any "
            f"matter has; {_UNITS}"
        )
    inverse = np.linalg.inv(box)
    fractional = positions @ inverse
    heights = 1.0 / np.sqrt((inverse * inverse).sum(axis=0))
    if len(vectors) < 3:
        free = ~periodic
        heights[free] = np.ptp(fractional[:, free], axis=0) if len(positions) else 0.0
        if heights[free].max() > LARGEST:
            raise ValueError(
                f"atoms are {heights[free].max():.3g} Angstrom apart along a direction that is not "
                f"periodic, more than {LARGEST:g}; are positions in Angstrom?"
            )
    radius, boxes, visits = _boxes(heights, periodic, cutoff)
    if visits > MOST_VISITS or _overflows(fractional, boxes, periodic):
        thin = np.where(periodic, heights, np.inf)
        raise ValueError(
            f"the cell is only {thin.min():.3g} Angstrom thick along its vector "
            f"{int(thin.argmin()) + 1}; {_UNITS} If they are, choose other cell vectors"
        )
    images = _BALL[len(vectors)] * radius ** len(vectors) / area
    pairs = _expected_pairs(box, periodic, fractional, radius, images)
    if pairs > FREE_PAIRS + MOST_NEIGHBOURS * len(positions):
        raise ValueError(
            f"its atoms have about {pairs / len(positions):.2g} neighbours each within "
            f"{radius:.3g} Angstrom, more than {MOST_NEIGHBOURS}; {_UNITS}"
        )
    return radius


def _check_lengths(vectors: np.ndarray, positions: np.ndarray) -> None:
    lengths = np.sqrt((vectors * vectors).sum(axis=1))
    if len(lengths) and not lengths.min() > 0.0:
        raise ValueError(
            f"it is periodic along {len(lengths)} direction(s), but the cell vectors have lengths "
            f"{', '.join(f'{x:g}' for x in lengths)} Angstrom; give a cell vector for each "
            "periodic direction"
        )
    if not lengths.max(initial=0.0) <= LARGEST:
        raise ValueError(
            f"a cell vector is {lengths.max():.3g} Angstrom long, more than {LARGEST:g}; {_UNITS}"
        )
    farthest = float(np.abs(positions).max(initial=0.0))
    if not farthest <= FARTHEST:
        raise ValueError(
            f"a coordinate is {farthest:.3g} Angstrom, more than {FARTHEST:g}, where digits are "
            "lost; are positions in Angstrom? If they are, move them nearer to the origin"
        )


def _box(vectors: np.ndarray, periodic: np.ndarray) -> tuple[np.ndarray, float]:
    """(3, 3) vectors with unit vectors across them where not periodic, and what they span."""
    box = np.empty((3, 3))
    box[periodic] = vectors
    if len(vectors) < 3:
        box[~periodic] = np.linalg.svd(vectors)[2][len(vectors) :] if len(vectors) else np.eye(3)
    area = abs(float(np.linalg.det(box)))
    if area == 0.0:
        raise ValueError("the cell vectors along its periodic directions are not independent")
    return box, area


def _boxes(
    heights: np.ndarray, periodic: np.ndarray, cutoff: float
) -> tuple[float, np.ndarray, float]:
    """The radius, the boxes (3,) along each direction and how many a search looks into."""
    radius = cutoff
    while True:
        boxes = np.maximum(np.floor(heights / radius), 1.0)
        too_many = float(boxes.prod()) / _MOST_BOXES
        if too_many <= 1.0 or boxes.min() >= 3.0 * np.cbrt(too_many):
            break
        radius *= 1.25
    boxes /= np.cbrt(max(too_many, 1.0))
    images = np.where(periodic, np.ceil(radius * boxes / np.maximum(heights, 1e-300)), 1.0)
    return radius, boxes, float(np.prod(boxes * (2.0 * images + 1.0)))


def _overflows(fractional: np.ndarray, boxes: np.ndarray, periodic: np.ndarray) -> bool:
    farthest = np.abs(fractional).max(axis=0, initial=0.0)
    return bool((farthest * boxes)[periodic].max(initial=0.0) > 0.5 * _INT32)


def _expected_pairs(
    box: np.ndarray, periodic: np.ndarray, fractional: np.ndarray, radius: float, images: float
) -> float:
    """Pairs within the radius, to a factor of a few where the atoms are not spread evenly.

    ``images`` are the images of one atom within the radius.
    """
    n_atoms = len(fractional)
    most = n_atoms * n_atoms * max(images, 1.0)
    if most <= FREE_PAIRS:
        return most
    wrapped = np.where(periodic, fractional - np.floor(fractional), fractional) @ box
    places = np.floor((wrapped - wrapped.min(axis=0)) / radius).astype(np.int64)
    strides = np.cumprod([1, *(places.max(axis=0)[:2] + 1)])
    _, counts = np.unique(places @ strides, return_counts=True)
    crowded = float((counts.astype(float) ** 2).sum()) * max(images, 1.0)
    return max(crowded, n_atoms * n_atoms * images if periodic.all() else 0.0)
