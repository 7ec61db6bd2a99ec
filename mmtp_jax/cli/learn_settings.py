"""Settings of ``mmtp learn``: the sections of its TOML file.

This module imports no JAX, so that ``mmtp --help`` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mmtp_jax.active import options as library
from mmtp_jax.active.options import Choice, Keeping, Thresholds
from mmtp_jax.cli.fit_settings import Fit, Form, check_form
from mmtp_jax.cli.settings import Values
from mmtp_jax.cli.shared_settings import (
    executor,
    file,
    keys,
    missing_moments,
    moments_at_equilibrium,
    repeat,
    vectors,
)
from mmtp_jax.fitting.options import Domain, making
from mmtp_jax.fitting.weights import Weights
from mmtp_jax.io.label_keys import checked_keys
from mmtp_jax.options import SEED, STEPS, TEMPERATURE_K, Bounds, like, option, options
from mmtp_jax.oracles.options import JobOptions
from mmtp_jax.simulation.dynamics.options import Bath, Moments

KINDS = ("equilibrate", "md")
STATES = ("given", "fm", "afm", "random")


@options
class Data:
    """Labelled configurations that the first fit is made to."""

    files: tuple[str, ...] = option(
        "Files or patterns; .cfg, .extxyz or any format that ASE reads.",
        (), example=("start.cfg",), required=True, metavar="DATA",
    )  # fmt: skip
    making: str = making()
    keys: tuple[str, ...] = keys()
    moments_at_equilibrium: tuple[str, ...] = moments_at_equilibrium()
    vectors: bool = vectors()
    missing_moments: str = missing_moments()


@options
class Oracle(JobOptions):
    """Who labels what is selected."""

    kind: str = option("'potential': an .mtp file as teacher.", "potential", choices=("potential",))
    potential: str | None = option(
        "The teacher.", example="teacher.mtp", required=True, metavar="FILE"
    )
    file: str | None = file(
        "In place of a teacher: settings of a DFT code, as for 'mmtp label'; see 'mmtp template "
        "abinit'.",
        "abinit.toml",
    )
    executor: str | None = executor("in place of workers")


@options
class Preselection(Choice, Keeping, Thresholds):
    """What simulations keep, and when they stop (Kotykhov 2025: 2 or 4, and 10)."""


@options
class Loop(library.Loop):
    """The loop."""

    folder: str = option(
        "Where everything is written. A loop that was cut off goes on there.", "learning",
        metavar="DIR",
    )  # fmt: skip


@options
class Simulation:
    """A simulation that every iteration runs; repeat the section for more of them."""

    name: str | None = option("Of its folder.", example="md", required=True)
    kind: str = option(
        "'equilibrate': moments at fixed geometry; 'md': molecular dynamics.", "md", choices=KINDS
    )
    start: tuple[str, ...] = option(
        "Structures to start from, with moments.", (), example=("cell.cfg",), required=True
    )
    keys: tuple[str, ...] = keys()
    vectors: bool = vectors()
    repeat: tuple[int, int, int] | None = repeat()
    states: tuple[str, ...] = option(
        "Magnetic states at the start: 'given', 'fm', 'afm' (the sign changes from layer to layer "
        "along the third cell vector), 'random' (signs).",
        ("given",),
    )  # fmt: skip
    magmoms: tuple[float, ...] | None = option(
        "Size of the moments, mu_B, one per species; those of the structures if not given.",
        example=(2.2,), bounds=Bounds(least=0.0, most=100.0),
    )  # fmt: skip
    seed: int = option("Of everything random; each iteration draws anew.", 0, bounds=SEED)
    volumes: tuple[float, ...] = option(
        "md: factors of the volume.", (1.0,), bounds=Bounds(above=0.0, most=10.0)
    )
    temperatures_K: tuple[float, ...] = option(
        "md: temperatures, K.", (300.0,), bounds=TEMPERATURE_K,
        aliases=("temperatures", "temperature", "temperature_K"),
    )  # fmt: skip
    strain: float = option(
        "md: largest element of a random strain of the cell.",
        0.0, bounds=Bounds(least=0.0, below=0.5),
    )  # fmt: skip
    steps: int = option("md: number of steps.", 1000, bounds=STEPS, aliases=("n_steps",))
    timestep_fs: float = like(Bath, "timestep_fs", help="md: time step, fs.")
    ensemble: str = like(
        Bath, "ensemble", default="nvt", help="md: energy, temperature or also pressure held."
    )
    moments: str = like(
        Moments, "moments",
        help="md: 'equilibrate': they follow the atoms, and minimise the energy; 'fixed'.",
    )  # fmt: skip
    tolerance: float = like(Moments, "tolerance")
    allow_flips: bool = like(Moments, "allow_flips")
    directions: str = like(Moments, "directions")


@dataclass(frozen=True)
class LearnSettings:
    """All settings of ``mmtp learn``."""

    data: Data = field(default_factory=Data)
    potential: Form = field(default_factory=Form)
    oracle: Oracle = field(default_factory=Oracle)
    simulation: tuple[Simulation, ...] = ()
    preselection: Preselection = field(default_factory=Preselection)
    weights: Weights = field(default_factory=Weights)
    fit: Fit = field(default_factory=Fit)
    loop: Loop = field(default_factory=Loop)


def check(settings: LearnSettings, given: Values) -> None:
    """Refuse settings that contradict each other or cannot be.

    Args:
        settings: the settings.
        given: the values that were given, by section and key.

    Raises:
        ValueError: in words, with the keys.
    """
    checked_keys(settings.data.keys)
    check_form(settings.potential, Domain(), given)
    form = settings.potential
    if form.start is None and (form.level is None or form.species is None):
        raise ValueError("a new potential needs potential.level and potential.species")
    if not settings.data.files:
        raise ValueError("there are no data to start from; give data.files")
    if settings.oracle.potential is None and settings.oracle.file is None:
        raise ValueError(
            "the oracle needs its potential; give oracle.potential, or oracle.file with the "
            "settings of a DFT code"
        )
    if settings.oracle.file is not None and {"kind", "potential"} & set(given.get("oracle", {})):
        raise ValueError(
            f"the labeller is that of {settings.oracle.file}, and kind and potential of a teacher "
            "cannot be given as well; remove one of the two"
        )
    if settings.oracle.executor is not None and "workers" in given.get("oracle", {}):
        raise ValueError("the executor has its own number of workers; remove oracle.workers")
    if settings.fit.checkpoint is not None:
        raise ValueError("fit.checkpoint is not for a loop: what was cut off is done again")
    if not settings.simulation:
        raise ValueError("there is no simulation; add a section [[simulation]]")
    for simulation in settings.simulation:
        _check_simulation(simulation)
    names = [s.name for s in settings.simulation]
    if len(set(names)) < len(names):
        raise ValueError(f"simulations need different names, got {', '.join(names)}")


def _check_simulation(simulation: Simulation) -> None:
    if simulation.name is None:
        raise ValueError("a simulation has no name; give each section [[simulation]] its own")
    name = f"simulation {simulation.name!r}"
    if not simulation.start:
        raise ValueError(f"{name} has no structure to start from; give the key start")
    checked_keys(simulation.keys)
    for state in simulation.states:
        if state not in STATES:
            raise ValueError(f"{name}: states must be of {', '.join(STATES)}, got {state!r}")
