"""Third-order Birch-Murnaghan equation of state.

With x = V^(-2/3) it is a polynomial, E = c0 + c1 x + c2 x^2 + c3 x^3, so a fit is linear least
squares, to energies or to pressures P = -dE/dV.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmtp_jax.simulation.constants import GPA


class NoMinimumError(ValueError):
    """The energy has no minimum between the volumes."""


@dataclass(frozen=True)
class BirchMurnaghan:
    """An equation of state, by its minimum."""

    volume: float
    """V0, Angstrom^3."""
    energy: float
    """E0, eV; NaN of a fit to pressures."""
    bulk_modulus: float
    """B0 = -V dP/dV at V0, GPa."""
    bulk_derivative: float
    """B0' = dB/dP there."""
    coefficients: np.ndarray
    """(4,) c of E = sum_k c_k x^k, eV."""
    rms: float
    """Root mean square deviation of the data, eV or GPa."""

    def energies(self, volumes: np.ndarray) -> np.ndarray:
        """E(V), eV."""
        return np.polynomial.Polynomial(self.coefficients)(np.asarray(volumes) ** (-2 / 3))

    def pressures(self, volumes: np.ndarray) -> np.ndarray:
        """P(V), GPa."""
        return _pressure_rows(np.asarray(volumes, float)) @ self.coefficients[1:] / GPA


def fit_energies(volumes: np.ndarray, energies: np.ndarray) -> BirchMurnaghan:
    """From energies (k,) in eV at volumes (k,) in Angstrom^3, k of at least 4.

    Raises:
        NoMinimumError: if the curve has no minimum between the volumes.
        ValueError: if there are fewer.
    """
    volumes, energies = _checked(volumes, energies, 4)
    # Differences of energies of thousands of eV: take the mean off, it goes into c0.
    mean, scale = energies.mean(), volumes.mean() ** (-2 / 3)
    rows = np.vander((volumes ** (-2 / 3)) / scale, 4, increasing=True)
    c = np.linalg.lstsq(rows, energies - mean, rcond=None)[0]
    rms = float(np.sqrt(np.mean((rows @ c - energies + mean) ** 2)))
    c /= scale ** np.arange(4)
    c[0] += mean
    return _at_minimum(c, volumes, rms, has_energy=True)


def fit_pressures(volumes: np.ndarray, pressures: np.ndarray) -> BirchMurnaghan:
    """From pressures (k,) in GPa at volumes (k,) in Angstrom^3, k of at least 3.

    Raises:
        NoMinimumError: if no volume without pressure lies between them.
        ValueError: if there are fewer.
    """
    volumes, pressures = _checked(volumes, pressures, 3)
    rows = _pressure_rows(volumes)
    size = np.linalg.norm(rows, axis=0)
    c = np.linalg.lstsq(rows / size, pressures * GPA, rcond=None)[0] / size
    rms = float(np.sqrt(np.mean((rows @ c / GPA - pressures) ** 2)))
    return _at_minimum(np.concatenate([[0.0], c]), volumes, rms, has_energy=False)


def _pressure_rows(volumes: np.ndarray) -> np.ndarray:
    """P = rows @ (c1, c2, c3), eV/Angstrom^3."""
    x = volumes ** (-2 / 3)
    return (2 / 3) * volumes[:, None] ** (-5 / 3) * np.stack(
        [np.ones_like(x), 2 * x, 3 * x**2], axis=1
    )  # fmt: skip


def _at_minimum(c: np.ndarray, volumes: np.ndarray, rms: float, has_energy: bool) -> BirchMurnaghan:
    slope = np.polynomial.Polynomial(c).deriv()
    roots = slope.roots()
    real = np.real(roots[np.abs(np.imag(roots)) < 1e-9 * np.abs(roots)])
    minima = [x for x in real if x > 0 and slope.deriv()(x) > 0]
    inside = [x for x in minima if volumes.min() <= x**-1.5 <= volumes.max()]
    if not inside:
        where = f" (it would be at {minima[0] ** -1.5:.4g} Angstrom^3)" if minima else ""
        raise NoMinimumError(
            f"the equation of state has no minimum between the volumes {volumes.min():.4g} and "
            f"{volumes.max():.4g} Angstrom^3{where}; choose another range"
        )
    x = inside[0]
    volume = x**-1.5
    # Derivatives of x by V, and by the chain rule of E; dE/dx is zero.
    first, second = -2 / 3 * volume ** (-5 / 3), 10 / 9 * volume ** (-8 / 3)
    exx, exxx = slope.deriv()(x), slope.deriv(2)(x)
    curvature = exx * first**2
    third = exxx * first**3 + 3 * exx * first * second
    return BirchMurnaghan(
        volume=float(volume),
        energy=float(np.polynomial.Polynomial(c)(x)) if has_energy else float("nan"),
        bulk_modulus=float(volume * curvature / GPA),
        bulk_derivative=float(-1.0 - volume * third / curvature),
        coefficients=c,
        rms=rms,
    )


def _checked(volumes: np.ndarray, values: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    volumes, values = np.asarray(volumes, float), np.asarray(values, float)
    if volumes.shape != values.shape or volumes.ndim != 1 or len(np.unique(volumes)) < least:
        raise ValueError(
            f"an equation of state needs values at {least} or more different volumes, got "
            f"{values.shape} values at {volumes.shape} volumes"
        )
    return volumes, values
