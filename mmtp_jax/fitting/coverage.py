"""What a training set does not determine, though the potential has room for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mmtp_jax.fitting.initial import SMALLEST_MAX_MAGMOM, largest_magmoms
from mmtp_jax.fitting.prepared import PreparedSet
from mmtp_jax.fitting.weights import Weights
from mmtp_jax.language import argument
from mmtp_jax.potential.potential import Potential
from mmtp_jax.structures.structure import LABELS, Structure, repeated
from mmtp_jax.warn import warn

PER_PARAMETER = 2.0
"""Numbers in the labels for each parameter, below which they are few; forces of one small cell are
not independent of each other, so this is no luxury."""

MOST_SENTENCES = 3
"""Sentences on labels that are missing or few that a fit says."""
AT_EQUILIBRIUM = 5e-3
"""eV/mu_B; magnetic forces below it are what DFT leaves of zero."""
SAME_VOLUME = 1.01
"""Ratio of volumes per atom up to which they count as one."""
INDUCED = 0.25
"""Moments up to this part of the largest one do not count as magnetic."""
ON_SITES = 1e-3
"""eV/Angstrom; forces below it are what DFT leaves of those that symmetry forbids."""
MUCH = 5.0
"""Times `SMALLEST_MAX_MAGMOM` that others have beside a species that is called non-magnetic."""


LARGER, LEAST = 10.0, 0.01
"""Times that noncollinear terms may be larger in other canted cells than in those of the training
set, where they count for this at least, eV/atom."""


class CoverageWarning(UserWarning):
    """A fit has parameters that its training set says nothing about."""


def uncovered(potential: Potential, structures: Sequence[Structure]) -> list[str]:
    """One sentence each for species that no structure has, without or with hardly any moments.

    Args:
        potential: with the intervals that are fitted.
        structures: the training set.
    """
    found = []
    absent = absent_species(structures, potential.n_species)
    if absent.any():
        symbols = _symbols(potential, absent)
        found.append(
            f"no configuration of the training set has {symbols}: coefficients and energies of "
            "species without data stay as they were at the start, and mean nothing"
        )
    largest = largest_magmoms(structures, potential.n_species)
    most = np.asarray(potential.max_magmom)
    # M_max of the smallest size is what a fit itself gives to species without moments.
    still = ~absent & (largest == 0.0) & (most > SMALLEST_MAX_MAGMOM) & potential.magnetic
    if still.any():
        sizes = ", ".join(f"{most[k]:.4g}" for k in np.flatnonzero(still))
        found.append(
            f"all moments of {_symbols(potential, still)} in the training set are zero, but its "
            f"largest moment was set to {sizes} mu_B: nothing is known of energies at other moments"
        )
    canted = [s for s in structures if s.canted]
    if potential.noncollinear is not None and not canted:
        found.append(
            "no moments of the training set are canted: the "
            f"{potential.n_noncollinear} parameters of noncollinear terms mean nothing, and their "
            "linear coefficients stay at zero; energies between the axes are extrapolated by the "
            "form"
        )
    elif potential.noncollinear is not None and all(
        s.forces is not None and np.abs(s.forces).max(initial=0.0) < ON_SITES for s in canted
    ):
        found.append(
            "the forces on all canted configurations are zero, as on atoms at sites of symmetry: "
            "some of the noncollinear terms vanish there, and their linear coefficients stay near "
            "zero; displace the atoms of some canted configurations"
        )
    small = np.flatnonzero(_nearly_zero(potential, largest, absent))
    if small.size:
        symbols = tuple(potential.species[k] for k in small)
        fewer = potential.replace(non_magnetic=(*potential.non_magnetic, *symbols))
        sizes = ", ".join(f"{largest[k]:.2g}" for k in small)
        found.append(
            f"moments of {', '.join(symbols)} in the training set are at most {sizes} mu_B: "
            f"{argument('non_magnetic', symbols)} would declare that they have none, with "
            f"{fewer.n_parameters} parameters in place of {potential.n_parameters}"
        )
    return found


def _nearly_zero(potential: Potential, largest: np.ndarray, absent: np.ndarray) -> np.ndarray:
    """(S,) species with hardly any moment beside others that have some."""
    small = ~absent & (largest <= SMALLEST_MAX_MAGMOM)
    some = largest[~small].max(initial=0.0) >= MUCH * SMALLEST_MAX_MAGMOM
    return small & potential.magnetic & some & (potential.magnetic_size > 1)


def warn_of_coverage(
    potential: Potential, structures: Sequence[Structure], weights: Weights = Weights()
) -> None:
    """Issue the sentences as `CoverageWarning`: of `uncovered`, and three of the others at most."""
    others = [
        *few_labels(potential, structures, weights),
        *missing_labels(potential, structures, weights),
    ]
    for sentence in [*uncovered(potential, structures), *others[:MOST_SENTENCES]]:
        warn(sentence, CoverageWarning)


def missing_labels(
    potential: Potential, structures: Sequence[Structure], weights: Weights = Weights()
) -> list[str]:
    """What a simulation will ask of the potential and no label tells it, worst first.

    Kinds of label without a weight are left out on purpose and not spoken of.

    >>> missing_labels(potential, structures)
    ['all magnetic forces are below 5 meV/mu_B, so all moments are at equilibrium: ...']
    """
    vectors = any(structure.vectors for structure in structures)
    kinds = {
        kind: [s for s in structures if getattr(s, kind) is not None]
        for kind in LABELS
        if weights.has(kind, vectors)
    }
    found = []
    magnetic = potential.magnetic_size > 1 and any(s.magmoms.any() for s in structures)
    if magnetic and "magnetic_forces" in kinds:
        found += _of_moments(kinds["magnetic_forces"])
    if kinds.get("forces") == []:
        found.append(
            "no configuration has forces: energies alone tell little of atoms off their sites, "
            "where dynamics goes"
        )
    per_atom = [s.volume / len(s) for s in structures if s.volume is not None]
    if kinds.get("stress") == [] and per_atom and max(per_atom) > SAME_VOLUME * min(per_atom):
        found.append(
            "no configuration has a stress, though their volumes differ: pressures and elastic "
            "constants follow from differences of energies alone"
        )
    if magnetic and (n := _parallel_only(structures)):
        found.append(
            f"all moments of each configuration point one way ({n} of them are magnetic): energies "
            "of antiferromagnetic and paramagnetic states are unknown; give some with moments "
            "reversed"
        )
    return found


def _of_moments(with_forces: Sequence[Structure]) -> list[str]:
    """That there are no magnetic forces, or none that is not zero."""
    if not with_forces:
        declare = argument("moments_at_equilibrium", "all")
        return [
            "no configuration has magnetic forces T = -dE/dm, which make moments relax to the "
            "right place: label some with constrained moments, or, where DFT left the moments "
            f"free, say so by {declare}"
        ]
    if all(s.transverse for s in with_forces):
        return [
            "magnetic forces are known across the moments only, so that nothing but energies says "
            "what other lengths cost; label some configurations with the lengths held as well"
        ]
    largest = max(float(np.abs(s.magnetic_labels).max(initial=0.0)) for s in with_forces)
    if largest >= AT_EQUILIBRIUM:
        return []
    return [
        f"all magnetic forces are below {1e3 * AT_EQUILIBRIUM:g} meV/mu_B, so all moments are at "
        "equilibrium: nothing says what other moments cost, and those of a simulation may run "
        "away; label some configurations with their moments scaled"
    ]


def _parallel_only(structures: Sequence[Structure]) -> int:
    """Number of magnetic configurations if the moments are parallel in each, or else 0."""
    if any(s.canted for s in structures):
        return 0
    largest = max(float(s.lengths.max(initial=0.0)) for s in structures)
    # Small moments are induced by the others, and may oppose them.
    moments = [s.magmoms[s.lengths > INDUCED * largest] for s in structures]
    moments = [of.reshape(len(of), -1) for of in moments if len(of)]
    return len(moments) if all(np.all(of @ of.sum(axis=0) > 0.0) for of in moments) else 0


def count_numbers(structures: Sequence[Structure], weights: Weights = Weights()) -> int:
    """Numbers in all labels that have a weight, see `Structure.count`."""
    return sum(
        structure.count(kind)
        for structure in structures
        for kind in LABELS
        if weights.has(kind, structure.vectors) and getattr(structure, kind) is not None
    )


def warn_of_terms(potential: Potential, training: PreparedSet) -> None:
    """Warn where noncollinear terms, small in the training set, are large in larger cells.

    In cells of two atoms many combinations of them are nearly zero, and so is what they cost there.

    Warns:
        CoverageWarning: if they are `LARGER` times as large in canted cells of the training set
            that are repeated, with moments of the same lengths in random directions.
    """
    canted = [structure for structure in training.structures if structure.canted]
    if not potential.noncollinear_terms or not canted:
        return
    some = [canted[k] for k in sorted({0, len(canted) // 2, len(canted) - 1})]
    probes = [
        _in_random_directions(repeated(s, np.where(s.periodic, 2, 1)), k)
        for k, s in enumerate(some)
    ]
    known = _size_of_terms(potential, canted)
    found = _size_of_terms(potential, probes)
    if found > LARGER * max(known, LEAST):
        atoms = sorted({len(structure) for structure in canted})
        between = f"{atoms[0]}" if len(atoms) == 1 else f"{atoms[0]} to {atoms[-1]}"
        warn(
            f"noncollinear terms are at most {known:.2g} eV/atom in the training set, and "
            f"{found:.2g} in its canted cells doubled, with moments in random directions: cells of "
            f"{between} atoms do not determine them there; give labels of larger canted cells, or "
            f"set {argument('noncollinear_terms', 0)}",
            CoverageWarning,
        )


def _size_of_terms(potential: Potential, structures: Sequence[Structure]) -> float:
    """The largest energy of noncollinear terms, eV/atom."""
    prepared = PreparedSet.of(structures, float(potential.cutoff))
    with_them, without = (
        np.array([result.energy / len(s) for result, s in zip(of, structures, strict=True)])
        for of in (prepared.results(p) for p in (potential, potential.replace(noncollinear=None)))
    )
    return float(np.abs(with_them - without).max())


def _in_random_directions(structure: Structure, seed: int) -> Structure:
    drawn = np.random.default_rng(seed).normal(size=structure.magmoms.shape)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return replace(structure, magmoms=structure.lengths[:, None] * drawn)


def few_labels(
    potential: Potential, structures: Sequence[Structure], weights: Weights = Weights()
) -> list[str]:
    """What to change where the labels have fewer numbers than a potential needs.

    Empty where there are `PER_PARAMETER` times as many as parameters.
    """
    n, n_parameters = count_numbers(structures, weights), potential.n_parameters
    if n >= PER_PARAMETER * n_parameters:
        return []
    smaller = _largest_form(potential, n / PER_PARAMETER)
    advice = "give more labels" if smaller is None else f"take {smaller}, or give more labels"
    few = "fewer than" if n < n_parameters else f"less than {PER_PARAMETER:g} times"
    return [
        f"the labels have {n} numbers, {few} the {n_parameters} parameters of the potential, so "
        f"that much of it is left to chance: {advice}, and look at the errors of a validation set"
    ]


def _largest_form(potential: Potential, most: float) -> str | None:
    """Level and sizes of a potential of the same form with at most so many parameters."""
    if potential.level is None:
        return None
    for radial_size in dict.fromkeys((potential.radial_size, min(potential.radial_size, 6), 4)):
        for level in range(potential.level, 1, -2):
            found = Potential.new(
                level=level, species=potential.species, form=potential.form,
                non_magnetic=potential.non_magnetic, radial_size=radial_size,
                magnetic_size=potential.magnetic_size,
                noncollinear_terms=potential.noncollinear_terms,
            ).n_parameters  # fmt: skip
            if found <= most:
                sizes = argument("level", level), argument("radial_size", radial_size)
                return f"{' and '.join(sizes)} ({found} parameters)"
    return None


def absent_species(structures: Sequence[Structure], n_species: int) -> np.ndarray:
    """(S,) whether no structure has a species."""
    present = np.zeros(n_species, bool)
    for structure in structures:
        present[structure.types] = True
    return ~present


def _symbols(potential: Potential, which: np.ndarray) -> str:
    return ", ".join(potential.species[k] for k in np.flatnonzero(which))
