"""Cheap evaluation of many contractions: as products of products of moments.

Every `Tensor` of more than one node can be written as the product of two smaller ones,
contracted over the edges between them, in several ways (`splits`).  The cost of a whole
basis (Kotykhov 2025, Eq. 3) is the number of multiplications plus the number of
components of all intermediate tensors, and `evaluation_plan` picks splits that share
intermediates so as to make it small.

Components.  A symmetric slot of rank n has (n+1)(n+2)/2 components, one for each
monomial x^ax y^ay z^az of degree n.  Inside this module a component of a tensor is one
integer with two digits, ay + az and az, for each slot.  Codes of disjoint groups of legs
add up, and ascending codes of one slot follow the order of the `.mtp` files (xx, xy, xz,
yy, yz, zz).
"""

from collections import Counter
from collections.abc import Iterable
from functools import cache
from itertools import combinations
from math import factorial, inf
from typing import NamedTuple

import numpy as np

from mmtp_jax.potential.multigraphs import Tensor, automorphisms, canonical, slot_symmetries

# Above the highest rank of a slot, which is (L - 4) / 2 at level L.
_DIGIT = 32
_SLOT = _DIGIT**2


# --- components ---------------------------------------------------------------------


@cache
def monomials(rank: int) -> np.ndarray:
    """Exponents (ax, ay, az) of all monomials of a degree, shape (n, 3)."""
    tails = [(k, az) for k in range(rank + 1) for az in range(k + 1)]
    return np.array([(rank - k, k - az, az) for k, az in tails])


@cache
def _slot_codes(rank: int, slot: int | None) -> np.ndarray:
    """What the components of some legs add to a code, shape (n,); 0 for no slot."""
    _, ay, az = monomials(rank).T
    return (_DIGIT * (ay + az) + az) * (0 if slot is None else _SLOT**slot)


@cache
def _multinomials(rank: int) -> np.ndarray:
    """How often each symmetric component occurs in the full tensor, shape (n,)."""
    exponents = monomials(rank).tolist()
    return np.array(
        [
            factorial(rank) // (factorial(ax) * factorial(ay) * factorial(az))
            for ax, ay, az in exponents
        ]
    )


def _outer_sum(codes: Iterable[np.ndarray]) -> np.ndarray:
    """Sums of one element of each array, all combinations, first array slowest."""
    total = np.zeros(1, dtype=np.int64)
    for code in codes:
        total = np.add.outer(total, code).ravel()
    return total


def _fold(tensor: Tensor, codes: np.ndarray) -> np.ndarray:
    """Replace each component by the least one equal to it by symmetry."""
    symmetries = slot_symmetries(tensor)
    if len(symmetries) == 1:
        return codes
    places = _SLOT ** np.arange(len(tensor.slots))
    digits = codes[:, None] // places % _SLOT
    return np.min([digits[:, order] @ places for order in symmetries], axis=0)


@cache
def components(tensor: Tensor) -> np.ndarray:
    """Codes of the distinct components of a tensor, ascending."""
    ranks = [sum(slot) for slot in tensor.slots]
    codes = _outer_sum(_slot_codes(rank, s) for s, rank in enumerate(ranks))
    return np.unique(_fold(tensor, codes))


def _locate(tensor: Tensor, codes: np.ndarray) -> np.ndarray:
    """Positions of components in `components(tensor)`."""
    return np.searchsorted(components(tensor), _fold(tensor, codes))


# --- splits -------------------------------------------------------------------------


class Bundle(NamedTuple):
    """Legs that a split sums over, or keeps, as one symmetric group.

    Attributes:
        rank: number of legs.
        weighted: whether its components enter with multinomial weights.
        whole, left, right: the slots of the product and of its two factors that the
            legs are part of; None for the product if they are contracted, and for one
            of the factors if they are not.
    """

    rank: int
    weighted: bool
    whole: int | None
    left: int | None
    right: int | None


class Split(NamedTuple):
    """One way to evaluate a tensor: as a product of two smaller ones.

    Attributes:
        left, right: the two factors.
        bundles: the groups of legs that the product sums over or keeps.
        cost: number of multiplications plus number of components of the product.
    """

    left: Tensor
    right: Tensor
    bundles: tuple[Bundle, ...]
    cost: int


class _Part(NamedTuple):
    """A subset of the nodes of a tensor as a tensor of its own.

    Attributes:
        tensor: the part.
        legs: number of legs from node i to destination d, which is a node of the other
            part, or slot s of the whole, counted as n + s.
        slot_of: the slot of the part that these legs are in.
    """

    tensor: Tensor
    legs: dict[tuple[int, int], int]
    slot_of: dict[tuple[int, int], int]


def _legs(whole: Tensor, nodes: tuple[int, ...]) -> dict[tuple[int, int], int]:
    """Number of legs from each node of a part to each destination, where any."""
    n = len(whole.mus)
    legs = {(i, j): whole.edge(i, j) for i in nodes for j in range(n) if j not in nodes}
    legs |= {(i, n + s): slot[i] for i in nodes for s, slot in enumerate(whole.slots)}
    return {ends: rank for ends, rank in legs.items() if rank}


