"""How a relaxation ends, in words."""

from __future__ import annotations

from enum import IntEnum


class RelaxStatus(IntEnum):
    """How the relaxation of a configuration ended."""

    CONVERGED = 0
    STEP_LIMIT = 1
    NO_DESCENT = 2
    MOMENT_AT_BOUND = 3
    MOMENT_AT_ZERO = 4
    MOMENTS = 5
    TOO_CLOSE = 6
    VOLUME = 7
    WATCH = 8
    NOT_FINITE = 9
    INTERRUPTED = 10

    @property
    def message(self) -> str:
        """One sentence."""
        return _MESSAGES[self]

    @property
    def left_covered_region(self) -> bool:
        """Did it stop because the potential does not know what comes next?"""
        return self in _LEFT


_MESSAGES = {
    RelaxStatus.CONVERGED: "forces, stress and magnetic forces are below their tolerances",
    RelaxStatus.STEP_LIMIT: "not converged within the allowed number of steps",
    RelaxStatus.NO_DESCENT: "no step lowers the enthalpy any more; the tolerances are below what "
    "the precision allows, or the moments jump between two states",
    RelaxStatus.MOMENT_AT_BOUND: "a moment is at the end of the interval that the potential "
    "covers and would leave it, or is outside",
    RelaxStatus.MOMENT_AT_ZERO: "forces and stress are small enough, but a moment is held "
    "at zero because it would change its sign; allow flips to let it",
    RelaxStatus.MOMENTS: "the moments could not be equilibrated",
    RelaxStatus.TOO_CLOSE: "two atoms are closer than the shortest distance that the potential "
    "covers",
    RelaxStatus.VOLUME: "the volume has changed by more than is allowed",
    RelaxStatus.WATCH: "the watch stopped it, e.g. for a grade above the threshold",
    RelaxStatus.NOT_FINITE: "the energy at the start is not a finite number",
    RelaxStatus.INTERRUPTED: "interrupted before it was converged",
}

_LEFT = (
    RelaxStatus.MOMENT_AT_BOUND,
    RelaxStatus.TOO_CLOSE,
    RelaxStatus.VOLUME,
    RelaxStatus.WATCH,
)
