"""Temperature of order from the Binder cumulant, with honest errors.

    U4 = 1 - <m^4> / (3 <m^2>^2)        chi = N (<m^2> - <|m|>^2) / (k_B T)

U4 goes to 2/3 in the ordered phase and to 0 in the disordered one. At the critical temperature it
depends on the size only weakly: the curves of different sizes cross there (Binder, Z. Phys. B 43,
119, 1981). With m the order against any pattern of signs this is the Curie or Neel temperature.

Errors are those of a bootstrap over blocks of the time series that are longer than twice its
autocorrelation time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from mmtp_jax.simulation.constants import KB

BLOCKS_PER_TIME = 4.0
"""Length of a block in autocorrelation times."""

LEAST_BLOCKS = 8
"""Fewer blocks than this give no error worth the name."""


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
    n_bootstrap: int = 200,
    seed: int = 0,
) -> OrderCurve:
    """Order, susceptibility and Binder cumulant of a walk.

    Args:
        temperatures: (R,) K; replicas of the same one are put together.
        order: (t, R) order of each sweep, `SpinSeries.order`.
        n_magnetic: atoms that it is the mean of.
        n_bootstrap: samples.
        seed: of the bootstrap.

    Raises:
        ValueError: if the series is too short for `LEAST_BLOCKS` blocks.
    """
    order = np.asarray(order, float)
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
    return OrderCurve(
        temperatures=distinct,
        n_magnetic=n_magnetic,
        order=whole[:, 0],
        order_error=errors[:, 0],
        susceptibility=whole[:, 1],
        susceptibility_error=errors[:, 1],
        binder=whole[:, 2],
        binder_error=errors[:, 2],
        correlation_time=np.array([row[2] for row in rows]),
        binder_samples=samples[:, 2].T,
    )


def binder_crossing(curves: Sequence[OrderCurve]) -> Crossing:
    """The temperature at which the Binder cumulants of cells of different sizes cross.

    Of each pair of neighbouring sizes the difference over temperature is fitted by a parabola, or
    a straight line for fewer than four temperatures, as far around the change of sign as the fit
    agrees with the errors; its root where the larger cell's cumulant
    falls below the smaller one's is the crossing. The estimate is the mean of the pairs, weighted
    by their errors. What is left of the dependence on size is no part of the error.

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
    pairs, shares = [], []
    for small, large in pairwise(curves):
        error = np.hypot(small.binder_error, large.binder_error)
        weight = 1.0 / np.maximum(error, 1e-3 * max(error.max(), 1e-12))
        window = _window(large.binder - small.binder, weight)
        near, weight = temperatures[window], weight[window]
        value = _root(near, (large.binder - small.binder)[window], weight)
        found = np.array(
            [
                _root(near, difference[window], weight)
                for difference in large.binder_samples - small.binder_samples
            ]
        )
        good = np.isfinite(found)
        shares.append(float(good.mean()))
        spread = float(np.std(found[good], ddof=1)) if good.sum() > 1 else np.nan
        pairs.append((small.n_magnetic, large.n_magnetic, value, spread))
    values, errors = np.array([pair[2:] for pair in pairs]).T
    usable = np.isfinite(values) & np.isfinite(errors) & (errors > 0)
    if not usable.any():
        return Crossing(float("nan"), float("nan"), tuple(pairs), min(shares))
    weights = errors[usable] ** -2.0
    estimate = float(np.sum(weights * values[usable]) / weights.sum())
    # Neighbouring pairs share a cell: their errors are not independent, and are not reduced.
    return Crossing(estimate, float(errors[usable].min()), tuple(pairs), min(shares))


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
