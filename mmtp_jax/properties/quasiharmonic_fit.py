"""Quasi-harmonic approximation: phonons at several volumes, and the volume of least free energy.

F(V, T) = E(V) + F_vib(V, T) with moments equilibrated at each volume, fitted by an equation of
state at each temperature (phonopy's ``run_qha``). Magnetic and electronic entropy are not in it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmtp_jax.properties.phonon_results import IMAGINARY, MESH, Phonons, lowest_mode
from mmtp_jax.properties.response import UnstableStateError
from mmtp_jax.readable import readable
from mmtp_jax.simulation.constants import GPA, KB
from mmtp_jax.tables import some_of
from mmtp_jax.warn import warn

EQUATIONS = ("vinet", "birch_murnaghan", "murnaghan")

MIN_VOLUMES = 5

SCALED = ", lengths times "
"""Between the name of a crystal and its scale, in the names of its volumes."""


class VolumeRangeWarning(UserWarning):
    """The volume of least free energy is outside of those that were calculated."""


@readable
@dataclass(frozen=True, eq=False)
class QuasiHarmonic:
    """Thermodynamics at constant pressure, (t,) over temperature; extensive ones per atom."""

    temperatures: np.ndarray
    """K."""
    volume: np.ndarray
    """Angstrom^3."""
    free_energy: np.ndarray
    """Gibbs free energy, eV."""
    expansion: np.ndarray
    """Linear coefficient (1/3V) dV/dT, 1/K."""
    heat_capacity: np.ndarray
    """At constant pressure, k_B."""
    bulk_modulus: np.ndarray
    """Isothermal, GPa."""
    gruneisen: np.ndarray
    """Thermodynamic Grueneisen parameter."""
    volumes: np.ndarray
    """(v,) that were calculated, Angstrom^3."""
    energies: np.ndarray
    """(v,) static, eV."""
    free_energies: np.ndarray = field(repr=False)
    """(t, v) Gibbs free energy at the volumes, eV."""
    phonons: tuple[Phonons, ...] = field(repr=False)
    """Of each volume."""
    pressure_GPa: float
    details: Any = field(repr=False)
    """phonopy's ``QHAResult``, of the primitive cell; energies are above the lowest static one."""

    @property
    def scale(self) -> np.ndarray:
        """(t,) lengths over those of the lowest temperature."""
        return (self.volume / self.volume[0]) ** (1 / 3)

    def at(self, temperature: float) -> dict[str, float]:
        """All quantities at a temperature, interpolated.

        Raises:
            ValueError: if it is outside of the range.
        """
        low, high = self.temperatures[[0, -1]]
        if not low <= temperature <= high:
            raise ValueError(f"{temperature:g} K is not between {low:g} and {high:g} K")
        return {
            name: float(np.interp(temperature, self.temperatures, getattr(self, name)))
            for name in QUANTITIES
        }

    def __str__(self) -> str:
        """A table at a few temperatures."""
        lines = [
            f"quasi-harmonic, {len(self.volumes)} volumes, {self.pressure_GPa:g} GPa",
            f"{'T (K)':>8}{'V (A^3/atom)':>14}{'alpha (1e-6/K)':>16}{'C_p (k_B)':>11}"
            f"{'K (GPa)':>10}",
        ]
        for k in some_of(len(self.temperatures), 8):
            lines.append(
                f"{self.temperatures[k]:8.0f}{self.volume[k]:14.4f}{1e6 * self.expansion[k]:16.2f}"
                f"{self.heat_capacity[k]:11.3f}{self.bulk_modulus[k]:10.1f}"
            )
        return "\n".join(lines)


QUANTITIES = (
    "volume", "free_energy", "expansion", "heat_capacity", "bulk_modulus", "gruneisen",
)  # fmt: skip


