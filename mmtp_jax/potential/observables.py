"""Energies, forces, stresses and magnetic forces of many configurations at once.

With g_ij = dE/d(r_ij), the local derivative of one neighbour's vector r_ij = r_j - r_i,

    f_i = sum_j g_ij - sum_j g_ji        sigma = (1/V) sum_ij sym(r_ij (x) g_ij)
    T_i = -dE/dm_i

so one reverse pass through the site energies gives everything. Derivatives of these observables
with respect to the parameters never build a force Jacobian: for cotangents (e, F, S, T),

    grad_theta [e E + F.f + S:sigma + T.T] = grad_theta [e E + D_v E]

where D_v is the derivative along the displacements -F, the strain S/V and the moment changes -T,
all held fixed. It costs about three evaluations.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from mmtp_jax.potential import sums
from mmtp_jax.potential.by_platform import by_platform, in_two_ways
from mmtp_jax.potential.chunks import fold_chunks, sum_over_chunks
from mmtp_jax.potential.einsum import einsum
from mmtp_jax.potential.energy import Neighborhoods, site_energies, site_energies_along
from mmtp_jax.potential.linear_map import linear_map
from mmtp_jax.potential.materialise import stored
from mmtp_jax.potential.potential import Potential, traced
from mmtp_jax.potential.rows import summed, unstacked
from mmtp_jax.potential.sums import Sums

Array = Any


class Graph(NamedTuple):
    """N atoms of C configurations with K neighbours each, one array per property.

    Padding: a neighbour that is not there lies beyond the cutoff; an atom that is not there has
    the configuration C.

    Where a simulation is divided among processes, there may be M > N atoms: the last M - N are
    only neighbours of others. They have types and moments, forces and magnetic forces, but no
    energy of their own here.
    """

    types: Array
    """(N,) or (M,) species index."""
    magmoms: Array
    """(N,) or (M,) mu_B; (N, 3) or (M, 3) where they are vectors."""
    vectors: Array
    """(N, 3, K) to the neighbours, Angstrom."""
    neighbours: Array
    """(N, K) index of the neighbour among the N atoms."""
    configuration: Array
    """(N,) index of the configuration."""
    volumes: Array
    """(C,) Angstrom^3; infinite where there is none."""
    sums: Sums | None = None
    """Where the terms of sums over pairs and atoms are; None: they are added in their own order."""

    @property
    def n_configurations(self) -> int:
        """C."""
        return self.volumes.shape[0]


class Observables(NamedTuple):
    """What a potential predicts for a graph."""

    energy: Array
    """(C,) eV; in 64 bits where JAX has them, as the stress."""
    forces: Array
    """(N, 3) -dE/dr at fixed moments and cell, eV/Angstrom."""
    stress: Array
    """(C, 3, 3) (1/V) dE/d(strain), eV/Angstrom^3."""
    magnetic_forces: Array
    """(N,), or (N, 3) for vectors: -dE/dm at fixed positions, eV/mu_B."""


class EdgeTerms(NamedTuple):
    """Site energies and their derivatives with respect to each atom's own row."""

    energies: Array
    """(N,) eV."""
    vectors: Array
    """(N, 3, K) dE/d(r_ij), eV/Angstrom."""
    magmoms: Array
    """(N,) or (N, 3) dE/dm_i through the atom's own site energy, eV/mu_B."""
    neighbour_magmoms: Array
    """(N, K) or (N, 3, K) dE/dm_j through the site energy of atom i, eV/mu_B."""


def neighborhoods(graph: Graph) -> Neighborhoods:
    """The rows that the site energies are functions of."""
    graph = traced(graph)
    return _neighborhoods(graph, _rows(graph))


def energies(potential: Potential, graph: Graph) -> Array:
    """Energy (C,) of each configuration, eV."""
    graph = traced(graph)
    sites = site_energies(potential, neighborhoods(graph))
    return per_configuration(graph, sites)


