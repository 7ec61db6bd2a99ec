"""Settings of ``mmtp mc``: the sections of its TOML file and the options of its command line.

The defaults are those of `mmtp_jax.simulation.spins.options.SpinOptions`; a test compares them.
This module imports no JAX, so that ``mmtp --help`` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mmtp_jax.cli.bounds import ANY_SEED, MULTIPLES, NOT_NEGATIVE, POSITIVE, STEPS, Bounds
from mmtp_jax.cli.settings import Values, setting
from mmtp_jax.cli.shared_settings import (
    Input,
    Preselection,
    check_preselection,
    check_single_start,
    magnetic,
    treatment,
)


@dataclass(frozen=True)
class Walk:
    """The walk over the signs of moments."""

    temperatures_K: tuple[float, ...] = setting(
        "Temperatures, K.",
        (), example=(900.0, 1000.0, 1100.0), required=True, flag="--temperatures", metavar="T",
        bounds=POSITIVE,
    )  # fmt: skip
    sizes: tuple[int, ...] = setting(
        "Multiples of the cell along its periodic directions; with two or more the crossing of "
        "the Binder cumulants estimates the temperature of order.",
        (1,), bounds=MULTIPLES,
    )  # fmt: skip
    sweeps: int = setting(
        "Recorded sweeps, each of as many trials as magnetic atoms.", 1000, bounds=STEPS
    )
    burn_in: int | None = setting(
        "Sweeps before; a tenth of them if not given.",
        example=100,
        bounds=Bounds(least=0, most=10**9),
    )
    copies: int = setting("Replicas per temperature.", 1, bounds=Bounds(least=1, most=10_000))
    move: str = setting(
        "'flip' single moments, or 'swap' opposite ones: their numbers stay.",
        "flip", choices=("flip", "swap"), words={"--swap": "swap"},
    )  # fmt: skip
    moments: str = treatment("--fixed")
    warm: bool = setting(
        "Equilibrate from the present magnitudes: quicker, and exact only where there is one "
        "minimum.",
        False, off="--cold",
    )  # fmt: skip
    tolerance: float = setting(
        "Largest magnetic force of equilibrated moments, eV/mu_B.", 1e-3, bounds=POSITIVE
    )
    magnetic: tuple[str, ...] | None = magnetic()
    seed: int = setting("Seed of the walk; replicas have the next ones.", 0, bounds=ANY_SEED)


@dataclass(frozen=True)
class Output:
    """What is written."""

    output: str | None = setting(
        "The table as .csv.", example="order.csv", short="-o", metavar="FILE"
    )
    json: str | None = setting("Table and crossing.", example="order.json", metavar="FILE")
    plot: str | None = setting(
        "Figure of order, susceptibility and Binder cumulant.", example="order.png", metavar="FILE"
    )
    checkpoint: str | None = setting(
        "File that the walk can be resumed from, bit for bit.", example="mc.npz", metavar="FILE"
    )
    checkpoint_seconds: float = setting(
        "Seconds between two checkpoints.", 60.0, bounds=NOT_NEGATIVE
    )


@dataclass(frozen=True)
class MonteCarloSettings:
    """All settings of ``mmtp mc``."""

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
