"""How to walk over moments: frozen dataclasses, checked when they are made."""

from __future__ import annotations

from typing import Any

from mmtp_jax.language import argument, named
from mmtp_jax.options import ANY_SEED, STEPS, Bounds, dtype, option, options
from mmtp_jax.simulation.dynamics.options import when_stopped
from mmtp_jax.simulation.moments.options import (
    MOMENTS,
    magnetic,
    max_equilibration_steps,
    tolerance,
    treatment,
)

SIGNS = ("flip", "swap")
"""Moves of numbers."""

MOVES = (*SIGNS, "turn", "stretch")

BOTH = "turn and stretch"
"""The move of vectors whose lengths are sampled, where none is asked for."""

SAMPLED = "sampled"

MEASURES = ("d3m", "dm")


@options
class Walk:
    """The walk over signs, or directions and lengths, of moments."""

    sweeps: int = option(
        "Recorded sweeps, each of as many trials as magnetic atoms.", 1000, bounds=STEPS
    )
    burn_in: int = option("Sweeps before them.", 100, bounds=Bounds(least=0, most=10**9))
    vectors: bool = option(
        "Moments along one axis are vectors, too, and turn in all directions.", False
    )
    move: str | None = option(
        "'flip' single moments, or 'swap' opposite ones: their numbers stay; 'turn' vectors, or "
        "'stretch' them alone. If not given, numbers flip and vectors turn, and stretch where "
        "lengths are sampled.",
        example="flip", choices=MOVES, words={"--swap": "swap"},
    )  # fmt: skip
    moments: str = treatment(
        "'equilibrate': after each change magnitudes minimise the energy; 'fixed': they stay; "
        "'sampled': lengths of vectors are drawn, too, between 0 and the M_max of the species.",
        (*MOMENTS, SAMPLED),
        {"--sampled-moments": SAMPLED},
    )
    measure: str = option(
        "Of lengths that are sampled: 'd3m', m^2 dm, as Langevin dynamics of moments samples them; "
        "or 'dm'.",
        "d3m", choices=MEASURES,
    )  # fmt: skip
    warm: bool = option(
        "Equilibrate from the present magnitudes, not from the same ones for each pattern of "
        "signs: quicker, and exact only where there is one minimum.",
        False, off="--cold",
    )  # fmt: skip
    tolerance: float = tolerance()
    magnetic: tuple[str, ...] | None = magnetic()
    seed: int = option("Seed of the walk; replicas have the next ones.", 0, bounds=ANY_SEED)

    def __post_init__(self) -> None:
        sampled = self.moments == SAMPLED
        if self.move in SIGNS and (self.vectors or sampled):
            asked = argument("moments", SAMPLED) if sampled else named("vectors")
            raise ValueError(
                f"{argument('move', self.move)} changes signs, and {asked} is for vectors, which "
                "have none; leave one of them out"
            )
        if self.move == "stretch" and not sampled:
            raise ValueError(
                f"{argument('move', 'stretch')} changes lengths, and "
                f"{argument('moments', self.moments)} does not leave them to it; give "
                f"{argument('moments', SAMPLED)}"
            )
        if self.move == "turn" and sampled:
            raise ValueError(
                f"{argument('move', 'turn')} changes directions alone, so that no length is "
                f"sampled; give {argument('moments', 'fixed')}, or leave the move out"
            )

    @property
    def asks_for_vectors(self) -> bool:
        """Whether moments that are numbers are to become vectors."""
        return self.vectors or self.moments == SAMPLED or self.move in ("turn", "stretch")


def move_of(of: Walk, vectors: bool) -> str:
    """The move of moments that are vectors, or numbers: one of `MOVES`, or `BOTH`.

    Raises:
        ValueError: if the options ask for what such moments cannot do.
    """
    if vectors and of.move in SIGNS:
        raise ValueError(
            f"{argument('move', of.move)} changes signs, and the moments are vectors, which have "
            "none; leave it out, or give collinear moments, one number for each atom"
        )
    if not vectors and of.asks_for_vectors:
        raise ValueError("moments that are numbers have signs alone; give vectors (R, n, 3)")
    return of.move or ("flip" if not vectors else BOTH if of.moments == SAMPLED else "turn")


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
