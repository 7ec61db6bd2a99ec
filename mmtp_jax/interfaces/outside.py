"""What a calculator meets outside of the range of its potential: counted, and told now and then.

Each kind warns in the first, the tenth, the hundredth calculation that has it, and so on. Distances
and moments are looked at in every calculation, which costs next to nothing; the grade, which costs
as much as some calculations, in the first and then in one of many.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from mmtp_jax.active.active_set import ActiveSet
from mmtp_jax.active.options import NEIGHBORHOOD, Thresholds
from mmtp_jax.structures.domain import DomainReport, ExtrapolationWarning
from mmtp_jax.warn import warn

GRADE = "grade"


@dataclass
class Outside:
    """Counts over the calculations of one calculator."""

    n_calculations: int = 0
    n_graded: int = 0
    """Calculations whose grade was looked at."""
    counts: dict[str, int] = field(default_factory=dict)
    """Calculations by what was outside: `mmtp_jax.structures.domain.KINDS`, and ``"grade"``."""
    shortest: float = math.inf
    """Least distance below those that the potential covers, Angstrom; infinite without any."""
    largest: float = 0.0
    """Largest moment beyond its interval, mu_B; 0 without any."""
    highest: float = 0.0
    """Highest grade that was looked at."""
    _now: set[str] = field(default_factory=set, repr=False)
    """Kinds of the running calculation; the members of a committee tell each for itself."""

    def begin(self) -> None:
        """A calculation begins."""
        self.n_calculations += 1
        self._now = set()

    def look(self, report: DomainReport) -> None:
        """Count what was found of distances and moments."""
        if report.n_close_pairs:
            self.shortest = min(self.shortest, report.shortest)
        self.largest = max(self.largest, report.largest)
        for kind, category, message in report.findings():
            self._tell(kind, category, message)

    def grade(self, name: str, grade: float, active_set: ActiveSet) -> None:
        """Count the grade of a configuration; it is far from the training set above 10."""
        self.n_graded += 1
        self.highest = max(self.highest, grade)
        limit = Thresholds().grade_break
        if grade <= limit:
            return
        cells = "" if active_set.mode == NEIGHBORHOOD else "; by whole cells, larger ones have more"
        self._tell(
            GRADE, ExtrapolationWarning,
            f"{name} has an extrapolation grade of {grade:.4g}, above {limit:g}: it is far from "
            f"the training set of the potential{cells}",
        )  # fmt: skip

    def __str__(self) -> str:
        """One line: how many calculations had what."""
        found = {
            "distance": f"distances that the potential does not cover (shortest "
            f"{self.shortest:.4g} Angstrom)",
            "moment": f"moments beyond their interval (largest {self.largest:.4g} mu_B)",
            "no moments": "no moments",
            "no neighbours": "atoms without neighbours",
            GRADE: "a grade far from the training set",
        }
        parts = [f"{n} with {found[kind]}" for kind, n in self.counts.items()]
        if self.n_graded:
            parts.append(f"{self.n_graded} graded, highest grade {self.highest:.4g}")
        return f"{self.n_calculations} calculations: {', '.join(parts) or 'all inside'}"

    def _tell(self, kind: str, category: type[Warning], message: str) -> None:
        if kind in self._now:
            return
        self._now.add(kind)
        n = self.counts[kind] = self.counts.get(kind, 0) + 1
        if n == 1:
            warn(message, category)
        elif str(n).rstrip("0") == "1":
            warn(f"{n} of {self.n_calculations} calculations so far: {message}", category)
