"""Settings of ``mmtp montecarlo``: the sections of its TOML file and its options.

This module imports no JAX, so that ``mmtp --help`` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mmtp_jax.cli.settings import Values
from mmtp_jax.cli.shared_settings import (
    Input,
    Preselection,
    check_preselection,
    check_single_start,
    file,
    output,
)
from mmtp_jax.options import MULTIPLES, NOT_NEGATIVE, POSITIVE, Bounds, like, option, options
from mmtp_jax.simulation.spins import options as library


@options
class Walk(library.Walk):
    """The walk over the signs, or directions and lengths, of moments."""

    temperatures_K: tuple[float, ...] = option(
        "Temperatures, K.",
        (), example=(900, 1000, 1100), required=True, needed=True, metavar="T",
        bounds=POSITIVE, aliases=("temperatures", "temperature", "temperature_K"),
    )  # fmt: skip
    sizes: tuple[int, ...] = option(
        "Multiples of the cell along its periodic directions; with two or more the crossing of "
        "the Binder cumulants estimates the temperature of order.",
        (1,), bounds=MULTIPLES,
    )  # fmt: skip
    burn_in: int | None = like(
        library.Walk, "burn_in", default=None, example=100,
        help="Sweeps before; a tenth of them if not given, and what the checkpoint was begun with "
        "where a walk is resumed.",
    )  # fmt: skip
    copies: int = option("Replicas per temperature.", 1, bounds=Bounds(least=1, most=10_000))


@options
class Output:
    """What is written."""

    output: str | None = output("The table as .csv.", "order.csv")
    json: str | None = file("Table and crossing.", "order.json")
    plot: str | None = file("Figure of order, susceptibility and Binder cumulant.", "order.png")
    checkpoint: str | None = file("File that the walk can be resumed from, bit for bit.", "mc.npz")
    checkpoint_seconds: float = option(
        "Seconds between two checkpoints.", 60.0, bounds=NOT_NEGATIVE
    )


@dataclass(frozen=True)
class MonteCarloSettings:
    """All settings of ``mmtp montecarlo``."""

    input: Input = field(default_factory=Input)
    walk: Walk = field(default_factory=Walk)
    preselection: Preselection = field(default_factory=Preselection)
    output: Output = field(default_factory=Output)


def check(settings: MonteCarloSettings, given: Values) -> None:
    """Refuse settings that contradict each other or cannot be.

    Args:
        settings: the settings.
        given: the values that were given, by section and key.

    Raises:
        ValueError: in words, with the keys.
    """
    check_single_start(settings.input)
    check_preselection(settings, given)
    from mmtp_jax.simulation.spins.binder import least_sweeps

    walk = settings.walk
    least = least_sweeps(walk.copies)
    if walk.sweeps < least:
        raise ValueError(
            f"{walk.sweeps} sweeps are too few for an average with an error; take at least "
            f"{least}, and several times the autocorrelation time"
        )
