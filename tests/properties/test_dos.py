"""Vibrational density of states of signals and dynamics that are known."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk

import mmtp_jax as mmtp
from mmtp_jax.properties.dos import AliasingWarning, vibrational_dos_of


def _oscillations(lines, masses, n_frames, step_ps, rng):
    """Velocities (t, N, 3) of atoms that oscillate at one frequency each, at one temperature."""
    t = step_ps * np.arange(n_frames)
    v = np.zeros((n_frames, len(masses), 3))
    for i, (line, mass) in enumerate(zip(lines, masses, strict=True)):
        for axis in range(3):
            v[:, i, axis] = np.cos(2 * np.pi * line * t + rng.uniform(0, 2 * np.pi)) / np.sqrt(mass)
    return v


def test_lines_of_known_oscillators() -> None:
    """Frequencies, widths, and three modes to an atom."""
    rng = np.random.default_rng(3)
    # Pairs in opposite phase, so that the centre stays.
    lines, masses, symbols = (4.0, 9.0), (56.0, 27.0), ("Fe", "Al")
    half = _oscillations(lines, masses, 8000, 0.005, rng)
    v = np.concatenate([half, -half], axis=1)
    found = vibrational_dos_of([v], np.tile(masses, 2), symbols * 2, 5.0, resolution_THz=0.4)
    f, total = found.frequencies, found.total
    assert np.trapezoid(total, f) == pytest.approx(3.0, rel=1e-6)
    for name, line in zip(symbols, lines, strict=True):
        part = found.species[name]
        assert np.trapezoid(part, f) == pytest.approx(1.5, rel=1e-3)
        assert f[np.argmax(part)] == pytest.approx(line, abs=f[1])
        above = f[part > part.max() / 2]
        assert np.ptp(above) + f[1] == pytest.approx(0.4, abs=2 * f[1])
    assert np.all(total >= 0)
    assert sum(found.species.values()) == pytest.approx(total)
    assert found.correlation[0] == 1.0
    # E_kin = 1/2 m v^2 per direction has the mean 1/4 of these units: T = 1 / (2 k_B) * 12 / 9.
    assert found.temperature == pytest.approx(0.5 / units.kB * 12 / 9, rel=1e-3)


def test_what_does_not_matter() -> None:
    """Translation of the whole, direction of time, rotation, scale, and how runs are divided."""
    rng = np.random.default_rng(4)
    v = np.cumsum(rng.normal(size=(900, 4, 3)), axis=0)
    v -= v.mean(axis=0)
    masses = np.array([1.0, 2.0, 3.0, 4.0])
    symbols = ("H", "H", "B", "B")

    def total(*runs):
        return vibrational_dos_of(list(runs), masses, symbols, 2.0, resolution_THz=2.0).total

    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    reference = total(v)
    for same in (v + np.array([1.0, -2.0, 0.5]), v[::-1], v @ q, 3.0 * v):
        assert total(same) == pytest.approx(reference, rel=1e-9, abs=1e-12)
    assert total(v, v) == pytest.approx(reference, rel=1e-9, abs=1e-12)


def test_bad_trajectories_are_refused() -> None:
    v = np.random.default_rng(0).normal(size=(50, 2, 3))
    with pytest.raises(ValueError, match=r"cannot resolve 0\.1 THz; 5001 frames"):
        vibrational_dos_of([v], np.ones(2), ("H", "H"), 2.0, resolution_THz=0.1)
    with pytest.raises(ValueError, match="do not move"):
        vibrational_dos_of([0 * v], np.ones(2), ("H", "H"), 20.0, resolution_THz=2.0)
    with pytest.warns(AliasingWarning, match="keep more frames"):
        vibrational_dos_of([v], np.ones(2), ("H", "H"), 50.0, resolution_THz=2.0)
    atoms = bulk("Fe", cubic=True)
    with pytest.raises(ValueError, match="frame 1 has no velocities"):
        mmtp.vibrational_dos([atoms] * 5)
    atoms.set_velocities(np.ones((2, 3)))
    with pytest.raises(ValueError, match="frame 1 does not say its time"):
        mmtp.vibrational_dos([atoms] * 5)
    with pytest.raises(ValueError, match="frame 1 is the only frame"):
        mmtp.vibrational_dos([atoms])
    frames = [atoms.copy() for _ in range(5)]
    for atoms, time in zip(frames, (0, 1, 2, 3, 5), strict=True):
        atoms.info["time_fs"] = time
    with pytest.raises(ValueError, match=r"frame 4: .* \(this one at 3 fs, the next at 5 fs\)"):
        mmtp.vibrational_dos(frames)


def test_short_runs_and_last_frames_off_the_grid_are_taken_with_a_word() -> None:
    rng = np.random.default_rng(3)
    frames = [bulk("Fe", cubic=True) for _ in range(31)]
    for k, atoms in enumerate(frames):
        atoms.set_velocities(rng.normal(size=(2, 3)))
        atoms.info["time_fs"] = 10.0 * k
    whole = mmtp.vibrational_dos(frames, skip=0.0, resolution_THz=4.0)
    stopped = frames[-1].copy()
    stopped.info.update(time_fs=303.0, off_grid=True)
    with pytest.warns(UserWarning, match=r"trajectory 1: 1 of 32 frames .* is left out"):
        found = mmtp.vibrational_dos([*frames, stopped], skip=0.0, resolution_THz=4.0)
    assert np.array_equal(found.total, whole.total)
    with pytest.warns(UserWarning, match=r"resolves 3\.33 THz, .* not 2 THz; that needs 51 frames"):
        coarse = mmtp.vibrational_dos(frames, skip=0.0, resolution_THz=2.0)
    assert coarse.resolution_THz == pytest.approx(1 / 0.3)


def test_dynamics_vibrate_at_the_frequencies_of_the_hessian(iron, ferromagnet, tmp_path) -> None:
    """Of two atoms of bcc iron three modes are left, all at the frequency of the point H."""
    path = tmp_path / "run.extxyz"
    atoms: Atoms = ferromagnet.copy()
    rng = np.random.default_rng(5)
    kick = rng.normal(size=3)
    atoms.set_velocities(1e-3 * np.array([kick, -kick]))
    mmtp.md(
        iron, atoms, 700, ensemble="nve", timestep_fs=2.0, tolerance=1e-6, trajectory=path,
        trajectory_every=5,
    )  # fmt: skip
    found = mmtp.vibrational_dos(mmtp.read(str(path)), skip=0.0, resolution_THz=1.0)
    response = mmtp.response(iron, ferromagnet)
    constants = response.without_moments()[0]
    square = np.linalg.eigvalsh(constants)[3:] / ferromagnet.get_masses()[0]
    frequency = np.sqrt(square.mean()) / (2 * np.pi) * units.fs * 1e3
    assert np.allclose(square, square.mean(), rtol=1e-6)
    assert found.peak == pytest.approx(frequency, abs=0.02 * frequency)
    assert np.trapezoid(found.total, found.frequencies) == pytest.approx(3.0, rel=1e-6)
