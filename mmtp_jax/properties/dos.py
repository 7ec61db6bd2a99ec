"""Vibrational density of states from the velocities of a trajectory (Burov 2026, Figs. 4 and 5).

C(t) = sum_i m_i <v_i(0) v_i(t)> is the velocity autocorrelation; times a Gaussian window, its
Fourier transform is the density of states at a chosen resolution. The correlation is taken by fast
Fourier transforms (Wiener-Khinchin) and is biased, each lag divided by the number of all frames,
so that the result is nowhere negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mmtp_jax.readable import readable
from mmtp_jax.simulation.constants import KB
from mmtp_jax.warn import warn

RESOLUTION_THZ = 0.3
"""Full width at half maximum of a single line."""

ALIASED = 0.02
"""Share of the modes within the uppermost tenth of frequencies from which frames are too rare."""

_COARSER = 2.0
"""Most that a resolution is made coarser, where trajectories are short."""

_NEGLIGIBLE = 1e-6
_MEV_PER_THZ = 4.135667696


class AliasingWarning(UserWarning):
    """Frames are too far apart in time for the fastest vibrations."""


class ResolutionWarning(UserWarning):
    """A trajectory is too short for the resolution that was asked for."""


@readable
@dataclass(frozen=True, eq=False)
class VibrationalDOS:
    """Density of states per atom over frequency; its integral is 3, as that of phonons."""

    frequencies: np.ndarray
    """(k,) THz, from zero."""
    total: np.ndarray
    """(k,) 1/THz per atom."""
    species: dict[str, np.ndarray]
    """Parts of it by chemical symbol; 3 N_s / N each where all have one temperature."""
    lags_ps: np.ndarray = field(repr=False)
    """(t,) of the autocorrelation."""
    correlation: np.ndarray = field(repr=False)
    """(t,) velocity autocorrelation weighted by masses, 1 at zero, without the window."""
    resolution_THz: float
    """Full width to which a line is smeared."""
    temperature: float
    """Mean kinetic temperature of the frames, K."""
    n_atoms: int
    n_frames: int

    @property
    def energies(self) -> np.ndarray:
        """(k,) of the frequencies, meV."""
        return _MEV_PER_THZ * self.frequencies

    @property
    def peak(self) -> float:
        """Frequency of the highest maximum, THz."""
        return float(self.frequencies[np.argmax(self.total)])


def vibrational_dos_of(
    velocities: Sequence[np.ndarray],
    masses: np.ndarray,
    symbols: Sequence[str],
    interval_fs: float,
    *,
    resolution_THz: float = RESOLUTION_THZ,
    max_THz: float | None = None,
) -> VibrationalDOS:
    """From velocities of one or several trajectories of the same atoms, which are averaged.

    Args:
        velocities: (t, N, 3) of each, Angstrom sqrt(eV / amu) as in ASE; frames may differ.
        masses: (N,) amu.
        symbols: (N,) chemical symbols.
        interval_fs: time between frames.
        resolution_THz: width to which a line is smeared.
        max_THz: highest frequency; by default what the frames resolve.

    Raises:
        ValueError: if shapes disagree, nothing moves, or a trajectory is too short for twice the
            resolution.

    Warns:
        ResolutionWarning: if a trajectory is too short for the resolution: a coarser one is taken.
        AliasingWarning: if the frames are too rare for the fastest vibrations.
    """
    masses = np.asarray(masses, float)
    if not interval_fs > 0.0 or not resolution_THz > 0.0:
        raise ValueError(
            f"the time between frames and the resolution must be positive, got {interval_fs} fs "
            f"and {resolution_THz} THz"
        )
    runs = [np.asarray(v, float) for v in velocities]
    for v in runs:
        if v.ndim != 3 or v.shape[1:] != (len(masses), 3) or not np.all(np.isfinite(v)):
            raise ValueError(
                f"velocities must be finite and (frames, {len(masses)}, 3), got {v.shape}"
            )
    step = 1e-3 * interval_fs
    shortest = min((len(v) for v in runs), default=0)
    resolution_THz = _resolved(resolution_THz, shortest, step)
    # A line of this width (THz) is exp(-(width t)^2 / 2) in time (ps).
    width = 2.0 * np.pi * resolution_THz / np.sqrt(8.0 * np.log(2.0))
    longest = np.sqrt(-2.0 * np.log(_NEGLIGIBLE)) / width
    n_lags = int(np.ceil(longest / step)) + 1
    n_lags = min(n_lags, shortest)
    names = list(dict.fromkeys(symbols))
    groups = {name: np.array([s == name for s in symbols]) for name in names}
    parts = {name: np.zeros(n_lags) for name in names}
    kinetic, frames = 0.0, 0
    for v in runs:
        v = v - (masses[:, None] * v).sum(axis=1, keepdims=True) / masses.sum()
        kinetic += 0.5 * float(np.einsum("i,tix,tix->", masses, v, v))
        frames += len(v)
        for name, which in groups.items():
            parts[name] += _correlation(v[:, which], masses[which], n_lags)
    parts = {name: part / frames for name, part in parts.items()}
    whole = sum(parts.values())
    if whole[0] <= 0.0:
        raise ValueError("the atoms do not move; give a trajectory with velocities")
    lags = step * np.arange(n_lags)
    window = np.exp(-0.5 * (width * lags) ** 2)
    # Fine enough to draw: about twelve points within the width of a line.
    n_fft = _fast_length(max(2 * n_lags, int(np.ceil(12.0 / (resolution_THz * step)))))
    frequencies = np.fft.rfftfreq(n_fft, step)
    spectra = {name: _cosine(part * window, n_fft) for name, part in parts.items()}
    total = sum(spectra.values())
    _warn_aliased(frequencies, total, interval_fs)
    shown = frequencies <= (np.inf if max_THz is None else max_THz)
    scale = 3.0 / np.trapezoid(total, frequencies)
    degrees = 3 * len(masses) - 3 if len(masses) > 1 else 3
    return VibrationalDOS(
        frequencies=frequencies[shown],
        total=scale * total[shown],
        species={name: scale * of[shown] for name, of in spectra.items()},
        lags_ps=lags,
        correlation=whole / whole[0],
        resolution_THz=resolution_THz,
        temperature=2.0 * kinetic / frames / degrees / KB,
        n_atoms=len(masses),
        n_frames=frames,
    )


def _resolved(wanted: float, n_frames: int, step: float) -> float:
    """The width to which lines are smeared, THz; it is no less than one over the time."""
    needed = max(int(np.ceil(1.0 / (wanted * step))) + 1, 4)
    if n_frames >= needed:
        return wanted
    possible = 1.0 / (step * max(n_frames - 1, 1))
    if n_frames < 4 or possible > _COARSER * wanted:
        raise ValueError(
            f"a trajectory of {n_frames} frames, {1e3 * step:g} fs apart, cannot resolve "
            f"{wanted:g} THz; {needed} frames are needed, or a coarser resolution"
        )
    warn(
        f"a trajectory of {n_frames} frames, {1e3 * step:g} fs apart, resolves {possible:.3g} THz, "
        f"to which lines are smeared, not {wanted:g} THz; that needs {needed} frames",
        ResolutionWarning,
    )
    return possible


def _correlation(velocities: np.ndarray, masses: np.ndarray, n_lags: int) -> np.ndarray:
    """Sums (n_lags,) over frames and atoms of m v(0) v(t)."""
    n = len(velocities)
    size = _fast_length(n + n_lags)
    found = np.zeros(n_lags)
    # A few atoms at a time bound the memory.
    for low in range(0, len(masses), 64):
        some = slice(low, low + 64)
        transformed = np.fft.rfft(velocities[:, some], size, axis=0)
        power = np.einsum("i,kix->k", masses[some], np.abs(transformed) ** 2)
        found += np.fft.irfft(power, size)[:n_lags]
    return found


def _cosine(even: np.ndarray, size: int) -> np.ndarray:
    """Fourier transform of an even function, given from zero on."""
    padded = np.zeros(size)
    padded[: len(even)] = even
    padded[size - len(even) + 1 :] += even[:0:-1]
    # What the window has cut off is about 1e-6 of the whole, and may be negative.
    return np.maximum(np.fft.rfft(padded).real, 0.0)


def _fast_length(n: int) -> int:
    return 2 ** int(np.ceil(np.log2(n)))


def _warn_aliased(frequencies: np.ndarray, total: np.ndarray, interval_fs: float) -> None:
    share = total[frequencies > 0.9 * frequencies[-1]].sum() / total.sum()
    if share > ALIASED:
        warn(
            f"{100 * share:.0f} % of the modes are close to {frequencies[-1]:.3g} THz, the highest "
            f"frequency that frames {interval_fs:g} fs apart show: faster vibrations appear at "
            "wrong frequencies; keep more frames",
            AliasingWarning,
        )
