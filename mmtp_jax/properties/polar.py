"""The non-analytic term of polar crystals, from Born charges and the dielectric tensor.

It splits longitudinal from transverse optical phonons near Gamma (Kotykhov 2025, Sec. III.D).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from phonopy import Phonopy

METHODS = ("gonze", "wang")

COULOMB = 14.399645478
"""e^2 / (4 pi epsilon_0), eV Angstrom."""

NEUTRAL = 0.01
"""Share of the largest charge that may be left over."""


def set_polar(
    phonopy: Phonopy, born: Mapping[str, Any], dielectric: Any, method: str = "gonze"
) -> None:
    """Give phonopy the non-analytic term.

    Args:
        phonopy: with force constants or without.
        born: Born charge of each species in units of e, a number or (3, 3).
        dielectric: electronic dielectric constant, a number or (3, 3).
        method: ``"gonze"``, or ``"wang"``, the mixed-space approach of Kotykhov 2025.

    Raises:
        ValueError: if a charge is missing, or the charges do not cancel.
    """
    if method not in METHODS:
        raise ValueError(f"nac_method must be one of {', '.join(METHODS)}, got {method!r}")
    symbols = list(phonopy.primitive.symbols)
    missing, unknown = sorted(set(symbols) - set(born)), sorted(set(born) - set(symbols))
    if missing or unknown:
        raise ValueError(
            f"Born charges are given for {', '.join(sorted(born))}, but the crystal has "
            f"{', '.join(sorted(set(symbols)))}; give one for each species"
        )
    charges = np.array([_tensor(born[symbol], "a Born charge") for symbol in symbols])
    epsilon = _tensor(dielectric, "dielectric")
    if np.any(np.linalg.eigvalsh(epsilon) <= 0.0):
        raise ValueError(f"dielectric must be positive, got {dielectric}")
    left = charges.sum(axis=0)
    if np.abs(left).max() > NEUTRAL * np.abs(charges).max():
        raise ValueError(
            f"the Born charges of the primitive cell sum to {np.abs(left).max():.3g} e, and must "
            "cancel; give charges of opposite sign"
        )
    phonopy.nac_params = {
        "born": charges,
        "dielectric": epsilon,
        "factor": COULOMB,
        "method": method,
    }


def _tensor(value: Any, name: str) -> np.ndarray:
    found = np.asarray(value, float)
    if found.shape == ():
        return found * np.eye(3)
    if found.shape != (3, 3) or not np.all(np.isfinite(found)):
        raise ValueError(f"{name} must be a number or 3 x 3 numbers, got {value}")
    return found
