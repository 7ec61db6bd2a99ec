"""Does the installed jaxlib compute correctly, compiled as users compile?

jaxlib 0.10.2 returns silently wrong numbers on the CPU for some jit(vmap(...)) of products of
small matrices, and 0.11.0 has a related fault (jax-ml/jax issues 39103 and 39257). The project
excludes both; this sweep over the forms that it uses finds the next one. The other tests compile
with options that are faster; what they check must be the same for users.
"""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmtp_jax.potential.observables import energies

TOLERANCE = {np.float64: 1e-13, np.float32: 1e-5}

FORMS = {
    # name: (einsum, letters whose sizes are swept)
    "rows times rows transposed": ("nak,nbk->nab", "abk"),
    "rows times columns": ("nmz,nzk->nmk", "mzk"),
    "columns times rows": ("nza,nbz->nab", "abz"),
    "transposed times columns": ("nza,nzb->nab", "abz"),
    "to the last axis": ("nab,nbk->nka", "abk"),
    "matrix times vector": ("nab,nb->na", "ab"),
    "inner product": ("nk,nk->n", "k"),
    "one matrix for all": ("nk,kz->nz", "kz"),
}
SWEEP = (1, 2, 3, 5, 8, 17)
BATCHES = (1, 3, 8, 33)


def operands(form, sizes, dtype, seed=0):
    rng = np.random.default_rng(seed)
    left, right = form.split("->")[0].split(",")
    return tuple(
        rng.normal(size=[sizes[letter] for letter in letters]).astype(dtype)
        for letters in (left, right)
    )


def check(got, a, b, form, message):
    expected = np.einsum(form, a.astype(np.float64), b.astype(np.float64))
    # Relative to what the sums are made of, not to what is left of them.
    scale = np.einsum(form, np.abs(a).astype(np.float64), np.abs(b).astype(np.float64))
    error = np.max(np.abs(np.asarray(got, np.float64) - expected) / scale)
    assert error < TOLERANCE[a.dtype.type], f"{message}: relative error {error:.1e}"


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", FORMS)
def test_einsum_over_a_batch(shipped_jit, name, dtype):
    """All shapes of one form in one program, which compiles faster than one program each."""
    form, swept = FORMS[name]
    cases = []
    rng = np.random.default_rng(1)
    combinations = list(product(SWEEP, repeat=len(swept)))
    if len(combinations) > 24:
        chosen = rng.choice(len(combinations), 24, replace=False)
        combinations = [combinations[k] for k in chosen]
    for k, sizes in enumerate(combinations):
        cases.append({"n": BATCHES[k % len(BATCHES)]} | dict(zip(swept, sizes, strict=True)))
    inputs = [operands(form, case, dtype, k) for k, case in enumerate(cases)]

    @shipped_jit
    def whole(inputs):
        return [jnp.einsum(form, a, b, precision="highest") for a, b in inputs]

    @shipped_jit
    def by_vmap(inputs):
        left, right = form.split("->")[0].split(",")
        one = form.replace("n", "")
        axes = tuple(0 if letters.startswith("n") else None for letters in (left, right))

        def of_one(a, b):
            return jnp.einsum(one, a, b, precision="highest")

        return [jax.vmap(of_one, axes)(a, b) for a, b in inputs]

    for function in (whole, by_vmap):
        for got, (a, b), case in zip(function(inputs), inputs, cases, strict=True):
            check(got, a, b, form, f"{name} {form} {case}")


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
def test_vmapped_products_in_programs_of_their_own(shipped_jit, dtype):
    """One program per shape, as the reports of the fault have it."""
    rng = np.random.default_rng(2)
    for n, m, k, p in ((1, 2, 2, 2), (4, 3, 3, 3), (7, 4, 4, 4), (8, 5, 3, 2), (33, 3, 17, 2)):
        a, b = (rng.normal(size=shape).astype(dtype) for shape in ((n, m, k), (n, k, p)))
        got = shipped_jit(jax.vmap(lambda x, y: jnp.matmul(x, y, precision="highest")))(a, b)
        check(got, a, b, "nmk,nkp->nmp", f"{n} x ({m}, {k}) @ ({k}, {p})")
        transposed = shipped_jit(jax.vmap(lambda x, y: jnp.matmul(y.T, x.T, precision="highest")))
        check(np.swapaxes(transposed(a, b), 1, 2), a, b, "nmk,nkp->nmp", f"transposed {n, m, k, p}")


def test_chains_of_vmapped_products_and_their_gradients(shipped_jit):
    """A quadratic form: value x.A.x, gradient (A + A^T) x."""
    rng = np.random.default_rng(3)
    for n, m in ((5, 3), (16, 4), (33, 6)):
        a, x = rng.normal(size=(n, m, m)), rng.normal(size=(n, m))

        def form(a, x):
            return x @ (a @ x)

        value, gradient = shipped_jit(jax.vmap(jax.value_and_grad(form, 1)))(a, x)
        np.testing.assert_allclose(value, np.einsum("na,nab,nb->n", x, a, x), rtol=1e-11)
        expected = np.einsum("nab,nb->na", a + np.swapaxes(a, 1, 2), x)
        np.testing.assert_allclose(gradient, expected, rtol=1e-11, atol=1e-12)


def test_loops_of_small_products(shipped_jit):
    """lax.map over blocks, as evaluations in chunks do."""
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(6, 8, 5, 9)), rng.normal(size=(6, 8, 4, 9))
    got = shipped_jit(lambda a, b: jax.lax.map(lambda ab: jnp.einsum("nak,nbk->nab", *ab), (a, b)))(
        a, b
    )
    np.testing.assert_allclose(got, np.einsum("cnak,cnbk->cnab", a, b), rtol=1e-12, atol=1e-12)


def test_a_potential_is_the_same_as_with_the_options_of_the_tests(
    shipped_jit, random_potential, random_structure, graph_of
):
    """Energy, and its first and second derivatives by positions, moments and parameters."""
    potential = random_potential(5)
    graph = graph_of(random_structure(5, 4))

    def energy(at):
        moved = graph._replace(vectors=graph.vectors + at["shift"], magmoms=at["magmoms"])
        return energies(potential.unflatten(at["theta"]), moved)[0]

    def all_of(at):
        first, along = jax.jvp(jax.grad(energy), (at,), (jax.tree.map(jnp.ones_like, at),))
        return energy(at), first, along

    at = {"shift": jnp.zeros((3, 1)), "magmoms": graph.magmoms, "theta": potential.flatten()}
    at = jax.tree.map(jnp.asarray, at)
    for got, expected in zip(
        *(jax.tree.leaves(jit(all_of)(at)) for jit in (jax.jit, shipped_jit)), strict=True
    ):
        scale = np.max(np.abs(expected))
        assert scale > 0.0
        np.testing.assert_allclose(got, expected, rtol=0.0, atol=1e-12 * scale)
