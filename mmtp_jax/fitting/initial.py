"""Initial values: the interval of the data, species constants, and the linear coefficients.

The energy is linear in e0 and xi, so for given radial functions the best of these solve a linear
least-squares problem with the weights of the loss itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mmtp_jax.fitting.dataset import Targets
from mmtp_jax.fitting.sharding import add_up
from mmtp_jax.potential.chebyshev import chebyshev_rescaling
from mmtp_jax.potential.einsum import matmul
from mmtp_jax.potential.noncollinear_coefficients import with_min_dist
from mmtp_jax.potential.observables import Graph, Observables, evaluate
from mmtp_jax.potential.potential import Potential
from mmtp_jax.potential.vector_moments import are_vectors
from mmtp_jax.structures.neighbours import NeighbourTable
from mmtp_jax.structures.structure import Structure

Array = Any

SMALLEST_MAX_MAGMOM = 0.1
"""M_max of a species that carries no moment in the data, mu_B."""

DISTANCE_MARGIN = 0.9
"""R_min over the shortest distance of the data: room for thermal motion."""

MAGMOM_MARGIN = 1.1
"""M_max over the largest moment of the data: room for moments to relax into."""


ROUND_OFF = 1e-12
"""Part of the largest column of a least-squares problem that others are zero below.

What vanishes by symmetry, such as forces on undisplaced atoms, leaves 1e-16 of the numbers that
cancel, and the smallest error of a label divided by that is a coefficient without bounds.
"""

DETERMINED = 1e-3
"""Singular values of noncollinear terms, in units of their largest column, that labels determine.

