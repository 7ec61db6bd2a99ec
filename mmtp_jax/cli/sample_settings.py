"""Settings of ``mmtp sample``: the sections of its TOML file and the options of its command line.

This module imports no JAX, so that ``mmtp --help`` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mmtp_jax.cli.settings import Values
from mmtp_jax.cli.shared_settings import Input, check_single_start, file
from mmtp_jax.options import NOT_NEGATIVE, option, options
from mmtp_jax.simulation.spins.options import Disorder


@options
class Output:
    """What is written."""

    json: str | None = file("Averages and standard errors.", "average.json")
    plot: str | None = file(
        "Figure of the convergence with the number of states.", "convergence.png"
    )
    atom: int = option("Atom whose force is printed and plotted, from 0.", 0, bounds=NOT_NEGATIVE)


@dataclass(frozen=True)
class SampleSettings:
    """All settings of ``mmtp sample``."""

    input: Input = field(default_factory=Input)
    states: Disorder = field(default_factory=Disorder)
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
