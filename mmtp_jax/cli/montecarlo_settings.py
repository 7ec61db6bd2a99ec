"""Settings of ``mmtp mc``: the sections of its TOML file and the options of its command line.

The defaults are those of `mmtp_jax.simulation.spins.options.SpinOptions`; a test compares them.
This module imports no JAX, so that ``mmtp --help`` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass, field

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
    )  # fmt: skip
    sizes: tuple[int, ...] = setting(
        "Multiples of the cell along its periodic directions; with two or more the crossing of "
        "the Binder cumulants estimates the temperature of order.",
        (1,),
    )  # fmt: skip
    sweeps: int = setting("Recorded sweeps, each of as many trials as magnetic atoms.", 1000)
    burn_in: int | None = setting("Sweeps before; a tenth of them if not given.", example=100)
    copies: int = setting("Replicas per temperature.", 1)
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
    tolerance: float = setting("Largest magnetic force of equilibrated moments, eV/mu_B.", 1e-3)
    magnetic: tuple[str, ...] | None = magnetic()
    seed: int = setting("Seed of the walk; replicas have the next ones.", 0)


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
    checkpoint_seconds: float = setting("Seconds between two checkpoints.", 60.0)


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
    walk = settings.walk
    coldest = min(walk.temperatures_K, default=1.0)
    if coldest <= 0:
        raise ValueError(f"--temperatures must be positive, got {coldest:g} K")
    for name, value in (
        ("--sizes", min(walk.sizes)),
        ("--sweeps", walk.sweeps),
        ("--copies", walk.copies),
        ("--burn-in", 1 if walk.burn_in is None else walk.burn_in + 1),
    ):
        if value < 1:
            raise ValueError(f"{name} must be positive, got {value - (name == '--burn-in')}")
