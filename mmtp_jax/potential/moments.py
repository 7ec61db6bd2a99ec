"""Moment tables: which moment tensors a potential has and how they are contracted.

The descriptors of an atom are the moments

    M_{mu,nu} = sum_j f_mu(j) u_j (x) ... (x) u_j    (nu factors; Kotykhov 2025, Eq. 3)

and the basis functions B_alpha are all their contractions to a scalar up to a level,
lev M_{mu,nu} = 2 + 4 mu + nu, summed over the factors (Burov 2026, Sec. 2).  The tables
here are those of the `.mtp` format: the components of the moments, and a list of
products, executed in order, that ends in the B_alpha.  The contractions themselves, and
the choice of cheap products, are in `multigraphs` and `factorization`.
"""

import hashlib
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from mmtp_jax.potential.factorization import (
    components,
    evaluation_plan,
    monomials,
    product_rows,
)
from mmtp_jax.potential.multigraphs import Tensor, scalar_contractions


@dataclass(frozen=True, eq=False)
class MomentTables:
    """How to compute the basis functions B_alpha of one atom.

    Hashable and compared by the content of the three arrays, so that it can be a static
    argument of a compiled function.

    Attributes:
        basic: rows (mu, ax, ay, az), the component x^ax y^ay z^az of M_{mu,ax+ay+az},
            shape (n_basic, 4); these are the moments 0 .. n_basic-1.
        products: rows (a, b, multiplier, target), executed in order as
            moment[target] += multiplier * moment[a] * moment[b], shape (n_products, 4).
        scalars: the moment that is B_alpha, for each alpha, shape (n_scalars,).
        level: the level that the tables were generated for, None if they were not.
    """

    basic: np.ndarray
    products: np.ndarray
    scalars: np.ndarray
    level: int | None = None

    def __post_init__(self) -> None:
        """Check the tables and make the arrays int32 and read-only."""
        digest = hashlib.sha256()
        for name, shape in ("basic", (-1, 4)), ("products", (-1, 4)), ("scalars", (-1,)):
            array = _integer_table(name, getattr(self, name), shape)
            object.__setattr__(self, name, array)
            digest.update(np.int64(len(array)).tobytes() + array.tobytes())
        object.__setattr__(self, "_digest", digest.digest())
        _check_indices(self)
        _check_order(self)

    def __hash__(self) -> int:
        """Hash of the content, computed once."""
        return hash(self._digest)

    def __eq__(self, other: object) -> bool:
        """Whether the three arrays are equal; the level does not matter."""
        if not isinstance(other, MomentTables):
            return NotImplemented
        return self._digest == other._digest

    @property
    def n_basic(self) -> int:
        """Number of components of the moment tensors."""
        return len(self.basic)

    @property
    def n_scalars(self) -> int:
        """Number of basis functions B_alpha."""
        return len(self.scalars)

    @property
    def n_radial(self) -> int:
        """Number of radial functions f_mu."""
        return int(self.basic[:, 0].max()) + 1

    @property
    def n_moments(self) -> int:
        """Number of all values: components of moments and of their products."""
        highest = max(self.scalars.max(), self.products[:, [0, 1, 3]].max(initial=0))
        return max(self.n_basic, int(highest) + 1)


@cache
def moment_tables(
    level: int, *, max_mu: int | None = None, max_nu: int | None = None
) -> MomentTables:
    """Tables with all contractions of at most four moments up to a level.

    The B_alpha are in the order of `scalar_contractions`.

    Args:
        level: highest level of a basis function; even, at least 2.
        max_mu: highest radial index, if lower than the level allows.
        max_nu: highest rank of a moment, if lower than the level allows.  The templates
            that MLIP ships are as large as with max_mu=5 and max_nu=10, which makes a
            difference from level 26.
    """
    level = operator.index(level)
    check_level(level)
    for name, limit in ("max_mu", max_mu), ("max_nu", max_nu):
        if limit is not None and limit < 0:
            raise ValueError(f"{name} must not be negative, but is {limit}.")
    return tables_of(scalar_contractions(level, max_mu, max_nu), level)


def check_level(level: int) -> None:
    """ValueError if there are no contractions of this level."""
    if level < 2 or level % 2:
        raise ValueError(f"The level must be even and at least 2, not {level}.")


