"""Order, susceptibility and Binder cumulant of a walk over temperature, with honest errors.

    U4 = 1 - <m^4> / (3 <m^2>^2)        chi = N (<m^2> - <|m|>^2) / (k_B T)

U4 goes to 2/3 in the ordered phase and to 0 in the disordered one; where moments are vectors, and m
is the length of their mean and no number with a sign, to 4/9. A factor in its definition moves no
crossing. Where the curves of different sizes meet, order is lost (`crossing`). chi is that of m; of
vectors above the temperature of order, that of one component is N <m^2> / (3 k_B T).

Between the temperatures that were simulated the walks are reweighted (`reweighting`), where their
energies overlap. Errors are those of a bootstrap over blocks of the time series that are longer
than twice its autocorrelation time; a walk that is too short for such blocks has means alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mmtp_jax.readable import readable
from mmtp_jax.simulation.constants import KB
from mmtp_jax.simulation.spins.reweighting import histograms, overlaps, reweighted

BLOCKS_PER_TIME = 4.0
"""Length of a block in autocorrelation times."""

LEAST_TIME = 0.5
"""Autocorrelation time of numbers that do not correlate."""

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
    """Cumulant and mean square between the simulated temperatures."""

    temperatures: np.ndarray
    """(F,) K."""
    binder: np.ndarray
    """(F,) U4."""
    samples: np.ndarray = field(repr=False)
    """(B, F) U4 of each bootstrap sample."""
    square: np.ndarray = field(repr=False)
    """(F,) <m^2>."""
    square_samples: np.ndarray = field(repr=False)
    """(B, F) <m^2> of each bootstrap sample."""


@readable
@dataclass(frozen=True, eq=False)
class OrderCurve:
    """Order of one cell over temperature; all (T,). Errors that are not known are NaN."""

    temperatures: np.ndarray
    """K, ascending."""
    n_magnetic: int
    order: np.ndarray
    """<|m|>, 0 to 1."""
    order_error: np.ndarray
    susceptibility: np.ndarray
    """Of the signs, or of the directions of vectors, per magnetic atom, 1/eV."""
    susceptibility_error: np.ndarray
    binder: np.ndarray
    """U4."""
    binder_error: np.ndarray
    correlation_time: np.ndarray
    """Integrated autocorrelation time of |m|, sweeps."""
    binder_samples: np.ndarray = field(repr=False)
    """(B, T) U4 of each bootstrap sample."""
    square: np.ndarray = field(repr=False)
    """<m^2>."""
    square_samples: np.ndarray = field(repr=False)
    """(B, T) <m^2> of each bootstrap sample."""
    between: Reweighted | None = field(repr=False, default=None)
    """None without energies, or where those of neighbouring temperatures do not overlap."""
    least_sweeps: int = 0
    """Sweeps that all errors need at least: a short walk has seen but part of its correlation."""

    @property
    def too_short(self) -> bool:
        """Whether an error is not known."""
        return bool(np.isnan(self.order_error).any())


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
    return float(max(times[window[0]] if len(window) else times[-1], LEAST_TIME))


def means(temperatures: np.ndarray, series: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (T,) of a series (t, R) at each distinct temperature, ascending, and standard errors.

    Those count independent values by the autocorrelation time.
    """
    found = []
    for temperature in np.unique(temperatures):
        of = np.asarray(series, float)[:, np.asarray(temperatures) == temperature]
        time = max(autocorrelation_time(column) for column in of.T)
        spread = of.std() if np.ptp(of) > 1e-12 * np.abs(of).max() else 0.0
        found.append((of.mean(), spread * np.sqrt(2.0 * time / of.size)))
    return tuple(np.array(found).T)


def least_sweeps(copies: int) -> int:
    """Sweeps that errors need of so many replicas, where they do not correlate at all."""
    return _least_sweeps(copies, LEAST_TIME)