def per_configuration(graph: Graph, sites: Array) -> Array:
    """Sum over the atoms of each configuration: (N, ...) to (C, ...), in 64 bits if JAX has them.

    In 32 bits the energy of 54 000 atoms would be off by 0.1 eV.
    """
    return sums.per_configuration(
        jnp.asarray(sites).astype(float), graph.configuration, graph.n_configurations, graph.sums
    )


def edge_terms(potential: Potential, rows: Neighborhoods) -> EdgeTerms:
    """Site energies with the gradients of each atom's own row."""
    number = jnp.result_type(rows.vectors, *jax.tree.leaves(potential))
    sites = jax.ShapeDtypeStruct(rows.magmoms.shape[:1], number)
    like = EdgeTerms(sites, rows.vectors, rows.magmoms, rows.neighbour_magmoms)
    return in_two_ways(_edge_terms, (potential, rows), like)


def _edge_terms(potential: Potential, rows: Neighborhoods, direct: bool = False) -> EdgeTerms:
    def total(vectors: Array, magmoms: Array, neighbour_magmoms: Array) -> tuple[Array, Array]:
        if direct:
            vectors = linear_map(_itself, _stored, (), vectors, vectors, inline=True)
        sites = site_energies(
            potential,
            rows._replace(vectors=vectors, magmoms=magmoms, neighbour_magmoms=neighbour_magmoms),
            direct,
        )
        return sites.sum(), sites

    gradient, sites = jax.grad(total, argnums=(0, 1, 2), has_aux=True)(
        rows.vectors, rows.magmoms, rows.neighbour_magmoms
    )
    return EdgeTerms(sites, *gradient)


def _itself(vectors: Array) -> Array:
    return vectors


def _stored(vectors: Array) -> Array:
    """Vectors (N, 3, K), of which each component is stored."""
    return jnp.stack(jax.lax.optimization_barrier(unstacked(vectors)), axis=1)


def evaluate(
    potential: Potential, graph: Graph, chunk: int | None = None
) -> tuple[Array, Observables]:
    """Site energies (N,) and all observables.

    Args:
        potential: the potential.
        graph: atoms and neighbours.
        chunk: most atoms per step of a loop over blocks, None for all at once. The number of
            atoms is halved until it is no larger. Small blocks stay in the cache of a CPU.
    """
    graph = traced(graph)
    n_moments = int(np.prod(graph.magmoms.shape[1:]))

    def block(of_neighbours: Array, rows: _Rows) -> tuple[Array, tuple[Array, ...]]:
        terms = edge_terms(potential, stored(_neighborhoods(graph, rows)))
        # The derivatives of each neighbour, neighbours first: products of two row-major
        # matrices are fastest, and one scatter moves them back to its atom.
        n, _, k = terms.vectors.shape
        magnetic = terms.neighbour_magmoms.reshape(n, n_moments, k)
        of_pairs = jnp.concatenate([terms.vectors, magnetic], axis=1)
        of_pairs = stored(jnp.swapaxes(of_pairs, 1, 2))
        if graph.sums is None:
            of_neighbours = of_neighbours.at[rows.neighbours].add(-of_pairs)
        like = jax.ShapeDtypeStruct((n, 4, 3), of_pairs.dtype)
        args = (rows.vectors, of_pairs, terms.vectors)
        outer = by_platform(_moments_by_product, _moments_by_sums, args, like)
        own = jnp.concatenate([outer[:, 3], -terms.magmoms.reshape(n, n_moments)], axis=1)
        kept = () if graph.sums is None else (of_pairs,)
        return of_neighbours, (terms.energies, outer[:, :3], own, *kept)

    nothing = jnp.zeros((graph.types.shape[0], 3 + n_moments), graph.vectors.dtype)
    of_neighbours, (sites, outer, own, *kept) = fold_chunks(block, nothing, _rows(graph), chunk)
    if graph.sums is not None:
        of_neighbours = -sums.to_neighbours(*kept, graph.neighbours, graph.sums)
    n_others = of_neighbours.shape[0] - own.shape[0]
    of_atom = jnp.pad(own, ((0, n_others), (0, 0))) + of_neighbours
    virial = per_configuration(graph, outer)
    virial = (virial + jnp.swapaxes(virial, 1, 2)) / 2
    return sites, Observables(
        energy=per_configuration(graph, sites),
        forces=of_atom[:, :3],
        stress=virial / graph.volumes[:, None, None],
        magnetic_forces=of_atom[:, 3:].reshape(graph.magmoms.shape),
    )


