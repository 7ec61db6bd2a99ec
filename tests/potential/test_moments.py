"""Moment tables: which basis functions there are, that they are right, and their cost.

Most checks of the values are exact: in arithmetic modulo a prime p the components of
vectors u with u.u = 1 are integers, and an identity of polynomials that fails anywhere
fails at random points but for a chance of the order of 1/p.
"""

import re
from functools import cache
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest

from mmtp_jax.potential.moments import MomentTables, moment_tables
from mmtp_jax.potential.multigraphs import canonical, scalar_contractions

PRIME = 2**31 - 1
SEED = 20240229

# level: number of B_alpha, number of radial functions, as in MLIP's templates.
PUBLISHED = {
    2: (1, 1),
    4: (2, 1),
    6: (5, 2),
    8: (9, 2),
    10: (16, 3),
    12: (29, 3),
    14: (52, 4),
    16: (92, 4),
    18: (163, 5),
    20: (288, 5),
    22: (500, 6),
    24: (864, 6),
}
LEVELS = [
    pytest.param(level, marks=[pytest.mark.slow] if level > 20 else []) for level in PUBLISHED
]

REFERENCE = Path(__file__).parents[2].parent / "shared" / "reference" / "fe54"


# --- helpers ------------------------------------------------------------------------


def make_rng(seed: int = SEED) -> np.random.Generator:
    print(f"seed {seed}")
    return np.random.default_rng(seed)


@cache
def reference_tables(level: int) -> MomentTables:
    path = REFERENCE / f"{level:02d}.mmtp"
    if not path.exists():
        pytest.skip(f"no reference file for level {level} beside the checkout")
    text = path.read_text()

    def integers(name: str) -> np.ndarray:
        braces = re.search(rf"^{name} = (.*)$", text, re.MULTILINE).group(1)
        return np.array([int(word) for word in re.findall(r"-?\d+", braces)], dtype=int)

    return MomentTables(
        basic=integers("alpha_index_basic").reshape(-1, 4),
        products=integers("alpha_index_times").reshape(-1, 4),
        scalars=integers("alpha_moment_mapping"),
    )


def random_unit_vectors(rng, *shape: int) -> np.ndarray:
    vectors = rng.normal(size=(*shape, 3))
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def evaluate(tables: MomentTables, f, u, prime: int | None = None) -> np.ndarray:
    """B_alpha, shape (n_scalars, ...), of neighbourhoods f (n_radial, ..., n_neighbours)
    and u (..., n_neighbours, 3); integers modulo a prime if one is given.
    """

    def reduced(x):
        return x if prime is None else x % prime

    moments = np.zeros((tables.n_moments, *f.shape[1:-1]), dtype=f.dtype)
    for k, (mu, *exponents) in enumerate(tables.basic):
        value = f[mu]
        for axis, exponent in enumerate(exponents):
            for _ in range(exponent):
                value = reduced(value * u[..., axis])
        moments[k] = reduced(value.sum(axis=-1))
    for a, b, multiplier, target in tables.products.tolist():
        term = multiplier * reduced(moments[a] * moments[b])
        moments[target] = reduced(moments[target] + term)
    return moments[tables.scalars]


def modular_inverse(x: np.ndarray) -> np.ndarray:
    return np.array([pow(int(k), -1, PRIME) for k in x.ravel()]).reshape(x.shape)


def modular_neighbourhoods(rng, n_radial: int, n_points: int, n_neighbours: int = 6):
    """Random weights and unit vectors modulo PRIME, by stereographic projection."""
    s, t = rng.integers(PRIME, size=(2, n_points, n_neighbours))
    square = (s * s + t * t % PRIME) % PRIME
    inverse = modular_inverse((square + 1) % PRIME)
    u = np.stack([2 * s % PRIME, 2 * t % PRIME, (square - 1) % PRIME], axis=-1)
    u = u * inverse[..., None] % PRIME
    assert np.all((u * u % PRIME).sum(axis=-1) % PRIME == 1)
    return rng.integers(PRIME, size=(n_radial, n_points, n_neighbours)), u


def modular_rank(matrix: np.ndarray) -> int:
    matrix, rank = matrix % PRIME, 0
    for column in range(matrix.shape[1]):
        (pivots,) = np.nonzero(matrix[rank:, column])
        if not pivots.size:
            continue
        matrix[[rank, rank + pivots[0]]] = matrix[[rank + pivots[0], rank]]
        matrix[rank] = matrix[rank] * modular_inverse(matrix[rank, column]) % PRIME
        below = matrix[rank + 1 :]
        below[:] = (below - below[:, [column]] * matrix[rank] % PRIME) % PRIME
        rank += 1
        if rank == len(matrix):
            break
    return rank


