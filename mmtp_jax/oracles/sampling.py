"""Equal sampling of reciprocal space by cells of different sizes.

The points of a mesh N of a cell A are the reciprocal lattice of the large cell diag(N) A. Two
cells sample the same points where these large cells span the same lattice: where an integer matrix
of determinant one takes one to the other, up to the strain between both.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from ase.geometry import minkowski_reduce

from mmtp_jax.structures.cells import ALIKE

Mesh = tuple[int, int, int]
SAME_LATTICE = math.log(1.05)
"""|ln stretch| up to which two large cells span one lattice; other ratios are 6 % apart."""

if TYPE_CHECKING:
    from mmtp_jax.oracles.mesh_groups import Group


def mesh_of(cells: np.ndarray, spacing: float) -> Mesh:
    """Points along the reciprocal vectors of the mean of cells (n, 3, 3).

    Vectors whose lengths differ by less than 10 % get the same number.

    >>> mesh_of(np.eye(3)[None] * 2.83, 0.2)
    (12, 12, 12)
    """
    reciprocal = 2.0 * math.pi * np.linalg.norm(np.linalg.inv(cells), axis=1)
    mean = evened(reciprocal.mean(axis=0))
    # A mesh should not change with the last digit of a cell.
    return tuple(max(1, math.ceil(length / spacing - 1e-6)) for length in mean)


def evened(lengths: np.ndarray) -> np.ndarray:
    """Lengths (3,) that are alike replaced by their mean."""
    order = np.argsort(lengths)
    parts = np.split(order, np.flatnonzero(np.diff(np.log(lengths[order])) > ALIKE) + 1)
    evened = lengths.astype(float)
    for part in parts:
        evened[part] = lengths[part].mean()
    return evened


def equal_sampling(
    cell: np.ndarray,
    n_atoms: int,
    base: np.ndarray,
    n_base: int,
    mesh: Mesh,
    shift: Sequence[float],
    given: Mesh | None = None,
) -> Mesh | None:
    """The mesh of a cell that samples the same points as another cell with its mesh, or None.

    Args:
        cell: (3, 3).
        n_atoms: in it; volumes per atom may differ by strain.
        base: the other cell (3, 3).
        n_base: atoms in that.
        mesh: of the other cell.
        shift: of both meshes, in their steps.
        given: try only this one.
    """
    parts = multiples(cell, n_atoms, base, n_base)
    if parts is not None:
        numbers = [n / part for n, part in zip(mesh, parts, strict=True)]
        whole = tuple(int(n) for n in numbers)
        fits = whole == tuple(numbers) and given in (None, whole)
        return whole if fits else None
    points, left = divmod(math.prod(mesh) * n_base, n_atoms)
    volumes = [abs(np.linalg.det(c)) / n for c, n in ((cell, n_atoms), (base, n_base))]
    if left or points == 0 or abs(math.log(volumes[0] / volumes[1])) > 3 * SAME_LATTICE:
        return None
    best, nearest = None, math.inf
    for candidate in [given] if given is not None else _triples(points):
        if math.prod(candidate) != points:
            continue
        found = same_lattice(cell * np.array(candidate)[:, None], base * np.array(mesh)[:, None],
                             shift)  # fmt: skip
        if found is not None and found[1] < nearest:
            best, nearest = candidate, found[1]
    return best


def multiples(
    cell: np.ndarray, n_atoms: int, base: np.ndarray, n_base: int
) -> tuple[Fraction, ...] | None:
    """Multiples of the vectors of another cell that those of a cell are, up to strain; or None.

    Whole numbers and parts down to quarters, one of them a broken one such as 3/2 (two would make
    2/3 or 3/4 of a diagonal); their product is the ratio of the numbers of atoms.
    """
    ratio = np.abs(cell @ np.linalg.inv(base))
    if np.abs(ratio - np.diag(np.diag(ratio))).max() > 0.1 * np.diag(ratio).max():
        return None
    near = [
        {
            Fraction(round(r * q), q)
            for q in range(1, 5)
            if abs(round(r * q) / q - r) < 0.1 * r
        }
        for r in map(float, np.diag(ratio))
    ]  # fmt: skip
    wanted = Fraction(n_atoms, n_base)
    fit = [
        parts
        for parts in itertools.product(*near)
        if math.prod(parts) == wanted and sum(p.numerator > 1 < p.denominator for p in parts) < 2
    ]
    if not fit:
        return None
    return min(fit, key=lambda parts: np.abs(np.array(parts, float) - np.diag(ratio)).max())


def same_lattice(
    one: np.ndarray, other: np.ndarray, shift: Sequence[float] = (0.0, 0.0, 0.0)
) -> tuple[np.ndarray, float] | None:
    """The integer matrix with one = matrix @ other, and how far both are apart; or None.

    Args:
        one: (3, 3), rows are vectors.
        other: (3, 3).
        shift: coordinates of the origin in both reciprocal lattices, which must agree too.
    """
    (a, to_a), (b, to_b) = (minkowski_reduce(cell) for cell in (one, other))
    lengths = [np.sort(np.linalg.norm(cell, axis=1)) for cell in (a, b)]
    if np.abs(np.log(lengths[0] / lengths[1])).max() > SAME_LATTICE:
        return None
    matrices = _unimodular()
    inverse = np.linalg.inv(np.linalg.cholesky(a @ a.T))
    metrics = matrices @ (b @ b.T) @ np.swapaxes(matrices, 1, 2)
    values = np.linalg.eigvalsh(inverse @ metrics @ inverse.T)
    stretch = 0.5 * np.abs(np.log(np.maximum(values, 1e-300))).max(axis=1)
    whole = np.rint(np.linalg.inv(to_a) @ matrices @ to_b)
    moved = whole @ np.asarray(shift, float) - np.asarray(shift, float)
    stretch[np.abs(moved - np.rint(moved)).max(axis=1) > 1e-6] = np.inf
    # Of matrices that are as good, one without a rotation, which only exchanges vectors.
    turned = np.abs(np.linalg.inv(whole @ other) @ one - np.eye(3)).max(axis=(1, 2)) > 0.2
    mixing = np.abs(whole).sum(axis=(1, 2)) > 3
    rank = stretch + SAME_LATTICE * turned + 1e-6 * mixing
    k = int(np.argmin(np.where(stretch <= SAME_LATTICE, rank, np.inf)))
    return (whole[k], float(rank[k])) if stretch[k] <= SAME_LATTICE else None


def grids_in_step(group: Group, smaller: Group, shift: Sequence[float]) -> dict[str, list[int]]:
    """FFT grids of a cell whose points are those of a smaller one, where vectors are multiples."""
    meshes = [np.array(g.mesh) for g in (group, smaller)]
    large = [g.cells[0] * m[:, None] for g, m in zip((group, smaller), meshes, strict=True)]
    found = same_lattice(large[0], large[1], shift)
    if found is None or np.abs(found[0]).sum() != 3:
        return {}
    vectors = np.abs(found[0]).argmax(axis=1)
    grids = {}
    for name, grid in smaller.grids.items():
        total = np.array(grid)[vectors] * meshes[1][vectors]
        if name in group.grids and not np.any(total % meshes[0]):
            grids[name] = [int(n) for n in total // meshes[0]]
    return grids


def good_size(least: float) -> int:
    """The smallest number that is not below and has no prime factor but 2, 3 and 5.

    >>> good_size(18.1)
    20
    """
    n = max(1, math.ceil(least))
    while True:
        rest = n
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n += 1


def _triples(product: int) -> list[Mesh]:
    """All ordered triples of positive numbers with a product."""
    divisors = [n for n in range(1, product + 1) if product % n == 0]
    pairs = itertools.product(divisors, divisors)
    return [(a, b, product // (a * b)) for a, b in pairs if product % (a * b) == 0]


@lru_cache(maxsize=1)
def _unimodular() -> np.ndarray:
    """(m, 3, 3) matrices of -1, 0 and 1 with determinant 1 or -1: bases of a reduced lattice."""
    all_of_them = np.array(list(itertools.product((-1, 0, 1), repeat=9)), float).reshape(-1, 3, 3)
    return all_of_them[np.abs(np.abs(np.linalg.det(all_of_them)) - 1.0) < 1e-6]