def _moments_by_product(vectors: Array, of_pairs: Array, by_vectors: Array) -> Array:
    """(x, y, z, 1) times the derivatives of each neighbour: the virial, and the own force."""
    del by_vectors
    with_one = jnp.concatenate([vectors, jnp.ones_like(vectors[:, :1])], axis=1)
    return einsum("nak,nkb->nab", with_one, of_pairs)[:, :, :3]


def _moments_by_sums(vectors: Array, of_pairs: Array, by_vectors: Array) -> Array:
    """The same of (N, 3, K), in one kernel that stores nothing in between."""
    del of_pairs
    rows, of = [*unstacked(vectors), 1.0], unstacked(by_vectors)
    return summed([a * b for a in rows for b in of]).T.reshape(-1, 4, 3)


evaluate_graph = jax.jit(evaluate, static_argnames="chunk")
"""`evaluate`, compiled once per shape for all who call it from the host."""


class _Rows(NamedTuple):
    """The part of a graph that has the atoms on its first axis."""

    types: Array
    magmoms: Array
    vectors: Array
    neighbours: Array
    configuration: Array


def _rows(graph: Graph) -> _Rows:
    n_atoms = graph.vectors.shape[0]
    return _Rows(*(getattr(graph, name)[:n_atoms] for name in _Rows._fields))


def _neighborhoods(graph: Graph, rows: _Rows) -> Neighborhoods:
    """Neighbours of some atoms, with types and moments of the whole graph."""
    # Those of a block have no list of the pairs that an atom is in.
    of_all = graph.sums if rows.neighbours.shape == graph.neighbours.shape else None
    return Neighborhoods(
        rows.types,
        rows.magmoms,
        rows.vectors,
        sums.at_neighbours(graph.types, rows.neighbours, None),
        _components_first(sums.at_neighbours(graph.magmoms, rows.neighbours, of_all)),
    )


def _components_first(of_pairs: Array) -> Array:
    """(N, K) as it is, (N, K, 3) as (N, 3, K)."""
    return jnp.swapaxes(of_pairs, 1, -1)


def observables(
    theta: Array, potential: Potential, graph: Graph, chunk: int | None = None
) -> Observables:
    """Observables of the potential with parameters theta (P,), differentiable in theta.

    Both forward and reverse mode use the rule in the docstring of this module, whatever loss is
    built on top. Derivatives with respect to the graph and to the other numbers of the potential
    are those of `evaluate`.
    """
    leaves, tree = jax.tree.flatten((potential, graph))
    flat = _FlatObservables(tree, chunk)(theta, *leaves)
    return _unpack(flat, graph)


def _pack(result: Observables) -> Array:
    return jnp.concatenate([jnp.ravel(leaf) for leaf in result])


def _unpack(flat: Array, graph: Graph) -> Observables:
    n_conf, n_atoms = graph.n_configurations, graph.types.shape[0]
    shapes = ((n_conf,), (n_atoms, 3), (n_conf, 3, 3), graph.magmoms.shape)
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    parts = [p.reshape(s) for p, s in zip(jnp.split(flat, ends[:-1]), shapes, strict=True)]
    energy, forces, stress, magnetic_forces = parts
    dtype = graph.vectors.dtype
    return Observables(energy, forces.astype(dtype), stress, magnetic_forces.astype(dtype))