def values_modulo(*tables: MomentTables) -> np.ndarray:
    """All B_alpha of several tables at enough common random points."""
    n_radial = max(t.n_radial for t in tables)
    n_points = sum(t.n_scalars for t in tables) + 5
    f, u = modular_neighbourhoods(make_rng(), n_radial, n_points)
    return np.concatenate([evaluate(t, f, u, PRIME) for t in tables])


def expected_rank(level: int) -> int:
    """Number of multigraphs less the multiples of the Gram determinant, which are one
    for each four-node multigraph eight levels below.
    """
    graphs = scalar_contractions(level)
    lower = [g for g in graphs if g.level <= level - 8 and len(g.mus) == 4]
    return len(graphs) - len(lower)


def depth(tables: MomentTables) -> int:
    depths = [0] * tables.n_moments
    for a, b, _, target in tables.products.tolist():
        depths[target] = max(depths[target], 1 + max(depths[a], depths[b]))
    return max(depths)


def cost(tables: MomentTables) -> int:
    """Multiplications plus intermediate components, of one atom."""
    return len(tables.products) + tables.n_moments - tables.n_basic


# --- which basis functions ----------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_published_counts(level):
    tables = moment_tables(level)
    assert (tables.n_scalars, tables.n_radial) == PUBLISHED[level]
    assert tables.level == level
    assert tables.scalars[0] == 0
    assert len(set(tables.scalars.tolist())) == tables.n_scalars


@pytest.mark.parametrize(("level", "free", "mlip"), [(26, 1466, 1464), (28, 2455, 2445)])
def test_counts_beyond_the_limits_of_the_templates(level, free, mlip):
    assert len(scalar_contractions(level)) == free
    assert len(scalar_contractions(level, max_mu=5, max_nu=10)) == mlip


def test_limits_restrict_the_moments():
    assert moment_tables(12, max_mu=1).n_radial == 2
    assert moment_tables(12, max_nu=2).basic[:, 1:].sum(axis=1).max() == 2
    assert moment_tables(12).basic[:, 1:].sum(axis=1).max() == 4


def test_tables_are_made_once():
    assert moment_tables(10) is moment_tables(10)


@pytest.mark.parametrize("level", [-2, 0, 1, 7])
def test_level_must_be_even_and_positive(level):
    with pytest.raises(ValueError, match=f"even and at least 2, not {level}"):
        moment_tables(level)


def test_limits_must_not_be_negative():
    with pytest.raises(ValueError, match="max_mu must not be negative"):
        moment_tables(6, max_mu=-1)
    with pytest.raises(ValueError, match="max_nu must not be negative"):
        moment_tables(6, max_nu=-1)


@pytest.mark.parametrize("level", [2, 4, 6, 8, 10, 12, 14, 16, 18])
def test_linear_relations_are_the_known_ones(level):
    tables = moment_tables(level)
    rank = modular_rank(values_modulo(tables))
    assert rank == expected_rank(level)
    assert (rank == tables.n_scalars) == (level < 16)


def test_linearly_independent_in_floating_point():
    rng = make_rng()
    tables = moment_tables(14)
    f, u = rng.normal(size=(tables.n_radial, 400, 5)), random_unit_vectors(rng, 400, 5)
    columns = evaluate(tables, f, u)
    columns /= np.linalg.norm(columns, axis=1, keepdims=True)
    assert np.linalg.cond(columns) < 1e8


@pytest.mark.parametrize("level", [2, 4, 6, 10, 12, 16, 18])
def test_same_space_as_the_reference(level):
    ours, theirs = moment_tables(level), reference_tables(level)
    values = values_modulo(ours, theirs)
    ranks = map(modular_rank, (values[: ours.n_scalars], values[ours.n_scalars :], values))
    assert list(ranks) == [expected_rank(level)] * 3


# --- their values -------------------------------------------------------------------


