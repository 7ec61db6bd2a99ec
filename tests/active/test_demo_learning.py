"""The demonstration of active learning, in small: scripts/demo_learning.py has the whole one.

What a loop does is tested in `test_learning.py`, in seconds.
"""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

import mmtp_jax as mmtp

SCRIPT = Path(__file__).parents[2] / "scripts" / "demo_learning.py"


@pytest.mark.slow
def test_the_loop_converges_and_beats_a_random_selection(iron_file, tmp_path) -> None:
    spec = spec_from_file_location("demo_learning", SCRIPT)
    demo = module_from_spec(spec)
    sys.modules[spec.name] = demo
    spec.loader.exec_module(demo)
    setup = demo.Setup(
        cutoff=4.2, volumes=(0.95, 1.05), temperatures=(300.0,), fit_steps=250, final_steps=500,
        n_test=60, max_iterations=8,
        low=4.0,
    )  # fmt: skip
    oracle = mmtp.PotentialOracle(iron_file)
    test = demo.test_sets(setup, oracle, tmp_path)
    lines = []
    outcome = demo.compare(setup, oracle, test, tmp_path / "seed", seed=0, say=lines.append)
    print(outcome.learned, demo.table([outcome]), sep="\n")
    assert outcome.learned.converged, outcome.learned.message
    assert outcome.learned.rows[-1].preselected == 0
    assert len(outcome.learned.rows) > 2
    # Far from equilibrium moments, which trajectories seldom visit, a random selection is lost.
    learned, at_random = outcome.by_loop["moments"], outcome.at_random["moments"]
    for kind in demo.KINDS:
        assert learned[kind]["rmse"] < at_random[kind]["rmse"], kind
    for name in demo.SETS:
        assert outcome.by_loop[name]["energy"]["rmse"] < outcome.at_start[name]["energy"]["rmse"]
