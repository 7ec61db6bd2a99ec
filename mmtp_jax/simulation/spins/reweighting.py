"""Averages at temperatures between those that were simulated, from all walks together.

The multiple-histogram method (Ferrenberg and Swendsen, Phys. Rev. Lett. 63, 1195, 1989): the
density of states

    g(E) = sum_k n_k(E) / sum_k N_k exp(f_k - E / k_B T_k)
    exp(-f_k) = sum_E g(E) exp(-E / k_B T_k)

of walks k with N_k samples, n_k(E) of them of energy E, gives the average of any quantity A at any
temperature as sum_E g(E) A(E) exp(-E / k_B T) over sum_E g(E) exp(-E / k_B T), with A(E) its mean
over the samples of energy E. Where energies of neighbouring walks do not overlap nothing is known
of what lies between, see `overlaps`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from mmtp_jax.simulation.constants import KB

N_BINS = 500
"""Bins of the energy."""

_TOLERANCE = 1e-5
"""Of the free energies f_k."""

_MAX_ITERATIONS = 2000

_SAMPLES_AT_ONCE = 25
"""Bootstrap samples that are worked on together; bounds the memory."""


class Histograms(NamedTuple):
    """What walks at K temperatures found, in bins of the energy, block by block of time."""

    temperatures: np.ndarray
    """(K,) K, ascending."""
    energies: np.ndarray
    """(E,) centres of the bins, eV."""
    sums: tuple[np.ndarray, ...]
    """Of each temperature (B, E, 1 + Q): number of samples, and sums of Q quantities over them, of
    each block."""


def histograms(
    temperatures: np.ndarray,
    energies: list[np.ndarray],
    quantities: list[np.ndarray],
    n_bins: int = N_BINS,
) -> Histograms:
    """Sort blocks of samples by energy.

    Args:
        temperatures: (K,) K, ascending.
        energies: (B_k, L_k) of each temperature: blocks, samples of a block, eV.
        quantities: (B_k, L_k, Q) of each temperature.
        n_bins: bins of the energy.
    """
    low = min(float(e.min()) for e in energies)
    high = max(float(e.max()) for e in energies)
    width = max(high - low, 1e-12) / n_bins
    sums = []
    for energy, quantity in zip(energies, quantities, strict=True):
        n_blocks, _, n_quantities = quantity.shape
        bins = np.minimum(((energy - low) / width).astype(int), n_bins - 1)
        flat = (np.arange(n_blocks)[:, None] * n_bins + bins).ravel()
        parts = [np.bincount(flat, minlength=n_blocks * n_bins)]
        parts += [
            np.bincount(flat, quantity[..., q].ravel(), minlength=n_blocks * n_bins)
            for q in range(n_quantities)
        ]
        sums.append(np.stack(parts, axis=-1).reshape(n_blocks, n_bins, 1 + n_quantities))
    centres = low + (np.arange(n_bins) + 0.5) * width
    return Histograms(np.asarray(temperatures, float), centres, tuple(sums))


def overlaps(found: Histograms) -> np.ndarray:
    """(K - 1,) shared area of the distributions of energy at neighbouring temperatures, 0 to 1."""
    coarse = [s[..., 0].sum(axis=0).reshape(-1, 10).sum(axis=1) for s in found.sums]
    shares = [c / c.sum() for c in coarse]
    return np.array([float(np.minimum(a, b).sum()) for a, b in pairwise(shares)])


def reweighted(
    found: Histograms, temperatures: np.ndarray, n_bootstrap: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Means of the quantities at any temperatures between the simulated ones.

    Returns:
        (T, Q) means, and (n_bootstrap, T, Q) those of samples of the blocks drawn with replacement.
    """
    beta = 1.0 / (KB * found.temperatures)
    wanted = 1.0 / (KB * np.asarray(temperatures, float))
    whole = np.stack([s.sum(axis=0) for s in found.sums])[None]
    free = _free_energies(whole[..., 0], found.energies, beta, _first_guess(found, beta))
    means = _means(whole, found.energies, beta, free, wanted)[0]
    samples = []
    for first in range(0, n_bootstrap, _SAMPLES_AT_ONCE):
        n = min(_SAMPLES_AT_ONCE, n_bootstrap - first)
        drawn = []
        for s in found.sums:
            times = rng.multinomial(len(s), np.full(len(s), 1.0 / len(s)), size=n)
            drawn.append(np.tensordot(times.astype(float), s, axes=1))
        sums = np.stack(drawn, axis=1)
        own = _free_energies(sums[..., 0], found.energies, beta, np.repeat(free, n, axis=0))
        samples.append(_means(sums, found.energies, beta, own, wanted))
    return means, np.concatenate(samples)


def _first_guess(found: Histograms, beta: np.ndarray) -> np.ndarray:
    """(1, K) f_k by integrating the mean energy over 1 / k_B T."""
    counts = [s[..., 0].sum(axis=0) for s in found.sums]
    mean = np.array([c @ found.energies / c.sum() for c in counts])
    steps = np.diff(beta) * (mean[1:] + mean[:-1]) / 2
    return np.concatenate([[0.0], np.cumsum(steps)])[None]


def _free_energies(
    counts: np.ndarray, energies: np.ndarray, beta: np.ndarray, start: np.ndarray
) -> np.ndarray:
    """(S, K) f_k of S sets of histograms (S, K, E), up to a constant."""
    free = start - start[:, :1]
    for _ in range(_MAX_ITERATIONS):
        log_g = _log_density(counts, energies, beta, free)
        new = -_log_sum(log_g[:, None] - beta[:, None] * energies)
        new = new - new[:, :1]
        change = np.abs(new - free).max()
        free = new
        if change < _TOLERANCE:
            break
    return free


def _log_density(
    counts: np.ndarray, energies: np.ndarray, beta: np.ndarray, free: np.ndarray
) -> np.ndarray:
    """(S, E) logarithm of g(E); minus infinity where no walk has been."""
    samples = counts.sum(axis=-1)
    exponents = np.log(samples)[..., None] + free[..., None] - beta[:, None] * energies
    with np.errstate(divide="ignore"):
        return np.log(counts.sum(axis=1)) - _log_sum(np.swapaxes(exponents, 1, 2))


def _means(
    sums: np.ndarray, energies: np.ndarray, beta: np.ndarray, free: np.ndarray, wanted: np.ndarray
) -> np.ndarray:
    """(S, T, Q) means at the temperatures whose 1 / k_B T is ``wanted``."""
    total = sums.sum(axis=1)
    log_weight = _log_density(sums[..., 0], energies, beta, free)[:, None] - (
        wanted[:, None] * energies
    )
    weight = np.exp(log_weight - log_weight.max(axis=-1, keepdims=True))
    weight /= weight.sum(axis=-1, keepdims=True)
    at_energy = total[..., 1:] / np.maximum(total[..., :1], 1.0)
    return np.einsum("ste,seq->stq", weight, at_energy)


def _log_sum(values: np.ndarray) -> np.ndarray:
    """Logarithm of the sum of exponentials over the last axis."""
    top = values.max(axis=-1, keepdims=True)
    return (top + np.log(np.exp(values - top).sum(axis=-1, keepdims=True)))[..., 0]
