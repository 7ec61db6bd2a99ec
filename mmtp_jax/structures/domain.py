"""Is a configuration inside the intervals that a potential was fitted on?

Outside of them the Chebyshev polynomials grow quickly, so energies are extrapolated. That is
allowed, and counted. So are atoms without any neighbour, whose energies are constants, and
configurations whose moments nobody gave, which are evaluated at zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmtp_jax.language import named
from mmtp_jax.potential.potential import Potential
from mmtp_jax.structures.neighbours import NeighbourTable, neighbour_table
from mmtp_jax.structures.structure import Structure, lengths
from mmtp_jax.warn import warn


class ExtrapolationWarning(UserWarning):
    """Distances below R_min or moments beyond M_max were met, or canted ones of no kind that the
    potential was fitted to."""


class CantedWarning(ExtrapolationWarning):
    """Canted moments of a potential that was fitted to collinear ones alone."""

    said_once = True
    """By a command, whatever numbers of configurations it has to do with."""


class MissingMomentsWarning(UserWarning):
    """Configurations without moments were evaluated at zero moments."""


class NoNeighboursWarning(UserWarning):
    """Atoms have no neighbour within the cutoff."""


KINDS = ("distance", "moment", "no moments", "no neighbours")
"""What `DomainReport.findings` are about."""

CANTED = "canted"
"""Entry of ``record["data"]``: configurations of the training set whose moments are canted."""

FURTHEST = 20.0
"""Angstrom; neighbours beyond the cutoff are looked for up to here, to say how far they are."""


@dataclass(frozen=True)
class DomainReport:
    """How many configurations, pairs and atoms lie outside of the fitted intervals."""

    close_configurations: tuple[str, ...]
    n_close_pairs: int
    shortest: float
    """Shortest distance, Angstrom; infinite without neighbours."""
    magmom_configurations: tuple[str, ...]
    n_magmoms: int
    largest: float
    """Largest absolute moment outside of its interval, mu_B; 0 if there is none."""
    min_dist: float
    unknown_moments: tuple[str, ...] = ()
    """Configurations whose moments are not known."""
    lonely: tuple[str, ...] = ()
    """Configurations with atoms without neighbours."""
    n_lonely: int = 0
    """Atoms without neighbours."""
    n_configurations: int = 0
    cutoff: float = np.inf
    intervals: str = ""
    """Of the moments of species that have some beyond, in words."""

    @property
    def extrapolates(self) -> bool:
        """Whether anything lies outside of the intervals."""
        return bool(self.n_close_pairs or self.n_magmoms)

    def messages(self) -> list[str]:
        """One sentence per kind of extrapolation; empty where there is none."""
        return [message for _, _, message in self.findings()]

    def findings(self) -> list[tuple[str, type[UserWarning], str]]:
        """Of each of `KINDS` that there is: its name, the kind of warning, and a sentence."""
        distance, moment, no_moments, no_neighbours = KINDS
        found = []
        if self.n_close_pairs:
            found.append((
                distance, ExtrapolationWarning,
                f"{self.n_close_pairs} pairs in {len(self.close_configurations)} of "
                f"{self.n_configurations} configurations are closer than min_dist "
                f"{self.min_dist:.4f} Angstrom (shortest {self.shortest:.4f}, first in "
                f"{self.close_configurations[0]}); their energies are extrapolated",
            ))  # fmt: skip
        if self.n_magmoms:
            found.append((
                moment, ExtrapolationWarning,
                f"{self.n_magmoms} moments in {len(self.magmom_configurations)} of "
                f"{self.n_configurations} configurations are outside of the interval of the "
                f"potential ({self.intervals} mu_B; largest {self.largest:.4f}, first in "
                f"{self.magmom_configurations[0]}); their energies are extrapolated",
            ))  # fmt: skip
        if self.unknown_moments:
            sentence = (
                f"{len(self.unknown_moments)} of {self.n_configurations} configurations have no "
                f"magnetic moments (first {self.unknown_moments[0]}) and are evaluated at zero"
            )
            found.append((no_moments, MissingMomentsWarning, sentence))
        if self.n_lonely:
            sentence = (
                f"{self.n_lonely} atoms in {len(self.lonely)} of {self.n_configurations} "
                f"configurations have no neighbour within the cutoff of {self.cutoff:.4g} "
                f"Angstrom (first in {self.lonely[0]}); their energies are constants"
            )
            found.append((no_neighbours, NoNeighboursWarning, sentence))
        return found

    def warn(self, chosen: Sequence[str] = ()) -> None:
        """Issue the messages as warnings of their kinds.

        Args:
            chosen: arguments by which the intervals were chosen, where a fit would take those of
                its data without.
        """
        advice = f"; without {' and '.join(map(named, chosen))} a fit covers its data"
        for _, category, message in self.findings():
            extrapolates = category is ExtrapolationWarning and chosen
            warn(f"{message}{advice}" if extrapolates else message, category)


def check_domain(
    potential: Potential,
    structures: Sequence[Structure],
    tables: Sequence[NeighbourTable | None],
) -> DomainReport:
    """Count what lies outside of R_min and the moment intervals of a potential, and what lacks.

    A table is None where distances are known to be inside, and every atom to have a neighbour. A
    free atom, alone and not periodic, has no neighbours to miss.
    """
    # The shortest pair of a training set defines R_min, and must not count by round-off.
    min_dist = float(potential.min_dist)
    close, n_close, shortest = [], 0, np.inf
    outside, n_outside, largest = [], 0, 0.0
    lonely, n_lonely, kinds = [], 0, set()
    for structure, table in zip(structures, tables, strict=True):
        lengths = np.empty(0) if table is None else table.lengths
        if lengths.size:
            shortest = min(shortest, float(lengths.min()))
            short = int(np.sum(lengths < min_dist * (1 - 1e-9)))
            if short:
                close.append(structure.name)
                n_close += short // 2
        alone = 0 if table is None else int(np.sum(table.count == 0))
        if alone and (len(structure) > 1 or structure.periodic.any()):
            lonely.append(structure.name)
            n_lonely += alone
        low = np.asarray(potential.min_magmom)[structure.types]
        high = np.asarray(potential.max_magmom)[structure.types]
        margin = 1e-9 * (high - low)
        magmoms = structure.lengths if structure.vectors else structure.magmoms
        beyond = (magmoms < low - margin) | (magmoms > high + margin)
        if np.any(beyond):
            outside.append(structure.name)
            n_outside += int(beyond.sum())
            kinds |= set(structure.types[beyond].tolist())
            largest = max(largest, float(np.abs(magmoms[beyond]).max()))
    beyond_of = [
        f"{potential.species[k]} {potential.min_magmom[k]:.4g} to {potential.max_magmom[k]:.4g}"
        for k in sorted(kinds)
    ]
    return DomainReport(
        tuple(close), n_close, shortest, tuple(outside), n_outside, largest, min_dist,
        unknown_moments=tuple(
            s.name for s in structures if not s.moments_known and potential.magnetic_size > 1
        ),
        intervals=", ".join(beyond_of),
        lonely=tuple(lonely),
        n_lonely=n_lonely,
        n_configurations=len(structures),
        cutoff=float(potential.cutoff),
    )  # fmt: skip


def canted_by_form_alone(potential: Potential) -> bool:
    """Whether a potential is known to be fitted to collinear moments alone.

    What one of another program was fitted to is not known.
    """
    # Before fits took vectors they did not count them.
    record = potential.record
    return record is not None and not (record.get("data") or {}).get(CANTED)


def warn_of_canted(
    potential: Potential, structures: Sequence[Structure], turn: bool = False
) -> bool:
    """Issue a `CantedWarning` where nothing but the form says what canted moments cost.

    Returns whether it was issued. In spin dynamics all moments ``turn``.

    What a potential of another program was fitted to is not known, and nothing is said.
    """
    if not canted_by_form_alone(potential):
        return False
    canted = [structure.name for structure in structures if turn or structure.canted]
    how = "turn" if turn else "are canted"
    if canted:
        warn(
            f"the moments of {len(canted)} of {len(structures)} configurations {how} (first "
            f"{canted[0]}), and this potential was fitted to collinear ones alone: energies "
            "between the axes are extrapolated by the form",
            CantedWarning,
        )
    return bool(canted)


def warn_of_turning(potential: Potential) -> None:
    """The same where moments are about to turn."""
    if canted_by_form_alone(potential):
        warn(
            "moments turn, and this potential was fitted to collinear ones alone: energies between "
            "the axes are extrapolated by the form",
            CantedWarning,
        )


def moment_at_end(
    potential: Potential, types: np.ndarray, magmoms: np.ndarray, first: int = 0
) -> str:
    """Which moment is nearest to the end of its interval, or furthest beyond, in words.

    Args:
        potential: the potential.
        types: (n,) species of the atoms.
        magmoms: (n,) mu_B, or (n, 3).
        first: number of the first atom.
    """
    low, high = (
        np.asarray(of, float)[types] for of in (potential.min_magmom, potential.max_magmom)
    )
    magmoms = lengths(magmoms) if np.ndim(magmoms) > 1 else np.asarray(magmoms)
    share = np.abs(2 * magmoms - low - high) / (high - low)
    k = int(np.argmax(np.where(np.asarray(potential.magnetic)[types], share, -1.0)))
    return (
        f"the moment of atom {k + first} ({potential.species[types[k]]}), {magmoms[k]:.4g} mu_B, "
        f"is at the end of the interval {low[k]:.4g} to {high[k]:.4g} mu_B that the potential "
        "covers, or beyond"
    )


def no_neighbours(structures: Sequence[Structure], cutoff: float) -> str | None:
    """A sentence where no atom of any structure has a neighbour, so that energies are constants.

    None where one has; that is found out at the first one.
    """
    if any(neighbour_table(structure, cutoff).lengths.size for structure in structures):
        return None
    shortest = np.inf
    reach = cutoff
    while structures and not np.isfinite(shortest) and reach < FURTHEST:
        reach = min(2.0 * reach, FURTHEST)
        for structure in structures:
            shortest = min(shortest, neighbour_table(structure, reach).lengths.min(initial=np.inf))
    distance = f"{shortest:.4g} Angstrom" if np.isfinite(shortest) else f"above {FURTHEST:.4g}"
    return (
        f"no atom of {len(structures)} configurations has a neighbour: the cutoff is {cutoff:.4g} "
        f"Angstrom, the shortest distance {distance}; all energies are constants, so give a longer "
        "cutoff, in Angstrom"
    )
