"""Thermal expansion and heat capacity from dynamics at constant pressure.

Of runs at several temperatures, V(T) and H(T) = <E + K + p V> are fitted by polynomials:
alpha = (1/3V) dV/dT and C_p = dH/dT. Each run alone gives C_p by its fluctuations,
<(dH)^2> / (k_B T^2). Atoms are classical: 3 k_B in a harmonic crystal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmtp_jax.readable import readable
from mmtp_jax.simulation.blocks import MIN_BLOCKS, block_error
from mmtp_jax.simulation.constants import GPA, KB
from mmtp_jax.tables import with_error


@dataclass(frozen=True, eq=False)
class ConstantPressureRun:
    """Averages of one run after its equilibration, per atom."""

    temperature: float
    """K."""
    volume: float
    """Angstrom^3."""
    volume_error: float
    """Standard error."""
    enthalpy: float
    """eV."""
    enthalpy_error: float
    fluctuation_heat_capacity: float
    """k_B, by the fluctuations of the enthalpy."""
    mean_moment: float
    """Mean of |m|, mu_B."""
    n_rows: int
    pressure_GPa: float


@readable
@dataclass(frozen=True, eq=False)
class ThermalExpansion:
    """Over the temperatures (t,) of the runs."""

    runs: tuple[ConstantPressureRun, ...]
    temperatures: np.ndarray
    """K."""
    volume: np.ndarray
    """Angstrom^3 per atom."""
    volume_error: np.ndarray
    expansion: np.ndarray
    """Linear coefficient, 1/K."""
    expansion_error: np.ndarray
    heat_capacity: np.ndarray
    """dH/dT, k_B per atom."""
    heat_capacity_error: np.ndarray
    degree: int
    """Of the polynomials."""

    def __str__(self) -> str:
        """A table."""
        lines = [
            f"{'T (K)':>8}{'V (A^3/atom)':>22}{'alpha (1e-6/K)':>20}{'C_p (k_B)':>18}"
            f"{'C_p (fluct.)':>14}"
        ]
        for k, run in enumerate(self.runs):
            volume = with_error(self.volume[k], self.volume_error[k])
            alpha = with_error(1e6 * self.expansion[k], 1e6 * self.expansion_error[k])
            heat = with_error(self.heat_capacity[k], self.heat_capacity_error[k])
            lines.append(
                f"{self.temperatures[k]:8.1f}{volume:>22}{alpha:>20}{heat:>18}"
                f"{run.fluctuation_heat_capacity:14.3f}"
            )
        lines.append("+- is the standard error: of means by blocks, of slopes from these")
        return "\n".join(lines)


def constant_pressure_run(
    temperature: np.ndarray,
    volume: np.ndarray,
    energy: np.ndarray,
    kinetic: np.ndarray,
    mean_moment: np.ndarray,
    n_atoms: int,
    pressure_GPa: float = 0.0,
    skip: float = 0.2,
) -> ConstantPressureRun:
    """Averages of the rows (t,) of a run.

    Args:
        temperature: K.
        volume: Angstrom^3.
        energy: potential energy, eV.
        kinetic: eV.
        mean_moment: mu_B.
        n_atoms: N.
        pressure_GPa: that the barostat holds.
        skip: share of the rows to leave out at the start.

    Raises:
        ValueError: if too few rows are left, or the volume does not change.
    """
    if not 0.0 <= skip < 1.0:
        raise ValueError(f"skip is a share of the run between 0 and 1, got {skip}")
    start = int(skip * len(volume))
    rows = len(volume) - start
    if rows < 2 * MIN_BLOCKS:
        raise ValueError(f"{rows} rows are left of the run, at least {2 * MIN_BLOCKS} are needed")
    t, v, e, k, m = (
        np.asarray(a, float)[start:] for a in (temperature, volume, energy, kinetic, mean_moment)
    )
    if not np.all(np.isfinite(v)) or np.ptp(v) == 0.0:
        raise ValueError("the volume does not change; is it a run at constant pressure (npt)?")
    enthalpy = e + k + pressure_GPa * GPA * v
    mean_t = float(t.mean())
    return ConstantPressureRun(
        temperature=mean_t,
        volume=float(v.mean()) / n_atoms,
        volume_error=block_error(v) / n_atoms,
        enthalpy=float(enthalpy.mean()) / n_atoms,
        enthalpy_error=block_error(enthalpy) / n_atoms,
        fluctuation_heat_capacity=float(enthalpy.var()) / (KB**2 * mean_t**2 * n_atoms),
        mean_moment=float(m.mean()),
        n_rows=rows,
        pressure_GPa=pressure_GPa,
    )


def thermal_expansion_of(runs: Sequence[ConstantPressureRun], degree: int = 2) -> ThermalExpansion:
    """Of runs at different temperatures.

    Args:
        runs: two or more.
        degree: of the polynomials in T; at most one less than the number of runs.

    Raises:
        ValueError: if there are fewer than two temperatures.
    """
    runs = sorted(runs, key=lambda run: run.temperature)
    t = np.array([run.temperature for run in runs])
    if len(runs) < 2 or np.ptp(t) < 1.0:
        raise ValueError(
            "an expansion needs runs at two or more temperatures; one run alone has none"
        )
    degree = max(1, min(degree, len(runs) - 1))
    volume, volume_error = (np.array([getattr(r, n) for r in runs])
                            for n in ("volume", "volume_error"))  # fmt: skip
    slope, slope_error = _slope(t, volume, volume_error, degree)
    heat, heat_error = _slope(
        t,
        np.array([r.enthalpy for r in runs]),
        np.array([r.enthalpy_error for r in runs]),
        degree,
    )
    return ThermalExpansion(
        runs=tuple(runs),
        temperatures=t,
        volume=volume,
        volume_error=volume_error,
        expansion=slope / (3.0 * volume),
        expansion_error=slope_error / (3.0 * volume),
        heat_capacity=heat / KB,
        heat_capacity_error=heat_error / KB,
        degree=degree,
    )


def _slope(
    t: np.ndarray, y: np.ndarray, error: np.ndarray, degree: int
) -> tuple[np.ndarray, np.ndarray]:
    """dy/dt at each t of a weighted polynomial, and its standard error."""
    centre, scale = t.mean(), max(np.ptp(t), 1e-12)
    x = (t - centre) / scale
    weights = 1.0 / np.maximum(error, 1e-12 * max(np.abs(y).max(), 1e-300))
    design = np.vander(x, degree + 1, increasing=True)
    covariance = np.linalg.inv((design * weights[:, None] ** 2).T @ design)
    coefficients = covariance @ (design.T @ (weights**2 * y))
    powers = np.arange(degree + 1)
    derivative = powers * np.power(x[:, None], np.maximum(powers - 1, 0)) / scale
    return derivative @ coefficients, np.sqrt(
        np.einsum("ia,ab,ib->i", derivative, covariance, derivative)
    )
