"""A potential on the device, without its constant energies, which are added in float64."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import jax
import numpy as np

from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import Precision, double_precision, require_precision


def without_constants(
    potential: Potential, precision: Precision, device: Any = None
) -> tuple[Potential, np.ndarray]:
    """The potential with e0 = 0, on the device and in a precision; and its e0 (S,) on the host."""
    constants = np.asarray(potential.species_coeffs, float)
    # A tag is part of the static description: potentials of one form shall share their programs.
    without = potential.replace(species_coeffs=np.zeros_like(constants), tag="")
    return jax.device_put(without.astype(*precision), device), constants


class OnDevice:
    """For those who evaluate one structure after the other.

    Raises:
        ValueError: for an unknown ``dtype``.
    """

    def __init__(self, potential: Potential, dtype: Any = np.float64) -> None:
        self.potential = potential
        self.cutoff = float(potential.cutoff)
        self._constants = np.asarray(potential.species_coeffs, float)
        # The widest graph so far sets the shape of the next ones.
        self._width = 0
        with double_precision():
            self.precision = require_precision(dtype)

    @cached_property
    def _on_device(self) -> Potential:
        with double_precision():
            return without_constants(self.potential, self.precision)[0]

    def __getstate__(self) -> dict[str, Any]:
        """Without what is on the device: it is put there anew where a copy is used."""
        return {name: value for name, value in vars(self).items() if name != "_on_device"}
