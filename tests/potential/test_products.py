"""Sums of products against a loop, and their derivatives against plain gathers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmtp_jax.potential.products import ProductTable, sum_of_pairs, sum_of_products

N_COLUMNS = 3


def random_table(seed, counts, n_left=5, n_right=4, square=False):
    """A table whose k-th target has counts[k] terms, in no order."""
    rng = np.random.default_rng(seed)
    target = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    n_right = n_left if square else n_right
    return ProductTable(
        a=rng.integers(n_left, size=len(target)),
        b=rng.integers(n_right, size=len(target)),
        coefficient=rng.integers(1, 6, size=len(target)) * rng.choice([-1.0, 1.0], len(target)),
        target=target,
        n_left=n_left,
        n_right=n_right,
        n_targets=len(counts),
    )


COUNTS = {
    "mixed": (1, 4, 5, 9, 0, 2, 13),
    "one term each": (1, 1, 1),
    "four terms each": (4, 4),
    "five terms each": (5, 5),
    "many terms": (53, 9),
    "gaps at both ends": (0, 3, 0, 0, 4, 0),
    "no terms": (0, 0),
}
TABLES = {name: random_table(k, counts) for k, (name, counts) in enumerate(COUNTS.items())}
SQUARES = {
    name: random_table(k, counts, square=True) for k, (name, counts) in enumerate(COUNTS.items())
}
ONES = ProductTable(
    a=np.array([0, 1, 1]),
    b=np.array([1, 0, 1]),
    coefficient=np.ones(3),
    target=np.array([0, 1, 1]),
    n_left=2,
    n_right=2,
    n_targets=2,
)


def rows(seed, n):
    return jnp.asarray(np.random.default_rng([99, seed]).normal(size=(n, N_COLUMNS)))


def loop(table, left, right):
    out = np.zeros((table.n_targets, left.shape[1]))
    for a, b, coefficient, target in zip(
        table.a, table.b, table.coefficient, table.target, strict=True
    ):
        out[target] += coefficient * np.asarray(left)[a] * np.asarray(right)[b]
    return out


def gathers(table, left, right):
    terms = table.coefficient[:, None] * left[table.a] * right[table.b]
    return jnp.zeros((table.n_targets, left.shape[1])).at[table.target].add(terms)


def curved(function):
    """A scalar with second derivatives of every kind."""
    return lambda *args: jnp.sum(jnp.sin(function(*args)))


def close(got, expected):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", TABLES)
def test_sum_of_products_is_the_loop(name):
    table = TABLES[name]
    left, right = rows(0, table.n_left), rows(1, table.n_right)
    np.testing.assert_allclose(
        sum_of_products(table, left, right), loop(table, left, right), rtol=1e-13, atol=1e-13
    )


@pytest.mark.parametrize("name", SQUARES)
def test_sum_of_pairs_is_the_loop_with_equal_factors(name):
    table = SQUARES[name]
    both = rows(2, table.n_left)
    np.testing.assert_allclose(
        sum_of_pairs(table, both), loop(table, both, both), rtol=1e-13, atol=1e-13
    )


def test_table_with_all_coefficients_one():
    both = rows(3, 2)
    np.testing.assert_allclose(sum_of_pairs(ONES, both), loop(ONES, both, both), rtol=1e-14)
    np.testing.assert_allclose(
        sum_of_products(ONES, both, both), loop(ONES, both, both), rtol=1e-14
    )


def derivatives(function, point, along, out):
    """Every kind of derivative of a function of some row arrays, in one compiled program."""
    arguments = tuple(range(len(point)))

    def alone(k):
        return lambda x: function(*(x if i == k else v for i, v in enumerate(point)))

    def gradient(*at):
        return jax.grad(curved(function), arguments)(*at)

    def gradient_along(*at):
        return sum(jnp.vdot(g, d) for g, d in zip(gradient(*at), along, strict=True))

    @jax.jit
    def everything(point, along, out):
        return {
            "forward": jax.jvp(function, point, along),
            "forward in one": [jax.jvp(alone(k), (point[k],), (along[k],)) for k in arguments],
            "reverse": jax.vjp(function, *point)[1](out),
            "forward over reverse": jax.jvp(gradient, point, along)[1],
            "reverse over reverse": jax.grad(gradient_along, arguments)(*point),
        }

    return everything(point, along, out)


DIFFERENTIATED = ("mixed", "one term each", "many terms", "no terms")


@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_derivatives_of_sum_of_products_are_those_of_plain_gathers(name):
    table = TABLES[name]
    point = rows(4, table.n_left), rows(5, table.n_right)
    along = rows(6, table.n_left), rows(7, table.n_right)
    out = rows(8, table.n_targets)
    close(
        derivatives(lambda a, b: sum_of_products(table, a, b), point, along, out),
        derivatives(lambda a, b: gathers(table, a, b), point, along, out),
    )


@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_derivatives_of_sum_of_pairs_are_those_of_plain_gathers(name):
    table = SQUARES[name]
    point, along = (rows(9, table.n_left),), (rows(10, table.n_left),)
    out = rows(11, table.n_targets)
    close(
        derivatives(lambda a: sum_of_pairs(table, a), point, along, out),
        derivatives(lambda a: gathers(table, a, a), point, along, out),
    )


def test_third_derivatives_of_sum_of_products():
    table = TABLES["mixed"]
    point = rows(12, table.n_left), rows(13, table.n_right)
    along = rows(14, table.n_left), rows(15, table.n_right)

    def third(function):
        def second(*at):
            return jax.jvp(jax.grad(curved(function), (0, 1)), at, along)[1]

        return jax.jit(lambda *at: jax.jvp(second, at, along)[1])(*point)

    close(
        third(lambda left, right: sum_of_products(table, left, right)),
        third(lambda left, right: gathers(table, left, right)),
    )


def test_vmap_of_value_and_gradient():
    table = TABLES["mixed"]
    left, right = rows(16, table.n_left), rows(17, table.n_right)
    several = jnp.stack([left, 2 * left, -left])

    def value_and_gradient(f):
        of_one = jax.value_and_grad(curved(lambda a, b: f(table, a, b)), (0, 1))
        return jax.jit(jax.vmap(of_one, in_axes=(0, None)))(several, right)

    close(value_and_gradient(sum_of_products), value_and_gradient(gathers))


def test_float32_rows_stay_float32():
    table = TABLES["mixed"]
    left, right = (r.astype(jnp.float32) for r in (rows(18, table.n_left), rows(19, table.n_right)))
    assert sum_of_products(table, left, right).dtype == jnp.float32
    gradient = jax.grad(lambda a: sum_of_products(table, a, right).sum())(left)
    assert gradient.dtype == jnp.float32


@pytest.mark.usefixtures("gpu_path")
class TestOnTheWayOfGPUs:
    """Sums of gathered rows in place of scatters."""

    @pytest.mark.parametrize("name", TABLES)
    @pytest.mark.parametrize("n_right", [1, 4])
    def test_sum_of_products_is_the_loop(self, name, n_right):
        table = random_table(11, COUNTS[name], n_right=n_right)
        left, right = rows(0, table.n_left), rows(1, table.n_right)
        np.testing.assert_allclose(
            sum_of_products(table, left, right), loop(table, left, right), rtol=1e-13, atol=1e-13
        )

    def test_derivatives_are_those_of_plain_gathers(self):
        table = SQUARES["mixed"]
        point, along, out = [rows(k, table.n_left) for k in (4, 6)], rows(7, 5), rows(8, 7)
        arguments = (point[:1], [along], out)
        found = derivatives(lambda x: sum_of_pairs(table, x), *arguments)
        close(found, derivatives(lambda x: gathers(table, x, x), *arguments))

    def test_columns_may_be_mapped(self):
        table = TABLES["mixed"]
        left, right = rows(9, table.n_left), rows(10, table.n_right)
        mapped = jax.vmap(lambda x, y: sum_of_products(table, x[:, None], y[:, None]), 1, 1)(
            left, right
        )
        close(mapped[:, :, 0], sum_of_products(table, left, right))


def test_gpus_get_no_scatter_and_as_many_rows_as_are_needed():
    table = TABLES["mixed"]
    program = jax.jit(lambda x, y: sum_of_products(table, x, y)).trace(
        rows(0, table.n_left), rows(1, table.n_right)
    )
    texts = [program.lower(lowering_platforms=(p,)).as_text() for p in ("cpu", "cuda")]
    assert ["stablehlo.scatter" in text for text in texts] == [True, False]
    for table in TABLES.values():
        if len(table.target):
            bins, place = table.bins
            assert sorted(place) == list(range(table.n_targets))
            most = max(np.bincount(table.target))
            read = sum(each.a.size for each in bins)
            assert np.count_nonzero(table.coefficient) <= read <= most * table.n_targets
            width = [len(each.a) for each in bins]
            assert width == sorted(width)
