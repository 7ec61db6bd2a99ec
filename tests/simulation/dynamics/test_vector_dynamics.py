"""Dynamics with vectors: against collinear runs, conservation, directions, files, resuming."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

import mmtp_jax as mmtp
from mmtp_jax.simulation.dynamics.loop import take_steps

AXIS = np.array([0.48, -0.6, 0.64])
OPTIONS = {"timestep_fs": 1.0, "chunk_steps": 16, "tolerance": 1e-5}


@pytest.fixture(scope="module")
def cell():
    atoms = bulk("Fe", a=2.84, cubic=True) * (2, 1, 1)
    atoms.rattle(0.05, seed=3)
    return atoms


@pytest.fixture(scope="module")
def canted():
    """Close to one axis: canted moments that are held there are stable."""
    near = AXIS + np.random.default_rng(3).normal(0.0, 0.15, (4, 3))
    return 2.1 * near / np.linalg.norm(near, axis=1, keepdims=True)


def _with(atoms, moments):
    copy = atoms.copy()
    copy.arrays.pop("initial_magmoms", None)
    copy.set_initial_magnetic_moments(moments)
    return copy


@pytest.mark.parametrize("ensemble", ["nve", "npt"])
def test_along_one_axis_it_is_the_collinear_run(ensemble, iron, cell) -> None:
    signed = np.array([2.1, 2.2, 2.0, 2.1])
    options = {**OPTIONS, "ensemble": ensemble}
    collinear = mmtp.md(iron, _with(cell, signed), 12, **options)
    vectors = mmtp.md(iron, _with(cell, signed[:, None] * AXIS), 12, **options)
    assert collinear.completed
    assert vectors.completed
    for name in ("energy", "conserved", "pressure", "magnetisation", "mean_moment"):
        got, expected = (getattr(run.series, name) for run in (vectors, collinear))
        np.testing.assert_allclose(got, expected, rtol=1e-9, err_msg=name)
    np.testing.assert_allclose(vectors.system.positions, collinear.system.positions, atol=1e-9)
    along = collinear.system.magmoms[..., None] * AXIS
    np.testing.assert_allclose(vectors.system.magmoms, along, atol=1e-6)


@pytest.mark.parametrize("options", [{"directions": "fixed"}, {"moments": "fixed"}])
def test_the_energy_of_canted_moments_is_conserved(options, iron, cell, canted) -> None:
    spreads = []
    for dt in (2.0, 1.0):
        run = mmtp.md(iron, _with(cell, canted), int(60 / dt), temperature_K=300,
                      **{**OPTIONS, **options, "timestep_fs": dt})  # fmt: skip
        assert run.completed, run.message
        spreads.append(float(np.std(run.series.conserved)))
        end = run.system.magmoms[0]
        units, before = (m / np.linalg.norm(m, axis=1, keepdims=True) for m in (end, canted))
        np.testing.assert_allclose(units, before, atol=1e-9)
    assert spreads[0] < 0.01 * np.std(run.series.energy)
    assert 3.0 < spreads[0] / spreads[1] < 5.0


def test_free_vectors_turn_to_their_minimum_and_files_keep_them(
    iron, cell, canted, tmp_path
) -> None:
    run = mmtp.md(iron, _with(cell, canted), 4, trajectory=tmp_path / "run.extxyz",
                  trajectory_every=2, log=tmp_path / "log.csv", **OPTIONS)  # fmt: skip
    assert np.all(run.series.max_magnetic_force < 1e-5)
    total = np.linalg.norm(run.system.magmoms[0].sum(axis=0))
    assert run.series.magnetisation[-1, 0] == pytest.approx(total)
    frames = mmtp.read(tmp_path / "run.extxyz")
    assert len(frames) == 3
    last = frames[-1].get_initial_magnetic_moments()
    np.testing.assert_allclose(last, run.system.magmoms[0], atol=1e-7)
    np.testing.assert_array_equal(
        run.atoms[0].get_initial_magnetic_moments(), run.system.magmoms[0]
    )


@pytest.mark.parametrize("directions", ["free", "fixed"])
def test_a_resumed_run_takes_the_same_steps(directions, iron, cell, canted, tmp_path) -> None:
    options = {**OPTIONS, "ensemble": "nvt", "directions": directions}
    start = _with(cell, canted)
    whole = mmtp.md(iron, start, 10, **options)
    before = take_steps._cache_size()
    file = tmp_path / "md.npz"
    mmtp.md(iron, start, 6, checkpoint=file, **options)
    rest = mmtp.md(iron, start, 10, checkpoint=file, resume=True, **options)
    assert take_steps._cache_size() == before
    np.testing.assert_array_equal(rest.system.positions, whole.system.positions)
    np.testing.assert_array_equal(rest.system.magmoms, whole.system.magmoms)
    # Without a log averages are of what was resumed, and say so.
    assert rest.averaged_steps == (9, 10)
    assert "the first half of those after step 6, of which alone there is a log, is" in str(rest)
    again = mmtp.md(iron, start, 10, checkpoint=file, resume=True, **options)
    assert again.averaged_steps is None
    assert "no averages: there is no log of the steps before it was resumed" in str(again)


def test_what_cannot_be_is_refused_before_anything_is_done(iron, cell, canted) -> None:
    begun: list[int] = []
    heard = {"begins": lambda: begun.append(1)}
    with pytest.raises(ValueError, match="changes signs, and the moments are vectors"):
        mmtp.md(iron, _with(cell, canted), 2, ensemble="nvt", spins="flip", **heard)
    assert not begun


def test_numbers_beside_vectors_are_along_z(iron, cell, canted, caplog) -> None:
    both = [_with(cell, canted), _with(cell, [2.0] * 4)]
    run = mmtp.md(iron, both, 0, ensemble="nvt", moments="fixed")
    np.testing.assert_array_equal(run.system.magmoms[1], np.tile([0.0, 0.0, 2.0], (4, 1)))
    assert "moments of 1 of 2 replicas are numbers and count as vectors along z" in caplog.text
