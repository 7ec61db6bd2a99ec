"""Spectra of spin waves from moments over time: S(q, omega) by Welch's method.

The moments of a supercell of N atoms at R_i make waves m(q, t) = sum_i m_i(t) exp(-i q.R_i). With
the axis n of the magnetic order and e1 x e2 = n, m+ = (e1 + i e2).m turns about n; its spectrum
has a sign: positive energies are of the sense in which moments precess about a field along n, and
of spin waves of a ferromagnet. m_n is longitudinal. S(q, E) is the spectral density of either per
atom, so that its integral over E is <|m(q)|^2> / N at equal times:

    int S+(q, E) dE = (<|m1|^2> + <|m2|^2>) / N  averaged over q and -q,  in mu_B^2 per atom.

Mean moments, which make Bragg peaks, are left out. Blocks of the trajectory that overlap by half,
each times a Hann window, are averaged (Welch, IEEE Trans. Audio Electroacoust. 15, 70 (1967)). The
axis is that of each block. Statistics are classical: intensities are those of k_B T per mode.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mmtp_jax.properties.ordered import Order, across_axis, axis_along, order_of
from mmtp_jax.properties.waves import Member

MEV_FS = 4135.667696
"""Planck's constant."""

HANN = 1.4406
"""Full width at half maximum of a line behind a Hann window, in units of one over its length."""

FEWEST = 16
"""Frames of a block."""

_AT_ONCE, _FRAMES_AT_ONCE = 24, 64
"""Waves, and frames of moments, that are in memory together."""


class Run(NamedTuple):
    """Moments of one trajectory."""

    moments: np.ndarray
    """(t, n, 3) mu_B."""
    places: np.ndarray
    """(n, 3) positions in vectors of the supercell, or (t, n, 3)."""


class Spectra(NamedTuple):
    """Spectral densities of blocks."""

    energies: np.ndarray
    """(e,) meV, ascending, negative ones first."""
    transverse: np.ndarray
    """(blocks, k, e) mu_B^2/meV per atom, of m+."""
    longitudinal: np.ndarray
    """(blocks, k, e) of m_n."""
    static: np.ndarray
    """(2, k) mu_B^2 per atom: transverse and longitudinal correlations at equal times."""
    order: Order
    """Of the first block."""


def block_length(n_frames: int, interval_fs: float, resolution_meV: float | None) -> int:
    """Frames of a block: a quarter of the shortest trajectory, or those of a resolution.

    Raises:
        ValueError: if there are too few frames.
    """
    if resolution_meV is None:
        wanted = max(n_frames // 4, FEWEST)
    else:
        wanted = max(round(HANN * MEV_FS / (resolution_meV * interval_fs)), FEWEST)
    if wanted <= n_frames:
        return wanted
    if n_frames < FEWEST:
        raise ValueError(f"{n_frames} frames are too few for a spectrum; {FEWEST} are the fewest")
    raise ValueError(
        f"{n_frames} frames, {interval_fs:g} fs apart, cannot resolve {resolution_meV:g} meV, "
        f"which takes {wanted}; they resolve {HANN * MEV_FS / (n_frames * interval_fs):.3g} meV"
    )


def spectra_of(
    runs: Sequence[Run],
    kinds: np.ndarray,
    matrix: np.ndarray,
    starred: Sequence[Sequence[Member]],
    length: int,
    interval_fs: float,
    order: Order,
) -> Spectra:
    """S(q, E) of blocks of runs, each q averaged over its star.

    Args:
        runs: moments and places of the same atoms.
        kinds: (n,) which atoms have one mean moment: of one kind and sign.
        matrix: (3, 3) the supercell in primitive cells.
        starred: waves (q in reciprocal vectors of the primitive cell) that are averaged.
        length: frames of a block.
        interval_fs: between frames.
        order: of the moments.
    """
    n_fft = 2 ** int(np.ceil(np.log2(2 * length)))
    energies = np.fft.fftshift(np.fft.fftfreq(n_fft, interval_fs)) * MEV_FS
    window = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(length) + 0.5) / length)
    starts = [(run, low) for run in runs for low in _starts(len(run.moments), length)]
    axes, means, before = [], [], order.axis
    for run, low in starts:
        mean = run.moments[low : low + length].mean(axis=0)
        before = axis_along(mean, order.signs, before)
        axes.append(before)
        means.append(_by_kind(mean, kinds) / np.bincount(kinds)[:, None])
    members = [(k, member) for k, star in enumerate(starred) for member in star]
    shape = (2, len(starts), len(starred), n_fft)
    found, static = np.zeros(shape), np.zeros((2, len(starred)))
    weight = 1.0 / (len(kinds) * n_fft * (window @ window) * (energies[1] - energies[0]))
    for first in range(0, len(members), _AT_ONCE):
        some = members[first : first + _AT_ONCE]
        waves = np.rint(np.array([m.q for _, m in some]) @ matrix.T)
        block = 0
        for run in runs:
            moved, bragg = _waves(run, kinds, waves)
            for low in _starts(len(run.moments), length):
                frames = slice(low, low + length)
                fluctuating = moved[frames] - np.einsum("sx,sk->kx", means[block], bragg)
                parts = fluctuating @ across_axis(axes[block]), fluctuating @ axes[block]
                for component, part in enumerate(parts):
                    power = np.abs(np.fft.fft(window[:, None] * part, n_fft, axis=0)) ** 2
                    power = weight * np.fft.fftshift(power, axes=0)
                    equal = np.mean(np.abs(part) ** 2, axis=0) / len(kinds) / len(starts)
                    for j, (k, member) in enumerate(some):
                        share = 1.0 / len(starred[k])
                        density = _reversed(power[:, j]) if member.flipped else power[:, j]
                        found[component, block, k] += share * density
                        static[component, k] += share * equal[j]
                block += 1
    return Spectra(energies, *found, static, order)


