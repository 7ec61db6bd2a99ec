"""A walk over moments in words."""

from __future__ import annotations

import numpy as np
import pytest

from mmtp_jax.simulation.spins.counts import Counts
from mmtp_jax.simulation.spins.loop import SpinSeries
from mmtp_jax.simulation.spins.outcome import SpinState, SpinWalk
from mmtp_jax.simulation.spins.turning import KINDS, Turning


def _walk(vectors: bool, n_sweeps: int = 40) -> SpinWalk:
    """Two replicas each at 900 and 300 K, of six atoms, four of them magnetic."""
    ones = np.ones((n_sweeps, 4))
    energy = ones * [-12.0, -12.0, -18.0, -18.0]
    series = SpinSeries(energy, ones, -0.25 * ones, 2.5 * ones if vectors else None)
    four, nothing = np.ones(4), np.zeros(4)
    turning = None
    if vectors:
        tried = np.tile([10, 10, 0, 10, 10], (4, 1))
        turning = Turning(tried, tried * np.arange(5) // 10, four, 0.1 * four, np.array(0))
    state = SpinState(np.ones((4, 6)), four, four, four, Counts(four, four, four), 0, turning)
    return SpinWalk(
        temperatures=np.array([900.0, 900.0, 300.0, 300.0]), series=series, magmoms=state.magmoms,
        magnetic=np.arange(6) < 4, pattern=np.ones(6), acceptance=np.array([0.2, 0.4, 0.1, 0.1]),
        inadmissible=nothing, seconds=1.0, interrupted=False, stopped=nothing > 0, kept=(),
        state=state,
    )  # fmt: skip


@pytest.mark.parametrize("vectors", [False, True])
def test_a_walk_prints_a_row_for_each_temperature(vectors) -> None:
    head, names, _, *rows = str(_walk(vectors)).splitlines()
    assert head.startswith("Monte Carlo of 4 magnetic atoms: 40 sweeps")
    cells = [row.replace(" %", "%").split() for row in rows]
    if vectors:
        assert names.split()[-4:] == [kind for kind in KINDS if kind != "reversal"]
        moves = ["2.5", "0%", "10%", "30%", "40%"]
        assert cells == [["300", "-3", "0.25", *moves], ["900", "-2", "0.25", *moves]]
    else:
        assert cells == [["300", "-3", "0.25", "10%"], ["900", "-2", "0.25", "30%"]]


def test_a_walk_cut_in_the_burn_in_prints_that_there_is_nothing() -> None:
    assert str(_walk(True, 0)).endswith("nothing after the burn-in")
    assert "\n" not in repr(_walk(True, 0))
