"""Frames of dynamics: on their grid, once each, also where replicas stop and runs are resumed."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import mmtp_jax as mmtp
from mmtp_jax.io.trajectory import TrajectoryWriter, check_grid, cut_to, size_of
from mmtp_jax.simulation.dynamics.precession import at_rest


def _snapshot(step: int, stops: int) -> SimpleNamespace:
    """Two replicas of one atom; the second stops at a step."""
    at = [step, min(step, stops)]
    system = SimpleNamespace(
        positions=np.array(at)[:, None, None] * np.ones((2, 1, 3)),
        velocities=np.zeros((2, 1, 3)),
        cell=np.tile(9.0 * np.eye(3), (2, 1, 1)),
        periodic=np.ones(3, bool),
        masses=np.array([55.845]),
        magmoms=np.full((2, 1), 2.0),
    )
    known = SimpleNamespace(
        energy=np.array(at, float),
        forces=np.zeros((2, 1, 3)),
        stress=np.zeros((2, 3, 3)),
        magnetic_forces=np.zeros((2, 1)),
    )
    stopped = np.array([-1, stops if step >= stops else -1])
    precession = at_rest(2, 1, moves=False)
    state = SimpleNamespace(system=system, known=known, stopped_at=stopped, precession=precession)
    return SimpleNamespace(step=step, timestep_fs=2.0, state=state)


@pytest.mark.parametrize("stops", [13, 20, 99])
def test_frames_are_on_the_grid_whenever_a_run_is_interrupted(tmp_path, stops) -> None:
    every, end = 10, 40

    def run(folder, last: int | None, to: int, save_at: tuple[int, ...]) -> list[int]:
        paths = [folder / f"{r}.extxyz" for r in range(2)]
        frames = TrajectoryWriter(paths, ["Fe"], every, last)
        first = 0 if last is None else last + 1
        sizes = []
        for step in range(first, to + 1):
            # At the grid, at checkpoints, and at the end.
            if step % every == 0 or step in save_at or step == to:
                frames(_snapshot(step, stops))
            if step in save_at:
                sizes = [size_of(path) for path in paths]
        return sizes

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    run(whole, None, end, ())
    for save in (3, 13, 15, 20, 27):
        sizes = run(cut, None, 29, (save,))
        for r, size in enumerate(sizes):
            cut_to(cut / f"{r}.extxyz", size)
        run(cut, save, end, (31,))
        for r in range(2):
            name = f"{r}.extxyz"
            assert (cut / name).read_bytes() == (whole / name).read_bytes(), (save, r)
    frames = mmtp.read(whole / "1.extxyz")
    expected = [step for step in range(0, end + 1, every) if step < stops]
    if stops < end:
        expected.append(stops)
    assert [atoms.info["step"] for atoms in frames] == expected
    assert [bool(a.info.get("off_grid")) for a in frames] == [s % every > 0 for s in expected]


def test_frames_are_continued_on_the_grid_that_they_are_on(tmp_path) -> None:
    paths = [tmp_path / f"{r}.extxyz" for r in range(2)]
    frames = TrajectoryWriter(paths, ["Fe"], 10)
    frames(_snapshot(0, 4))
    check_grid(paths[0], 30, 7)
    with pytest.raises(ValueError, match=r"0\.extxyz has one frame up to step 7, .* 5 steps apart"):
        check_grid(paths[0], 5, 7)
    frames(_snapshot(10, 4))
    check_grid(paths[0], 10, 17)
    with pytest.raises(ValueError, match="frames 10 steps apart, and would go on with 5"):
        check_grid(paths[0], 5, 17)
    with pytest.raises(ValueError, match="is not there, but had 9 when the checkpoint"):
        cut_to(tmp_path / "none", 9)
