"""Matrix products at the precision of their arguments.

On recent GPUs the default product of float32 matrices rounds its factors to ten bits.
"""

from functools import partial

import jax
import jax.numpy as jnp

einsum = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
