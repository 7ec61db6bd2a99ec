"""What numbers of settings files and of options may be: declared beside them, checked alike."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mmtp_jax.io.fields import LARGEST, shown

MOST_ITEMS = 10_000
"""Numbers in a list."""


@dataclass(frozen=True)
class Bounds:
    """The interval of a number, or of each one in a list."""

    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None
    even: bool = False

    def check(self, value: Any, where: str) -> None:
        """Refuse a number, or a list with one, that is not inside; anything else is let through.

        Raises:
            ValueError: in words; ``where`` says of what.
        """
        if isinstance(value, tuple):
            if len(value) > MOST_ITEMS:
                raise ValueError(f"{where} has {len(value)} items; at most {MOST_ITEMS} can be")
            for item in value:
                self.check(item, where)
        elif isinstance(value, (int, float)) and not self._has(value):
            raise ValueError(f"{where} must be {self}, got {shown(value, '{:.12g}'.format)}")

    def _has(self, value: float) -> bool:
        return (
            (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
            and (self.below is None or value < self.below)
            and not (self.even and value % 2)
        )

    def __str__(self) -> str:
        """What a number must be."""
        words = ["even"] if self.even else []
        if self.above == 0.0 and self.most is None and self.below is None:
            words.append("positive")
        else:
            of = (("at least", self.least), ("above", self.above), ("at most", self.most),
                  ("below", self.below))  # fmt: skip
            words += [f"{name} {bound:g}" for name, bound in of if bound is not None]
        return " and ".join(words)


LEVEL = Bounds(least=2, most=32, even=True)
"""Of a potential; beyond it even the tables take hours."""
POSITIVE = Bounds(above=0.0)
NOT_NEGATIVE = Bounds(least=0.0)
COUNT = Bounds(least=1)
STEPS = Bounds(least=1, most=10**9)
TIMESTEP_FS = Bounds(above=0.0, most=100.0)
TEMPERATURE_K = Bounds(least=0.0, most=1e6)
PRESSURE_GPA = Bounds(least=-1e5, most=1e5)
MULTIPLES = Bounds(least=1, most=100)
"""Of a cell along its vectors."""
SEED = Bounds(least=0, most=2**62)
ANY_SEED = Bounds(least=-(2**62), most=2**62)
"""Where no numpy generator is made of it."""


def number(kind: type, bounds: Bounds | None = None) -> Callable[[str], Any]:
    """A ``type`` of argparse: a finite number within bounds.

    Example:
        >>> parser.add_argument("--timeout", type=number(float, POSITIVE))
    """

    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or abs(value) > LARGEST or value != value:
            wanted = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"must be {wanted}, got {shown(text)}")
        try:
            (bounds or Bounds()).check(value, "it")
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error).removeprefix("it ")) from None
        return value

    return read