def _least_sweeps(copies: int, time: float) -> int:
    return -(-LEAST_BLOCKS // copies) * int(np.ceil(BLOCKS_PER_TIME * time))


def order_curve(
    temperatures: np.ndarray,
    order: np.ndarray,
    n_magnetic: int,
    energy: np.ndarray | None = None,
    n_bootstrap: int = 200,
    seed: int = 0,
) -> OrderCurve:
    """Order, susceptibility and Binder cumulant of a walk.

    Where it is too short for `LEAST_BLOCKS` blocks at a temperature, errors there are NaN, and
    there is nothing between the temperatures.

    Args:
        temperatures: (R,) K; replicas of the same one are put together.
        order: (t, R) order of each sweep, `SpinSeries.order`.
        n_magnetic: atoms that it is the mean of.
        energy: (t, R) eV, `SpinSeries.energy`: with it the curve goes on between the temperatures.
        n_bootstrap: samples.
        seed: of the bootstrap.

    Raises:
        ValueError: if the series is empty.
    """
    order = np.asarray(order, float)
    temperatures = np.asarray(temperatures, float)
    if not len(order):
        raise ValueError("the series has no sweeps after the burn-in")
    rng = np.random.default_rng(seed)
    rows, least = [], 0
    distinct = np.unique(temperatures)
    for temperature in distinct:
        of = order[:, temperatures == temperature]
        time = max(autocorrelation_time(np.abs(column)) for column in of.T)
        blocks = _blocks(of, time)
        least = max(least, _least_sweeps(of.shape[1], time))
        has_errors = len(blocks) >= LEAST_BLOCKS
        if not has_errors:
            blocks = _blocks(of, 0.0)
        whole = _quantities(blocks.mean(axis=0), n_magnetic, temperature)
        chosen = rng.integers(len(blocks), size=(n_bootstrap, len(blocks)))
        samples = _quantities(
            np.moveaxis(blocks[chosen].mean(axis=1), -1, 0), n_magnetic, temperature
        )
        rows.append((whole, samples if has_errors else np.nan * samples, time))
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
        square=whole[:, 3],
        square_samples=samples[:, 3].T,
        between=None
        if energy is None or len(distinct) < 2 or np.isnan(samples).any()
        else _between(
            temperatures, order, np.asarray(energy, float), whole_times, rng, n_bootstrap
        ),
        least_sweeps=least,
    )


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
    cumulant, of_samples = (_cumulant(m[..., 0], m[..., 1]) for m in (means, samples))
    return Reweighted(fine, cumulant, of_samples, means[..., 0], samples[..., 0])


def _block_length(n_sweeps: int, n_replicas: int, time: float) -> int:
    """Sweeps of a block, at most all."""
    length = int(np.ceil(max(BLOCKS_PER_TIME * time, n_sweeps * n_replicas / MOST_BLOCKS)))
    return min(max(1, length), n_sweeps)


def _in_blocks(series: np.ndarray, n: int, length: int) -> np.ndarray:
    """(n R, length) blocks of a series (t, R)."""
    blocks = series[: n * length].reshape(n, length, series.shape[1])
    return np.moveaxis(blocks, 2, 1).reshape(-1, length)


def _cumulant(second: np.ndarray, fourth: np.ndarray) -> np.ndarray:
    """U4 of means of m^2 and m^4."""
    return 1.0 - fourth / (3.0 * np.maximum(second, 1e-300) ** 2)


def _blocks(order: np.ndarray, time: float) -> np.ndarray:
    """Means of |m|, m^2 and m^4 (blocks, 3) of all replicas (t, R)."""
    length = max(1, int(np.ceil(BLOCKS_PER_TIME * time)))
    m = _in_blocks(order, len(order) // length, length)
    return np.stack([np.abs(m), m**2, m**4], axis=-1).mean(axis=1)


def _quantities(means: np.ndarray, n: int, temperature: float) -> np.ndarray:
    """(4, ...) order, susceptibility, U4 and m^2 from means of |m|, m^2 and m^4 (3, ...)."""
    first, second, fourth = means
    susceptibility = n * (second - first**2) / (KB * temperature) if temperature > 0 else 0 * first
    return np.array([first, susceptibility, _cumulant(second, fourth), second])