def test_known_contractions():
    rng = make_rng()
    f, u = rng.normal(size=(5, 7)), random_unit_vectors(rng, 7)
    m1 = np.einsum("mj,ja->ma", f, u)
    m2 = np.einsum("mj,ja,jb->mab", f, u, u)
    m3 = np.einsum("mj,ja,jb,jc->mabc", f, u, u, u)
    m4 = np.einsum("mj,ja,jb,jc,jd->mabcd", f, u, u, u, u)
    # (mus, edges 01 02 03 12 13 23), value
    known = [
        ((0,), (), f[0].sum()),
        ((4,), (), f[4].sum()),
        ((0, 0), (1,), m1[0] @ m1[0]),
        ((0, 1), (1,), m1[0] @ m1[1]),
        ((0, 0), (2,), np.einsum("ab,ab", m2[0], m2[0])),
        ((0, 0), (3,), np.einsum("abc,abc", m3[0], m3[0])),
        ((0, 0, 0), (1, 1, 1), np.trace(m2[0] @ m2[0] @ m2[0])),
        ((0, 0, 1), (1, 1, 0), m1[0] @ m2[0] @ m1[1]),
        ((0, 1, 0), (0, 1, 0), f[1].sum() * (m1[0] @ m1[0])),
        ((0, 0, 0), (2, 2, 0), np.einsum("abcd,ab,cd", m4[0], m2[0], m2[0])),
        (
            (0, 0, 0, 0),
            (1, 1, 1, 0, 0, 0),
            np.einsum("abc,a,b,c", m3[0], m1[0], m1[0], m1[0]),
        ),
        (
            (0, 0, 0, 0),
            (1, 0, 1, 1, 0, 1),
            np.trace(m2[0] @ m2[0] @ m2[0] @ m2[0]),
        ),
        (
            (0, 0, 0, 0),
            (2, 0, 1, 1, 0, 1),
            np.einsum("abc,abd,de,ce", m3[0], m3[0], m2[0], m2[0]),
        ),
    ]
    values = evaluate(moment_tables(18), f[:, None], u[None])[:, 0]
    order = scalar_contractions(18)
    for mus, edges, expected in known:
        alpha = order.index(canonical(mus, edges)[0])
        assert values[alpha] == pytest.approx(expected, rel=1e-12), (mus, edges)


@pytest.mark.parametrize("level", [10, 16, 20, pytest.param(24, marks=pytest.mark.slow)])
def test_every_contraction_is_a_sum_over_tuples_of_neighbours(level):
    """B = sum_{j k ..} f_mu0(j) f_mu1(k) .. (u_j . u_k)^e01 .., exactly."""
    tables, graphs = moment_tables(level), scalar_contractions(level)
    n_neighbours = 4
    f, u = modular_neighbourhoods(make_rng(), tables.n_radial, 1, n_neighbours)
    values = evaluate(tables, f, u, PRIME)[:, 0]
    f, u = f[:, 0], u[0]
    cosines = (u[:, None] * u[None] % PRIME).sum(axis=-1) % PRIME
    for graph, value in zip(graphs, values, strict=True):
        n = len(graph.mus)
        neighbours = np.array(list(product(range(n_neighbours), repeat=n))).T
        terms = np.ones(n_neighbours**n, dtype=np.int64)
        for mu, j in zip(graph.mus, neighbours, strict=True):
            terms = terms * f[mu, j] % PRIME
        pairs = combinations(range(n), 2)
        for (a, b), multiplicity in zip(pairs, graph.edges, strict=True):
            for _ in range(multiplicity):
                terms = terms * cosines[neighbours[a], neighbours[b]] % PRIME
        assert terms.sum() % PRIME == value, graph


def test_invariant_under_rotations_and_reflections():
    rng = make_rng()
    tables = moment_tables(16)
    f, u = rng.normal(size=(tables.n_radial, 10, 8)), random_unit_vectors(rng, 10, 8)
    orthogonal, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    values = evaluate(tables, f, u)
    assert np.abs(values - np.roll(values, 1, axis=1)).max() > 1  # not constant
    for q in orthogonal, -orthogonal:
        scale = np.abs(values).max(axis=1, keepdims=True)
        np.testing.assert_allclose(evaluate(tables, f, u @ q) / scale, values / scale, atol=1e-11)


# --- the form of the tables ---------------------------------------------------------


@pytest.mark.parametrize("level", [2, 4, 10, 16, 20])
def test_conventions(level):
    tables = moment_tables(level)
    a, b, multiplier, target = tables.products.T
    assert np.all(np.diff(target) >= 0)
    assert sorted(set(target)) == list(range(tables.n_basic, tables.n_moments))
    assert np.all(np.maximum(a, b) < target)
    assert np.all(a <= b)
    assert np.all(multiplier > 0)
    assert len({(*row,) for row in tables.products[:, [0, 1, 3]].tolist()}) == len(target)
    used = {*a.tolist(), *b.tolist(), *tables.scalars.tolist()}
    assert used >= set(range(tables.n_basic, tables.n_moments))


@pytest.mark.parametrize("level", [2, 4, 6, 10, 12, 16, 18])
def test_same_moments_as_the_reference(level):
    assert np.array_equal(moment_tables(level).basic, reference_tables(level).basic)


