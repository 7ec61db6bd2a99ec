"""Settings of ``mmtp equilibrate``: the sections of its TOML file and its options.

The tolerance is that of Kotykhov 2024. This module imports no JAX, so that ``mmtp --help`` is
quick.
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
from mmtp_jax.simulation.moments.options import MomentOptions


@options
class Moments(StartMoments, MomentOptions):
    """Magnetic moments."""

    tolerance: float = like(MomentOptions, "tolerance", default=5e-6)


@options
class Output:
    """What is written."""

    output: str | None = output(
        "Configurations at their new moments, .cfg or .extxyz.", "equilibrated.cfg"
    )
    json: str | None = file("The numbers of the table, and each result.", "reliability.json")


@dataclass(frozen=True)
class EquilibrateSettings:
    """All settings of ``mmtp equilibrate``."""

    input: LabelledInput = field(default_factory=LabelledInput)
    moments: Moments = field(default_factory=Moments)
    preselection: Preselection = field(default_factory=Preselection)
    output: Output = field(default_factory=Output)


def check(settings: EquilibrateSettings, given: Values) -> None:
    """Refuse settings that contradict each other or cannot be.

    Raises:
        ValueError: in words, with the keys.
    """
    check_preselection(settings, given)
    moments_of_words(settings.moments.start)
