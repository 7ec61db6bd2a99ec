"""Temperature of order from the Binder cumulant, with honest errors.

    U4 = 1 - <m^4> / (3 <m^2>^2)        chi = N (<m^2> - <|m|>^2) / (k_B T)

U4 goes to 2/3 in the ordered phase and to 0 in the disordered one. At the critical temperature it
depends on the size only weakly: the curves of different sizes cross there (Binder, Z. Phys. B 43,
119, 1981). With m the order against any pattern of signs this is the Curie or Neel temperature.

Between the temperatures that were simulated the walks are reweighted (`reweighting`), where their
energies overlap; elsewhere the difference of two cumulants is interpolated, and what another
interpolation gives enters the error. Errors are those of a bootstrap over blocks of the time series
that are longer than twice its autocorrelation time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from mmtp_jax.simulation.constants import KB
from mmtp_jax.simulation.spins.reweighting import histograms, overlaps, reweighted

BLOCKS_PER_TIME = 4.0
"""Length of a block in autocorrelation times."""

LEAST_BLOCKS = 8
"""Fewer blocks than this give no error worth the name."""

MOST_BLOCKS = 256
"""Of one temperature; more make the error no better."""

N_BETWEEN = 201
"""Temperatures of a reweighted curve."""

LEAST_OVERLAP = 0.05
"""Share of their energies that walks at neighbouring temperatures need to have in common."""


@dataclass(frozen=True, eq=False)
class Reweighted:
    """The cumulant between the simulated temperatures."""

    temperatures: np.ndarray
    """(F,) K."""
    binder: np.ndarray
    """(F,) U4."""
    samples: np.ndarray = field(repr=False)
    """(B, F) U4 of each bootstrap sample."""


@dataclass(frozen=True, eq=False)
class OrderCurve:
    """Order of one cell over temperature; all (T,)."""

    temperatures: np.ndarray
    """K, ascending."""
    n_magnetic: int
    order: np.ndarray
    """<|m|>, 0 to 1."""
    order_error: np.ndarray
    susceptibility: np.ndarray
    """Of the signs, per magnetic atom, 1/eV."""
    susceptibility_error: np.ndarray
    binder: np.ndarray
    """U4."""
    binder_error: np.ndarray
    correlation_time: np.ndarray
    """Integrated autocorrelation time of |m|, sweeps."""
    binder_samples: np.ndarray = field(repr=False)
    """(B, T) U4 of each bootstrap sample."""
    between: Reweighted | None = field(repr=False, default=None)
    """None without energies, or where those of neighbouring temperatures do not overlap."""


@dataclass(frozen=True)
class Crossing:
    """Where Binder cumulants of two or more sizes cross."""

    temperature: float
    """K; NaN where they do not cross within the temperatures."""
    error: float
    """One standard deviation of the bootstrap, K."""
    pairs: tuple[tuple[int, int, float, float], ...]
    """Atoms of both cells, crossing and its error of each pair of neighbouring sizes, K."""
    share: float
    """Share of the bootstrap samples that cross within the temperatures; a sound estimate has 1."""
    interpolated: bool = False
    """The energies of neighbouring temperatures do not overlap: no reweighting was possible."""

    def __str__(self) -> str:
        """The estimate and that of each pair."""
        lines = [f"crossing of the Binder cumulants: {self.temperature:.5g} +- {self.error:.2g} K"]
        lines += [
            f"  {small} and {large} atoms: {value:.5g} +- {error:.2g} K"
            for small, large, value, error in self.pairs
        ]
        if self.share < 0.95:
            lines.append(
                f"  only {100 * self.share:.0f} % of the bootstrap samples cross within the "
                "temperatures; take more sweeps, or temperatures on both sides"
            )
        if self.interpolated and np.isfinite(self.temperature):
            lines.append(
                "  interpolated: the energies at neighbouring temperatures do not overlap; "
                "temperatures closer to the crossing and to each other make it sharper"
            )
        return "\n".join(lines)


def autocorrelation_time(series: np.ndarray) -> float:
    """Integrated autocorrelation time of (t,), in steps; 0.5 for independent values.

    The sum is cut where it reaches a sixth of its upper limit (Sokal's window).
    """
    values = np.asarray(series, float) - np.mean(series)
    variance = float(np.mean(values**2))
    if variance <= 1e-28 * float(np.max(np.abs(series))) ** 2 or len(values) < 4:
        return 0.5
    size = 2 * len(values)
    spectrum = np.abs(np.fft.rfft(values, size)) ** 2
    correlation = np.fft.irfft(spectrum, size)[: len(values)] / (len(values) * variance)
    times = 0.5 + np.cumsum(correlation[1:])
    window = np.flatnonzero(np.arange(1, len(times) + 1) >= 6.0 * times)
    return float(max(times[window[0]] if len(window) else times[-1], 0.5))


def order_curve(
    temperatures: np.ndarray,
    order: np.ndarray,
    n_magnetic: int,
    energy: np.ndarray | None = None,
    n_bootstrap: int = 200,
    seed: int = 0,
) -> OrderCurve:
    """Order, susceptibility and Binder cumulant of a walk.

    Args:
        temperatures: (R,) K; replicas of the same one are put together.
        order: (t, R) order of each sweep, `SpinSeries.order`.
        n_magnetic: atoms that it is the mean of.
        energy: (t, R) eV, `SpinSeries.energy`: with it the curve goes on between the temperatures.
        n_bootstrap: samples.
        seed: of the bootstrap.

    Raises:
        ValueError: if the series is too short for `LEAST_BLOCKS` blocks.
    """
    order = np.asarray(order, float)
    temperatures = np.asarray(temperatures, float)
    rng = np.random.default_rng(seed)
    rows = []
    distinct = np.unique(temperatures)
    for temperature in distinct:
        of = order[:, temperatures == temperature]
        time = max(autocorrelation_time(np.abs(column)) for column in of.T)
        blocks = _blocks(of, time)
        if len(blocks) < LEAST_BLOCKS:
            raise ValueError(
                f"{len(order)} sweeps make {len(blocks)} independent blocks at {temperature:g} K, "
                f"where the autocorrelation time is {time:.3g} sweeps; take at least "
                f"{int(np.ceil(LEAST_BLOCKS * (BLOCKS_PER_TIME * time + 1) / of.shape[1]))} sweeps"
            )
        whole = _quantities(blocks.mean(axis=0), n_magnetic, temperature)
        chosen = rng.integers(len(blocks), size=(n_bootstrap, len(blocks)))
        samples = _quantities(
            np.moveaxis(blocks[chosen].mean(axis=1), -1, 0), n_magnetic, temperature
        )
        rows.append((whole, samples, time))
    whole = np.array([row[0] for row in rows])
    samples = np.array([row[1] for row in rows])
    errors = samples.std(axis=2, ddof=1)
    whole_times = np.array([row[2] for row in rows])
    return OrderCurve(
        temperatures=distinct,
        n_magnetic=n_magnetic,
        order=whole[:, 0],
        order_error=errors[:, 0],
        susceptibility=whole[:, 1],
        susceptibility_error=errors[:, 1],
        binder=whole[:, 2],
        binder_error=errors[:, 2],
        correlation_time=whole_times,
        binder_samples=samples[:, 2].T,
        between=None
        if energy is None or len(distinct) < 2
        else _between(
            temperatures, order, np.asarray(energy, float), whole_times, rng, n_bootstrap
        ),
    )


def binder_crossing(curves: Sequence[OrderCurve]) -> Crossing:
    """The temperature at which the Binder cumulants of cells of different sizes cross.

    For each pair of neighbouring sizes it is where the larger cell's cumulant falls below the
    smaller one's, on reweighted curves where there are some. Otherwise the difference is fitted by
    a parabola, or a straight line for fewer than four temperatures, as far around the change of
    sign as the fit agrees with the errors; the distance to the crossing of straight lines is then
    added to the error. The estimate is that of the two largest cells: the crossing drifts with
    size (for the square Ising lattice, 4 x 4 and 8 x 8 cross 2 % low), and that of the other pairs
    shows how far. The drift that is left is no part of the error.

    Raises:
        ValueError: if there are fewer than two sizes, or their temperatures differ.
    """
    curves = sorted(curves, key=lambda c: c.n_magnetic)
    if len({c.n_magnetic for c in curves}) < 2:
        raise ValueError("a crossing needs cells of at least two sizes")
    temperatures = curves[0].temperatures
    if len(temperatures) < 2 or any(
        not np.array_equal(c.temperatures, temperatures) for c in curves
    ):
        raise ValueError("a crossing needs the same two or more temperatures for each size")
    found = [_pair(small, large) for small, large in pairwise(curves)]
    pairs = tuple(pair for pair, _, _ in found)
    share = min(share for _, share, _ in found)
    interpolated = any(flag for _, _, flag in found)
    values, errors = np.array([pair[2:] for pair in pairs]).T
    usable = np.flatnonzero(np.isfinite(values) & np.isfinite(errors) & (errors > 0))
    if len(usable) == 0:
        return Crossing(float("nan"), float("nan"), pairs, share, interpolated)
    largest = usable[-1]
    return Crossing(float(values[largest]), float(errors[largest]), pairs, share, interpolated)


def _pair(
    small: OrderCurve, large: OrderCurve
) -> tuple[tuple[int, int, float, float], float, bool]:
    """Crossing of two sizes, the share of the bootstrap that crosses, and: was it interpolated?"""
    if small.between is None or large.between is None:
        value, samples, model_error = _interpolated(small, large)
    else:
        fine = small.between.temperatures
        differences = large.between.samples - small.between.samples
        spread = np.maximum(differences.std(axis=0), 1e-6)
        value = _fall(fine, large.between.binder - small.between.binder, spread)
        samples = np.array([_fall(fine, difference, spread) for difference in differences])
        model_error = 0.0
    good = np.isfinite(samples)
    error = float(np.std(samples[good], ddof=1)) if good.sum() > 1 else np.nan
    pair = (small.n_magnetic, large.n_magnetic, value, float(np.hypot(error, model_error)))
    return pair, float(good.mean()), small.between is None or large.between is None


def _interpolated(small: OrderCurve, large: OrderCurve) -> tuple[float, np.ndarray, float]:
    """Crossing of a fit, those of the bootstrap, and what straight lines change."""
    temperatures = small.temperatures
    error = np.hypot(small.binder_error, large.binder_error)
    error = np.maximum(error, 1e-3 * max(error.max(), 1e-12))
    difference = large.binder - small.binder
    window = _window(difference, 1.0 / error)
    near, weight = temperatures[window], 1.0 / error[window]
    value = _root(near, difference[window], weight)
    samples = np.array(
        [_root(near, d[window], weight) for d in large.binder_samples - small.binder_samples]
    )
    lines = _fall(temperatures, difference, error)
    return value, samples, abs(value - lines) if np.isfinite(lines) else 0.0


def _between(
    temperatures: np.ndarray,
    order: np.ndarray,
    energy: np.ndarray,
    times: np.ndarray,
    rng: np.random.Generator,
    n_bootstrap: int,
) -> Reweighted | None:
    """The reweighted cumulant, where the energies of neighbouring temperatures overlap."""
    distinct = np.unique(temperatures)
    energies, powers = [], []
    for temperature, time in zip(distinct, times, strict=True):
        of = temperatures == temperature
        n_replicas = int(of.sum())
        length = _block_length(len(order), n_replicas, time)
        n = len(order) // length
        energies.append(_in_blocks(energy[:, of], n, length))
        m = _in_blocks(order[:, of], n, length)
        powers.append(np.stack([m**2, m**4], axis=-1))
    found = histograms(distinct, energies, powers)
    if overlaps(found).min() < LEAST_OVERLAP:
        return None
    fine = np.linspace(distinct[0], distinct[-1], N_BETWEEN)
    means, samples = reweighted(found, fine, n_bootstrap, rng)
    return Reweighted(fine, _cumulant(means), _cumulant(samples))


def _block_length(n_sweeps: int, n_replicas: int, time: float) -> int:
    """Sweeps of a block, at most all."""
    length = int(np.ceil(max(BLOCKS_PER_TIME * time, n_sweeps * n_replicas / MOST_BLOCKS)))
    return min(max(1, length), n_sweeps)


def _in_blocks(series: np.ndarray, n: int, length: int) -> np.ndarray:
    """(n R, length) blocks of a series (t, R)."""
    blocks = series[: n * length].reshape(n, length, series.shape[1])
    return np.moveaxis(blocks, 2, 1).reshape(-1, length)


def _cumulant(means: np.ndarray) -> np.ndarray:
    """U4 of means of m^2 and m^4 (..., 2)."""
    return 1.0 - means[..., 1] / (3.0 * np.maximum(means[..., 0], 1e-300) ** 2)


def _fall(temperatures: np.ndarray, difference: np.ndarray, error: np.ndarray) -> float:
    """Where a difference falls through zero; NaN if it does not.

    Noise crosses zero too, far above where both cumulants vanish and far below where both are 2/3.
    The fall that counts has most of what is clearly positive below it and most of what is clearly
    negative above it.
    """
    signed = np.cumsum(np.clip(difference / error, -3.0, 3.0))
    falls = np.flatnonzero((difference[:-1] > 0) & (difference[1:] <= 0))
    if len(falls) == 0:
        return float("nan")
    k = falls[np.argmax(signed[falls])]
    share = difference[k] / (difference[k] - difference[k + 1])
    return float(temperatures[k] + share * (temperatures[k + 1] - temperatures[k]))


def _blocks(order: np.ndarray, time: float) -> np.ndarray:
    """Means of |m|, m^2 and m^4 (blocks, 3) of all replicas (t, R)."""
    length = max(1, int(np.ceil(BLOCKS_PER_TIME * time)))
    n = len(order) // length
    powers = np.stack([np.abs(order), order**2, order**4], axis=-1)[: n * length]
    return powers.reshape(n, length, order.shape[1], 3).mean(axis=1).reshape(-1, 3)


def _quantities(means: np.ndarray, n: int, temperature: float) -> np.ndarray:
    """(3, ...) order, susceptibility and U4 from means of |m|, m^2 and m^4 (3, ...)."""
    first, second, fourth = means
    susceptibility = n * (second - first**2) / (KB * temperature) if temperature > 0 else 0 * first
    return np.array([first, susceptibility, 1.0 - fourth / (3.0 * np.maximum(second, 1e-300) ** 2)])


def _window(difference: np.ndarray, weight: np.ndarray) -> slice:
    """The temperatures to fit: all, or fewer around the change of sign until a fit describes them.

    Far below the crossing both cumulants are 2/3 with tiny errors, which no low polynomial follows.
    """
    n = len(difference)
    # The split that has most of what is positive below and most of what is negative above.
    signed = np.cumsum(np.clip(difference * weight, -3.0, 3.0))
    split = int(np.argmax(signed[:-1])) + 1
    for half in range(n, 1, -1):
        window = slice(max(0, split - half), min(n, split + half))
        used = window.stop - window.start
        degree = _degree(used)
        x = np.arange(used)
        fit = np.polynomial.Polynomial.fit(x, difference[window], degree, w=weight[window])
        left = used - degree - 1
        chi = np.sum((weight[window] * (difference[window] - fit(x))) ** 2)
        if chi <= left + 2.0 * np.sqrt(2.0 * left):
            return window
    return slice(split - 1, split + 1)


def _degree(n: int) -> int:
    return 2 if n >= 4 else 1


def _root(temperatures: np.ndarray, difference: np.ndarray, weight: np.ndarray) -> float:
    """Where the fitted difference falls through zero; NaN if it does not."""
    centre, scale = temperatures.mean(), np.ptp(temperatures) / 2
    x = (temperatures - centre) / scale
    fit = np.polynomial.Polynomial.fit(x, difference, _degree(len(x)), w=weight, domain=[-1, 1])
    roots = fit.roots()
    real = roots[np.isreal(roots)].real
    falling = [r for r in real if -1 <= r <= 1 and fit.deriv()(r) < 0]
    return float(centre + scale * falling[0]) if falling else float("nan")
