"""How to run dynamics: one frozen dataclass, checked when it is made, and its parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from mmtp_jax.language import argument, named
from mmtp_jax.options import (
    ANY_SEED,
    COUNT,
    POSITIVE,
    PRESSURE_GPA,
    STEPS,
    TEMPERATURE_K,
    TIMESTEP_FS,
    Bounds,
    dtype,
    option,
    options,
)
from mmtp_jax.simulation.moments.options import (
    allow_flips,
    directions,
    magnetic,
    max_equilibration_steps,
    tolerance,
    treatment,
)

if TYPE_CHECKING:
    import numpy as np

SPINS = ("none", "flip", "swap", "disorder", "dynamics")
LENGTHS = ("dynamic", "fixed", "equilibrate")
DAMPING = 0.05
"""Of moments in a heat bath, where none is given."""

Numbers = float | Sequence[float]
"""One number for all replicas, or one for each."""


@options
class Bath:
    """Ensemble and time step."""

    ensemble: str = option(
        "Energy, temperature or also pressure held.", "nve", choices=("nve", "nvt", "npt")
    )
    timestep_fs: float = option("Time step, fs.", 1.0, bounds=TIMESTEP_FS)
    temperature_K: Numbers = option(
        "Temperature of the heat bath and of velocities that are drawn, K; one number, or one per "
        "replica.",
        300.0, bounds=TEMPERATURE_K, aliases=("temperature", "temperatures", "temperatures_K"),
    )  # fmt: skip
    pressure_GPa: Numbers = option(
        "Pressure of npt, GPa; one number, or one per replica.", 0.0, bounds=PRESSURE_GPA
    )
    thermostat: str = option(
        "Heat bath: 'langevin', 'bussi' (stochastic velocity rescaling) or 'nose-hoover' (chain).",
        "langevin", choices=("langevin", "bussi", "nose-hoover"),
    )  # fmt: skip
    thermostat_time_fs: float = option(
        "Relaxation time of the heat bath, fs; of langevin, one over the friction.",
        100.0, bounds=POSITIVE,
    )  # fmt: skip
    barostat: str = option(
        "Shape of the cell in npt: 'isotropic' keeps it, 'full' lets all lengths and angles vary.",
        "isotropic", choices=("isotropic", "full"),
    )  # fmt: skip
    barostat_time_fs: float = option("Relaxation time of the volume, fs.", 1000.0, bounds=POSITIVE)
    bulk_modulus_GPa: float = option(
        "About that of the material, GPa; it sets the speed of the barostat only.",
        100.0, bounds=POSITIVE,
    )  # fmt: skip
    seed: int = option(
        "Seed of velocities and noise; replicas have the next ones.", 0, bounds=ANY_SEED
    )


@options
class Moments:
    """Magnetic moments."""

    moments: str = treatment(
        "'equilibrate': they follow the atoms, and minimise the energy; 'fixed'."
    )
    moments_every: int = option("Steps between two equilibrations.", 1, bounds=STEPS)
    tolerance: float = tolerance()
    allow_flips: bool = allow_flips()
    directions: str = directions()


@options
class Spins:
    """Moments that turn, or change their signs."""

    spins: str = option(
        "'dynamics': moments are vectors that precess about their magnetic forces; 'flip' single "
        "moments or 'swap' opposite ones by Metropolis' rule, or draw 'disorder' without net "
        "moment, which need a heat bath.",
        "none", choices=SPINS,
    )  # fmt: skip
    spin_every: int = option(
        "Steps between two blocks of trials, or two disordered states.", 10, bounds=STEPS
    )
    trials: int = option(
        "Flips or swaps in each block; 0 for as many as there are magnetic atoms.",
        0, bounds=Bounds(least=0, most=10**9),
    )  # fmt: skip
    magnetic: tuple[str, ...] | None = magnetic()
    damping: float | None = option(
        f"Gilbert damping of spin dynamics in a heat bath, {DAMPING} if not given; there is none "
        "in nve.",
        example=DAMPING, bounds=Bounds(least=0.0, most=10.0),
    )  # fmt: skip
    lengths: str = option(
        "Of moments in spin dynamics: 'dynamic', they move with a mass, in the heat bath if there "
        "is one; 'fixed'; 'equilibrate', they minimise the energy at each step.",
        "dynamic", choices=LENGTHS, words={"--fixed-lengths": "fixed"},
    )  # fmt: skip
    length_mass: float = option(
        "Mass of dynamic lengths, eV fs^2/mu_B^2; they swing with the period "
        "2 pi sqrt(mass / (d2E/dm2)), and averages do not depend on it.",
        10.0, bounds=POSITIVE,
    )  # fmt: skip
    fixed_atoms: bool = option("Only moments move, and atoms stay where they are.", False)


def bounded() -> Any:
    """A field: whether to stop where the potential is not known."""
    return option(
        "Stop a replica with two atoms closer than the potential covers, or with a moment at the "
        "end of its interval.",
        True, off="--unbounded", off_help="Go on at distances and moments that the potential does "
        "not cover.",
    )  # fmt: skip


def when_stopped() -> Any:
    """A field: what becomes of the other replicas."""
    return option(
        "'freeze': the other replicas go on where one has stopped; 'all': all stop.",
        "freeze", choices=("freeze", "all"),
    )  # fmt: skip


SKIN, THINNEST, AT_REST = 0.5, 0.2, 0.01
"""Angstrom: of the list of neighbours where nothing is given, the least of atoms that move, and
that of atoms that do not."""


def skin(default: float | None = SKIN, more: str = "") -> Any:
    """A field: of the list of neighbours."""
    return option(
        f"Skin of the list of neighbours, Angstrom{more}.",
        default, example=SKIN, bounds=Bounds(above=0.0, most=10.0),
    )  # fmt: skip


@options
class Stopping:
    """When to stop, and how to compute."""

    bounded: bool = bounded()
    when_stopped: str = when_stopped()
    skin: float | None = skin(
        None, f"; if not given {SKIN}, of time steps below {SKIN} fs as many as they have fs, but "
        f"{THINNEST} at least"
    )  # fmt: skip


@options
class DynamicsOptions(Stopping, Spins, Moments, Bath):
    """Ensemble, time step, treatment of the moments, and when to stop."""

    max_equilibration_steps: int = max_equilibration_steps()
    log_every: int = option("Steps between two rows of the time series.", 1, bounds=STEPS)
    dtype: Any = dtype()
    chunk_steps: int = option("Most steps between two returns to the host.", 256, bounds=COUNT)

    def __post_init__(self) -> None:
        has_bath = self.ensemble != "nve"
        self._check_spins(has_bath)
        if self.spins not in ("none", "dynamics") and not has_bath:
            raise ValueError(
                f"spins={self.spins!r} changes the energy, which only a heat bath can give or "
                "take; set ensemble to nvt or npt"
            )
        import numpy as np

        cold = bool(np.any(np.asarray(self.temperature_K) == 0.0))
        if has_bath and cold and self.thermostat == "nose-hoover":
            raise ValueError("a Nose-Hoover chain needs a temperature_K above zero; use langevin")

    def _check_spins(self, has_bath: bool) -> None:
        """Refuse what spin dynamics cannot do, and what nothing else can."""
        if self.spins != "dynamics":
            # What is as it is by default cannot be told from what was given so.
            defaults = {f.name: f.default for f in fields(DynamicsOptions)}
            names = ("damping", "lengths", "length_mass", "fixed_atoms")
            for name in (name for name in names if getattr(self, name) != defaults[name]):
                raise ValueError(
                    f"{named(name)} is for moments that precess; set "
                    f"{argument('spins', 'dynamics')}, or leave it out"
                )
            return
        if self.moments == "fixed":
            raise ValueError(
                f"in spin dynamics moments move; for lengths that stay set "
                f"{argument('lengths', 'fixed')} and leave {argument('moments', 'fixed')} out"
            )
        if self.directions == "fixed":
            raise ValueError(
                f"in spin dynamics moments turn; leave {argument('directions', 'fixed')} out, or "
                f"take another of {named('spins')}"
            )
        if self.damping and not has_bath:
            raise ValueError(
                f"{named('damping')} takes energy, and only a heat bath gives it back; set "
                "ensemble to nvt or npt, at 0 K for a quench, or leave it out"
            )
        if self.fixed_atoms and self.ensemble == "npt":
            raise ValueError(
                f"npt changes the cell, and {named('fixed_atoms')} keeps it; take nvt or nve"
            )

    @property
    def gilbert(self) -> float:
        """The damping of moments."""
        if self.ensemble == "nve":
            return 0.0
        return DAMPING if self.damping is None else self.damping

    @property
    def skin_of_list(self) -> float:
        """Skin of the list of neighbours, Angstrom.

        Each pair in it takes its part of an evaluation; atoms that hardly move in a step seldom
        need a new one.
        """
        if self.skin is not None:
            return self.skin
        return AT_REST if self.fixed_atoms else min(max(self.timestep_fs, THINNEST), SKIN)

    def per_replica(self, name: str, n_replicas: int) -> np.ndarray:
        """Temperatures or pressures (R,).

        Raises:
            ValueError: if there are neither one nor R numbers.
        """
        import numpy as np

        values = np.asarray(getattr(self, name), float)
        if values.ndim > 1 or values.size not in (1, n_replicas):
            raise ValueError(
                f"{named(name)} has {values.size} numbers for {n_replicas} "
                f"{'replica' if n_replicas == 1 else 'replicas'}; give one number, or "
                "one per replica"
            )
        return np.broadcast_to(values.reshape(-1), (n_replicas,)).copy()
