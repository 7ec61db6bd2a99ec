"""S(q, omega) of trajectories whose spin waves are known."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

import mmtp_jax as mmtp
from mmtp_jax.properties.adiabatic import OtherLatticeWarning
from mmtp_jax.properties.dos import AliasingWarning
from mmtp_jax.properties.lattice_sites import find_sites
from mmtp_jax.properties.spin_spectra import MEV_FS
from mmtp_jax.properties.structure_factor import NoAxisWarning
from mmtp_jax.properties.waves import stars, waves_along

STEP = 2.0
LINK = Atoms("Fe", cell=[2.5, 8.0, 8.0], pbc=True)


def _turned(moments: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The same moments after a rotation at random, and their new z axis."""
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    q[:, 0] *= np.sign(np.linalg.det(q))
    return moments @ q.T, q[:, 2]


def _chain(n: int, t: np.ndarray, energies, amplitudes, rng) -> np.ndarray:
    """Moments (t, n, 3) of length 2 of a chain with one spin wave of each k = 1, 2, ..."""
    x, m = np.arange(n), np.zeros((len(t), n), complex)
    for k, (energy, amplitude) in enumerate(zip(energies, amplitudes, strict=True), 1):
        phase = 2 * np.pi * (k * x[None] / n + energy * t[:, None] / MEV_FS)
        m += amplitude * np.exp(1j * (phase + rng.uniform(0, 2 * np.pi)))
    return np.stack([m.real, m.imag, np.sqrt(4.0 - np.abs(m) ** 2)], axis=-1)


def _integral(found, density) -> np.ndarray:
    return density.sum(axis=1) * (found.energies[1] - found.energies[0])


def test_spin_waves_of_a_chain_are_where_they_are() -> None:
    """Energies, sense, intensities and the sum rule, about an axis in any direction."""
    n, rng = 12, np.random.default_rng(3)
    k = np.arange(1, n)
    energies = 80.0 * (1.0 - np.cos(2 * np.pi * k / n))
    amplitudes = 0.05 * rng.uniform(0.5, 1.0, size=n - 1)
    moments = _chain(n, STEP * np.arange(1600), energies, amplitudes, rng)
    moments, axis = _turned(moments, 4)
    q = np.outer(k / n, [1, 0, 0])
    found = mmtp.spin_structure_factor(
        moments, atoms=LINK.repeat((n, 1, 1)), cell=LINK, q=q, interval_fs=STEP, skip=0.0
    )
    assert found.resolution_meV == pytest.approx(1.44 * MEV_FS / 800, rel=1e-3)
    assert found.axis == pytest.approx(axis, abs=0.01)
    assert found.peaks.energy == pytest.approx(energies, abs=0.01 * found.resolution_meV)
    assert found.peaks.polarisation == pytest.approx(1.0, abs=0.01)
    assert found.peaks.width == pytest.approx(found.resolution_meV, rel=0.05)
    assert np.all(found.limited)
    # q and -q are one star: the mean of what they carry, n a^2 per atom.
    carried = n * 0.5 * (amplitudes**2 + amplitudes[::-1] ** 2)
    assert found.static_transverse == pytest.approx(carried, rel=0.01)
    assert _integral(found, found.transverse) == pytest.approx(found.static_transverse, rel=1e-3)
    longitudinal = _integral(found, found.longitudinal)
    assert longitudinal == pytest.approx(found.static_longitudinal, rel=0.05)
    assert np.all(found.static_longitudinal < 0.01 * found.static_transverse)
    assert _integral(found, found.total) == pytest.approx(
        found.static_transverse + longitudinal, rel=1e-3
    )
    # All that moves is in the waves but that of q = 0.
    whole = (np.abs(moments - axis * (moments @ axis)[..., None]) ** 2).sum(axis=-1).mean()
    assert found.static_transverse.mean() == pytest.approx(whole * n / (n - 1), rel=0.02)
    assert "*: as narrow as the resolution" in str(found)
    assert found.moment == pytest.approx((moments @ axis).mean(), rel=1e-4)


