"""Committees: potentials that are asked together, such as the members of an ensemble.

Their mean energy is a potential itself. With the radial functions, the moments and the basis
functions of all p members side by side,

    E = (1/p) sum_p E_p    has the linear coefficients    xi / p,

so everything that takes a potential, files and other programs included, takes the mean; it costs
as much as all members together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmtp_jax.potential.moments import MomentTables
from mmtp_jax.potential.noncollinear_coefficients import side_by_side
from mmtp_jax.potential.potential import Potential

_ALIKE = {
    "form": "forms",
    "radial_size": "numbers of radial functions",
    "magnetic_size": "numbers of magnetic functions",
    "min_dist": "R_min",
    "cutoff": "cutoffs",
    "min_magmom": "intervals of the moments",
    "max_magmom": "intervals of the moments",
    "confinement": "confinements",
    "noncollinear_terms": "numbers of functions of noncollinear terms",
}
"""What members of a mean have in common, and what it is called."""


def committee_of(
    potentials: Sequence[Potential], names: Sequence[str] | None = None
) -> tuple[Potential, ...]:
    """The members of a committee, checked.

    Args:
        potentials: two or more of the same species in the same order.
        names: of the potentials, for messages.

    Raises:
        ValueError: if there are fewer than two, or their species, or those that are
            non-magnetic, differ.
    """
    members = tuple(potentials)
    if len(members) < 2:
        raise ValueError(f"a committee needs two potentials or more, got {len(members)}")
    names = _names(members, names)
    for name, member in zip(names, members, strict=True):
        if member.species != members[0].species:
            raise ValueError(
                f"{name} has the species {' '.join(member.species)} and {names[0]} "
                f"{' '.join(members[0].species)}; members of a committee have the same species in "
                "the same order"
            )
        if member.non_magnetic != members[0].non_magnetic:
            raise ValueError(
                f"{name} and {names[0]} do not have the same non-magnetic species; members of a "
                "committee are evaluated at the same moments"
            )
    return members


def mean_potential(
    potentials: Sequence[Potential], names: Sequence[str] | None = None
) -> Potential:
    """The potential whose energy is the mean of those of the members of a committee.

    Its forces, stresses and magnetic forces are the means as well. It can be saved as ``.mtp``.

    Args:
        potentials: two or more, of one form, with equal intervals and sizes of their bases;
            levels may differ.
        names: of the potentials, for messages.

    Raises:
        ValueError: if there are fewer than two, or they differ in what they must share.

    Example:
        >>> mean = mmtp.mean_potential(ensemble.potentials)
        >>> result = mmtp.md(mean, atoms, 5000, ensemble="nvt", temperature_K=300)
    """
    members = committee_of(potentials, names)
    first, names = members[0], _names(members, names)
    for name, member in zip(names, members, strict=True):
        for attribute, called in _ALIKE.items():
            if not _equal(getattr(member, attribute), getattr(first, attribute)):
                raise ValueError(
                    f"{name} and {names[0]} differ in their {called}, so that their mean is no "
                    "potential; evaluate each member for itself"
                )
    return first.replace(
        species_coeffs=np.mean([p.species_coeffs for p in members], axis=0),
        moment_coeffs=np.concatenate([p.moment_coeffs for p in members]) / len(members),
        radial_coeffs=np.concatenate([p.scaling * p.radial_coeffs for p in members], axis=2),
        scaling=np.float64(1.0),
        tables=_side_by_side([p.tables for p in members]),
        parities="".join(p.parities for p in members),
        noncollinear=side_by_side([p.noncollinear for p in members], [p.scaling for p in members]),
        tag="",
        record=None,
    )


def _side_by_side(tables: Sequence[MomentTables]) -> MomentTables:
    """Tables with the moments, products and scalars of all, none of them shared."""
    n_basic = sum(of.n_basic for of in tables)
    basic, products, scalars = [], [], []
    n_radial, n_before, n_products = 0, 0, n_basic
    for of in tables:
        place = np.arange(of.n_moments)
        place = np.where(place < of.n_basic, n_before + place, n_products + place - of.n_basic)
        basic.append(of.basic + np.array([n_radial, 0, 0, 0]))
        rows = of.products.copy()
        rows[:, [0, 1, 3]] = place[rows[:, [0, 1, 3]]]
        products.append(rows)
        scalars.append(place[of.scalars])
        n_radial += of.n_radial
        n_before += of.n_basic
        n_products += of.n_moments - of.n_basic
    return MomentTables(*map(np.concatenate, (basic, products, scalars)))


def _equal(a: Any, b: Any) -> bool:
    if a is None or b is None:
        return a is b
    pairs = zip(a, b, strict=True) if isinstance(a, tuple) else [(a, b)]
    return all(np.array_equal(x, y) for x, y in pairs)


def _names(members: Sequence[Potential], names: Sequence[str] | None) -> Sequence[str]:
    return names or [f"potential {k}" for k in range(1, len(members) + 1)]
