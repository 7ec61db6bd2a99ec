"""float64 where it is promised, and nowhere behind the user's back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmtp_jax.precision import double_precision, require_precision, with_double_precision


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
