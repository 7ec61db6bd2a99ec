"""Where spectra of spin waves have their highest maxima, with errors from blocks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_WEAK = 5e-3
"""Of the strongest wave, by its spectrum times the energy, which is alike for all modes: weaker
ones have none, as the moment of the whole, or what other waves together make of it."""


class Peaks(NamedTuple):
    """The highest maximum of each wave; NaN where there is none apart from zero energy."""

    energy: np.ndarray
    """(k,) meV, positive."""
    error: np.ndarray
    """(k,) standard error over blocks, meV; NaN of a single block."""
    width: np.ndarray
    """(k,) full width at half maximum, that of the window included, meV."""
    polarisation: np.ndarray
    """(k,) 1: all in the sense of precession about the axis; -1: against it; 0: both alike."""


def peaks_of(energies: np.ndarray, blocks: np.ndarray, resolution_meV: float) -> Peaks:
    """Maxima of the sum of both senses, by parabolas through logarithms above the half of them.

    Args:
        energies: (e,) meV, ascending, as of `Spectra`.
        blocks: (b, k, e) transverse spectra.
        resolution_meV: nearer to zero energy no maximum is looked for.
    """
    zero = int(np.argmin(np.abs(energies)))
    positive = energies[zero + 1 :]
    with_sense = blocks[..., zero + 1 :]
    against = blocks[..., zero - 1 : 0 : -1]
    both = with_sense + against
    whole = both.mean(axis=0)
    strength = whole @ positive
    energy, error, width, sense = np.full((4, blocks.shape[1]), np.nan)
    for k, spectrum in enumerate(whole):
        if strength[k] <= _WEAK * strength.max():
            continue
        top = _maximum(positive, spectrum, resolution_meV)
        if top is None:
            continue
        region, energy[k], width[k] = top
        near = with_sense[:, k, region].sum(), against[:, k, region].sum()
        sense[k] = (near[0] - near[1]) / sum(near)
        error[k] = _jackknife(positive, both[:, k], energy[k], width[k])
    return Peaks(energy, error, width, sense)


def _maximum(
    energies: np.ndarray, spectrum: np.ndarray, resolution: float
) -> tuple[slice, float, float] | None:
    """The region above half of the maximum, its place and its width."""
    allowed = np.flatnonzero(energies > resolution)
    if not allowed.size:
        return None
    top = allowed[np.argmax(spectrum[allowed])]
    if top == allowed[0] and top > 0 and spectrum[top - 1] >= spectrum[top]:
        # The flank of what is at zero energy.
        return None
    return _parabola(energies, spectrum, top)


def _parabola(
    energies: np.ndarray, spectrum: np.ndarray, top: int
) -> tuple[slice, float, float] | None:
    low = high = int(top)
    while low > 0 and spectrum[low - 1] > 0.5 * spectrum[top]:
        low -= 1
    while high < len(spectrum) - 1 and spectrum[high + 1] > 0.5 * spectrum[top]:
        high += 1
    low, high = min(low, max(top - 1, 0)), max(high, min(top + 1, len(spectrum) - 1))
    region = slice(low, high + 1)
    x, y = energies[region] - energies[top], spectrum[region]
    if len(x) < 3 or y.min() <= 0.0:
        return region, float(energies[top]), float(np.ptp(x))
    a, b, _ = np.polyfit(x, np.log(y), 2, w=y)
    if a >= 0.0 or not x[0] <= -b / (2 * a) <= x[-1]:
        return region, float(energies[top]), float(np.ptp(x))
    return region, float(energies[top] - b / (2 * a)), float(2 * np.sqrt(np.log(2) / -a))


def _jackknife(energies: np.ndarray, blocks: np.ndarray, energy: float, width: float) -> float:
    """Standard error of a maximum, from its places without each block in turn."""
    n = len(blocks)
    if n < 2:
        return np.nan
    near = np.flatnonzero(np.abs(energies - energy) <= max(width, energies[1] - energies[0]))
    total, places = blocks.sum(axis=0), []
    for block in blocks:
        rest = total - block
        found = _parabola(energies, rest, near[np.argmax(rest[near])])
        places.append(found[1])
    return float(np.sqrt((n - 1) / n * np.sum((np.array(places) - np.mean(places)) ** 2)))
