"""How phonons and averages over magnetic states are calculated. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from mmtp_jax.options import ANY_SEED, NOT_NEGATIVE, POSITIVE, Bounds, option, options, other_names
from mmtp_jax.simulation.moments.options import magnetic, treatment


@options
class States:
    """Disordered magnetic states."""

    states: int = option(
        "Paramagnetic: average over so many disordered magnetic states; 0 for the given one.",
        0, bounds=NOT_NEGATIVE,
    )  # fmt: skip
    magnetic: tuple[str, ...] | None = magnetic()
    seed: int = option("Seed of the states.", 0, bounds=ANY_SEED)


@options
class PhononOptions(States):
    """Supercell, force constants and magnetic states of phonons.

    The supercell is of one, three or 3 x 3 integers, ``dielectric`` a number or (3, 3). Differences
    of forces at displaced atoms have moments equilibrated anew, as in codes without second
    derivatives.
    """

    supercell: int | Sequence[Any] | None = option(
        "One, three or nine integers; the smallest multiples whose faces are two cutoffs apart if "
        "not given.",
        example=(4,), bounds=Bounds(least=-100, most=100),
    )  # fmt: skip
    moments: str = treatment(
        "'equilibrate': moments follow the atoms; 'fixed': they stay those of the ideal crystal."
    )
    method: str = option(
        "By second derivatives, or from forces at displaced atoms, as a check.",
        "autodiff", choices=("autodiff", "displacements"),
        words={"--displacements": "displacements"},
    )  # fmt: skip
    distance: float = option("Of displacements, Angstrom.", 0.01, bounds=POSITIVE)
    born: Mapping[str, Any] | None = option(
        "Born charge of each species, e; with the dielectric constant the splitting of "
        "longitudinal and transverse modes of a polar crystal.",
        example=("Cr=4.4", "N=-4.4"), metavar="SYMBOL=Z",
    )  # fmt: skip
    dielectric: Any = option("Electronic dielectric constant.", example=22.0)
    nac_method: str = option("Of the polar term.", "gonze", choices=("gonze", "wang"))

    def __post_init__(self) -> None:
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
        return _split(cls, given)


@options
class ExchangeOptions:
    """Which moments precess."""

    min_moment: float = option(
        "Atoms with smaller moments, mu_B, have no precession of their own: they follow the others "
        "at the least energy.",
        0.1, bounds=POSITIVE,
    )  # fmt: skip
    moments: str = treatment(
        "'equilibrate': lengths of moments minimise the energy; 'fixed': they stay those given."
    )

    @classmethod
    def split(cls, given: Mapping[str, Any]) -> tuple[ExchangeOptions, dict[str, Any]]:
        """Those among ``given``, and what is left of it: options of a relaxation."""
        return _split(cls, given)


def _split(cls: type, given: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    own = {field.name for field in fields(cls)} | set(other_names(cls))
    return (
        cls(**{name: value for name, value in given.items() if name in own}),
        {name: value for name, value in given.items() if name not in own},
    )


def no_options(given: Mapping[str, Any]) -> None:
    """Raise TypeError if there are options of a relaxation that does not take place."""
    if given:
        raise TypeError(f"options of the relaxation without one: {sorted(given)}")
