"""How phonons are calculated. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from mmtp_jax.warn import warn

CHOICES = {
    "moments": ("equilibrate", "fixed"),
    "method": ("autodiff", "displacements"),
    "nac_method": ("gonze", "wang"),
}

_FORMER = {"follow": "equilibrate", "clamped": "fixed"}


@dataclass(frozen=True, eq=False)
class PhononOptions:
    """Supercell, force constants and magnetic states of phonons."""

    supercell: int | Sequence[Any] | None = None
    """One, three or 3 x 3 integers; by default the smallest multiples whose faces are two cutoffs
    apart."""
    moments: str = "equilibrate"
    """They follow the atoms, or are ``"fixed"`` at those of the ideal crystal."""
    method: str = "autodiff"
    """Or ``"displacements"``: differences of forces at displaced atoms, with moments equilibrated
    anew, as codes without second derivatives do."""
    distance: float = 0.01
    """Of displacements, Angstrom."""
    born: Mapping[str, Any] | None = None
    """Born charge of each species, e; with ``dielectric`` the splitting of longitudinal and
    transverse modes, e.g. ``born={"Cr": 4.4, "N": -4.4}, dielectric=22``."""
    dielectric: Any = None
    """Electronic dielectric constant, a number or (3, 3)."""
    nac_method: str = "gonze"
    """Or ``"wang"``."""
    states: int = 0
    """Disordered magnetic states that force constants are averaged over; 0 for the given one."""
    magnetic: Sequence[str] | None = None
    """Species with disordered signs; None for all atoms with a moment."""
    seed: int = 0
    """Of the states."""

    def __post_init__(self) -> None:
        if self.moments in _FORMER:
            now = _FORMER[self.moments]
            warn(
                f"moments={self.moments!r} is now moments={now!r}; the old name goes with the "
                "next release",
                DeprecationWarning,
            )
            object.__setattr__(self, "moments", now)
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}"
                )
        if (self.born is None) != (self.dielectric is None):
            raise ValueError("give both Born charges and the dielectric constant, or neither")
        if self.states and self.method != "autodiff":
            raise ValueError("force constants of disordered states are by autodiff only")

    @property
    def follow(self) -> bool:
        """Whether moments follow the atoms."""
        return self.moments == "equilibrate"

    @classmethod
    def split(cls, given: Mapping[str, Any]) -> tuple[PhononOptions, dict[str, Any]]:
        """Those among ``given``, and what is left of it: options of a relaxation."""
        own = {field.name for field in fields(cls)}
        return (
            cls(**{name: value for name, value in given.items() if name in own}),
            {name: value for name, value in given.items() if name not in own},
        )


def no_options(given: Mapping[str, Any]) -> None:
    """Raise TypeError if there are options of a relaxation that does not take place."""
    if given:
        raise TypeError(f"options of the relaxation without one: {sorted(given)}")
