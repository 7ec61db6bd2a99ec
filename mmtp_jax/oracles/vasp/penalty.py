"""Formulas of the soft constraint (Burov 2026, supplement S1); arrays in, arrays out.

Three moments of an atom, all in mu_B: ``moments`` m (projected on the PAW spheres, OUTCAR; the
label), ``total`` m^WS (M_int, over the Wigner-Seitz spheres, OSZICAR) and ``smoothed`` m^sWS
(MW_int, the one that VASP can constrain). They are components (n,) along one axis, as in the paper,
or vectors (n, 3): then S6 and S7 are about components along each smoothed moment, and lengths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

SPREAD = 0.1
"""Smoothed moments that differ by less, mu_B, do not determine a slope and an intercept: VASP
prints them to 0.001."""
LEAST_MOMENT = 0.02
"""Nor do moments below this, mu_B, determine a slope."""


class MomentFit(NamedTuple):
    """m^WS = slope * m^sWS + intercept (S6)."""

    slope: float
    intercept: float
    """mu_B."""
    r_squared: float


class Misfit(NamedTuple):
    """How far moments are from where they should be."""

    largest: float
    """Left-hand side of S8, mu_B."""
    mean: float
    """Left-hand side of S9, mu_B."""
    rms: float
    """mu_B."""


@dataclass(frozen=True)
class Criteria:
    """Right-hand sides of S8, S9 and S10."""

    largest: float
    """mu_B."""
    mean: float
    """mu_B."""
    penalty: float
    """eV per atom."""

    def violated(self, misfit: Misfit, penalty: float) -> tuple[str, ...]:
        """What is not below its threshold, in words; nothing if all is."""
        found = []
        if not misfit.largest < self.largest:
            found.append(f"the largest error is {misfit.largest:.3f} mu_B, not {self.largest:g}")
        if not misfit.mean < self.mean:
            found.append(f"the mean error is {misfit.mean:.3f} mu_B, not {self.mean:g}")
        if not penalty < self.penalty:
            found.append(f"the penalty is {penalty:.4f} eV per atom, not {self.penalty:g}")
        return tuple(found)


def rescaled_radii(radii: np.ndarray, kinds: np.ndarray, volume: float) -> np.ndarray:
    """Radii whose spheres have together the volume of the cell (S5).

    Args:
        radii: (species,) of each species, Angstrom.
        kinds: (n,) species of each atom.
        volume: of the cell, Angstrom^3.
    """
    covered = np.sum(4.0 / 3.0 * np.pi * np.asarray(radii)[kinds] ** 3) / volume
    return np.asarray(radii) / np.cbrt(covered)


def directions(vectors: np.ndarray) -> np.ndarray:
    """Unit vectors (n, 3) along vectors (n, 3); along x where they are zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    safe = np.where(lengths > 0.0, lengths, 1.0)
    return np.where(lengths > 0.0, vectors / safe, [1.0, 0.0, 0.0])


def fit_moments(total: np.ndarray, smoothed: np.ndarray) -> MomentFit:
    """Linear fit of m^WS against m^sWS, both (n,) or (n, 3), over all atoms (S6).

    Where all atoms have nearly the same moment, the line goes through the origin instead.

    Raises:
        ValueError: if the moments are too small, or fall with each other.
    """
    if smoothed.ndim > 1:
        total = np.sum(total * directions(smoothed), axis=1)
        smoothed = np.linalg.norm(smoothed, axis=1)
    if np.abs(smoothed).max() < LEAST_MOMENT:
        raise ValueError(
            f"the smoothed moments are all below {LEAST_MOMENT} mu_B, so that their relation to "
            "the moments (S6) is unknown"
        )
    if np.ptp(smoothed) < SPREAD:
        slope, intercept = float(np.sum(total * smoothed) / np.sum(smoothed**2)), 0.0
    else:
        slope, intercept = (float(v) for v in np.polyfit(smoothed, total, 1))
    if not slope > 0.0:
        raise ValueError(f"the fit of M_int against MW_int (S6) has the slope {slope:.3g}")
    residual = np.sum((total - slope * smoothed - intercept) ** 2)
    scatter = np.sum((total - (total.mean() if intercept else 0.0)) ** 2)
    return MomentFit(slope, intercept, float(1.0 - residual / scatter))


def constraint_moments(targets: np.ndarray, fit: MomentFit) -> np.ndarray:
    """Smoothed moments to ask for, so that m^WS are the targets, (n,) or (n, 3) (S7)."""
    if targets.ndim > 1:
        lengths = np.linalg.norm(targets, axis=1, keepdims=True)
        # Of zero there is no direction in which an intercept could point.
        wanted = np.where(lengths > 0.0, (lengths - fit.intercept) / fit.slope, 0.0)
        return wanted * directions(targets)
    return (targets - fit.intercept) / fit.slope


def refined_moments(
    constraint: np.ndarray, moments: np.ndarray, total: np.ndarray, slope: float
) -> np.ndarray:
    """Smoothed moments to ask for, so that m rather than m^WS are the targets (S11, S12)."""
    return constraint - (moments - total) / slope


def misfit(found: np.ndarray, wanted: np.ndarray) -> Misfit:
    """Distances of vectors (n, 3) from vectors (n, 3): components across the axis count too."""
    distance = np.linalg.norm(found - wanted, axis=1)
    return Misfit(
        float(distance.max()), float(distance.mean()), float(np.sqrt(np.mean(distance**2)))
    )


def penalty_per_atom(smoothed: np.ndarray, constraint: np.ndarray, weight: float) -> float:
    """Left-hand side of S10 in eV per atom; moments (n, 3), weight in eV/mu_B^2."""
    return float(weight * np.sum((smoothed - constraint) ** 2) / len(smoothed))


def magnetic_forces(field: np.ndarray, fit: MomentFit, smoothed: np.ndarray) -> np.ndarray:
    """Estimate of T = -dE/dm, eV/mu_B, from ``field`` = lambda (m^sWS - m^constr), (n,) or (n, 3).

    Where E + lambda sum (m^sWS - m^constr)^2 is smallest, -dE/dm^sWS is twice the field. The
    slope of S6 turns it into a derivative by m, as if all of an atom's moment grew alike; across a
    moment it is the ratio of the lengths that does.
    """
    if field.ndim == 1:
        return 2.0 * field / fit.slope
    unit = directions(smoothed)
    parallel = np.sum(field * unit, axis=1, keepdims=True) * unit
    lengths = np.linalg.norm(smoothed, axis=1, keepdims=True)
    ratio = fit.slope + fit.intercept / np.maximum(lengths, LEAST_MOMENT)
    return 2.0 * (parallel / fit.slope + (field - parallel) / ratio)
