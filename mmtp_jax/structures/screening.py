"""Which labels stand apart from the others: a calculation can be converged and wrong.

A label is held against those of its composition: energy per atom, largest force, stress and
|dE/dm| against their median, in units of the median absolute deviation. Where they are few,
energies are held against a fit by species, and the rest against all labels. What engines tell
besides (`Diagnostics`) is compared as well. Sets may be narrow, and honest data are wide (curves
E(m), strained cells, liquids), so nothing counts below a floor, which is higher for cells of other
volumes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mmtp_jax.structures.label_numbers import LabelNumbers
from mmtp_jax.structures.making import makings_of
from mmtp_jax.structures.outliers import FEW, MANY, apart, least_absolute
from mmtp_jax.structures.structure import Structure
from mmtp_jax.warn import warn

ENERGY_FLOOR = 1.0
"""eV/atom; states of one crystal differ by less, whatever their moments."""
FIT_FLOOR = 4.0
"""eV/atom, against the fit by species: compounds lie below the mean of their elements."""
FORCE_FLOOR = 20.0
"""eV/Angstrom."""
STRESS_FLOOR = 0.3
"""eV/Angstrom^3, 48 GPa."""
MAGNETIC_FORCE_FLOOR = 3.0
"""eV/mu_B."""
CHARGE_FLOOR = 0.5
"""Electrons in a sphere, less what its charge follows the volume: in Cr of CrN 2.3 ln V."""
NEGATIVE_FLOOR = 0.1
"""Share of the points of the fine grid whose density is negative; it follows the volume."""
GAP_FLOOR = 0.1
"""eV/atom, between direct and double-counting energy."""
STIFFNESS = 2.0
"""eV/Angstrom^3 (320 GPa): bulk modulus with which cells of other volumes may differ."""

_LISTED = 5
_WHOLESALE = 0.25


class OutlierWarning(UserWarning):
    """Labels stand apart from the others of their kind."""


@dataclass(frozen=True)
class Diagnostics:
    """What an engine tells of a calculation beside its labels; None where it does not."""

    charges: tuple[float, ...] | None = None
    """Electrons in the sphere of each atom."""
    negative_share: float | None = None
    """Share of the points of the fine grid whose density was negative."""
    energy_gap: float | None = None
    """Double-counting energy minus the direct one, less what a constraint adds, eV; zero where all
    is converged."""

    def __post_init__(self) -> None:
        # Files give lists.
        if self.charges is not None:
            object.__setattr__(self, "charges", tuple(self.charges))


@dataclass(frozen=True)
class Suspect:
    """A label that stands apart."""

    index: int
    """Among the structures."""
    name: str
    reasons: tuple[str, ...]
    """Each with the number that betrays it."""

    def __str__(self) -> str:
        return f"{self.name}: {'; '.join(self.reasons)}"


def screen(
    structures: Sequence[Structure],
    species: Sequence[str],
    diagnostics: Sequence[Diagnostics | None] | None = None,
) -> list[Suspect]:
    """The labels that stand apart from the others, in their order.

    The answer does not depend on the order, and changes when more labels exist: two of four are no
    majority. Two energies are never compared across compositions but by the fit, and cells with
    vacuum, clusters and isolated atoms only with each other.

    Args:
        structures: labelled configurations; those of different making are not compared.
        species: chemical symbols of their types.
        diagnostics: what the engine told of each.

    Example:
        >>> for suspect in screen(to_structures(atoms_list, ("Fe",)), ("Fe",)):
        ...     print(suspect)
    """
    if not structures:
        return []
    told = list(diagnostics or [None] * len(structures))
    found: dict[int, list[str]] = {}
    for members in _by_making(structures, species):
        own = [structures[k] for k in members]
        numbers = LabelNumbers.of(own, species)
        findings = [
            *_of_labels(numbers),
            *_of_diagnostics(own, species, [told[k] for k in members], numbers),
        ]
        for index, reason in findings:
            found.setdefault(members[index], []).append(reason)
    return [Suspect(k, structures[k].name, tuple(found[k])) for k in sorted(found)]


def sentences(suspects: Sequence[Suspect], n_labels: int) -> list[str]:
    """What to tell of suspects: how many, then one line each, at most a handful."""
    if not suspects:
        return []
    many = len(suspects) >= 3 and len(suspects) > _WHOLESALE * n_labels
    head = (
        f"{len(suspects)} of {n_labels} configurations have labels that stand apart from the others"
        + ("; so many may be of another making (code, settings, mesh)" if many else "")
    )
    lines = [f"stands apart: {suspect}" for suspect in suspects[:_LISTED]]
    rest = len(suspects) - _LISTED
    return [head, *lines, *([f"and {rest} more that stand apart"] if rest > 0 else [])]


def warn_of_outliers(structures: Sequence[Structure], species: Sequence[str]) -> None:
    """Issue what `screen` finds as `OutlierWarning`."""
    for sentence in sentences(screen(structures, species), len(structures)):
        warn(sentence, OutlierWarning)


def _by_making(structures: Sequence[Structure], species: Sequence[str]) -> list[list[int]]:
    """Labels that can be compared: those of one making, whatever their meshes of k-points.

    Where nothing is known of some, they count as the most frequent known making.
    """
    makings = makings_of([replace(s, kmesh=None) for s in structures], species)
    known = [k for k, text in enumerate(makings.texts) if text]
    of = np.where(np.isin(makings.of, known), makings.of, known[0] if known else 0)
    return [np.flatnonzero(of == k).tolist() for k in np.unique(of)]


def _of_labels(numbers: LabelNumbers) -> Iterator[tuple[int, str]]:
    few: dict[str, set[int]] = {"energy": set(), "sizes": set()}
    for name, members in numbers.groups.items():
        if len(members) < MANY:
            few["energy"].update(members.tolist())
        if len(members) < FEW:
            few["sizes"].update(members.tolist())
            continue
        x = numbers.strains(members)
        volumes = np.nan_to_num(numbers.volumes[members])
        # Stiffer when compressed, as all matter is.
        stiffness = STIFFNESS * np.exp(np.maximum(-x, 0.0))
        energies, extra = numbers.energies[members], 0.5 * stiffness * volumes * x**2
        where = f"of {np.isfinite(energies).sum()} labels of {name}"
        for k, off, limit in apart(energies, ENERGY_FLOOR, extra):
            # Once is enough.
            few["energy"].discard(int(members[k]))
            yield int(members[k]), _energy_reason(energies[k], off, limit, f"the median {where}")
        yield from _of_sizes(numbers, members, f"labels of {name}", 1.5 * stiffness * np.abs(x))
    if few["energy"]:
        yield from ((k, why) for k, why in _against_fit(numbers) if k in few["energy"])
    if few["sizes"]:
        everything = np.arange(len(numbers.energies))
        # Volumes of other compositions say nothing of how far a cell is strained.
        found = _of_sizes(numbers, everything, "labels", np.full(len(everything), STRESS_FLOOR))
        yield from ((k, why) for k, why in found if k in few["sizes"])


def _of_sizes(
    numbers: LabelNumbers, members: np.ndarray, of: str, extra: np.ndarray
) -> Iterator[tuple[int, str]]:
    """Largest force, stress and |dE/dm|; only what is large can be wrong."""
    quantities = (
        ("largest force", numbers.forces, FORCE_FLOOR, "eV/Angstrom", 0.0 * extra),
        ("largest stress", numbers.stress, STRESS_FLOOR, "eV/Angstrom^3", extra),
        ("largest |dE/dm|", numbers.magnetic_forces, MAGNETIC_FORCE_FLOOR, "eV/mu_B", 0.0 * extra),
    )
    for name, values, floor, unit, more in quantities:
        own = values[members]
        for k, off, limit in apart(own, floor, more):
            if off > 0.0:
                yield (
                    int(members[k]),
                    f"{name} {own[k]:.3g} {unit}, the median of {np.isfinite(own).sum()} {of} is "
                    f"{own[k] - off:.3g} (limit {own[k] - off + limit:.3g})",
                )


def _against_fit(numbers: LabelNumbers) -> Iterator[tuple[int, str]]:
    """Energies against sum_s x_s e_s, fitted to those of all cells without vacuum."""
    fitted = np.flatnonzero(numbers.dense & np.isfinite(numbers.energies))
    fractions, energies = numbers.fractions[fitted], numbers.energies[fitted]
    if len(fitted) < FEW - 1 + np.linalg.matrix_rank(fractions):
        return
    rest = energies - fractions @ least_absolute(fractions, energies)
    for k, off, limit in apart(rest, FIT_FLOOR, np.zeros(len(rest)), centre=0.0):
        what = f"a fit by species to {len(fitted)} labels"
        yield int(fitted[k]), _energy_reason(energies[k], off, limit, what)


def _of_diagnostics(
    structures: Sequence[Structure],
    species: Sequence[str],
    diagnostics: Sequence[Diagnostics | None],
    numbers: LabelNumbers,
) -> Iterator[tuple[int, str]]:
    told = [(k, d) for k, d in enumerate(diagnostics) if d is not None]
    if len(told) < FEW:
        return
    known = [
        (k, np.asarray(d.charges))
        for k, d in told
        if d.charges is not None and len(d.charges) == len(structures[k])
    ]
    for t, symbol in enumerate(species):
        atoms = [(k, a) for k, _ in known for a in np.flatnonzero(structures[k].types == t)]
        charges = np.array([q for k, all_q in known for q in all_q[structures[k].types == t]])
        expected = _follow_volume(charges, np.array([numbers.volumes[k] for k, _ in atoms]))
        for i, off, limit in apart(charges - expected, CHARGE_FLOOR, np.zeros(len(charges))):
            yield (
                atoms[i][0],
                f"{charges[i]:.2f} electrons in the sphere of atom {atoms[i][1]} ({symbol}), by "
                f"the other {len(charges) - 1} it would be {charges[i] - off:.2f} "
                f"(limit {limit:.2g} from it)",
            )
    shares = _column(d.negative_share for _, d in told)
    for i, off, limit in apart(shares, NEGATIVE_FLOOR, np.zeros(len(shares))):
        if off > 0.0:
            yield (
                told[i][0],
                f"negative density on {100 * shares[i]:.1f} % of the grid, the median is "
                f"{100 * (shares[i] - off):.1f} % (limit {100 * (shares[i] - off + limit):.1f} %)",
            )
    sizes = np.array([len(structures[k]) for k, _ in told])
    gaps = _column(d.energy_gap for _, d in told) / sizes
    for i, off, limit in apart(gaps, GAP_FLOOR, np.zeros(len(gaps))):
        yield (
            told[i][0],
            f"direct and double-counting energy differ by {gaps[i]:.2f} eV/atom, the median is "
            f"{gaps[i] - off:.2f} (limit {limit:.2g} from it)",
        )


def _follow_volume(values: np.ndarray, volumes: np.ndarray) -> np.ndarray:
    """A robust line through values over ln V; zero where volumes are too few or unknown."""
    if len(values) < MANY or not np.isfinite(volumes).all():
        return np.zeros(len(values))
    x = np.log(volumes)
    columns = np.stack([np.ones(len(x)), x - np.median(x)], axis=1)
    return columns @ least_absolute(columns, values)


def _energy_reason(energy: float, off: float, limit: float, than: str) -> str:
    side = "above" if off > 0.0 else "below"
    return f"energy {energy:.3f} eV/atom, {abs(off):.3g} eV/atom {side} {than} (limit {limit:.2g})"


def _column(values: Iterable[float | None]) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in values], float)
