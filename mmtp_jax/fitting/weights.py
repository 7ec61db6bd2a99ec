"""Weights of the loss (Kotykhov 2024, Eq. 8) and their scaling with a configuration's size."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from mmtp_jax.options import NOT_NEGATIVE, option, options

SCALINGS: dict[str, tuple[int, int]] = {
    # (power of n for energy and stress, power of n for forces and magnetic forces)
    "vibrations": (1, 0),
    "molecules": (0, 0),
    "structures": (2, 1),
}
"""MLIP's conventions: squared errors are divided by n to these powers.

``vibrations``, MLIP's default, suits configurations from dynamics; ``molecules`` adds plain
squares, as Eq. 8 is printed; ``structures`` makes configurations count alike whatever their size.
"""


@options
class Weights:
    """Weights of the loss (Kotykhov 2024, Eq. 8).

    The stress enters as sigma V in eV, as in MLIP, for which the default was chosen.
    """

    energy: float = option("Weight of energies.", 1.0, flag="--energy-weight", bounds=NOT_NEGATIVE)
    forces: float = option(
        "Weight of forces, Angstrom^2.", 0.01, flag="--forces-weight", bounds=NOT_NEGATIVE
    )
    stress: float = option(
        "Weight of stresses times volume.", 0.001, flag="--stress-weight", bounds=NOT_NEGATIVE
    )
    magnetic_forces: float = option(
        "Weight of magnetic forces, mu_B^2.",
        0.1,
        flag="--magnetic-forces-weight",
        bounds=NOT_NEGATIVE,
    )
    magnetic_forces_along: float | None = option(
        "Weight of the part of magnetic forces along the moment, where moments are vectors, "
        "mu_B^2; that of magnetic forces if not given.",
        flag="--magnetic-forces-along-weight", example=0.1, bounds=NOT_NEGATIVE,
    )  # fmt: skip
    magnetic_forces_across: float | None = option(
        "Weight of the part across the moment, mu_B^2; that of magnetic forces if not given.",
        flag="--magnetic-forces-across-weight", example=0.1, bounds=NOT_NEGATIVE,
    )  # fmt: skip
    scaling: str = option(
        "How errors scale with the number n of atoms: 'vibrations' divides squared errors of "
        "energy and stress by n, 'molecules' nothing, 'structures' those by n^2 and those of "
        "forces by n.",
        "vibrations", choices=tuple(SCALINGS),
    )  # fmt: skip

    def __post_init__(self) -> None:
        if not any((self.energy, self.forces, self.stress, self.magnetic_forces, *self.parts)):
            raise ValueError("all weights are zero; give at least one a positive value")

    @property
    def parts(self) -> tuple[float, float]:
        """Of magnetic forces along and across moments that are vectors."""
        of_both, given = self.magnetic_forces, (
            self.magnetic_forces_along, self.magnetic_forces_across
        )  # fmt: skip
        return tuple(of_both if weight is None else weight for weight in given)

    def has(self, kind: str, vectors: bool) -> bool:
        """Whether labels of a kind have a weight, beside moments that are vectors or not."""
        of_parts = vectors and kind == "magnetic_forces"
        return any(self.parts) if of_parts else getattr(self, kind) > 0.0

    def as_dict(self) -> dict[str, Any]:
        """For reports and checkpoints, without what is not given."""
        return {name: value for name, value in asdict(self).items() if value is not None}
