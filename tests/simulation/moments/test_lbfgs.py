"""Directions of L-BFGS: those of the matrices of BFGS."""

import numpy as np
import pytest

from mmtp_jax.potential.sums import Sums, members_of
from mmtp_jax.precision import double_precision
from mmtp_jax.simulation.moments import lbfgs
from mmtp_jax.simulation.moments.lbfgs import SIZE, Memory, Segments

SEED = 3


def by_matrices(steps, changes, scale, gradient, free):
    """-H g of one configuration; pairs without clear curvature are left out."""
    inverse = scale * np.eye(len(gradient))
    for s, y in zip(steps * free, changes * free, strict=True):
        if s @ y <= 0.0:
            continue
        left = np.eye(len(s)) - np.outer(s, y) / (s @ y)
        inverse = left @ inverse @ left.T + np.outer(s, s) / (s @ y)
    return -inverse @ (gradient * free)


@pytest.mark.parametrize("sizes", [(7,), (5, 3, 4)], ids=str)
@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize("on_gpu", [False, True], ids=["cpu", "gpu"])
def test_directions(monkeypatch, sizes, components, on_gpu):
    """Of several configurations, on both ways."""
    if on_gpu:
        monkeypatch.setattr(
            lbfgs, "by_platform", lambda cpu, gpu, args, like, static: gpu(*static, *args)
        )
    rng = np.random.default_rng(SEED)
    owner = np.repeat(np.arange(len(sizes) + 1), (*sizes, 2)).astype(np.int32)
    n = len(owner) * components
    steps = rng.normal(size=(SIZE, n))
    changes = steps * rng.uniform(1.0, 4.0, n)
    # One that is not there, and one along which the energy is concave.
    steps[0] = changes[0] = 0.0
    changes[3] *= -1.0
    gradient, free = rng.normal(size=n), rng.random(n) < 0.8
    scale = rng.uniform(0.5, 1.5, len(sizes))
    sums = Sums(None, members_of(owner, len(sizes))) if on_gpu else None
    pieces = Segments(owner, len(sizes), sums, components)
    with double_precision():
        found = lbfgs.direction(Memory(steps, changes, scale), pieces, gradient, free)
    for k in range(len(sizes)):
        own = np.repeat(owner == k, components)
        wanted = by_matrices(
            steps[:, own], changes[:, own], scale[k], gradient[own], free[own].astype(float)
        )
        np.testing.assert_allclose(found[own], wanted, rtol=1e-12, atol=1e-12)
    assert not np.any(found[np.repeat(owner == len(sizes), components)])