def _part(whole: Tensor, nodes: tuple[int, ...], by_destination: bool) -> _Part:
    """Cut out some nodes, with a slot for each node or for each destination."""
    legs = _legs(whole, nodes)
    group_of = {(i, d): d if by_destination else i for i, d in legs}
    groups = sorted(set(group_of.values()))
    slots = tuple(
        tuple(
            sum(rank for (j, d), rank in legs.items() if j == i and group_of[j, d] == g)
            for i in nodes
        )
        for g in groups
    )
    mus = tuple(whole.mus[i] for i in nodes)
    edges = tuple(whole.edge(i, j) for i, j in combinations(nodes, 2))
    tensor, origin = canonical(mus, edges, slots)
    slot_of = {ends: origin.index(groups.index(g)) for ends, g in group_of.items()}
    return _Part(tensor, legs, slot_of)


def _is_mixed(tensor: Tensor, slot: int | None) -> bool:
    """Whether a slot holds legs of several nodes."""
    return slot is not None and sum(map(bool, tensor.slots[slot])) > 1


def _bundles(whole: Tensor, left: _Part, right: _Part) -> tuple[Bundle, ...]:
    """The groups of legs of a split, by the slots that they are in."""
    n = len(whole.mus)
    ranks: Counter[tuple[int | None, int | None, int | None]] = Counter()
    for (i, d), rank in left.legs.items():
        if d < n:
            ranks[None, left.slot_of[i, d], right.slot_of[d, i]] += rank
        else:
            ranks[d - n, left.slot_of[i, d], None] += rank
    for (i, d), rank in right.legs.items():
        if d >= n:
            ranks[d - n, None, right.slot_of[i, d]] += rank

    def weighted(target: int | None, a: int | None, b: int | None) -> bool:
        # The values of a mixed slot have their weights already.
        done = _is_mixed(left.tensor, a) or _is_mixed(right.tensor, b)
        return not done and (target is None or _is_mixed(whole, target))

    return tuple(Bundle(rank, weighted(*at), *at) for at, rank in ranks.items())


