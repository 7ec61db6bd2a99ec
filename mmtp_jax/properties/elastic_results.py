"""Elastic constants of a magnetic state, and what follows from them (Kotykhov 2025, Table II).

C_ab = (1/V) d2E/de_a de_b with moments and positions that follow the strain; exact second
derivatives, see `response`. They are elastic constants where the stress is zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mmtp_jax.properties.response import Response
from mmtp_jax.readable import readable
from mmtp_jax.simulation.constants import GPA

AXES = ("xx", "yy", "zz", "yz", "xz", "xy")

MAX_STRESS_GPA = 0.1
"""Largest component of a stress that is neglected: it changes constants by as much."""


@readable
@dataclass(frozen=True, eq=False)
class ElasticConstants:
    """Elastic constants (6, 6) in GPa, rows and columns in the order xx yy zz yz xz xy."""

    constants: np.ndarray
    """Moments and positions follow the strain: what an experiment measures."""
    clamped_moments: np.ndarray = field(repr=False)
    """Positions follow, moments do not. Of averages over disordered states as well."""
    clamped_ions: np.ndarray = field(repr=False)
    """Moments follow, atoms stay at their places in the cell."""
    stress: np.ndarray
    """(6,) GPa that is left."""
    volume: float
    """Angstrom^3 per atom."""
    n_atoms: int
    magmoms: np.ndarray = field(repr=False)
    """(n,) mu_B; of averages over states, (k, n)."""
    note: str = ""
    """Which moments are held, in words."""
    error: np.ndarray | None = None
    """(6, 6) standard errors of ``constants`` of an average over states, GPa."""
    n_states: int = 1
    n_failed: int = 0
    """States that do not count because their moments are at no minimum."""

    @property
    def is_stable(self) -> bool:
        """Born's criterion: every small strain costs energy."""
        return self.lowest > 0.0

    @property
    def lowest(self) -> float:
        """Lowest eigenvalue of the constants, GPa."""
        return float(np.linalg.eigvalsh(self.constants)[0])

    @property
    def cubic(self) -> tuple[float, float, float]:
        """C11, C12 and C44, averaged over the axes, GPa."""
        c = self.constants
        return (
            float(np.mean(np.diag(c)[:3])),
            float(np.mean(c[[0, 0, 1], [1, 2, 2]])),
            float(np.mean(np.diag(c)[3:])),
        )

    @property
    def averages(self) -> Averages:
        """Of a polycrystal."""
        return Averages.of(self.constants)

    def __str__(self) -> str:
        """A table with averages and stability."""
        lines = ["elastic constants (GPa), moments and positions follow the strain"]
        lines += ["      " + "".join(f"{axis:>9}" for axis in AXES)]
        for axis, row in zip(AXES, self.constants, strict=True):
            lines.append(
                f"  {axis:>4}" + "".join(f"{value:9.2f}" for value in np.round(row, 2) + 0.0)
            )
        stable = "stable" if self.is_stable else "UNSTABLE"
        lines.append(f"Born: {stable} (lowest eigenvalue {self.lowest:.1f} GPa)")
        lines.append(str(self.averages))
        if self.note:
            lines.append(f"note: {self.note}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Averages:
    """Moduli of a polycrystal in GPa: Voigt's and Reuss' bounds, and Hill's mean of them."""

    bulk_voigt: float
    bulk_reuss: float
    shear_voigt: float
    shear_reuss: float

    @classmethod
    def of(cls, constants: np.ndarray) -> Averages:
        """Of elastic constants (6, 6); Reuss' moduli are NaN where there is no compliance."""
        c = np.asarray(constants)
        try:
            s = np.linalg.inv(c)
        except np.linalg.LinAlgError:
            s = np.full((6, 6), np.nan)
        (c_l, c_m, c_s), (s_l, s_m, s_s) = (_sums(t) for t in (c, s))
        return cls(
            bulk_voigt=float((c_l + 2 * c_m) / 9),
            bulk_reuss=float(1 / (s_l + 2 * s_m)),
            shear_voigt=float((c_l - c_m + 3 * c_s) / 15),
            shear_reuss=float(15 / (4 * (s_l - s_m) + 3 * s_s)),
        )

    @property
    def bulk(self) -> float:
        """Hill's bulk modulus."""
        return (self.bulk_voigt + self.bulk_reuss) / 2

    @property
    def shear(self) -> float:
        """Hill's shear modulus."""
        return (self.shear_voigt + self.shear_reuss) / 2

    @property
    def young(self) -> float:
        """Young's modulus from Hill's moduli."""
        return 9 * self.bulk * self.shear / (3 * self.bulk + self.shear)

    @property
    def poisson(self) -> float:
        """Poisson's ratio from Hill's moduli."""
        return (3 * self.bulk - 2 * self.shear) / (2 * (3 * self.bulk + self.shear))

    @property
    def anisotropy(self) -> float:
        """Universal anisotropy 5 G_V / G_R + K_V / K_R - 6; 0 where isotropic."""
        return 5 * self.shear_voigt / self.shear_reuss + self.bulk_voigt / self.bulk_reuss - 6

    def __str__(self) -> str:
        """One line each for bulk, shear and the rest."""
        return (
            f"bulk modulus {self.bulk:.1f} GPa (Voigt {self.bulk_voigt:.1f}, Reuss "
            f"{self.bulk_reuss:.1f})\n"
            f"shear modulus {self.shear:.1f} GPa (Voigt {self.shear_voigt:.1f}, Reuss "
            f"{self.shear_reuss:.1f})\n"
            f"Young's modulus {self.young:.1f} GPa, Poisson's ratio {self.poisson:.3f}, universal "
            f"anisotropy {self.anisotropy:.3f}"
        )


def constants_of(response: Response, max_stress_GPa: float = MAX_STRESS_GPA) -> ElasticConstants:
    """Elastic constants of a relaxed configuration.

    Args:
        response: second derivatives.
        max_stress_GPa: largest component of the stress that is neglected.

    Raises:
        UnstableStateError: if moments or positions are at no minimum.
        ValueError: if the moments are not equilibrated, the stress is too large, or the cell is
            not periodic in three directions.
    """
    whole = response.elastic_constants() / GPA
    stress = np.asarray(response.stress) / GPA
    require_no_stress(response.structure.name, stress, max_stress_GPa)
    return ElasticConstants(
        constants=whole,
        clamped_moments=response.elastic_constants(moments=False) / GPA,
        clamped_ions=response.elastic_constants(positions=False) / GPA,
        stress=stress,
        volume=response.structure.volume / response.n_atoms,
        n_atoms=response.n_atoms,
        magmoms=response.structure.magmoms,
        note=response.message,
    )


def require_no_stress(name: str, stress: np.ndarray, most: float) -> None:
    """Raise ValueError if a component of the stress (6,) in GPa is above ``most``."""
    largest = float(np.abs(stress).max())
    if largest > most:
        raise ValueError(
            f"{name}: the stress is {largest:.3g} GPa, more than {most:g}; second derivatives of "
            "the energy are elastic constants at zero stress only, so relax the cell first, or "
            "give a larger max_stress_GPa and take the constants as uncertain by the stress"
        )


def _sums(tensor: np.ndarray) -> tuple[float, float, float]:
    """Sums over the diagonal of lengths, the mixed lengths, and the diagonal of shears."""
    diagonal = np.diag(tensor)
    mixed = tensor[0, 1] + tensor[0, 2] + tensor[1, 2]
    return float(diagonal[:3].sum()), float(mixed), float(diagonal[3:].sum())
