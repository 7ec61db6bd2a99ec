"""Settings of ``mmtp sample``: the sections of its TOML file and the options of its command line.

The defaults are those of `mmtp_jax.sample_disorder`; a test compares them. This module imports no
JAX, so that ``mmtp --help`` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mmtp_jax.cli.bounds import ANY_SEED, NOT_NEGATIVE, POSITIVE, Bounds
from mmtp_jax.cli.settings import Values, setting
from mmtp_jax.cli.shared_settings import Input, check_single_start, magnetic, treatment


@dataclass(frozen=True)
class States:
    """The disordered states."""

    n: int = setting("Number of states.", 50, flag="-n", bounds=Bounds(least=2, most=10**6))
    moments: str = treatment("--fixed")
    tolerance: float = setting(
        "Largest magnetic force of equilibrated moments, eV/mu_B.", 1e-3, bounds=POSITIVE
    )
    magnetic: tuple[str, ...] | None = magnetic()
    seed: int = setting("Seed of the states.", 0, bounds=ANY_SEED)


@dataclass(frozen=True)
class Output:
    """What is written."""

    json: str | None = setting(
        "Averages and standard errors.", example="average.json", metavar="FILE"
    )
    plot: str | None = setting(
        "Figure of the convergence with the number of states.",
        example="convergence.png", metavar="FILE",
    )  # fmt: skip
    atom: int = setting("Atom whose force is printed and plotted, from 0.", 0, bounds=NOT_NEGATIVE)


@dataclass(frozen=True)
class SampleSettings:
    """All settings of ``mmtp sample``."""

    input: Input = field(default_factory=Input)
    states: States = field(default_factory=States)
    output: Output = field(default_factory=Output)


def check(settings: SampleSettings, given: Values) -> None:
    """Refuse settings that cannot be.

    Args:
        settings: the settings.
        given: the values that were given, by section and key.

    Raises:
        ValueError: in words, with the keys.
    """
    check_single_start(settings.input)