Forces of some of these terms change by that part where atoms move by 1e-3 of a distance: what
labels say of them there is their error.
"""

HARDLY, SIGNIFICANT = 1e-2, 4.0
"""Those that labels hardly determine, and the standard errors that a combination of terms has to be
large to be taken there: else it would be errors of the labels, a hundred times as large."""


def shortest_distance(tables: Sequence[NeighbourTable]) -> float | None:
    """Shortest distance between two atoms, Angstrom; None without any neighbours."""
    shortest = None
    for table in tables:
        lengths = table.lengths
        if lengths.size and (shortest is None or lengths.min() < shortest):
            shortest = float(lengths.min())
    return shortest


def largest_magmoms(structures: Sequence[Structure], n_species: int) -> np.ndarray:
    """(S,) largest absolute moment of each species, mu_B; 0 where there is none."""
    largest = np.zeros(n_species)
    for structure in structures:
        np.maximum.at(largest, structure.types, structure.lengths)
    return largest


def with_domain(
    potential: Potential,
    *,
    min_dist: float | None = None,
    max_magmom: Sequence[float] | np.ndarray | None = None,
) -> Potential:
    """The same function on other intervals of distance and moments.

    Chebyshev series on one interval are rewritten exactly on another, so this changes the
    conditioning of a fit and the range that counts as covered, but no energy.
    """
    if min_dist is not None:
        cutoff = float(potential.cutoff)
        if not 0.0 < min_dist < cutoff:
            raise ValueError(
                f"min_dist {min_dist:.4f} must lie between 0 and the cutoff {cutoff:.4f} Angstrom"
            )
        change = chebyshev_rescaling(
            potential.radial_size, (float(potential.min_dist), cutoff), (min_dist, cutoff)
        )
        radial = np.einsum("ijmzbg,zy->ijmybg", np.asarray(potential.radial_coeffs), change)
        potential = potential.replace(
            radial_coeffs=radial,
            min_dist=np.float64(min_dist),
            noncollinear=with_min_dist(potential.noncollinear, change),
        )
    if max_magmom is not None:
        new = np.broadcast_to(np.asarray(max_magmom, float), (potential.n_species,)).copy()
        potential = potential.with_intervals(-new, new)
    return potential


def data_domain(
    structures: Sequence[Structure], tables: Sequence[NeighbourTable], n_species: int
) -> tuple[float | None, np.ndarray]:
    """R_min and M_max of a training set, with some room: what `with_domain` takes."""
    shortest = shortest_distance(tables)
    max_magmom = np.maximum(
        largest_magmoms(structures, n_species) * MAGMOM_MARGIN, SMALLEST_MAX_MAGMOM
    )
    return None if shortest is None else DISTANCE_MARGIN * shortest, max_magmom


def species_energies(structures: Sequence[Structure], n_species: int) -> np.ndarray | None:
    """e0 (S,) that fit the energies best by composition alone, eV; None without energies.

    Of all solutions, where compositions do not tell the species apart, the smallest in norm
    around the mean energy per atom.
    """
    found = energy_constants(structures, n_species)
    return None if found is None else found[0]


def energy_constants(
    structures: Sequence[Structure], n_species: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """`species_energies`, with the constants (m,) of `mmtp_jax.fitting.shifts`, eV."""
    labelled = [s for s in structures if s.energy is not None]
    if not labelled:
        return None
    counts = np.stack([np.bincount(s.types, minlength=n_species) for s in labelled]).astype(float)
    sizes = counts.sum(axis=1)
    per_atom = np.array([s.energy for s in labelled]) / sizes
    none = np.zeros(0)
    rows = np.stack([none if s.shift_counts is None else s.shift_counts for s in labelled])
    usual = ~rows.any(axis=1)
    mean = per_atom[usual].mean() if usual.any() else per_atom.mean()
    columns = np.concatenate([counts, rows], axis=1) / sizes[:, None]
    solution, *_ = np.linalg.lstsq(columns, per_atom - mean, rcond=1e-10)
    return mean + solution[:n_species], solution[n_species:]


def solve_linear(
    potential: Potential,
    shifts: np.ndarray,
    targets: Sequence[Targets],
    chunk: int | None = None,
    mesh: Mesh | None = None,
) -> tuple[Potential, np.ndarray]:
    """e0, xi and constants (m,) of the energies from the weighted least-squares problem.

    A small ridge keeps directions that the data do not determine at their present value. Linear
    coefficients of noncollinear terms, of which canted labels are often few, are the smallest of
    those that differ by less than `DETERMINED`, and what labels hardly determine is left out unless
    it is clearly there (`SIGNIFICANT`).

    Args:
        potential: where it starts; xi count from zero.
        shifts: constants of `mmtp_jax.fitting.shifts`, (0,) without any.
        targets: labels and weights.
        chunk: atoms per block of a loop.
        mesh: the devices that ``targets`` are spread over.

    Returns:
        The potential and the constants.
    """
    start = _with_linear(potential, np.zeros(_n_linear(potential)), potential.species_coeffs)
    normal, right, (square, n_labels) = _normal_equations(start, shifts, targets, chunk, mesh)
    n, n_xi = _n_linear(start), len(start.moment_coeffs)
    terms = (np.arange(len(right)) >= n_xi) & (np.arange(len(right)) < n)
    solution = _solution(normal, right, terms, float(square), float(n_labels))
    ends = np.cumsum([_n_linear(start), start.n_species])
    linear, constants, changes = np.split(solution, ends)
    return (
        _with_linear(start, linear, np.asarray(start.species_coeffs) + constants),
        shifts + changes,
    )


def _solution(
    normal: np.ndarray, right: np.ndarray, terms: np.ndarray, square: float, n_labels: float
) -> np.ndarray:
    """Unknowns of normal equations.

    Args:
        normal: A^T A.
        right: A^T r.
        terms: bool, which of the unknowns belong to noncollinear terms.
        square: r^T r.
        n_labels: rows of A that have a weight.
    """
    scale = np.sqrt(np.diag(normal))
    used = scale > ROUND_OFF * scale.max(initial=0.0)
    solution = np.zeros(len(right))
    own = used & ~terms
    ridge = 1e-6
    unit = normal[np.ix_(own, own)] / np.outer(scale[own], scale[own])
    unit += ridge**2 * np.eye(len(unit))

    def of_others(right: np.ndarray) -> np.ndarray:
        """What the others are for right-hand sides (n,) or (n, k)."""
        units = scale[own].reshape(-1, *[1] * (right.ndim - 1))
        return np.linalg.lstsq(unit, right / units, rcond=None)[0] / units

    if (used & terms).any():
        # What the terms add to what the others can do (Schur complement), in units of all.
        size, across = scale[terms].max(), normal[np.ix_(own, terms)]
        matrix = normal[np.ix_(terms, terms)] - across.T @ of_others(across)
        values, vectors = np.linalg.eigh((matrix + matrix.T) / 2 / size**2)
        kept = values > DETERMINED**2
        rest = right[terms] - across.T @ of_others(right[own])
        values, vectors = values[kept], vectors[:, kept]
        along = vectors.T @ rest / size
        left = square - right[own] @ of_others(right[own]) - np.sum(along**2 / values)
        variance = max(left, 0.0) / max(n_labels - own.sum() - len(values), 1.0)
        taken = (values > HARDLY**2) | (along**2 > SIGNIFICANT**2 * variance * values)
        solution[terms] = vectors[:, taken] @ (along / values)[taken] / size
        right = right - normal @ solution
    solution[own] = of_others(right[own])
    return solution


def places_of_terms(potential: Potential) -> slice:
    """Where in theta the linear coefficients of noncollinear terms are."""
    terms, first = potential.noncollinear, potential.n_parameters - potential.n_noncollinear
    return slice(first, first if terms is None else first + int(np.size(terms.coeffs)))


def _n_linear(potential: Potential) -> int:
    """Linear coefficients of basis functions and of noncollinear terms."""
    terms = potential.noncollinear
    return len(potential.moment_coeffs) + (0 if terms is None else int(np.size(terms.coeffs)))


def _with_linear(potential: Potential, linear: Array, species_coeffs: Array) -> Potential:
    """The potential with other linear coefficients (n_linear,), xi first, and constants e0."""
    n, terms = len(potential.moment_coeffs), potential.noncollinear
    new = potential.replace(moment_coeffs=linear[:n], species_coeffs=species_coeffs)
    if terms is None:
        return new
    return new.replace(noncollinear=terms._replace(coeffs=linear[n:].reshape(terms.coeffs.shape)))


def _normal_equations(
    potential: Potential,
    shifts: np.ndarray,
    targets: Sequence[Targets],
    chunk: int | None,
    mesh: Mesh | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A^T A, A^T r, and r^T r with the number of rows that have a weight (2,).

    Of the weighted rows A = d(observable)/d(xi, e0, shifts) and the residuals r.
    """
    found = [_of_graph(potential, shifts, part, chunk, mesh) for part in targets]
    return tuple(sum(map(np.asarray, parts)) for parts in zip(*found, strict=True))