class _FlatObservables:
    """theta -> all observables as one vector, with its Jacobian as a linear map."""

    def __init__(self, tree: Any, chunk: int | None) -> None:
        self.tree, self.chunk = tree, chunk
        self.apply = jax.custom_jvp(self._evaluate)
        # A fit changes theta alone: what does not move must cost nothing.
        self.apply.defjvp(self._jvp, symbolic_zeros=True)

    def __call__(self, theta: Array, *leaves: Array) -> Array:
        return self.apply(theta, *leaves)

    def _evaluate(self, theta: Array, *leaves: Array) -> Array:
        potential, graph = jax.tree.unflatten(self.tree, leaves)
        return _pack(evaluate(potential.unflatten(theta), graph, self.chunk)[1])

    def _jvp(self, primals: Any, tangents: Any) -> tuple[Array, Array]:
        theta, *leaves = primals
        theta_dot, *dots = tangents
        value = self.apply(theta, *leaves)
        tangent = jnp.zeros_like(value)
        if not isinstance(theta_dot, SymbolicZero):
            tangent = linear_map(
                self._jacobian_times, self._times_jacobian, tuple(primals), theta_dot, value
            )
        moving = [k for k, dot in enumerate(dots) if not isinstance(dot, SymbolicZero)]
        if moving:

            def of_moving(*values: Array) -> Array:
                full = list(leaves)
                for k, new in zip(moving, values, strict=True):
                    full[k] = new
                return self._evaluate(theta, *full)

            primal, moving_dots = [leaves[k] for k in moving], [dots[k] for k in moving]
            tangent = tangent + jax.jvp(of_moving, primal, moving_dots)[1]
        return value, tangent

    def _jacobian_times(self, theta: Array, *rest: Array) -> Array:
        *leaves, theta_dot = rest
        return jax.jvp(lambda t: self._evaluate(t, *leaves), (theta,), (theta_dot,))[1]

    def _times_jacobian(self, theta: Array, *rest: Array) -> Array:
        *leaves, cotangent = rest
        potential, graph = jax.tree.unflatten(self.tree, leaves)
        return parameter_gradient(theta, potential, graph, _unpack(cotangent, graph), self.chunk)


def parameter_gradient(
    theta: Array,
    potential: Potential,
    graph: Graph,
    cotangents: Observables,
    chunk: int | None = None,
) -> Array:
    """Gradient (P,) of sum(cotangents * observables), by the directional derivative above."""
    cotangents = jax.tree.map(lambda a: jnp.asarray(a, graph.vectors.dtype), cotangents)
    forces, magnetic_forces = cotangents.forces, cotangents.magnetic_forces
    # Padding atoms have the configuration C, whose entries are 0.
    energy_weight = jnp.append(cotangents.energy, 0.0)
    strain = cotangents.stress / graph.volumes[:, None, None]
    strain = (strain + jnp.swapaxes(strain, 1, 2)) / 2
    strain = jnp.concatenate([strain, jnp.zeros_like(strain[:1])])

    def gradient(block: tuple[_Rows, Array, Array]) -> Array:
        rows, own_forces, own_magnetic_forces = block
        vectors_dot = (
            own_forces[:, :, None]
            - jnp.swapaxes(forces[rows.neighbours], 1, 2)
            + einsum("nab,nbk->nak", strain[rows.configuration], rows.vectors)
        )
        # Stored: gathers would be repeated in each of their users.
        neighbourhood, direction = stored(
            (
                _neighborhoods(graph, rows),
                Neighborhoods(
                    rows.types,
                    -own_magnetic_forces,
                    vectors_dot,
                    rows.neighbours,
                    -_components_first(magnetic_forces[rows.neighbours]),
                ),
            )
        )
        weight = energy_weight[rows.configuration]
        args = (theta, potential, neighbourhood, direction, weight)
        return in_two_ways(_gradient_along, args, theta)

    return sum_over_chunks(gradient, (_rows(graph), forces, magnetic_forces), chunk)


def _gradient_along(
    theta: Array,
    potential: Potential,
    rows: Neighborhoods,
    dots: Neighborhoods,
    weight: Array,
    direct: bool = False,
) -> Array:
    def weighted(theta: Array) -> Array:
        with_theta = potential.unflatten(theta)
        value, along = site_energies_along(with_theta, rows, dots, direct)
        return jnp.sum(weight * value) + jnp.sum(along)

    return jax.grad(weighted)(theta)
