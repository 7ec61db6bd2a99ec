"""Contractions of moment tensors as multigraphs, and their enumeration.

A basis function B_alpha is a contraction of moment tensors M_{mu,nu} to a scalar
(Kotykhov 2025, Eq. 3).  Here it is a multigraph without loops: node k stands for a
factor M_{mu_k,nu_k}, an edge for a contracted pair of indices, and nu_k is the degree
of node k (contracting two indices of one factor only gives M_{mu,nu-2}, the vectors
being of unit length).  A `Tensor` is such a graph with some legs left free.

Slots.  The free legs of a tensor are grouped into slots, within which the tensor is
symmetric.  A *pure* slot holds legs of one node, and its components are plain tensor
components.  A *mixed* slot holds legs of several nodes, all meant to be contracted with
one and the same symmetric tensor; its component for x^ax y^ay z^az is the coefficient
of that monomial in the polynomial sum_{ij..} T_{ij..} r_i r_j .., so that contracting
it needs no multinomial weights.

Which contractions make the basis.  All multigraphs with at most four nodes, up to
isomorphism, are what MLIP's templates hold.  Among them there is one relation, the
vanishing Gram determinant of four vectors in three dimensions, and its multiples: each
four-node graph of level l stands for one relation at level l + 8, the first of which,
at level 16, is the Cayley-Hamilton theorem for M_{0,2}.  So from level 16 the basis is
slightly redundant, as the published one is.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import combinations, combinations_with_replacement, permutations
from typing import NamedTuple

# Products of more moments are left out, as in the published bases (MLIP).
MAX_FACTORS = 4


class Tensor(NamedTuple):
    """A partial contraction of moments, in canonical form (see `canonical`).

    Attributes:
        mus: radial index of each node, shape (n,).
        edges: multiplicity of each pair of nodes, in the order of
            `itertools.combinations`, shape (n(n-1)/2,).
        slots: how many legs of each node go to each slot, shape (n_slots, n).
    """

    mus: tuple[int, ...]
    edges: tuple[int, ...] = ()
    slots: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def moment(cls, mu: int, nu: int) -> "Tensor":
        """The moment M_{mu,nu}."""
        return cls((mu,), (), ((nu,),) if nu else ())

    @property
    def is_moment(self) -> bool:
        """Whether it is a single M_{mu,nu}."""
        return len(self.mus) == 1

    @property
    def level(self) -> int:
        """Sum over the factors of lev M_{mu,nu} = 2 + 4 mu + nu."""
        legs = sum(map(sum, self.slots))
        return sum(2 + 4 * mu for mu in self.mus) + 2 * sum(self.edges) + legs

    def edge(self, i: int, j: int) -> int:
        """Multiplicity of the edge between nodes i and j."""
        return self.edges[_pair_index(len(self.mus), min(i, j), max(i, j))]

    def degree(self, i: int) -> int:
        """Rank nu_i of node i."""
        bonds = sum(self.edge(i, j) for j in range(len(self.mus)) if j != i)
        return bonds + sum(slot[i] for slot in self.slots)


# --- canonical form -----------------------------------------------------------------


@cache
def _pair_index(n: int, i: int, j: int) -> int:
    """Position of the pair i < j among all pairs of n nodes."""
    return list(combinations(range(n), 2)).index((i, j))


@cache
def _relabellings(n: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """All permutations of n nodes with the permutations of pairs that they induce."""
    pairs = list(combinations(range(n), 2))
    return [
        (p, tuple(_pair_index(n, *sorted((p[i], p[j]))) for i, j in pairs))
        for p in permutations(range(n))
    ]


@cache
def canonical(
    mus: tuple[int, ...],
    edges: tuple[int, ...],
    slots: tuple[tuple[int, ...], ...] = (),
) -> tuple[Tensor, tuple[int, ...]]:
    """The representative of all relabellings of a graph.

    Returns:
        The tensor, and for each of its slots the slot of the argument it stands for.
    """
    ordered = tuple(sorted(mus))
    candidates = []
    for nodes, pairs in _relabellings(len(mus)):
        if tuple(mus[k] for k in nodes) != ordered:
            continue
        moved = sorted((tuple(v[k] for k in nodes), s) for s, v in enumerate(slots))
        new_edges = tuple(edges[k] for k in pairs)
        new_slots, origin = tuple(v for v, _ in moved), tuple(s for _, s in moved)
        candidates.append((new_edges, new_slots, origin))
    *form, origin = min(candidates)
    return Tensor(ordered, *form), origin


@cache
def automorphisms(tensor: Tensor) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Permutations of the nodes, each with one of the slots, that leave a tensor what it is."""
    mus, edges, slots = tensor
    found = []
    for nodes, pairs in _relabellings(len(mus)):
        same_mus = all(mus[k] == mu for k, mu in zip(nodes, mus, strict=True))
        if same_mus and all(edges[k] == e for k, e in zip(pairs, edges, strict=True)):
            moved = [tuple(v[k] for k in nodes) for v in slots]
            for order in permutations(range(len(slots))):
                if all(moved[s] == v for s, v in zip(order, slots, strict=True)):
                    found.append((nodes, order))
    return found


@cache
def slot_symmetries(tensor: Tensor) -> list[tuple[int, ...]]:
    """Permutations of the slots that leave the values of a tensor unchanged."""
    return sorted({order for _, order in automorphisms(tensor)})


# --- enumeration of the basis -------------------------------------------------------


def _compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """All tuples of `parts` non-negative integers with the given sum."""
    if parts == 0:
        if total == 0:
            yield ()
        return
    for first in range(total + 1):
        for rest in _compositions(total - first, parts - 1):
            yield first, *rest


def scalar_contractions(
    level: int, max_mu: int | None = None, max_nu: int | None = None
) -> list[Tensor]:
    """All contractions to a scalar with at most four factors and at most this level.

    Isomorphic multigraphs are one function and appear once.  `max_mu` and `max_nu`
    restrict the moments further.  Sorted by level, number of factors, then radial
    indices and edges; M_00 comes first.
    """
    top_mu = (level - 2) // 4 if max_mu is None else max_mu
    found = _contractions(level, range(top_mu + 1), lambda functions: True)
    if max_nu is None:
        return found
    return [t for t in found if max(map(t.degree, range(len(t.mus)))) <= max_nu]


def even_contractions(level: int, functions: Sequence[tuple[int, bool]]) -> list[Tensor]:
    """The contractions up to a level with an even number of odd factors.

    Args:
        level: highest level.
        functions: mu, which gives the level, and whether it is odd, of each radial function. Its
            place in this list is the radial index in the result.
    """
    return _contractions(
        level,
        [mu for mu, _ in functions],
        lambda factors: sum(functions[k][1] for k in factors) % 2 == 0,
    )


def _contractions(
    level: int, mus: Sequence[int], wanted: Callable[[tuple[int, ...]], bool]
) -> list[Tensor]:
    """Contractions of the radial functions 0, 1, ... whose levels are those of ``mus``."""
    levels: dict[Tensor, int] = {}
    for n in range(1, MAX_FACTORS + 1):
        for factors in combinations_with_replacement(range(len(mus)), n):
            lowest = sum(2 + 4 * mus[k] for k in factors)
            if not wanted(factors):
                continue
            for total in range((level - lowest) // 2 + 1):
                for edges in _compositions(total, n * (n - 1) // 2):
                    levels[canonical(factors, edges)[0]] = lowest + 2 * total
    return sorted(levels, key=lambda t: (levels[t], len(t.mus), t))
