"""The examples of differentiable properties run, and their derivatives are those of differences."""

import runpy
from pathlib import Path

import jax
import numpy as np
import pytest
from ase.build import bulk

import mmtp_jax as mmtp

ROOT = Path(__file__).parents[1]
IRON = ROOT / "tests" / "simulation" / "fe.mtp"


def _script(name: str) -> dict:
    return runpy.run_path(str(ROOT / "scripts" / name))


@pytest.mark.slow
def test_a_fit_to_a_target_comes_nearer_to_it(capsys) -> None:
    _script("example_target_property.py")["main"](
        ["--level", "4", "--iterations", "60", "--steps", "3", "--moment", "2.0"]
    )
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines if line[:4].strip().isdigit()]
    moments = [float(row[3]) for row in rows]
    assert abs(moments[-1] - 2.0) < abs(moments[0] - 2.0)
    again = next(line for line in lines if line.startswith("relaxed anew"))
    assert float(again.split()[3]) == pytest.approx(float(rows[-1][2]), rel=1e-3)


def test_a_property_of_ones_own_has_exact_derivatives() -> None:
    script = _script("example_own_property.py")
    potential = mmtp.load(IRON)
    crystal = bulk("Fe", a=2.83, cubic=True)
    crystal.set_initial_magnetic_moments([2.2, 2.2])
    stiffness = script["stiffness_of"](potential, crystal)
    theta = np.asarray(potential.flatten())
    direction = np.random.default_rng(3).normal(size=len(theta)) * np.abs(theta)
    step = 1e-5 * direction
    with mmtp.double_precision():
        both = jax.jit(jax.value_and_grad(stiffness))
        value, slope = both(theta)
        ends = [both(theta + sign * step)[0] for sign in (1, -1)]
    assert float(slope @ step) == pytest.approx(float(ends[0] - ends[1]) / 2, rel=1e-3)
    # Relaxed and differentiated twice by the ordinary functions.
    tight = {"force_tolerance": 1e-7, "stress_tolerance_GPa": 1e-6, "magnetic_tolerance": 1e-8}
    atoms = mmtp.relax(potential, crystal, cell="volume", **tight).atoms
    second = mmtp.response(potential, atoms).mm
    assert float(value) == pytest.approx((second[0, 0] + second[1, 1]) / 2 - second[0, 1], rel=1e-6)
