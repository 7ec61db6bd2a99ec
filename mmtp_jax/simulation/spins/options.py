"""How to walk over the signs of moments: one frozen dataclass, checked when it is made."""

from __future__ import annotations

from typing import Any

from mmtp_jax.options import ANY_SEED, STEPS, Bounds, dtype, option, options
from mmtp_jax.simulation.dynamics.options import when_stopped
from mmtp_jax.simulation.moments.options import (
    magnetic,
    max_equilibration_steps,
    tolerance,
    treatment,
)

MOVES = ("flip", "swap")


@options
class Walk:
    """The walk over the signs of moments."""

    sweeps: int = option(
        "Recorded sweeps, each of as many trials as magnetic atoms.", 1000, bounds=STEPS
    )
    burn_in: int = option("Sweeps before them.", 100, bounds=Bounds(least=0, most=10**9))
    move: str = option(
        "'flip' single moments, or 'swap' opposite ones: their numbers stay.",
        "flip", choices=MOVES, words={"--swap": "swap"},
    )  # fmt: skip
    moments: str = treatment(
        "'equilibrate': after each change magnitudes minimise the energy; 'fixed': they stay."
    )
    warm: bool = option(
        "Equilibrate from the present magnitudes, not from the same ones for each pattern of "
        "signs: quicker, and exact only where there is one minimum.",
        False, off="--cold",
    )  # fmt: skip
    tolerance: float = tolerance()
    magnetic: tuple[str, ...] | None = magnetic()
    seed: int = option("Seed of the walk; replicas have the next ones.", 0, bounds=ANY_SEED)


@options
class Disorder:
    """The disordered states."""

    n: int = option("Number of states.", 50, flag="-n", bounds=Bounds(least=2, most=10**6))
    moments: str = treatment(
        "'equilibrate': the magnitudes of each state minimise the energy; 'fixed': they stay."
    )
    tolerance: float = tolerance()
    magnetic: tuple[str, ...] | None = magnetic()
    seed: int = option("Seed of the states.", 0, bounds=ANY_SEED)


@options
class DisorderOptions(Disorder):
    """How disordered states are drawn, and what becomes of their magnitudes."""

    dtype: Any = dtype()


@options
class SpinOptions(Walk):
    """Moves, treatment of the magnitudes, and length of the walk."""

    max_equilibration_steps: int = max_equilibration_steps()
    when_stopped: str = when_stopped()
    dtype: Any = dtype()
