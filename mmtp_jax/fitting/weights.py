"""Weights of the loss (Kotykhov 2024, Eq. 8) and their scaling with a configuration's size."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

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


@dataclass(frozen=True)
class Weights:
    """w_e, w_f (Angstrom^2), w_s, w_t (mu_B^2) of Kotykhov 2024 Eq. 8, with their defaults there.

    The stress enters as sigma V in eV, as in MLIP, for which the default w_s was chosen.
    ``scaling`` is one of `SCALINGS`.
    """

    energy: float = 1.0
    forces: float = 0.01
    stress: float = 0.001
    magnetic_forces: float = 0.1
    scaling: str = "vibrations"

    def __post_init__(self) -> None:
        for name in ("energy", "forces", "stress", "magnetic_forces"):
            value = getattr(self, name)
            if not 0.0 <= value < float("inf"):
                raise ValueError(f"weight {name} must be a number >= 0, got {value}")
        if self.scaling not in SCALINGS:
            raise ValueError(
                f"weight scaling must be one of {', '.join(SCALINGS)}, got {self.scaling!r}"
            )
        if not any((self.energy, self.forces, self.stress, self.magnetic_forces)):
            raise ValueError("all four weights are zero; give at least one a positive value")

    def as_dict(self) -> dict[str, Any]:
        """For reports and checkpoints."""
        return asdict(self)