def kinds_of(site: np.ndarray, numbers: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """(n,) number of the sublattice of each atom: its site, species and sign."""
    return np.unique(np.column_stack([site, numbers, signs]), axis=0, return_inverse=True)[1]


def first_order(runs: Sequence[Run], length: int) -> Order:
    """The order of the first block."""
    return order_of(runs[0].moments[:length])


def _waves(run: Run, kinds: np.ndarray, waves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """m(q, t) as (t, k, 3), and the mean of sum exp(-i q.R) of each sublattice, (s, k)."""
    n_frames, k = len(run.moments), len(waves)
    moved = np.empty((n_frames, k, 3), complex)
    if run.places.ndim == 2:
        phases = np.exp(-2j * np.pi * run.places @ waves.T)
        cosine, sine = np.ascontiguousarray(phases.real), np.ascontiguousarray(phases.imag)
        # A few frames at a time bound the memory.
        for low in range(0, n_frames, _FRAMES_AT_ONCE):
            some = run.moments[low : low + _FRAMES_AT_ONCE]
            rows = some.transpose(0, 2, 1).reshape(-1, some.shape[1])
            found = (rows @ cosine + 1j * (rows @ sine)).reshape(len(some), 3, k)
            moved[low : low + _FRAMES_AT_ONCE] = found.transpose(0, 2, 1)
        return moved, _by_kind(phases, kinds)
    bragg = np.zeros((int(kinds.max()) + 1, k), complex)
    for t, (moments, places) in enumerate(zip(run.moments, run.places, strict=True)):
        phases = np.exp(-2j * np.pi * places @ waves.T)
        moved[t] = phases.T @ moments
        bragg += _by_kind(phases, kinds)
    return moved, bragg / n_frames


def _by_kind(values: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Sums (s, ...) over the atoms (n, ...) of each sublattice."""
    return np.array([values[kinds == s].sum(axis=0) for s in range(int(kinds.max()) + 1)])


def _starts(n_frames: int, length: int) -> range:
    return range(0, n_frames - length + 1, max(length // 2, 1))


def _reversed(density: np.ndarray) -> np.ndarray:
    """Of a spectrum whose sense is reversed: E to -E. The lowest energy has no partner."""
    return np.concatenate([density[:1], density[:0:-1]])