def tables_of(scalars: Sequence[Tensor], level: int) -> MomentTables:
    """Number all components, moments first, and write out the products that make scalars."""
    plan = evaluation_plan(scalars)
    parts = [part for split in plan.values() for part in (split.left, split.right)]
    moments = [tensor for tensor in [*scalars, *parts] if tensor.is_moment]
    basic, first = _number_moments(moments)

    n_moments = len(basic)
    for tensor in plan:
        first[tensor] = n_moments
        n_moments += len(components(tensor))

    products = [np.empty((0, 4), dtype=np.int64)]
    for tensor, split in plan.items():
        rows, multipliers = product_rows(tensor, split)
        target, a, b = (rows + [first[t] for t in (tensor, split.left, split.right)]).T
        a, b = np.minimum(a, b), np.maximum(a, b)
        products.append(np.stack([a, b, multipliers, target], axis=1))
    return MomentTables(
        basic=basic,
        products=np.concatenate(products),
        scalars=np.array([first[tensor] for tensor in scalars]),
        level=level,
    )


def _number_moments(moments: Sequence[Tensor]) -> tuple[np.ndarray, dict[Tensor, int]]:
    """The table `basic`, and the number of the first component of each moment.

    Each radial index comes with all ranks up to the highest one that is used.
    """
    max_nu: dict[int, int] = {}
    for tensor in moments:
        (mu,) = tensor.mus
        max_nu[mu] = max(max_nu.get(mu, 0), tensor.degree(0))
    first: dict[Tensor, int] = {}
    rows: list[tuple[int, ...]] = []
    for mu in sorted(max_nu):
        for nu in range(max_nu[mu] + 1):
            first[Tensor.moment(mu, nu)] = len(rows)
            rows.extend((mu, *exponents) for exponents in monomials(nu).tolist())
    return np.array(rows), first


# --- validation ---------------------------------------------------------------------


def _integer_table(name: str, values: object, shape: tuple[int, ...]) -> np.ndarray:
    """A read-only copy as int32 with as many columns as `shape` has."""
    array = np.asarray(values)
    if array.size == 0:
        array = np.empty([max(n, 0) for n in shape], dtype=np.int32)
    if array.dtype.kind not in "iu":
        raise ValueError(f"{name} must hold integers, not {array.dtype}.")
    if array.ndim != len(shape) or array.shape[1:] != shape[1:]:
        columns = " x ".join(["n", *map(str, shape[1:])])
        raise ValueError(f"{name} must have the shape {columns}, not {array.shape}.")
    array = np.array(array, dtype=np.int32)
    array.setflags(write=False)
    return array


def _check_indices(tables: MomentTables) -> None:
    """Whether all indices point to moments that exist."""
    for name in "basic", "scalars":
        if not len(getattr(tables, name)):
            raise ValueError(f"{name} must not be empty.")
        if getattr(tables, name).min() < 0:
            raise ValueError(f"{name} must not hold negative numbers.")
    indices = tables.products[:, [0, 1, 3]]
    if indices.min(initial=0) < 0:
        row = int(np.argmax(indices.min(axis=1) < 0))
        raise ValueError(f"Row {row} of products has a negative index.")
    targets = indices[:, 2]
    if targets.min(initial=tables.n_basic) < tables.n_basic:
        row = int(np.argmax(targets < tables.n_basic))
        raise ValueError(f"Row {row} of products writes moment {targets[row]}, which is basic.")
    missing = set(tables.scalars.tolist()) - set(targets.tolist())
    missing = sorted(k for k in missing if k >= tables.n_basic)
    if missing:
        raise ValueError(f"scalars has moment {missing[0]}, which no product writes.")


def _check_order(tables: MomentTables) -> None:
    """Whether each product reads only moments that are complete by then."""
    n_basic, targets = tables.n_basic, tables.products[:, 3]
    rows = np.arange(len(targets))
    last_write = np.full(tables.n_moments, len(targets))
    last_write[:n_basic] = -1
    last_write[targets] = -1
    np.maximum.at(last_write, targets, rows)
    for read in tables.products[:, 0], tables.products[:, 1]:
        wrong = last_write[read] >= rows
        if wrong.any():
            row = int(np.argmax(wrong))
            writer = int(last_write[read[row]])
            fate = f"row {writer} writes" if writer < len(targets) else "no row writes"
            raise ValueError(
                f"Row {row} of products reads moment {read[row]} too early: {fate} it."
            )