def test_order_of_the_moments():
    basic = [(0, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (0, 2, 0, 0)]
    basic += [(0, 1, 1, 0), (0, 1, 0, 1), (0, 0, 2, 0), (0, 0, 1, 1), (0, 0, 0, 2)]
    assert moment_tables(8).basic.tolist() == [list(row) for row in [*basic, (1, 0, 0, 0)]]


@pytest.mark.parametrize(
    ("level", "bound"), [(10, 58), (12, 155), (16, 883), (18, 2260), (20, 5153)]
)
def test_cost_does_not_grow(level, bound):
    assert cost(moment_tables(level)) <= bound
    assert depth(moment_tables(level)) <= 3


@pytest.mark.parametrize("level", [6, 10, 12, 16, 18])
def test_not_dearer_than_the_reference(level):
    ours, theirs = moment_tables(level), reference_tables(level)
    assert len(ours.products) <= len(theirs.products)
    assert ours.n_moments <= theirs.n_moments
    assert depth(ours) <= depth(theirs)


# --- the container ------------------------------------------------------------------


def small_tables(products=((0, 0, 1, 1),), scalars=(0, 1), basic=((0, 0, 0, 0),), **kw):
    return MomentTables(np.array(basic), np.array(products, dtype=int), np.array(scalars), **kw)


def test_sizes():
    basic = (0, 0, 0, 0), (2, 0, 0, 0)
    tables = small_tables(basic=basic, products=((0, 1, 1, 5),), scalars=(5,))
    sizes = tables.n_basic, tables.n_moments, tables.n_scalars, tables.n_radial
    assert sizes == (2, 6, 1, 3)
    assert tables.level is None
    assert small_tables(products=(), scalars=(0,)).n_moments == 1


def test_equal_by_content():
    ours = small_tables()
    assert ours == small_tables(level=4)
    assert hash(ours) == hash(small_tables(level=4))
    assert ours != small_tables(products=((0, 0, 2, 1),))
    assert ours != small_tables(scalars=(1, 0))
    assert ours != small_tables(basic=((1, 0, 0, 0),))
    assert ours != "tables"
    assert {ours: "found"}[small_tables()] == "found"


def test_arrays_are_private_and_read_only():
    basic = np.zeros((1, 4), dtype=np.int32)
    tables = MomentTables(basic, np.empty((0, 4), dtype=np.int32), np.array([0]))
    basic[0, 0] = 3
    assert tables.basic[0, 0] == 0
    for array in tables.basic, tables.products, tables.scalars:
        assert array.dtype == np.int32
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 1


def test_rows_of_one_target_may_be_apart():
    interleaved = ((0, 0, 1, 2), (0, 1, 1, 3), (1, 1, 1, 2), (2, 3, 1, 4))
    basic = ((0, 0, 0, 0), (1, 0, 0, 0))
    tables = small_tables(products=interleaved, basic=basic, scalars=(0, 4))
    assert tables.n_moments == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"basic": ((0, 0, 0),)}, r"basic must have the shape n x 4, not \(1, 3\)"),
        ({"basic": ()}, "basic must not be empty"),
        ({"basic": ((0, -1, 0, 0),)}, "basic must not hold negative numbers"),
        ({"basic": ((0.5, 0, 0, 0),)}, "basic must hold integers, not float64"),
        ({"products": (0, 0, 1, 1)}, r"products must have the shape n x 4, not \(4,\)"),
        ({"products": ((0, 0, 1, 1), (0, -1, 1, 2))}, "Row 1 of products has a negative"),
        ({"products": ((0, 0, 1, 0),)}, "Row 0 of products writes moment 0, which is basic"),
        ({"products": ((0, 1, 1, 1),)}, "Row 0 of products reads moment 1 .*row 0 writes"),
        (
            {"products": ((0, 0, 1, 1), (0, 1, 1, 2), (0, 0, 1, 1))},
            "Row 1 of products reads moment 1 .*row 2 writes",
        ),
        (
            {"products": ((0, 0, 1, 1), (3, 0, 1, 2))},
            "Row 1 of products reads moment 3 .*no row writes",
        ),
        ({"scalars": ()}, "scalars must not be empty"),
        ({"scalars": (0, 2)}, "scalars has moment 2, which no product writes"),
        ({"scalars": (-1,)}, "scalars must not hold negative numbers"),
        ({"scalars": ((0, 1),)}, r"scalars must have the shape n, not \(1, 2\)"),
    ],
)
def test_invalid_tables(changes, message):
    with pytest.raises(ValueError, match=message):
        small_tables(**changes)


@pytest.mark.parametrize("level", [2, 4, 6, 10, 12, 16, 18])
def test_reference_tables_are_valid(level):
    assert reference_tables(level).n_scalars == PUBLISHED[level][0]
