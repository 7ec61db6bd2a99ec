"""When and how far moments are equilibrated, and whether they are at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmtp_jax.options import POSITIVE, STEPS, option, options

TOLERANCE = 1e-3
"""Largest |T_i| of equilibrated moments, eV/mu_B."""

MAX_STEPS = 200
"""Evaluations of one equilibration."""

MAX_CHANGE = 0.3
"""Longest change of a moment in one step, mu_B."""

MOMENTS = ("equilibrate", "fixed")
DIRECTIONS = ("free", "fixed")


def treatment(help: str, choices: tuple[str, ...] = MOMENTS, words: Mapping[str, str] = {}) -> Any:
    """A field: whether moments follow; with other ``choices``, their ``words`` beside."""
    return option(
        help, "equilibrate", choices=choices, words={"--fixed-moments": "fixed", **words},
        old_flags={"--fixed": "--fixed-moments", "--clamped": "--fixed-moments"},
        old_values={"clamped": "fixed", "follow": "equilibrate"},
    )  # fmt: skip


def tolerance() -> Any:
    """A field: when moments are equilibrated."""
    return option(
        "Largest magnetic force of equilibrated moments, eV/mu_B.", TOLERANCE, bounds=POSITIVE
    )


def allow_flips() -> Any:
    """A field: whether equilibrated moments may change their sign."""
    return option("Equilibrated moments may change their sign.", False, off="--no-flips")


def directions() -> Any:
    """A field: whether moments that are vectors turn."""
    return option(
        "Of moments that are vectors: 'free', they also turn when they are equilibrated; 'fixed', "
        "only their lengths change.",
        "free", choices=DIRECTIONS, words={"--fixed-directions": "fixed"},
    )  # fmt: skip


def magnetic() -> Any:
    """A field: whose moments change."""
    return option(
        "Species whose moments change, if not all atoms with a moment.",
        example=("Fe",), metavar="SYMBOL",
    )  # fmt: skip


def max_equilibration_steps() -> Any:
    """A field: when an equilibration is given up."""
    return option("Most evaluations of one equilibration.", MAX_STEPS, bounds=STEPS)


@options
class MomentOptions:
    """When and how far moments are equilibrated."""

    tolerance: float = tolerance()
    max_steps: int = option("Most evaluations of each configuration.", MAX_STEPS, bounds=STEPS)
    max_change: float = option(
        "Longest change of a moment in one step, mu_B.", MAX_CHANGE, bounds=POSITIVE
    )
    allow_flips: bool = allow_flips()
    directions: str = directions()

    @property
    def fixed_directions(self) -> bool:
        """Whether vectors keep their directions."""
        return self.directions == "fixed"
