"""Settings of ``mmtp md``: the sections of its TOML file and the options of its command line.

This module imports no JAX, so that ``mmtp --help`` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mmtp_jax.cli.settings import Values
from mmtp_jax.cli.shared_settings import (
    Input,
    Preselection,
    check_preselection,
    file,
    output,
)
from mmtp_jax.options import STEPS, Bounds, like, option, options
from mmtp_jax.simulation.dynamics.options import Bath, DynamicsOptions, Moments, Spins, Stopping


def precision() -> str:
    """A field: of the evaluation."""
    return option(
        "Precision of the evaluation.", "float64", choices=("float64", "mixed", "float32")
    )


@options
class MDInput(Input):
    """Potential and start."""

    start: tuple[str, ...] = like(
        Input, "start",
        help="Configurations to start from, with moments; several of the same atoms run together "
        "as replicas. Velocities in the file are used.",
    )  # fmt: skip


@options
class Dynamics(Bath):
    """Ensemble and time step."""

    steps: int = option(
        "Number of steps, those before a checkpoint included.",
        1000, bounds=Bounds(least=0, most=10**9), aliases=("n_steps",),
    )  # fmt: skip


@options
class Run(Stopping):
    """When to stop, and how to compute."""

    dtype: str = precision()


@options
class Output:
    """What is written."""

    trajectory: str | None = output(
        "Frames with velocities, moments and labels, .extxyz; of several replicas run.0.extxyz, "
        "run.1.extxyz and so on.",
        "run.extxyz",
    )
    trajectory_every: int = option("Steps between two frames.", 10, bounds=STEPS)
    log: str | None = file("Energy, temperature, pressure, moments and more as CSV.", "thermo.csv")
    log_every: int = like(DynamicsOptions, "log_every", help="Steps between two lines of it.")
    plot: str | None = file(
        "Figure of temperature, energy, pressure, volume and moments over time.", "thermo.png"
    )
    json: str | None = file("Averages, their errors, and how the run ended as JSON.", "md.json")
    checkpoint: str | None = file("File that the run can be resumed from, bit for bit.", "md.npz")
    checkpoint_every: int = option("Steps between two checkpoints.", 1000, bounds=STEPS)


@dataclass(frozen=True)
class MDSettings:
    """All settings of ``mmtp md``."""

    input: MDInput = field(default_factory=MDInput)
    dynamics: Dynamics = field(default_factory=Dynamics)
    moments: Moments = field(default_factory=Moments)
    spins: Spins = field(default_factory=Spins)
    run: Run = field(default_factory=Run)
    preselection: Preselection = field(default_factory=Preselection)
    output: Output = field(default_factory=Output)


def check(settings: MDSettings, given: Values) -> None:
    """Refuse settings that contradict each other or cannot be.

    Args:
        settings: the settings.
        given: the values that were given, by section and key.

    Raises:
        ValueError: in words, with the keys.
    """
    dynamics = settings.dynamics
    check_preselection(settings, given)
    if settings.spins.spins not in ("none", "dynamics") and dynamics.ensemble == "nve":
        raise ValueError(
            f"spins {settings.spins.spins} need a heat bath; set the ensemble to nvt or npt"
        )
    cold = min(dynamics.temperature_K) == 0.0
    if cold and dynamics.ensemble != "nve" and dynamics.thermostat == "nose-hoover":
        raise ValueError("the thermostat nose-hoover needs a temperature above 0 K; take langevin")
    of = given.get("dynamics", {})
    if "pressure_GPa" in of and dynamics.ensemble != "npt":
        raise ValueError("a pressure is for the ensemble npt; set it, or remove the pressure")
    own = {key: value for key, value in vars(dynamics).items() if key != "steps"}
    DynamicsOptions(**own, **vars(settings.moments), **vars(settings.spins))
