"""Formation energies, volumes and moments against composition (Kotykhov 2024, Figs. 5 and 6).

E_f = (E - sum_z n_z mu_z) / N after full relaxation, with mu_z the energy per atom of element z in
its reference. Several potentials, an ensemble, give mean and two standard deviations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms

from mmtp_jax.interfaces.relaxation import Relaxation, relax, uninterrupted
from mmtp_jax.io.schema import SOURCE
from mmtp_jax.language import named
from mmtp_jax.options import takes
from mmtp_jax.potential.potential import Potential
from mmtp_jax.properties.states import MAGNETIC, lost_state
from mmtp_jax.readable import readable
from mmtp_jax.simulation.relaxation.options import RelaxOptions
from mmtp_jax.structures.structure import lengths


@readable
@dataclass(frozen=True, eq=False)
class FormationEnergies:
    """What p potentials say about k relaxed configurations.

    Means and deviations are over the potentials with which a configuration was relaxed; NaN where
    there is none, and deviations are NaN with one potential.
    """

    symbols: tuple[str, ...]
    """The elements, S of them."""
    compositions: np.ndarray
    """(k, S) atoms of each element."""
    energies: np.ndarray
    """(p, k) formation energies, eV per atom."""
    volumes: np.ndarray
    """(p, k) Angstrom^3 per atom."""
    moments: np.ndarray
    """(p, k) net moment |sum of the moments| per magnetic atom, mu_B, which is zero of an
    antiferromagnet; NaN where there is none."""
    chemical_potentials: np.ndarray = field(repr=False)
    """(p, S) energies per atom of the references, eV."""
    converged: np.ndarray
    """(p, k) bool."""
    messages: tuple[tuple[str, ...], ...] = field(repr=False)
    """(p, k) what is wrong, empty where nothing is; a lost moment is noted and does count."""
    relaxed: tuple[tuple[Atoms, ...], ...] = field(repr=False)
    """(p, k) final configurations."""

    def fraction(self, symbol: str) -> np.ndarray:
        """(k,) atomic fraction of an element."""
        total = self.compositions.sum(axis=1)
        return self.compositions[:, self.symbols.index(symbol)] / total

    def lattice_parameters(self, atoms_per_cell: float) -> np.ndarray:
        """(p, k) (V per cell)^(1/3), Angstrom."""
        return np.cbrt(atoms_per_cell * self.volumes)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """(k,) mean of (p, k) over the potentials that count."""
        return _over_potentials(np.mean, self._counted(values), 1)

    def two_sigma(self, values: np.ndarray) -> np.ndarray:
        """(k,) twice the standard deviation of (p, k) over the potentials that count."""
        return 2 * _over_potentials(lambda v: np.std(v, ddof=1), self._counted(values), 2)

    def lowest(self) -> np.ndarray:
        """Places of the configuration with the lowest mean formation energy of each composition."""
        mean = self.mean(self.energies)
        shares = self.compositions / self.compositions.sum(axis=1, keepdims=True)
        _, group = np.unique(np.round(shares, 9), axis=0, return_inverse=True)
        found = []
        for g in np.unique(group):
            members = np.flatnonzero((np.ravel(group) == g) & np.isfinite(mean))
            if members.size:
                found.append(int(members[np.argmin(mean[members])]))
        return np.array(sorted(found, key=lambda k: tuple(shares[k])[::-1]), int)

    def _counted(self, values: np.ndarray) -> np.ndarray:
        return np.where(self.converged, values, np.nan)


@takes(RelaxOptions)
def formation_energies(
    potentials: Potential | Sequence[Potential],
    atoms_list: Sequence[Atoms],
    references: Mapping[str, Atoms | float] | None = None,
    *,
    magnetic: Sequence[str] | None = None,
    callback: Callable[[int], None] | None = None,
    **options: Any,
) -> FormationEnergies:
    """Formation energy, volume and moment of configurations after full relaxation.

    Args:
        potentials: one, or the members of an ensemble.
        atoms_list: configurations with moments to start from; they are not changed.
        references: of each element a configuration, which is relaxed as well, or its energy per
            atom in eV. Without any, the configuration of ``atoms_list`` of that element alone with
            the lowest energy.
        magnetic: elements whose atoms a moment is divided among; by default those that start with
            a moment of 0.5 mu_B or more anywhere.
        callback: called with the number of relaxations that are done.
        **options: of the relaxations, see `mmtp_jax.relax`.

    Raises:
        ValueError: if an element has no reference, there is one of an element that no configuration
            has, or a reference cannot be relaxed with any of the potentials; one with which that
            fails does not count.

    Example:
        >>> found = mmtp.formation_energies(ensemble.potentials, atoms_list, {"Fe": fe, "Al": al})
        >>> found.fraction("Al"), found.mean(found.energies), found.two_sigma(found.energies)
        >>> found.lattice_parameters(2)[:, found.lowest()]
    """
    members = [potentials] if isinstance(potentials, Potential) else list(potentials)
    atoms_list = list(atoms_list)
    if not members or not atoms_list:
        raise ValueError("formation energies need at least one potential and one configuration")
    for k, atoms in enumerate(atoms_list, 1):
        unknown = sorted(set(atoms.symbols) - set(members[0].species))
        if unknown:
            raise ValueError(
                f"{getattr(atoms, SOURCE, f'configuration {k}')}: has {', '.join(unknown)}, but "
                f"the potential is for {', '.join(members[0].species)}"
            )
    symbols = tuple(s for s in members[0].species if any(s in a.symbols for a in atoms_list))
    compositions = np.array([[Counter(a.symbols)[s] for s in symbols] for a in atoms_list])
    given = dict(references or {})
    _check_references(symbols, compositions, given)
    extra = {s: given[s] for s in symbols if isinstance(given.get(s), Atoms)}
    per_member = len(atoms_list) + len(extra)
    columns: dict[str, list[Any]] = {"energies": [], "volumes": [], "moments": []}
    potentials_of, flags, messages, ends, failed = [], [], [], [], []
    share = _magnetic_atoms(atoms_list, symbols, compositions, magnetic)
    for p, potential in enumerate(members):
        done = None if callback is None else lambda k, p=p: callback(p * per_member + k)
        all_of = [*atoms_list, *extra.values()]
        found = uninterrupted(relax(potential, all_of, callback=done, **options))
        own, of_references = found[: len(atoms_list)], found[len(atoms_list) :]
        counts, why = [f.converged for f in own], tuple(map(_message, own))
        try:
            mu = _chemical_potentials(
                symbols, compositions, own, given, dict(zip(extra, of_references, strict=True))
            )
        except ValueError as error:
            failed.append(error)
            mu, counts = np.full(len(symbols), np.nan), [False] * len(own)
            why = tuple(f"{message}; {error}" if message else str(error) for message in why)
        sizes = compositions.sum(axis=1)
        total = np.array([f.energy for f in own])
        columns["energies"].append((total - compositions @ mu) / sizes)
        columns["volumes"].append([np.nan if f.volume is None else f.volume for f in own] / sizes)
        columns["moments"].append([np.linalg.norm(f.magmoms.sum(axis=0)) for f in own] / share)
        potentials_of.append(mu)
        flags.append(counts)
        messages.append(why)
        ends.append(tuple(f.atoms for f in own))
    if len(failed) == len(members):
        raise failed[0]
    return FormationEnergies(
        symbols=symbols,
        compositions=compositions,
        **{name: np.array(rows, float) for name, rows in columns.items()},
        chemical_potentials=np.array(potentials_of),
        converged=np.array(flags),
        messages=tuple(messages),
        relaxed=tuple(ends),
    )


def _check_references(
    symbols: Sequence[str], compositions: np.ndarray, given: Mapping[str, Atoms | float]
) -> None:
    """ValueError where it is known before the relaxations that they will not do."""
    unknown = sorted(set(given) - set(symbols))
    if unknown:
        raise ValueError(
            f"{named('references')} has {', '.join(unknown)}, which no configuration contains; "
            "leave out what is not needed"
        )
    for symbol, reference in given.items():
        if isinstance(reference, Atoms) and set(reference.symbols) != {symbol}:
            raise ValueError(
                f"the reference of {symbol} ({reference.get_chemical_formula()}) must be of that "
                "element alone"
            )
    pure = (compositions == compositions.sum(axis=1, keepdims=True)).any(axis=0)
    missing = [s for s, there in zip(symbols, pure, strict=True) if not there and s not in given]
    if missing:
        raise ValueError(
            f"there is no configuration of {missing[0]} alone to refer to; give one with "
            f"{named('references')}"
        )


def _message(found: Relaxation) -> str:
    return lost_state(found.start_magmoms, found.magmoms) if found.converged else found.message


def _chemical_potentials(
    symbols: Sequence[str],
    compositions: np.ndarray,
    own: Sequence[Relaxation],
    given: Mapping[str, Atoms | float],
    of_references: Mapping[str, Relaxation],
) -> np.ndarray:
    found = []
    for k, symbol in enumerate(symbols):
        if symbol in of_references:
            end = of_references[symbol]
            if not end.converged:
                raise ValueError(
                    f"the reference of {symbol} ({end.atoms.get_chemical_formula()}) must relax: "
                    f"{end.message}"
                )
            found.append(end.energy / len(end.atoms))
        elif symbol in given:
            found.append(float(given[symbol]))
        else:
            pure = [
                f.energy / row.sum()
                for f, row in zip(own, compositions, strict=True)
                if row[k] == row.sum() and f.converged
            ]
            if not pure:
                raise ValueError(
                    f"no configuration of {symbol} alone was relaxed to refer to; give "
                    f"another one with {named('references')}"
                )
            found.append(min(pure))
    return np.array(found)


def _magnetic_atoms(
    atoms_list: Sequence[Atoms],
    symbols: Sequence[str],
    compositions: np.ndarray,
    magnetic: Sequence[str] | None,
) -> np.ndarray:
    """(k,) atoms of magnetic elements; NaN where there is none."""
    if magnetic is None:
        largest = dict.fromkeys(symbols, 0.0)
        for atoms in atoms_list:
            for symbol, moment in zip(
                atoms.symbols, lengths(atoms.get_initial_magnetic_moments()), strict=True
            ):
                largest[symbol] = max(largest[symbol], float(moment))
        magnetic = [s for s in symbols if largest[s] >= MAGNETIC]
    unknown = sorted(set(magnetic) - set(symbols))
    if unknown:
        raise ValueError(
            f"{named('magnetic')} names {', '.join(unknown)}, which no configuration contains"
        )
    count = compositions[:, [s in magnetic for s in symbols]].sum(axis=1).astype(float)
    return np.where(count > 0, count, np.nan)


def _over_potentials(reduce: Callable[..., Any], values: np.ndarray, least: int) -> np.ndarray:
    """(k,) reduction of (p, k) without the NaN; NaN where fewer than ``least`` are left."""
    columns = [column[np.isfinite(column)] for column in np.asarray(values, float).T]
    return np.array([reduce(c) if len(c) >= least else np.nan for c in columns])
