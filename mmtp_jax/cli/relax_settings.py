"""Settings of ``mmtp relax``: the sections of its TOML file and the options of its command line.

The defaults are those of `mmtp_jax.simulation.relaxation.options.RelaxOptions`; a test compares
them. This module imports no JAX, so that ``mmtp --help`` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mmtp_jax.cli.bounds import POSITIVE, PRESSURE_GPA, STEPS
from mmtp_jax.cli.settings import Values, setting
from mmtp_jax.cli.shared_settings import (
    LabelledInput,
    Preselection,
    StartMoments,
    check_preselection,
    moments_of_words,
    treatment,
)


@dataclass(frozen=True)
class RelaxInput(LabelledInput):
    """Potential and start."""

    reference: str | None = setting(
        "Relaxed configurations to compare with, in the order of those of the start.",
        example="references.cfg", metavar="FILE",
    )  # fmt: skip


@dataclass(frozen=True)
class Moments(StartMoments):
    """Magnetic moments."""

    moments: str = treatment("--fixed-moments")


@dataclass(frozen=True)
class Relaxation:
    """What relaxes, and how far."""

    cell: tuple[str, ...] = setting(
        "What the cell may do: 'full', 'volume', 'shape', 'c/a', 'tetragonal', 'none', or "
        "components of the strain among xx yy zz yz xz xy.",
        ("full",), metavar="WHAT",
    )  # fmt: skip
    pressure_GPa: float = setting(
        "Pressure, GPa; positive compresses.",
        0.0,
        flag="--pressure",
        metavar="GPA",
        bounds=PRESSURE_GPA,
    )
    positions: bool = setting(
        "The atoms move in the cell; else they only follow it.",
        True, off="--fixed-positions", off_help="Atoms only follow the cell.",
    )  # fmt: skip
    force_tolerance: float = setting(
        "Largest force at the end, eV/Angstrom.", 1e-3, bounds=POSITIVE
    )
    stress_tolerance_GPa: float = setting(
        "Largest component of stress plus pressure at the end, GPa.",
        1e-2, flag="--stress-tolerance", bounds=POSITIVE,
    )  # fmt: skip
    magnetic_tolerance: float = setting(
        "Largest magnetic force at the end, eV/mu_B.", 1e-3, bounds=POSITIVE
    )
    max_steps: int = setting("Most steps of each configuration.", 300, bounds=STEPS)
    max_volume_change: float = setting(
        "Stop when the volume has grown by this share, or shrunk likewise.",
        0.5,
        bounds=POSITIVE,
    )
    bounded: bool = setting(
        "Stop at distances and moments that the potential does not cover.",
        True, off="--unbounded",
        off_help="Go on at distances and moments that the potential does not cover.",
    )  # fmt: skip


@dataclass(frozen=True)
class Output:
    """What is written."""

    output: str | None = setting(
        "Relaxed configurations, .cfg or .extxyz.",
        example="relaxed.cfg", short="-o", metavar="FILE",
    )  # fmt: skip
    trajectory: str | None = setting(
        "All steps; of several configurations steps.0.extxyz, steps.1.extxyz and so on.",
        example="steps.extxyz", metavar="FILE",
    )  # fmt: skip
    json: str | None = setting(
        "The numbers of the table, and each result.", example="relax.json", metavar="FILE"
    )
    plot: str | None = setting(
        "Figure of enthalpy, forces, stress and magnetic forces over the steps.",
        example="relax.png", metavar="FILE",
    )  # fmt: skip


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