def test_the_sense_is_that_of_larmor_precession() -> None:
    """dm/dt = -g m x B about a field along the moment is positive, backwards it is negative."""
    t, energy = STEP * np.arange(400), 60.0
    angle, omega = 0.05, 2 * np.pi * energy / MEV_FS
    m = np.tile([0.0, 0.0, 1.0], (400, 4, 1))
    small = angle * np.array([[np.cos(omega * s), np.sin(omega * s)] for s in t])
    # dm/dt = -omega m x z: dmx/dt = -omega my, dmy/dt = omega mx.
    assert np.diff(small[:, 1])[0] > 0
    m[:, :, :2] = small[:, None] * np.array([1, -1, 1, -1])[:, None]
    options = {"atoms": LINK.repeat((4, 1, 1)), "cell": LINK, "q": [0.5, 0, 0], "interval_fs": STEP}
    forwards = mmtp.spin_structure_factor(m, **options)
    backwards = mmtp.spin_structure_factor(m[::-1], **options)
    assert forwards.peaks.polarisation[0] == pytest.approx(1.0, abs=1e-4)
    assert backwards.peaks.polarisation[0] == pytest.approx(-1.0, abs=1e-4)
    # The same precession, seen with all moments reversed, is about the other axis.
    reverse = mmtp.spin_structure_factor(-m[::-1], **options)
    assert reverse.peaks.polarisation[0] == pytest.approx(1.0, abs=1e-4)


def test_two_sublattices_precess_in_both_senses() -> None:
    """Waves of an antiferromagnetic chain, with what each sublattice carries (u and v)."""
    n, k, energy, u, v = 16, 3, 70.0, 0.04, 0.025
    t, x = STEP * np.arange(1200), np.arange(n)
    up = x % 2 == 0
    moments = np.zeros((len(t), n, 3))
    # One mode of each sense, at q and -q: larger on the sublattice whose precession it is.
    for sense, on_up, on_down, phase in ((1, u, -v, 0.3), (-1, v, -u, 1.9)):
        wave = np.exp(
            1j * (sense * 2 * np.pi * energy * t[:, None] / MEV_FS + 2 * np.pi * k * x / n + phase)
        )
        both = wave * np.where(up, on_up, on_down)
        moments[..., 0] += both.real
        moments[..., 1] += both.imag
    moments[..., 2] = np.where(up, 1, -1) * np.sqrt(1 - (moments[..., :2] ** 2).sum(axis=-1))
    moments, axis = _turned(moments, 7)
    q = [[k / n, 0, 0], [0.5 - k / n, 0, 0], [1 / n, 0, 0]]
    found = mmtp.spin_structure_factor(
        moments, atoms=LINK.repeat((n, 1, 1)), cell=LINK, q=q, interval_fs=STEP, skip=0.0
    )
    assert abs(found.axis @ axis) == pytest.approx(1.0, abs=1e-4)
    assert found.peaks.energy[:2] == pytest.approx([energy] * 2, abs=0.1)
    assert found.peaks.polarisation[:2] == pytest.approx([0, 0], abs=1e-6)
    assert np.isnan(found.peaks.energy[2])
    # Half of the atoms carry either: (u - v) / 2 at q, (u + v) / 2 in the next zone.
    expected = n * 2 * np.array([(u - v) ** 2, (u + v) ** 2]) / 4
    # Each is the mean over a star of q and -q, of which one is empty here.
    assert found.star.tolist() == [2, 2, 2]
    assert found.static_transverse[:2] == pytest.approx(expected / 2, rel=1e-3)
    assert _integral(found, found.transverse)[:2] == pytest.approx(expected / 2, rel=1e-3)


def test_vibrating_supercells_repeat_their_cell() -> None:
    """Sites, waves and stars of cells with noise, in any order of atoms and from any origin."""
    rng = np.random.default_rng(0)
    crystals = [
        (bulk("Fe", a=2.84, cubic=True).repeat(3), 54, 1, [1, 6, 6]),
        (bulk("Fe", a=2.84).repeat((4, 4, 4)), 64, 1, None),
        (bulk("NiO", "rocksalt", a=4.2, cubic=True).repeat(2), 32, 2, None),
        (bulk("Co").repeat((4, 4, 2)), 32, 2, None),
    ]
    for atoms, n_cells, n_basis, sizes in crystals:
        atoms = atoms[rng.permutation(len(atoms))]
        atoms.positions += [0.3, 0.2, 5.0] + 0.04 * rng.normal(size=(len(atoms), 3))
        sites = find_sites(atoms, atoms.get_scaled_positions())
        assert (sites.n_cells, len(sites.basis)) == (n_cells, n_basis)
        away = sites.scaled - atoms.get_scaled_positions()
        away -= away[0]
        away = (away - np.rint(away)) @ atoms.cell.array
        assert np.linalg.norm(away, axis=1).max() < 0.45
        waves = waves_along(sites.cell, sites.matrix, None)
        whole = waves.q @ sites.matrix.T
        assert whole == pytest.approx(np.rint(whole), abs=1e-9)
        star = stars(waves.q, sites, np.ones(len(atoms), int))
        lengths = [
            np.linalg.norm(np.array([m.q for m in one]) @ np.linalg.inv(sites.cell).T, axis=1)
            for one in star
        ]
        assert all(np.ptp(length) < 0.01 for length in lengths)
        if sizes:
            assert [len(one) for one in star[: len(sizes)]] == sizes


