"""Settings of ``mmtp md``: the sections of its TOML file and the options of its command line.

The defaults are those of `mmtp_jax.simulation.dynamics.options.DynamicsOptions`; a test compares
them. This module imports no JAX, so that ``mmtp --help`` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mmtp_jax.cli.bounds import (
    ANY_SEED,
    MULTIPLES,
    POSITIVE,
    PRESSURE_GPA,
    STEPS,
    TEMPERATURE_K,
    TIMESTEP_FS,
    Bounds,
)
from mmtp_jax.cli.settings import setting
from mmtp_jax.cli.shared_settings import Input, Preselection, check_preselection, magnetic


@dataclass(frozen=True)
class MDInput(Input):
    """Potential and start."""

    start: tuple[str, ...] = setting(
        "Configurations to start from, with moments; several of the same atoms run together as "
        "replicas. Velocities in the file are used.",
        (), example=("start.cfg",), required=True, metavar="FILE",
    )  # fmt: skip
    repeat: tuple[int, ...] | None = setting(
        "Repeat the cell of each so many times along its vectors.",
        example=(2, 2, 2),
        bounds=MULTIPLES,
    )


@dataclass(frozen=True)
class Dynamics:
    """Ensemble and time step."""

    ensemble: str = setting(
        "Energy, temperature or also pressure held.", "nve", choices=("nve", "nvt", "npt")
    )
    steps: int = setting(
        "Number of steps, those before a checkpoint included.",
        1000,
        bounds=Bounds(least=0, most=10**9),
    )
    timestep_fs: float = setting("Time step, fs.", 1.0, flag="--timestep", bounds=TIMESTEP_FS)
    temperature_K: tuple[float, ...] = setting(
        "Temperature of the heat bath and of velocities that are drawn, K; one number, or one per "
        "replica.",
        (300.0,), flag="--temperature", bounds=TEMPERATURE_K,
    )  # fmt: skip
    pressure_GPa: tuple[float, ...] = setting(
        "Pressure of npt, GPa; one number, or one per replica.",
        (0.0,),
        flag="--pressure",
        bounds=PRESSURE_GPA,
    )
    thermostat: str = setting(
        "Heat bath: 'langevin', 'bussi' (stochastic velocity rescaling) or 'nose-hoover' (chain).",
        "langevin", choices=("langevin", "bussi", "nose-hoover"),
    )  # fmt: skip
    thermostat_time_fs: float = setting(
        "Relaxation time of the heat bath, fs.",
        100.0,
        flag="--thermostat-time",
        bounds=POSITIVE,
    )
    barostat: str = setting(
        "Shape of the cell in npt: 'isotropic' keeps it, 'full' lets all lengths and angles vary.",
        "isotropic", choices=("isotropic", "full"),
    )  # fmt: skip
    barostat_time_fs: float = setting(
        "Relaxation time of the volume, fs.",
        1000.0,
        flag="--barostat-time",
        bounds=POSITIVE,
    )
    bulk_modulus_GPa: float = setting(
        "About that of the material, GPa; it sets the speed of the barostat only.",
        100.0, flag="--bulk-modulus", bounds=POSITIVE,
    )  # fmt: skip
    seed: int = setting(
        "Seed of velocities and noise; replicas have the next ones.", 0, bounds=ANY_SEED
    )


@dataclass(frozen=True)
class Moments:
    """Magnetic moments."""

    moments: str = setting(
        "'equilibrate': they follow the atoms, and minimise the energy; 'fixed'.",
        "equilibrate", choices=("equilibrate", "fixed"),
    )  # fmt: skip
    moments_every: int = setting("Steps between two equilibrations.", 1, bounds=STEPS)
    tolerance: float = setting(
        "Largest magnetic force of equilibrated moments, eV/mu_B.", 1e-3, bounds=POSITIVE
    )
    allow_flips: bool = setting(
        "Equilibrated moments may change their sign.", False, off="--no-flips"
    )


@dataclass(frozen=True)
class Spins:
    """Changes of the signs of moments."""

    spins: str = setting(
        "'flip' single moments or 'swap' opposite ones by Metropolis' rule, or draw 'disorder' "
        "without net moment; needs a heat bath.",
        "none", choices=("none", "flip", "swap", "disorder"),
    )  # fmt: skip
    spin_every: int = setting(
        "Steps between two blocks of trials, or two disordered states.", 10, bounds=STEPS
    )
    trials: int = setting(
        "Flips or swaps in each block; 0 for as many as there are magnetic atoms.",
        0,
        bounds=Bounds(least=0, most=10**9),
    )
    magnetic: tuple[str, ...] | None = magnetic()


@dataclass(frozen=True)
class Run:
    """When to stop, and how to compute."""

    bounded: bool = setting(
        "Stop a replica with two atoms closer than the potential covers, or with a moment at the "
        "end of its interval.",
        True, off="--unbounded", off_help="Go on at distances and moments that the potential does "
        "not cover.",
    )  # fmt: skip
    when_stopped: str = setting(
        "'freeze': the other replicas go on where one has stopped; 'all': all stop.",
        "freeze", choices=("freeze", "all"),
    )  # fmt: skip
    skin: float = setting(
        "Skin of the list of neighbours, Angstrom.", 0.5, bounds=Bounds(above=0.0, most=10.0)
    )
    dtype: str = setting(
        "Precision of the evaluation.", "float64", choices=("float64", "mixed", "float32")
    )


@dataclass(frozen=True)
class Output:
    """What is written."""

    trajectory: str | None = setting(
        "Frames with velocities, moments and labels, .extxyz; of several replicas run.0.extxyz, "
        "run.1.extxyz and so on.",
        example="run.extxyz", flag="--output", short="-o", metavar="FILE",
    )  # fmt: skip
    trajectory_every: int = setting("Steps between two frames.", 10, bounds=STEPS)
    log: str | None = setting(
        "Energy, temperature, pressure, moments and more as CSV.",
        example="thermo.csv", metavar="FILE",
    )  # fmt: skip
    log_every: int = setting("Steps between two lines of it.", 1, bounds=STEPS)
    plot: str | None = setting(
        "Figure of temperature, energy, pressure, volume and moments over time.",
        example="thermo.png", metavar="FILE",
    )  # fmt: skip
    checkpoint: str | None = setting(
        "File that the run can be resumed from, bit for bit.", example="md.npz", metavar="FILE"
    )
    checkpoint_every: int = setting("Steps between two checkpoints.", 1000, bounds=STEPS)


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


def check(settings: MDSettings, given: dict[str, dict]) -> None:
    """Refuse settings that contradict each other or cannot be.

    Args:
        settings: the settings.
        given: the values that were given, by section and key.

    Raises:
        ValueError: in words, with the keys.
    """
    dynamics = settings.dynamics
    check_preselection(settings, given)
    repeat = settings.input.repeat
    if repeat is not None and len(repeat) != 3:
        raise ValueError(f"repeat must be three positive numbers, got {list(repeat)}")
    if settings.spins.spins != "none" and dynamics.ensemble == "nve":
        raise ValueError(
            f"spins {settings.spins.spins} need a heat bath; set the ensemble to nvt or npt"
        )
    cold = min(dynamics.temperature_K) == 0.0
    if cold and dynamics.ensemble != "nve" and dynamics.thermostat == "nose-hoover":
        raise ValueError("the thermostat nose-hoover needs a temperature above 0 K; take langevin")
    of = given.get("dynamics", {})
    if "pressure_GPa" in of and dynamics.ensemble != "npt":
        raise ValueError("a pressure is for the ensemble npt; set it, or remove the pressure")
