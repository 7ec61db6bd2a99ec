"""Mean and spread of the errors of several fits, as in Kotykhov 2024, Table 2."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmtp_jax.fitting.report import UNITS, Errors
from mmtp_jax.tables import aligned

CONFIDENCE = {1: "68 %", 2: "95 %"}
"""Share of normally distributed values within so many standard deviations."""


@dataclass(frozen=True)
class Spread:
    """One number of several fits."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean."""
        return math.fsum(self.values) / len(self.values)

    @property
    def sigma(self) -> float:
        """Standard deviation of one fit (n - 1 in the denominator); NaN for a single one."""
        n, mean = len(self.values), self.mean
        if n < 2:
            return math.nan
        return math.sqrt(math.fsum((v - mean) ** 2 for v in self.values) / (n - 1))

    def interval(self, n_sigma: float = 2) -> tuple[float, float]:
        """mean - n_sigma sigma and mean + n_sigma sigma."""
        return self.mean - n_sigma * self.sigma, self.mean + n_sigma * self.sigma

    def text(self, n_sigma: float) -> str:
        """``mean +- n_sigma * sigma``, to two digits of the latter."""
        width = n_sigma * self.sigma
        if math.isnan(width):
            return f"{self.mean:.3f}"
        decimals = 4 if width == 0.0 else min(4, max(0, 1 - math.floor(math.log10(width))))
        return f"{self.mean:.{decimals}f} +- {width:.{decimals}f}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON, which has no NaN."""
        single = len(self.values) < 2
        return {
            "mean": self.mean,
            "sigma": None if single else self.sigma,
            "values": list(self.values),
        }


@dataclass(frozen=True)
class KindStatistics:
    """Errors of one kind of observable over several fits, in ``unit``."""

    kind: str
    unit: str
    rmse: Spread
    mae: Spread
    largest: Spread

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "unit": self.unit,
            "rmse": self.rmse.as_dict(),
            "mae": self.mae.as_dict(),
            "max": self.largest.as_dict(),
        }


@dataclass(frozen=True)
class Statistics:
    """Errors of all kinds over several fits."""

    kinds: tuple[KindStatistics, ...]

    @classmethod
    def of(cls, errors: Sequence[Errors]) -> Statistics:
        """Statistics of the errors of each fit; a kind counts where a fit has labels of it."""
        kinds = []
        for kind in UNITS:
            of = [e[kind] for e in errors if kind in e]
            if of:
                numbers = (
                    Spread(tuple(getattr(k, name) for k in of))
                    for name in ("rmse", "mae", "largest")
                )
                kinds.append(KindStatistics(kind, of[0].unit, *numbers))
        return cls(tuple(kinds))

    def __getitem__(self, kind: str) -> KindStatistics:
        for statistics in self.kinds:
            if statistics.kind == kind:
                return statistics
        raise KeyError(f"no labels of kind {kind!r}; there are {[k.kind for k in self.kinds]}")

    def __contains__(self, kind: str) -> bool:
        return any(statistics.kind == kind for statistics in self.kinds)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {k.kind: k.as_dict() for k in self.kinds}


def statistics_table(sets: dict[str, Statistics], n_sigma: int) -> str:
    """RMSE of each quantity in each of the named sets, as ``mean +- n_sigma * sigma``."""
    kinds = [kind for kind in UNITS if any(kind in of for of in sets.values())]
    rows = [("RMSE", "unit", *sets)]
    for kind in kinds:
        unit = next(of[kind].unit for of in sets.values() if kind in of)
        cells = (of[kind].rmse.text(n_sigma) if kind in of else "" for of in sets.values())
        rows.append((kind.replace("_", " "), unit, *cells))
    return aligned(rows, left=(0, 1))
