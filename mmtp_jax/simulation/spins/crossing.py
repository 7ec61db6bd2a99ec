"""Temperature of order: where the Binder cumulants of cells of different sizes cross.

At the critical temperature U4 depends on the size only weakly (Binder, Z. Phys. B 43, 119, 1981).
With an order against any pattern of signs this is the Curie or Neel temperature. Curves that are
reweighted between the temperatures are used as they are; other differences are interpolated, and
what another interpolation gives enters the error.

How weakly, two sizes do not tell. But L^x <m^2> does not depend on the size either, with x = 2 beta
/ nu, and has corrections of its own: where both quantities cross apart from each other, by more or
less than chance makes, the distance is a part of the error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from mmtp_jax.simulation.spins.binder import OrderCurve
from mmtp_jax.tables import with_error

EXPONENTS = {2: 0.25, 3: 1.037}
"""2 beta / nu by the number of directions in which the cells grow: of the Ising model in two
(Onsager), and of moments with one to three components in three, 1.0363 to 1.0381 (Hasenbusch, Phys.
Rev. B 82, 174433, 2010; Campostrini et al., Phys. Rev. B 63, 214503, 2001 and 65, 144520, 2002)."""


@dataclass(frozen=True)
class Crossing:
    """Where Binder cumulants of two or more sizes cross."""

    temperature: float
    """K; NaN where they do not cross within the temperatures."""
    error: float
    """One standard deviation: of the bootstrap, and the distance to ``scaled``, K."""
    pairs: tuple[tuple[int, int, float, float], ...]
    """Atoms of both cells, crossing and its error by the bootstrap of each pair of neighbouring
    sizes, K."""
    share: float
    """Share of the bootstrap samples that cross within the temperatures; a sound estimate has 1."""
    interpolated: bool = False
    """The energies of neighbouring temperatures do not overlap: no reweighting was possible."""
    scaled: tuple[float, float] = (float("nan"), float("nan"))
    """Where L^x <m^2> of the two largest cells crosses, see `EXPONENTS`, and its error by the
    bootstrap, K; NaN where that is not known."""

    def __str__(self) -> str:
        """The estimate and that of each pair."""
        whole = _crosses(self.temperature, self.error)
        lines = [f"crossing of the Binder cumulants: {whole}"]
        lines += [
            f"  {small} and {large} atoms: {_crosses(value, error)}"
            for small, large, value, error in self.pairs
        ]
        if np.isfinite(self.temperature):
            lines.append(
                "  the error counts no drift with size: where L^x <m^2> crosses is not known"
                if np.isnan(self.scaled[0])
                else f"  L^x <m^2> crosses at {_crosses(*self.scaled)}; the error has the distance"
            )
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


def _crosses(temperature: float, error: float) -> str:
    if not np.isfinite(temperature):
        return "none within the temperatures"
    return f"{with_error(temperature, error)} K"


def binder_crossing(curves: Sequence[OrderCurve], dimension: int = 3) -> Crossing:
    """The temperature at which the Binder cumulants of cells of different sizes cross.

    For each pair of neighbouring sizes it is where the larger cell's cumulant falls below the
    smaller one's, on reweighted curves where there are some. Otherwise the difference is fitted by
    a parabola, or a straight line for fewer than four temperatures, as far around the change of
    sign as the fit agrees with the errors; the distance to the crossing of straight lines is then
    added to the error. The estimate is that of the two largest cells: the crossing drifts with
    size (for the square Ising lattice, 4 x 4 and 8 x 8 cross 2 % low). So does, otherwise, that of
    L^x <m^2>, and the distance between both is added to the error, too.

    Args:
        curves: of cells of one shape.
        dimension: directions in which they grow, L^dimension being the number of atoms.

    Raises:
        ValueError: if there are fewer than two sizes, their temperatures differ, or a walk is too
            short for errors.
    """
    curves = sorted(curves, key=lambda c: c.n_magnetic)
    if len({c.n_magnetic for c in curves}) < 2:
        raise ValueError("a crossing needs cells of at least two sizes")
    temperatures = curves[0].temperatures
    if len(temperatures) < 2 or any(
        not np.array_equal(c.temperatures, temperatures) for c in curves
    ):
        raise ValueError("a crossing needs the same two or more temperatures for each size")
    short = [c for c in curves if c.too_short]
    if short:
        raise ValueError(
            f"a crossing needs errors, and the walk of {short[-1].n_magnetic} magnetic atoms is "
            f"too short for them; take at least {short[-1].least_sweeps} sweeps"
        )
    found = [_pair(small, large, _cumulants(small, large)) for small, large in pairwise(curves)]
    pairs = tuple(pair for pair, _, _ in found)
    share = min(share for _, share, _ in found)
    interpolated = any(flag for _, _, flag in found)
    values, errors = np.array([pair[2:] for pair in pairs]).T
    usable = np.flatnonzero(np.isfinite(values) & np.isfinite(errors) & (errors > 0))
    if len(usable) == 0:
        return Crossing(float("nan"), float("nan"), pairs, share, interpolated)
    largest = usable[-1]
    value, error = float(values[largest]), float(errors[largest])
    scaled = (float("nan"), float("nan"))
    if dimension in EXPONENTS:
        two = curves[largest], curves[largest + 1]
        scaled = _pair(*two, _squares(*two, EXPONENTS[dimension] / dimension))[0][2:]
    drift = 0.0 if np.isnan(scaled[0]) else value - scaled[0]
    return Crossing(value, float(np.hypot(error, drift)), pairs, share, interpolated, scaled)


class _Difference(NamedTuple):
    """What falls through zero where curves of two sizes cross."""

    temperatures: np.ndarray
    """(T,) K."""
    whole: np.ndarray
    """(T,)."""
    samples: np.ndarray
    """(B, T) of each bootstrap sample."""
    reweighted: bool


def _cumulants(small: OrderCurve, large: OrderCurve) -> _Difference:
    """Of U4."""
    if small.between is None or large.between is None:
        samples = large.binder_samples - small.binder_samples
        return _Difference(small.temperatures, large.binder - small.binder, samples, False)
    a, b = small.between, large.between
    return _Difference(a.temperatures, b.binder - a.binder, b.samples - a.samples, True)


def _squares(small: OrderCurve, large: OrderCurve, exponent: float) -> _Difference:
    """Of the logarithms of N^exponent <m^2>."""
    shift = exponent * np.log(large.n_magnetic / small.n_magnetic)
    known = small.between is not None and large.between is not None
    a, b = (small.between, large.between) if known else (small, large)
    whole, samples = (
        shift + np.log(np.maximum(getattr(b, name), 1e-300) / np.maximum(getattr(a, name), 1e-300))
        for name in ("square", "square_samples")
    )
    return _Difference(a.temperatures, whole, samples, known)


def _pair(
    small: OrderCurve, large: OrderCurve, of: _Difference
) -> tuple[tuple[int, int, float, float], float, bool]:
    """Crossing of two sizes, the share of the bootstrap that crosses, and: was it interpolated?"""
    if of.reweighted:
        spread = np.maximum(of.samples.std(axis=0), 1e-6)
        value = _fall(of.temperatures, of.whole, spread)
        samples = np.array([_fall(of.temperatures, sample, spread) for sample in of.samples])
        model_error = 0.0
    else:
        value, samples, model_error = _interpolated(of)
    good = np.isfinite(samples)
    error = float(np.std(samples[good], ddof=1)) if good.sum() > 1 else np.nan
    pair = (small.n_magnetic, large.n_magnetic, value, float(np.hypot(error, model_error)))
    return pair, float(good.mean()), not of.reweighted


def _interpolated(of: _Difference) -> tuple[float, np.ndarray, float]:
    """Crossing of a fit, those of the bootstrap, and what straight lines change."""
    temperatures, difference, _, _ = of
    error = of.samples.std(axis=0, ddof=1)
    error = np.maximum(error, 1e-3 * max(error.max(), 1e-12))
    window = _window(difference, 1.0 / error)
    near, weight = temperatures[window], 1.0 / error[window]
    value = _root(near, difference[window], weight)
    samples = np.array([_root(near, sample[window], weight) for sample in of.samples])
    lines = _fall(temperatures, difference, error)
    return value, samples, abs(value - lines) if np.isfinite(lines) else 0.0


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