def product_rows(whole: Tensor, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """The multiplications of a split.

    Returns:
        rows, shape (n, 3): component of the product, of the left and of the right
        factor, as positions in their `components`, sorted;
        multipliers, shape (n,): their integer multipliers.
    """
    left, right, bundles, _ = split
    target = _outer_sum(_slot_codes(bundle.rank, bundle.whole) for bundle in bundles)
    a = _outer_sum(_slot_codes(bundle.rank, bundle.left) for bundle in bundles)
    b = _outer_sum(_slot_codes(bundle.rank, bundle.right) for bundle in bundles)
    weights = np.ones(1, dtype=np.int64)
    for bundle in bundles:
        factor = _multinomials(bundle.rank)
        factor = factor if bundle.weighted else np.ones_like(factor)
        weights = np.multiply.outer(weights, factor).ravel()

    # Components that are equal by symmetry are evaluated once.
    kept = target == _fold(whole, target)
    target = _locate(whole, target[kept])
    a, b = _locate(left, a[kept]), _locate(right, b[kept])
    if left == right:
        a, b = np.minimum(a, b), np.maximum(a, b)

    shape = [len(components(tensor)) for tensor in (whole, left, right)]
    packed = np.ravel_multi_index((target, a, b), shape)
    packed, where = np.unique(packed, return_inverse=True)
    multipliers = np.zeros(len(packed), dtype=np.int64)
    np.add.at(multipliers, where, weights[kept])
    return np.stack(np.unravel_index(packed, shape), axis=1), multipliers


def _pairs_alike(whole: Tensor, left_nodes: tuple[int, ...]) -> bool:
    """Whether components that are equal by symmetry have their factors in the same pairs.

    For moments that are vectors a (b c) and b (a c) differ (`mmtp_jax.potential.vectors`).
    """
    left = set(left_nodes)
    sides = left, set(range(len(whole.mus))) - left
    kept = {order for nodes, order in automorphisms(whole) if {nodes[k] for k in left} in sides}
    return kept == set(slot_symmetries(whole))


@cache
def splits(whole: Tensor) -> list[Split]:
    """All ways to write a tensor as a product of two that pair its nodes alike."""
    nodes = range(len(whole.mus))
    found: dict[tuple[Tensor, Tensor], Split] = {}
    for size in range(1, len(whole.mus) // 2 + 1):
        for left_nodes in combinations(nodes, size):
            if not _pairs_alike(whole, left_nodes):
                continue
            right_nodes = tuple(k for k in nodes if k not in left_nodes)
            # Not both by destination: an edge between two mixed slots could not be told
            # from the others in them.
            for modes in (False, False), (True, False), (False, True):
                left = _part(whole, left_nodes, modes[0])
                right = _part(whole, right_nodes, modes[1])
                factors = left.tensor, right.tensor
                if factors not in found:
                    split = Split(*factors, _bundles(whole, left, right), 0)
                    rows, _ = product_rows(whole, split)
                    cost = len(rows) + len(components(whole))
                    found[factors] = split._replace(cost=cost)
    return list(found.values())


# --- the plan -----------------------------------------------------------------------


class _Plan:
    """Which split evaluates each tensor, and how often each tensor is used."""

    def __init__(self) -> None:
        self.split: dict[Tensor, Split] = {}
        self.users: Counter[Tensor] = Counter()
        self.cost = 0
        self.banned: Tensor | None = None

    def depth(self, tensor: Tensor) -> int:
        """Number of products in the longest chain below a tensor of the plan."""
        if tensor.is_moment:
            return 0
        split = self.split[tensor]
        return 1 + max(self.depth(split.left), self.depth(split.right))

    def best_split(self, tensor: Tensor) -> tuple[tuple[float, int], Split]:
        """The split that adds least to the plan, shallow ones first.

        Returns:
            The added cost and the depth, and the split.
        """
        options = []
        for k, split in enumerate(splits(tensor)):
            prices = [self._price(part) for part in {split.left, split.right}]
            added = split.cost + sum(cost for cost, _ in prices)
            options.append(((added, 1 + max(depth for _, depth in prices)), k))
        price, k = min(options)
        return price, splits(tensor)[k]

    def acquire(self, tensor: Tensor) -> None:
        """Count one more user of a tensor; add it, and what it needs, if missing."""
        self.users[tensor] += 1
        if not tensor.is_moment and tensor not in self.split:
            self._set(tensor, self.best_split(tensor)[1])

    def release(self, tensor: Tensor) -> None:
        """Count one user less; drop the tensor, and what only it needs, if unused."""
        self.users[tensor] -= 1
        if not tensor.is_moment and not self.users[tensor]:
            self._unset(tensor)

    def improve(self, tensor: Tensor) -> None:
        """Choose the split of a tensor anew, given all the others."""
        if tensor in self.split:
            self._unset(tensor)
            self._set(tensor, self.best_split(tensor)[1])

    def toggle(self, tensor: Tensor, users: Iterable[Tensor]) -> None:
        """Put a tensor in the plan, or out of it, where that saves something.

        Needed because choosing one split at a time never adds a tensor that pays only
        for several users together, nor gives up one that several users share.
        """
        before = self.split.copy(), self.users.copy(), self.cost
        if tensor in self.split:
            self.banned = tensor
        self.acquire(tensor)
        for user in users:
            self.improve(user)
        self.release(tensor)
        self.banned = None
        if self.cost >= before[2]:
            self.split, self.users, self.cost = before

    def _price(self, tensor: Tensor) -> tuple[float, int]:
        """The cost that having a tensor adds to the plan, and its depth."""
        if tensor == self.banned or not (tensor.is_moment or splits(tensor)):
            return inf, 0
        if tensor.is_moment or tensor in self.split:
            return 0, self.depth(tensor)
        return self.best_split(tensor)[0]

    def _set(self, tensor: Tensor, split: Split) -> None:
        for part in (split.left, split.right):
            self.acquire(part)
        self.split[tensor] = split
        self.cost += split.cost

    def _unset(self, tensor: Tensor) -> None:
        split = self.split.pop(tensor)
        self.cost -= split.cost
        for part in (split.left, split.right):
            self.release(part)


def _possible_users(tensors: Iterable[Tensor]) -> dict[Tensor, list[Tensor]]:
    """All products some split could use, with the tensors that have such a split."""
    users: dict[Tensor, list[Tensor]] = {}
    waiting, seen = list(tensors), set()
    while waiting:
        tensor = waiting.pop()
        if tensor in seen or tensor.is_moment:
            continue
        seen.add(tensor)
        for part in {part: None for split in splits(tensor) for part in split[:2]}:
            if not part.is_moment and splits(part):
                users.setdefault(part, []).append(tensor)
                waiting.append(part)
    return users


def evaluation_plan(scalars: Iterable[Tensor]) -> dict[Tensor, Split]:
    """Splits that evaluate all given tensors at a low total cost.

    Finding the cheapest is a covering problem, so this is a local search: each scalar
    in turn takes the split that adds least to what is there, all of them choose once
    more with the others in place, then every product that could be shared is tried.

    Returns:
        The split of each product, those that others build on first.
    """
    scalars = dict.fromkeys(scalars)
    plan = _Plan()
    for tensor in scalars:
        plan.acquire(tensor)
    for tensor in list(plan.split):
        plan.improve(tensor)
    possible = _possible_users(scalars)
    for tensor in sorted(possible, key=lambda t: (len(t.mus), -len(possible[t]), t)):
        if tensor not in scalars:
            plan.toggle(tensor, possible[tensor])
    order = sorted(plan.split, key=lambda t: (plan.depth(t), t.level, t))
    return {tensor: plan.split[tensor] for tensor in order}
