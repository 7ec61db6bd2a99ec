"""Settings of ``mmtp equilibrate``: the sections of its TOML file and its options.

The tolerance is that of Kotykhov 2024; the other defaults are those of `MomentOptions`, and a test
compares them. This module imports no JAX, so that ``mmtp --help`` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mmtp_jax.cli.bounds import POSITIVE, STEPS
from mmtp_jax.cli.settings import Values, setting
from mmtp_jax.cli.shared_settings import (
    LabelledInput,
    Preselection,
    StartMoments,
    check_preselection,
    moments_of_words,
)


@dataclass(frozen=True)
class Moments(StartMoments):
    """Magnetic moments."""

    tolerance: float = setting("Largest magnetic force at the end, eV/mu_B.", 5e-6, bounds=POSITIVE)
    max_steps: int = setting("Most evaluations of each configuration.", 200, bounds=STEPS)


@dataclass(frozen=True)
class Output:
    """What is written."""

    output: str | None = setting(
        "Configurations at their new moments, .cfg or .extxyz.",
        example="equilibrated.cfg", short="-o", metavar="FILE",
    )  # fmt: skip
    json: str | None = setting(
        "The numbers of the table, and each result.", example="reliability.json", metavar="FILE"
    )


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
