"""Settings of ``mmtp relax``: the sections of its TOML file and the options of its command line.

This module imports no JAX, so that ``mmtp --help`` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mmtp_jax.cli.settings import Values
from mmtp_jax.cli.shared_settings import (
    LabelledInput,
    Preselection,
    StartMoments,
    check_preselection,
    file,
    moments_of_words,
    output,
)
from mmtp_jax.options import like, options
from mmtp_jax.simulation.relaxation.options import Relaxing, RelaxOptions


@options
class RelaxInput(LabelledInput):
    """Potential and start."""

    reference: str | None = file(
        "Relaxed configurations to compare with, in the order of those of the start.",
        "references.cfg",
    )


@options
class Moments(StartMoments):
    """Magnetic moments."""

    moments: str = like(RelaxOptions, "moments")
    directions: str = like(RelaxOptions, "directions")


@options
class Relaxation(Relaxing):
    """What relaxes, and how far."""

    cell: tuple[str, ...] = like(Relaxing, "cell", default=("full",))


@options
class Output:
    """What is written."""

    output: str | None = output("Relaxed configurations, .cfg or .extxyz.", "relaxed.cfg")
    trajectory: str | None = file(
        "All steps; of several configurations steps.0.extxyz, steps.1.extxyz and so on.",
        "steps.extxyz",
    )
    json: str | None = file("The numbers of the table, and each result.", "relax.json")
    plot: str | None = file(
        "Figure of enthalpy, forces, stress and magnetic forces over the steps.", "relax.png"
    )


@dataclass(frozen=True)
class RelaxSettings:
    """All settings of ``mmtp relax``."""

    input: RelaxInput = field(default_factory=RelaxInput)
    relaxation: Relaxation = field(default_factory=Relaxation)
    moments: Moments = field(default_factory=Moments)
    preselection: Preselection = field(default_factory=Preselection)
    output: Output = field(default_factory=Output)


def check(settings: RelaxSettings, given: Values) -> None:
    """Refuse settings that contradict each other or cannot be.

    Raises:
        ValueError: in words, with the keys.
    """
    from mmtp_jax.simulation.relaxation.cell import basis_of

    check_preselection(settings, given)
    moments_of_words(settings.moments.start)
    basis_of(" ".join(settings.relaxation.cell))