def test_instantaneous_positions_scatter_by_vibrations() -> None:
    """A standing vibration of every second atom shows at q with the mean moment, at its energy."""
    # Three periods in a block.
    t, energy = STEP * np.arange(800), 3 * MEV_FS / 400.0
    frames = []
    for s in t:
        atoms = LINK.repeat((4, 1, 1))
        moved = 0.1 * np.cos(2 * np.pi * energy * s / MEV_FS)
        atoms.positions[:, 0] += moved * np.array([1, -1, 1, -1])
        atoms.positions += 1e-3 * s
        atoms.wrap()
        atoms.set_initial_magnetic_moments(np.tile([0.0, 0.6, 0.8], (4, 1)))
        atoms.info["time_fs"] = s
        frames.append(atoms)
    ideal, moved = (
        mmtp.spin_structure_factor(frames, q=[1.5, 0, 0], cell=LINK, positions=p, skip=0.0)
        for p in ("ideal", "instantaneous")
    )
    assert ideal.static_longitudinal[0] < 1e-12
    # |m(q)|^2 / N = N sin^2(q u) with u = 0.1 cos(omega t).
    phases = np.cos(np.linspace(0, 2 * np.pi, 1000, endpoint=False))
    expected = 4 * np.mean(np.sin(2 * np.pi * 1.5 / 2.5 * 0.1 * phases) ** 2)
    assert moved.static_longitudinal[0] == pytest.approx(expected, rel=1e-3)
    top = np.abs(moved.energies[np.argmax(moved.longitudinal[0])])
    assert top == pytest.approx(energy, abs=moved.resolution_meV / 2)