def quasi_harmonic(
    phonons: Sequence[Phonons],
    temperatures: Any,
    *,
    pressure_GPa: float = 0.0,
    eos: str = "vinet",
    mesh: float | Any = MESH,
    allow_imaginary: bool = False,
) -> QuasiHarmonic:
    """From phonons at volumes of one crystal.

    Args:
        phonons: at five or more volumes.
        temperatures: ascending, K.
        pressure_GPa: external pressure.
        eos: ``"vinet"``, ``"birch_murnaghan"`` or ``"murnaghan"``.
        mesh: length in Angstrom, or three integers.
        allow_imaginary: leave imaginary modes out, in place of an error.

    Raises:
        UnstableStateError: if there are imaginary modes at a volume.
        ValueError: if there are too few volumes or temperatures, or no equation of state fits.

    Warns:
        VolumeRangeWarning: if the volume leaves those that were calculated; what comes at higher
            temperatures is left out.
    """
    if eos not in EQUATIONS:
        raise ValueError(f"eos must be one of {', '.join(EQUATIONS)}, got {eos!r}")
    chosen = np.unique(np.asarray(temperatures, float))
    if len(chosen) < 3 or chosen[0] < 0.0 or not np.all(np.isfinite(chosen)):
        raise ValueError("give at least three different temperatures of at least 0 K")
    found = sorted(phonons, key=lambda p: p.volume)
    if len(found) < MIN_VOLUMES:
        raise ValueError(f"an equation of state needs {MIN_VOLUMES} volumes, got {len(found)}")
    if not allow_imaginary:
        _require_stable(found, mesh)

    from phonopy.qha.qha import run_qha

    n, name = found[0].n_atoms, found[0].name.partition(SCALED)[0]
    # Of thousands of eV, the energy of all electrons, a fit would lose the last digits.
    lowest = min(p.energy for p in found)
    with warnings.catch_warnings():
        # Cubic or not, what is asked for is the volume.
        warnings.filterwarnings("ignore", message="Lattice parameter fitting was skipped")
        warnings.filterwarnings("ignore", message="Lattice parameters are extrapolated")
        try:
            result = run_qha(
                [p.phonopy for p in found],
                # phonopy needs one more for differences.
                np.append(chosen, 2 * chosen[-1] - chosen[-2]),
                internal_energies=[n * (p.energy - lowest) for p in found],
                mesh=mesh,
                pressure=pressure_GPa or None,
                eos=eos,
                exclude_gamma_acoustic=True,
            )
        except (RuntimeError, IndexError, np.linalg.LinAlgError) as error:
            raise ValueError(
                f"no equation of state fits the free energies of {name}: {error}; choose "
                "volumes around the minimum"
            ) from error
    volumes = np.array([p.volume for p in found])
    of_minimum = _without_noise(result, eos, n)
    of_minimum["free_energy"] += lowest
    volume = of_minimum["volume"]
    inside = (volume >= volumes[0]) & (volume <= volumes[-1])
    keep = len(inside) if inside.all() else int(np.argmin(inside))
    if keep < 3:
        raise ValueError(
            f"{name}: the volume of least free energy, {volume[0]:.4g} Angstrom^3/atom, "
            f"is not among those from {volumes[0]:.4g} to {volumes[-1]:.4g}; choose others"
        )
    if keep < len(inside):
        warn(
            f"{name}: from {result.temperatures[keep]:.4g} K on the equilibrium volume is "
            f"{volume[keep]:.4g} Angstrom^3/atom, outside of the {volumes[0]:.4g} to "
            f"{volumes[-1]:.4g} that were calculated; these temperatures are left out: take "
            f"{'larger' if volume[keep] > volumes[-1] else 'smaller'} volumes for them",
            VolumeRangeWarning,
        )
    kept = slice(0, keep)
    return QuasiHarmonic(
        temperatures=np.array(result.temperatures)[kept],
        **{name: values[kept] for name, values in of_minimum.items()},
        volumes=volumes,
        energies=np.array([p.energy for p in found]),
        free_energies=np.array(result.helmholtz_volume)[kept] / n + lowest,
        phonons=tuple(found),
        pressure_GPa=pressure_GPa,
        details=result,
    )


def _without_noise(result: Any, eos: str, n_atoms: int) -> dict[str, np.ndarray]:
    """`QUANTITIES` (t,) by the same fits, to the last digits; energies as phonopy was given them.

    phonopy's fits end when the sum of squares changes by 1e-8 of what is left of it, which a curve
    that is no equation of state leaves large: a noise of 1e-5 in the volumes, as large as its
    change in 10 K. What follows from the slope of the volume is put right with it, by

        C_p - C_V = T V K alpha^2        gamma = V K alpha / C_V.
    """
    from phonopy.qha.eos import get_eos
    from scipy.optimize import least_squares

    curve, volumes = get_eos(eos), np.array(result.volumes)
    t = np.array(result.temperatures)
    fits = []
    for free, start in zip(result.helmholtz_volume, result.eos_parameters, strict=True):
        found = least_squares(
            lambda p, free=free: curve(volumes, p) - free,
            start,
            x_scale=np.abs(start) + 1e-3,
            jac="3-point",
            ftol=1e-15,
            xtol=1e-13,
            gtol=None,
        )
        fits.append(found.x)
    free_energy, modulus, _, volume = np.array(fits).T
    expansion = np.gradient(volume, t, edge_order=2) / volume
    expansion[t == 0.0] = 0.0
    rough_volume = np.array(result.equilibrium_volumes)
    rough = rough_volume * np.array(result.bulk_moduli) * np.array(result.thermal_expansion) ** 2
    at_volume = np.array(result.heat_capacity_P.heat_capacities) - t * rough
    tension = volume * modulus * expansion
    with np.errstate(invalid="ignore", divide="ignore"):
        gruneisen = np.where(at_volume > 0.0, tension / at_volume, 0.0)
    return {
        "volume": volume / n_atoms,
        "free_energy": free_energy / n_atoms,
        "expansion": expansion / 3.0,
        "heat_capacity": (at_volume + t * tension * expansion) / (n_atoms * KB),
        "bulk_modulus": modulus / GPA,
        "gruneisen": gruneisen,
    }


def _require_stable(phonons: Sequence[Phonons], mesh: float | Any) -> None:
    for of in phonons:
        grid = of.phonopy.run_mesh(mesh)
        modes = [lowest_mode(grid.qpoints, grid.frequencies), *of.imaginary[:1]]
        lowest = min(modes, key=lambda mode: mode.frequency)
        if lowest.frequency < -IMAGINARY:
            raise UnstableStateError(
                f"{of.name}: imaginary modes at {of.volume:.4g} Angstrom^3/atom, lowest {lowest}: "
                "harmonic phonons have no free energy there; choose other volumes or a larger "
                "supercell, or allow imaginary modes, which then are left out"
            )
