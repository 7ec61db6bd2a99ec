"""Settings of ``mmtp learn``: the sections of its TOML file.

The defaults are those of the library; a test compares them. This module imports no JAX, so that
``mmtp --help`` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mmtp_jax.cli.bounds import (
    COUNT,
    MULTIPLES,
    POSITIVE,
    SEED,
    STEPS,
    TEMPERATURE_K,
    TIMESTEP_FS,
    Bounds,
)
from mmtp_jax.cli.fit_settings import (
    Domain,
    Form,
    Optimiser,
    WeightSettings,
    check_new,
    making_setting,
)
from mmtp_jax.cli.settings import label_keys, missing_moments, setting
from mmtp_jax.cli.shared_settings import Thresholds, check_thresholds
from mmtp_jax.io.label_keys import checked_keys

KINDS = ("equilibrate", "md")
STATES = ("given", "fm", "afm", "random")


@dataclass(frozen=True)
class Data:
    """Labelled configurations that the first fit is made to."""

    files: tuple[str, ...] = setting(
        "Files or patterns; .cfg, .extxyz or any format that ASE reads.",
        (), example=("start.cfg",), required=True, metavar="DATA",
    )  # fmt: skip
    making: str = making_setting()
    keys: tuple[str, ...] = label_keys()
    missing_moments: str = missing_moments()


@dataclass(frozen=True)
class OracleSettings:
    """Who labels what is selected."""

    kind: str = setting(
        "'potential': an .mtp file as teacher.", "potential", choices=("potential",)
    )
    potential: str | None = setting(
        "The teacher.", example="teacher.mtp", required=True, metavar="FILE"
    )
    file: str | None = setting(
        "In place of a teacher: settings of a DFT code, as for 'mmtp label'; see 'mmtp template "
        "abinit'.",
        example="abinit.toml", metavar="FILE",
    )  # fmt: skip
    retries: int = setting(
        "Further attempts of a job that failed.", 1, bounds=Bounds(least=0, most=1000)
    )
    timeout_s: float | None = setting(
        "Wall time of one attempt, s.", example=3600.0, bounds=POSITIVE
    )
    workers: int = setting("Jobs at once.", 1, bounds=Bounds(least=1, most=10_000))
    executor: str | None = setting(
        "In place of workers: settings of executorlib or parsl; see 'mmtp template executor'.",
        example="executor.toml", metavar="TOML",
    )  # fmt: skip
    moment_tolerance: float = setting(
        "Largest miss of a target moment, mu_B.", 0.05, bounds=POSITIVE
    )
    accept_outliers: bool = setting(
        "Fit to labels that stand apart from the others too; they may be converged and wrong.",
        False,
    )
    mixed_meshes: bool = setting(
        "Allow different meshes of k-points for cells alike.", False, off="--one-mesh"
    )


@dataclass(frozen=True)
class PreselectionSettings(Thresholds):
    """What simulations keep, and when they stop (Kotykhov 2025: 2 or 4, and 10)."""

    mode: str = setting(
        "Rows of the active set: whole cells, or atoms.",
        "configuration", choices=("configuration", "neighborhood"),
    )  # fmt: skip
    limit: int | None = setting(
        "Label at most so many configurations in an iteration.", example=50, bounds=COUNT
    )


@dataclass(frozen=True)
class Loop:
    """The loop."""

    folder: str = setting(
        "Where everything is written. A loop that was cut off goes on there.", "learning",
        metavar="DIR",
    )  # fmt: skip
    max_iterations: int = setting("Rounds of simulations.", 20, bounds=Bounds(least=1, most=999))
    min_dist_margin: float = setting(
        "R_min of a fit over the shortest distance of its training set.",
        0.95,
        bounds=Bounds(above=0.0, most=1.0),
    )


@dataclass(frozen=True)
class Simulation:
    """A simulation that every iteration runs; repeat the section for more of them."""

    name: str | None = setting("Of its folder.", example="md", required=True)
    kind: str = setting(
        "'equilibrate': moments at fixed geometry; 'md': molecular dynamics.", "md", choices=KINDS
    )
    start: tuple[str, ...] = setting(
        "Structures to start from, with moments.", (), example=("cell.cfg",), required=True
    )
    keys: tuple[str, ...] = label_keys()
    repeat: tuple[int, ...] | None = setting(
        "Repeat the cell of each so many times along its vectors.",
        example=(2, 2, 2),
        bounds=MULTIPLES,
    )
    states: tuple[str, ...] = setting(
        "Magnetic states at the start: 'given', 'fm', 'afm' (the sign changes from layer to layer "
        "along the third cell vector), 'random' (signs).",
        ("given",),
    )  # fmt: skip
    magmoms: tuple[float, ...] | None = setting(
        "Size of the moments, mu_B, one per species; those of the structures if not given.",
        example=(2.2,),
        bounds=Bounds(least=0.0, most=100.0),
    )
    seed: int = setting("Of everything random; each iteration draws anew.", 0, bounds=SEED)
    volumes: tuple[float, ...] = setting(
        "md: factors of the volume.", (1.0,), bounds=Bounds(above=0.0, most=10.0)
    )
    temperatures_K: tuple[float, ...] = setting(
        "md: temperatures, K.", (300.0,), bounds=TEMPERATURE_K
    )
    strain: float = setting(
        "md: largest element of a random strain of the cell.",
        0.0,
        bounds=Bounds(least=0.0, below=0.5),
    )
    steps: int = setting("md: number of steps.", 1000, bounds=STEPS)
    timestep_fs: float = setting("md: time step, fs.", 1.0, bounds=TIMESTEP_FS)
    ensemble: str = setting(
        "md: energy, temperature or also pressure held.", "nvt", choices=("nve", "nvt", "npt")
    )
    moments: str = setting(
        "md: 'equilibrate': they follow the atoms, and minimise the energy; 'fixed'.",
        "equilibrate", choices=("equilibrate", "fixed"),
    )  # fmt: skip
    tolerance: float = setting(
        "Largest magnetic force of equilibrated moments, eV/mu_B.", 1e-3, bounds=POSITIVE
    )
    allow_flips: bool = setting("Equilibrated moments may change their sign.", False)


@dataclass(frozen=True)
class LearnSettings:
    """All settings of ``mmtp learn``."""

    data: Data = field(default_factory=Data)
    potential: Form = field(default_factory=Form)
    oracle: OracleSettings = field(default_factory=OracleSettings)
    simulation: tuple[Simulation, ...] = ()
    preselection: PreselectionSettings = field(default_factory=PreselectionSettings)
    weights: WeightSettings = field(default_factory=WeightSettings)
    fit: Optimiser = field(default_factory=Optimiser)
    loop: Loop = field(default_factory=Loop)


def check(settings: LearnSettings, given: dict) -> None:
    """Refuse settings that contradict each other or cannot be.

    Args:
        settings: the settings.
        given: the values that were given, by section and key.

    Raises:
        ValueError: in words, with the keys.
    """
    from mmtp_jax.fitting.weights import Weights

    checked_keys(settings.data.keys)
    check_thresholds(settings.preselection.low, settings.preselection.high)
    form = given.get("potential", {})
    if "start" in form:
        both = sorted(set(form) - {"start", "species", "symmetrised"})
        if both:
            raise ValueError(
                f"the potential starts from {form['start']}, and {', '.join(both)} of a new one "
                "cannot be given as well; remove one of the two"
            )
    else:
        check_new(settings.potential, Domain())
        if settings.potential.level is None or settings.potential.species is None:
            raise ValueError("a new potential needs potential.level and potential.species")
    Weights(**vars(settings.weights))
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
    repeat = simulation.repeat
    if repeat is not None and len(repeat) != 3:
        raise ValueError(f"{name}: repeat must be three positive numbers, got {list(repeat)}")