def test_spin_dynamics_of_a_heisenberg_chain(tmp_path) -> None:
    """E = -J sum over pairs e_i.e_j has the waves 4 J / m (1 - cos q), precessing about m."""
    n, coupling, moment = 12, 0.02, 1.5
    new = mmtp.Potential.new(
        level=2, species=("Fe",), radial_size=1, magnetic_size=2, min_dist=1.0, cutoff=2.25,
        max_magmom=2.0,
    )  # fmt: skip
    c = np.zeros_like(new.radial_coeffs)
    c[0, 0, 0, 0, 1, 1] = -coupling / 2 / 0.25**2 * (2.0 / moment) ** 2
    teacher = new.replace(radial_coeffs=c, moment_coeffs=np.ones(1))
    link = Atoms("Fe", cell=[2.0, 9.0, 9.0], pbc=True)
    chain, rng = link.repeat((n, 1, 1)), np.random.default_rng(2)
    turned = [0.0, 0.6, 0.8] + 0.03 * rng.normal(size=(n, 3))
    chain.set_initial_magnetic_moments(
        moment * turned / np.linalg.norm(turned, axis=1, keepdims=True)
    )
    path = tmp_path / "run.extxyz"
    mmtp.md(
        teacher, chain, 2400, spins="dynamics", lengths="fixed", fixed_atoms=True, timestep_fs=1.0,
        trajectory=path, trajectory_every=4,
    )  # fmt: skip
    k = np.arange(1, n // 2 + 1)
    found = mmtp.spin_structure_factor(
        mmtp.read(str(path), vectors=True), cell=link, q=np.outer(k / n, [1, 0, 0]), skip=0.0
    )
    expected = 4e3 * coupling / moment * (1 - np.cos(2 * np.pi * k / n))
    # The lowest wave is not resolved from what is at rest.
    assert expected[0] < found.resolution_meV < expected[1]
    assert found.peaks.energy[1:] == pytest.approx(expected[1:], abs=0.03 * found.resolution_meV)
    assert found.peaks.polarisation[1:] == pytest.approx(1.0, abs=0.02)
    assert _integral(found, found.transverse)[1:] == pytest.approx(
        found.static_transverse[1:], rel=0.02
    )
    one = link.copy()
    one.set_initial_magnetic_moments([moment])
    adiabatic = mmtp.magnons(teacher, one, relax=False, moments="fixed")
    np.testing.assert_allclose(found.adiabatic(adiabatic)[:, 0], expected, rtol=1e-9)


def test_bands_of_a_magnetic_cell_are_folded() -> None:
    """Waves of one link against bands of two, strained by 2 %; another lattice is refused."""
    rng = np.random.default_rng(8)
    moments = np.array([0, 0, 1]) + 0.05 * rng.normal(size=(1, 4, 3)) * np.ones((64, 1, 1))
    q = [[0.25, 0, 0], [0.75, 0, 0]]
    found = mmtp.spin_structure_factor(
        moments, atoms=LINK.repeat((4, 1, 1)), cell=LINK, q=q, interval_fs=200.0
    )

    def bands(cell):
        return SimpleNamespace(
            exchange=SimpleNamespace(model=SimpleNamespace(cell=cell)),
            energies=lambda q: np.abs(np.sin(np.pi * q[:, :1])),
        )

    two = 1.02 * LINK.cell.array * [[2], [1], [1]]
    with pytest.warns(OtherLatticeWarning, match="differ by up to 2 %"):
        assert found.adiabatic(bands(two))[:, 0] == pytest.approx([1.0, 1.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found.adiabatic(bands(two / 1.0195))
    with pytest.raises(ValueError, match="of another lattice"):
        found.adiabatic(bands(LINK.cell.array[:, [1, 0, 2]]))


def test_bad_trajectories_are_refused() -> None:
    atoms, rng = LINK.repeat((4, 1, 1)), np.random.default_rng(1)
    moments = [0.0, 0.0, 1.0] + 0.05 * rng.normal(size=(64, 4, 3))
    options = {"atoms": atoms, "cell": LINK, "interval_fs": STEP}

    def of(moments=moments, **more):
        return mmtp.spin_structure_factor(moments, **{**options, **more})

    with pytest.raises(
        ValueError, match=r"q = \(0\.3, 0, 0\) is no wave .* holds is \(0\.25, 0, 0\)"
    ):
        of(q=[0.3, 0, 0])
    with pytest.raises(ValueError, match="12 frames are too few for a spectrum; 16"):
        of(moments[:12], q=[0.5, 0, 0], skip=0.0)
    with pytest.raises(ValueError, match=r"64 frames, 2 fs apart, cannot resolve 1 meV, .* 2979"):
        of(q=[0.5, 0, 0], resolution_meV=1.0, skip=0.0)
    with pytest.raises(ValueError, match=r"max_meV=1.* is below the resolution"):
        of(q=[0.5, 0, 0], max_meV=1.0, skip=0.0)
    with pytest.raises(ValueError, match=r"vectors are \(3\.33, 0, 0; .* no whole numbers"):
        of(cell=Atoms("Fe", cell=[3.0, 8, 8], pbc=True))
    with pytest.raises(ValueError, match="has 4 atoms, 2 cells of 1 have 2"):
        of(cell=Atoms("Fe", cell=[5.0, 8, 8], pbc=True))
    two = Atoms("Fe2", positions=[[0, 0, 0], [2, 3, 0]], cell=[5.0, 8, 8], pbc=True)
    with pytest.raises(ValueError, match="not at the places that the 2 cells have them"):
        of(cell=two)
    with pytest.raises(ValueError, match="give q or path, not both"):
        of(q=[0.5, 0, 0], path="GX")
    with pytest.warns(NoAxisWarning, match="no common axis"):
        of(rng.normal(size=(400, 4, 3)), q=[0.5, 0, 0], resolution_meV=20.0)
    with pytest.warns(AliasingWarning, match="keep more frames"):
        of(q=[0.5, 0, 0])
    frame = atoms.copy()
    with pytest.raises(ValueError, match="does not say its time"):
        mmtp.spin_structure_factor([frame] * 20)
    frames = []
    for k in range(20):
        frame = atoms.copy()
        frame.info["time_fs"] = STEP * k
        frames.append(frame)
    with pytest.raises(ValueError, match="frame 3 has no magnetic moments"):
        mmtp.spin_structure_factor(frames)
    for frame in frames:
        frame.set_initial_magnetic_moments(np.ones(4))
    with pytest.raises(ValueError, match="frame 3 has moments that are numbers, along one axis"):
        mmtp.spin_structure_factor(frames)