@partial(jax.jit, static_argnames=("chunk", "mesh"))
def _of_graph(
    potential: Potential, shifts: Array, part: Targets, chunk: int | None, mesh: Mesh | None
) -> tuple[Array, Array, Array]:
    return add_up(partial(_of_part, chunk=chunk), mesh)(potential, shifts, part)


def _of_part(
    potential: Potential, shifts: Array, part: Targets, chunk: int | None
) -> tuple[Array, Array, Array]:
    columns, now = _linear_columns(potential, part.graph, chunk)
    if part.shift_counts is not None:
        now = now._replace(energy=now.energy + matmul(part.shift_counts, shifts))
        rest = jnp.zeros((len(shifts), columns.shape[1] - len(now.energy)), columns.dtype)
        # Energies come first among the observables.
        more = jnp.concatenate([part.shift_counts.T, rest], axis=1)
        columns = jnp.concatenate([columns, more])
    matrices = part.weights.magnetic_forces if are_vectors(part.graph.magmoms) else None
    factors = part.weights
    if matrices is not None:
        factors = factors._replace(magnetic_forces=jnp.ones((len(matrices), 1)))
    weighted = jax.tree.map(
        lambda p, label, w: (
            jnp.ravel(jnp.sqrt(jnp.broadcast_to(w, p.shape))),
            jnp.ravel(label - p),
        ),
        now,
        part.values,
        factors,
    )
    root, rest = (jnp.concatenate(found) for found in zip(*weighted, strict=True))
    rows, rest = columns * root, root * rest
    if matrices is not None:
        rows, rest = (_with_parts(matrices, values) for values in (rows, rest))
    n_labels = jnp.sum(jnp.any(rows != 0.0, axis=0)).astype(rest.dtype)
    return matmul(rows, rows.T), matmul(rows, rest), jnp.stack([jnp.sum(rest * rest), n_labels])


def _with_parts(matrices: Array, values: Array) -> Array:
    """Values (..., M), the last of which are vectors of N atoms, times matrices (N, 3, 3)."""
    others, vectors = jnp.split(values, [values.shape[-1] - matrices[..., 0].size], axis=-1)
    vectors = vectors.reshape(*values.shape[:-1], len(matrices), 3)
    parts = jnp.sum(matrices * vectors[..., None, :], axis=-1)
    return jnp.concatenate([others, parts.reshape(*values.shape[:-1], -1)], axis=-1)


def _linear_columns(
    potential: Potential, graph: Graph, chunk: int | None
) -> tuple[Array, Observables]:
    """Observables of every unit vector of (xi, e0), and those of the potential itself."""

    n, n_species = _n_linear(potential), potential.n_species

    def of(linear: Array) -> Observables:
        return evaluate(_with_linear(potential, linear[:n], linear[n:]), graph, chunk)[1]

    unit = jnp.eye(n + n_species, dtype=graph.vectors.dtype)
    terms = [] if potential.noncollinear is None else [jnp.ravel(potential.noncollinear.coeffs)]
    own = jnp.concatenate([potential.moment_coeffs, *terms, potential.species_coeffs])
    # One loop for all, so that the evaluation is compiled once.
    results = jax.lax.map(of, jnp.concatenate([unit, own[None]]))
    columns = jnp.concatenate([leaf[:-1].reshape(len(unit), -1) for leaf in results], axis=1)
    return columns, jax.tree.map(lambda leaf: leaf[-1], results)
