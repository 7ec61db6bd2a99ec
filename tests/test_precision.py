"""float64 where it is promised, and nowhere behind the user's back."""

import copy
import os
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmtp_jax.active.active_set import ActiveSet
from mmtp_jax.interfaces.evaluation import evaluate_structures
from mmtp_jax.potential.observables import energies
from mmtp_jax.precision import double_precision, require_precision, with_double_precision
from mmtp_jax.structures.batch import pack
from mmtp_jax.structures.neighbours import neighbour_table


@pytest.mark.parametrize("outside", [False, True])
def test_double_precision_is_for_the_block_only(outside):
    with jax.enable_x64(outside):
        with double_precision():
            assert jnp.zeros(()).dtype == np.float64
        assert jax.config.jax_enable_x64 == outside


def test_the_setting_is_restored_after_an_error():
    with jax.enable_x64(False):
        with pytest.raises(RuntimeError, match="inside"), double_precision():
            raise RuntimeError("inside")
        assert not jax.config.jax_enable_x64


def test_decorated_functions_run_in_float64_and_keep_their_name():
    @with_double_precision
    def total(values, *, factor=1):
        """Doc."""
        return factor * jnp.sum(jnp.asarray(values))

    with jax.enable_x64(False):
        result = total([1e-12, 1.0], factor=2)
        assert not jax.config.jax_enable_x64
    assert result.dtype == np.float64
    assert float(result) != 2.0
    assert (total.__name__, total.__doc__) == ("total", "Doc.")


def test_one_type_is_for_both_parts_of_an_evaluation():
    assert set(require_precision("float64")) == {np.dtype(np.float64)}
    assert set(require_precision(jnp.float32)) == {np.dtype(np.float32)}
    with jax.enable_x64(False):
        assert set(require_precision(np.float32)) == {np.dtype(np.float32)}


def test_mixed_precision_contracts_in_float64():
    precision = require_precision("mixed")
    assert (precision.edges, precision.contraction) == (np.float32, np.float64)


@pytest.mark.parametrize("dtype", [np.float64, "mixed"])
def test_float64_that_jax_would_truncate_is_an_error(dtype):
    with jax.enable_x64(False), pytest.raises(ValueError, match="limited to 32 bits"):
        require_precision(dtype)


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, int, complex, "double-ish"])
def test_other_types_are_an_error(dtype):
    with pytest.raises(ValueError, match="must be float32, float64 or 'mixed'"):
        require_precision(dtype)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:os.fork")
def test_a_fork_of_a_process_with_jax_is_told_to_spawn():
    jnp.zeros(()).block_until_ready()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            with double_precision():
                text = "computes"
        except RuntimeError as error:
            text = str(error)
        os.write(writing, text.encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as told:
        assert 'start processes with the method "spawn"' in told.read()
    with double_precision():
        assert jnp.zeros(()).dtype == np.float64


def test_what_was_traced_in_32_bits_still_computes_in_64(random_potential, random_structure):
    """JAX remembers what its constants were."""
    potential = random_potential(7, level=2, n_species=1)
    structure = random_structure(8, 2, n_species=1)
    table = neighbour_table(structure, 4.0)
    graph = pack([structure], [table], 4.0).graph
    (expected,) = evaluate_structures(potential, [structure])
    with jax.enable_x64(False):
        scaled = jax.jit(lambda s: energies(potential, graph._replace(magmoms=s * graph.magmoms)))
        assert scaled(1.0).dtype == np.float32
        assert float(scaled(1.0)[0]) == pytest.approx(expected.energy, rel=1e-4)
        # Nor does it matter what others traced.
        leaves = jax.tree.leaves(potential)
        jax.jit(lambda x: sum(jnp.sum(jnp.asarray(leaf) * x) for leaf in leaves))(1.0)
    high = jax.jit(lambda x: energies(jax.tree.map(jnp.asarray, x), graph))
    assert float(high(potential.astype(float))[0]) == pytest.approx(expected.energy, rel=1e-12)
    (again,) = evaluate_structures(potential, [structure])
    assert again.energy == expected.energy
    (row,) = ActiveSet.from_configurations(potential, [structure]).grade([structure])
    assert row == pytest.approx(1.0)


def test_no_pickle_of_a_potential_loses_digits(random_potential):
    potential = random_potential(9, level=2)
    on_device = jax.tree.map(jnp.asarray, potential)
    with jax.enable_x64(False):
        for make in (copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))):
            for leaf, other in zip(
                *map(jax.tree.leaves, (make(on_device), potential)), strict=True
            ):
                assert isinstance(leaf, (np.ndarray, np.generic))
                assert leaf.dtype == np.float64
                np.testing.assert_array_equal(leaf, other)
