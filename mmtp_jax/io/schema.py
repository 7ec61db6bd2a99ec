"""Where labels live on an ``ase.Atoms``, and what counts as collinear.

One schema, whatever the file was: energy (eV), forces (eV/Angstrom), stress (ASE order and sign,
eV/Angstrom^3) and achieved moments ``magmoms`` (mu_B) are results of the calculator; magnetic
forces T = -dE/dm (eV/mu_B) are ``atoms.arrays["magnetic_forces"]``, because ASE calculators know
no such property; moments to start from are ``atoms.get_initial_magnetic_moments()``.

An array outlives the results that it came with: it is in every copy, wherever its atoms move. So
`set_magnetic_forces` leaves a stamp of the energy, positions, cell and moments that they belong to,
and they are labels only while these are the same. The stamp is an entry of ``info``, which goes
into files as any other. What stands in a file without one belongs together: there the array itself
gets the stamp (`stamp_as_read`), so that ``info`` is that of the file.

Collinear moments are (n,). Codes that store vectors give (n, 3) with one non-zero column: that
is collinear too, and the axis means nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from ase import Atoms

from mmtp_jax.io.fields import shown
from mmtp_jax.language import numbers

logger = logging.getLogger(__name__)

MAGNETIC_FORCES = "magnetic_forces"
"""Name of the array with T = -dE/dm."""

MAKING, KMESH = "making", "kmesh"
"""Entries of ``atoms.info``: how the labels were made (`mmtp_jax.structures.making`), and with
which mesh of k-points, ``"4x4x2"``."""

STAMP = "magnetic_forces_of"
"""Entry of ``info``: the state that the magnetic forces of the arrays belong to."""

TRANSVERSE = "transverse_magnetic_forces"
"""Entry of ``info``, true or false: the magnetic forces of the arrays are only the part across each
moment, as the fields of a calculation that constrains directions are; the rest is unknown."""

SOURCE = "source"
"""Attribute that `mmtp_jax.io.reading.read` sets on each Atoms: what messages call it.

It is a plain attribute, not an entry of ``info``: no writer writes it, no copy carries it.
"""


@dataclass(frozen=True)
class Labels:
    """What is known of one configuration."""

    results: dict[str, Any]
    """Results of the calculator for these very atoms."""
    magnetic_forces: np.ndarray | None
    """T = -dE/dm in eV/mu_B, (n,) or (n, 3)."""
    achieved_moments: np.ndarray | None
    """Of the calculator, mu_B, (n,) or (n, 3)."""
    initial_moments: np.ndarray | None
    """mu_B, (n,) or (n, 3)."""
    stale: bool
    """The calculator has results, but for other positions, cell or moments: none is used."""
    forces_stale: bool = False
    """There are magnetic forces, but of other results, positions or moments: they are not used."""
    transverse: bool = False
    """Of the magnetic forces only the part across each moment is known."""
    forces_unstamped: bool = False
    """Nothing says which results the magnetic forces belong to: they are taken for these."""

    @property
    def moments(self) -> np.ndarray | None:
        """The achieved moments, or else the initial ones."""
        return self.initial_moments if self.achieved_moments is None else self.achieved_moments


def labels_of(atoms: Atoms, fresh: bool = False) -> Labels:
    """The labels of a configuration, wherever they live; changes nothing.

    Of ``fresh`` atoms, out of a reader, the results are of these very atoms: that is not checked.

    Magnetic forces of the calculator itself come before those of the arrays. These are used where
    their stamp fits the atoms and the results, or where there is none; never beside stale results.
    """
    results, stale = (_usable(atoms), False) if fresh else _results_of(atoms)
    forces = None if stale else _forces_of_calculator(atoms, results)
    forces_stale = forces_unstamped = transverse = False
    if forces is None and not stale and MAGNETIC_FORCES in atoms.arrays:
        stamp = atoms.info.get(STAMP, getattr(atoms.arrays[MAGNETIC_FORCES], "stamp", None))
        forces_unstamped = stamp is None
        forces_stale = not forces_unstamped and not _fits(stamp, atoms, results)
        forces = None if forces_stale else atoms.arrays[MAGNETIC_FORCES]
        transverse = forces is not None and _transverse(atoms.info.get(TRANSVERSE, False))
    achieved = results.get("magmoms")
    return Labels(
        results=results,
        magnetic_forces=None if forces is None else np.asarray(forces),
        achieved_moments=None if achieved is None else np.asarray(achieved),
        initial_moments=atoms.arrays.get("initial_magmoms"),
        stale=stale,
        forces_stale=forces_stale,
        transverse=transverse,
        forces_unstamped=forces_unstamped,
    )


def _transverse(said: object) -> bool:
    if said not in (True, False):
        raise ValueError(f"{TRANSVERSE} must be true or false, got {shown(said)}")
    return bool(said)


def set_magnetic_forces(atoms: Atoms, values: np.ndarray, *, transverse: bool = False) -> None:
    """Give atoms the magnetic forces T = -dE/dm that belong to their present results.

    Call it last: a change of positions, cell, moments or results afterwards makes them those of
    another state, which nothing takes for labels.

    Args:
        atoms: with their moments, and the calculator whose results the forces come with.
        values: (n,) eV/mu_B, or (n, 3).
        transverse: only the part across each moment (n, 3) is known, as of a calculation that
            constrains directions; what is along it is not looked at.

    Raises:
        ValueError: if there is not one for each atom, or numbers beside moments that are vectors.
    """
    values = np.array(values, float)
    if values.shape not in ((len(atoms),), (len(atoms), 3)):
        raise ValueError(
            f"magnetic forces are {numbers(values.shape)}; give one number, or a vector, for each "
            f"of {len(atoms)} atoms"
        )
    moments = _results_of(atoms)[0].get("magmoms", atoms.arrays.get("initial_magmoms"))
    if values.ndim == 1 and np.shape(moments) == (len(atoms), 3):
        raise ValueError(
            f"magnetic forces are {numbers(values.shape)}, and the moments are vectors; give a "
            f"vector for each of {len(atoms)} atoms"
        )
    remove_magnetic_forces(atoms)
    atoms.set_array(MAGNETIC_FORCES, values)
    if transverse:
        atoms.info[TRANSVERSE] = True
    atoms.info[STAMP] = _stamp(atoms, _results_of(atoms)[0])


class _FromFile(np.ndarray):
    """Magnetic forces of a file, with the stamp of what they stood beside; copies have it too."""

    stamp: str | None

    def __array_finalize__(self, other: Any) -> None:
        self.stamp = getattr(other, "stamp", None)

    def __setitem__(self, place: Any, values: Any) -> None:
        # Others are set by hand, as ASE does over an array that is there.
        self.stamp = None
        super().__setitem__(place, values)

    def __reduce__(self) -> tuple:
        return _from_file, (np.asarray(self), self.stamp)


def _from_file(values: np.ndarray, stamp: str | None) -> _FromFile:
    array = values.view(_FromFile)
    array.stamp = stamp
    return array


def stamp_as_read(atoms: Atoms) -> None:
    """Tie the magnetic forces of a file to what else is in it, unless it says what they are of."""
    array = atoms.arrays.get(MAGNETIC_FORCES)
    if array is not None and STAMP not in atoms.info and getattr(array, "stamp", None) is None:
        values = np.array(array)
        # Results that were read with the atoms are theirs.
        atoms.arrays[MAGNETIC_FORCES] = _from_file(values, _stamp(atoms, _usable(atoms)))


def remove_magnetic_forces(atoms: Atoms) -> None:
    """Take magnetic forces off the atoms' arrays, together with their stamp."""
    atoms.arrays.pop(MAGNETIC_FORCES, None)
    atoms.info.pop(STAMP, None)
    atoms.info.pop(TRANSVERSE, None)


def tell_of_forces(labels: Sequence[Labels], names: Sequence[str], file: str = "") -> None:
    """Log what is to be said of magnetic forces in the arrays, one line for all configurations.

    Args:
        labels: of each configuration.
        names: what messages call it.
        file: that they are written to or read from.
    """
    for flag, text in _NOTES.items():
        which = [n for one, n in zip(labels, names, strict=True) if getattr(one, flag)]
        if which:
            logger.warning(
                "%smagnetic forces of %d of %d configurations (first: %s) %s",
                file and f"{file}: ", len(which), len(labels), which[0], text,
            )  # fmt: skip


_NOTES = {
    "forces_stale": "belong to other results, positions or moments than these have now, and are "
    "not used; set those of these results with mmtp_jax.set_magnetic_forces(atoms, values)",
    "forces_unstamped": "were set by hand and do not say which results they belong to; they are "
    "taken for those of these results, as mmtp_jax.set_magnetic_forces(atoms, values) would say",
}


def _results_of(atoms: Atoms) -> tuple[dict[str, Any], bool]:
    """What the calculator says of these very atoms; and whether it speaks of others."""
    calc, results = atoms.calc, _usable(atoms)
    if results and hasattr(calc, "check_state") and _differences(atoms):
        return {}, True
    return results, False


def _differences(atoms: Atoms) -> list[str]:
    """What of the atoms is not that of their calculator's; a NaN is what it was."""
    there = getattr(atoms.calc.atoms, "arrays", {})
    return [
        name
        for name in atoms.calc.check_state(atoms)
        if name not in there
        or name not in atoms.arrays
        or not np.array_equal(there[name], atoms.arrays[name], equal_nan=True)
    ]


def _usable(atoms: Atoms) -> dict[str, Any]:
    """The results of the calculator, whatever atoms they are of."""
    results = getattr(atoms.calc, "results", None) or {}
    results = {name: value for name, value in results.items() if value is not None}
    # Forces and stress are derivatives of the free energy, where there are two.
    if "free_energy" in results:
        results["energy"] = results.pop("free_energy")
    return results


def _forces_of_calculator(atoms: Atoms, results: dict[str, Any]) -> np.ndarray | None:
    calc = atoms.calc
    if MAGNETIC_FORCES in results or not results:
        return results.get(MAGNETIC_FORCES)
    if MAGNETIC_FORCES in getattr(calc, "implemented_properties", ()):
        return calc.get_property(MAGNETIC_FORCES, atoms, allow_calculation=False)
    return None


def _state(atoms: Atoms, results: dict[str, Any]) -> np.ndarray:
    """Energy (NaN without one), and weighted sums of positions, cell and moments.

    Empty where one of them is no number: whoever reads labels says so.
    """
    moments = results.get("magmoms", atoms.arrays.get("initial_magmoms"))
    try:
        moments = np.zeros(0) if moments is None else collapse(np.asarray(moments, float))
        energy = float(results.get("energy", np.nan))
    except (TypeError, ValueError):
        return np.zeros(0)
    parts = [np.ravel(part) for part in (atoms.positions, atoms.cell.array, moments)]
    with np.errstate(over="ignore", invalid="ignore"):
        return np.array([energy, *(_weights(part.size) @ part for part in parts)])


def _stamp(atoms: Atoms, results: dict[str, Any]) -> str:
    return ";".join(f"{x:.17g}" for x in _state(atoms, results))


@lru_cache(maxsize=64)
def _weights(size: int) -> np.ndarray:
    """Fractional parts of multiples of the golden ratio: no two weights are alike."""
    return 0.5 + np.arange(1, size + 1) * 0.6180339887498949 % 1.0


def _fits(stamp: object, atoms: Atoms, results: dict[str, Any]) -> bool:
    try:
        then = np.array([float(part) for part in str(stamp).split(";")])
    except ValueError:
        return False
    now = _state(atoms, results)
    if then.shape != now.shape:
        return False
    # Files may keep 8 decimals of each number.
    room = 1e-7 * (1.0 + np.sqrt([0.0, 3 * len(atoms), 9, len(atoms)])) + 1e-9 * np.abs(now)
    room[0] += 1e-6
    return bool(np.all(np.isclose(then, now, rtol=0.0, atol=np.nan_to_num(room), equal_nan=True)))


def axis_of(vectors: np.ndarray) -> int | None:
    """The column of (n, 3) vectors that holds everything (0 if all is zero), None if several do."""
    used = vectors.any(axis=0).tolist()
    if sum(used) > 1:
        return None
    return used.index(True) if any(used) else 0


def collapse(values: np.ndarray) -> np.ndarray:
    """Collinear (n,), (n, 1) or (n, 3) values as (n,); noncollinear and odd shapes unchanged."""
    if values.ndim == 2 and values.shape[1] == 1:
        return values[:, 0].copy()
    if values.ndim == 2 and values.shape[1] == 3:
        axis = axis_of(values)
        if axis is not None:
            return values[:, axis].copy()
    return values


def some_canted(labels: Sequence[Labels]) -> bool:
    """Whether moments of a configuration are vectors along more than one axis."""
    moments = (of for one in labels for of in (one.achieved_moments, one.initial_moments))
    return any(of is not None and collapse(np.asarray(of)).ndim > 1 for of in moments)


def is_total(total: Any, moments: Any) -> bool:
    """Whether a total moment, a number or a vector (3,), is no more than the sum of moments.

    ASE writes eight decimals of each moment to extended XYZ.
    """
    if total is None or moments is None or np.shape(total) != np.shape(moments)[1:]:
        return False
    tolerance = 1e-8 * max(len(moments), 1)
    return bool(np.allclose(total, np.sum(moments, axis=0), rtol=1e-9, atol=tolerance))


def check_periodic(atoms: Atoms) -> None:
    """Refuse a periodic direction without a cell vector, which no file can hold.

    Raises:
        ValueError: if there is one.
    """
    if not atoms.cell.array[atoms.pbc].any(axis=1).all():
        raise ValueError("a periodic direction has no cell vector; set cell or pbc")


def voigt(stress: Any) -> np.ndarray:
    """A stress in the six numbers of ASE, xx yy zz yz xz xy.

    Raises:
        ValueError: if it is neither six numbers nor a symmetric matrix.
    """
    array = np.array(stress, float)
    if array.shape == (3, 3):
        if not np.allclose(array, array.T, rtol=1e-6, atol=1e-8, equal_nan=True):
            raise ValueError("stress is a matrix that is not symmetric")
        return 0.5 * (array + array.T)[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    if array.shape != (6,):
        raise ValueError(f"stress has {numbers(array.shape)}, expected 6 or 3 x 3")
    return array


def set_moments(atoms: Atoms, moments: np.ndarray, vectors: bool = False) -> None:
    """Give atoms initial moments, collinear ones as (n,), whatever shape those before had.

    With ``vectors`` those (n, 3) stay so, also along one axis.
    """
    # ASE refuses to set (n,) over (n, 3).
    atoms.arrays.pop("initial_magmoms", None)
    moments = np.asarray(moments, float)
    atoms.set_initial_magnetic_moments(moments if vectors else collapse(moments))


def along_moments(forces: np.ndarray, moments: np.ndarray | None) -> tuple[np.ndarray, bool]:
    """The component of magnetic forces (n, 3) along collinear moments (n, 3).

    Returns:
        The component (n,), or ``forces`` itself where no single axis is known (noncollinear
        moments, or none and several components); and whether transverse components were left
        out.

    Raises:
        ValueError: if the forces have only components across the moments.
    """
    axis = axis_of(forces)
    if moments is None or not np.any(moments):
        return (forces, False) if axis is None else (forces[:, axis].copy(), False)
    moment_axis = axis_of(moments)
    if moment_axis is None:
        return forces, False
    component = forces[:, moment_axis].copy()
    if np.any(forces) and not np.any(component):
        raise ValueError(
            f"the moments lie along {'xyz'[moment_axis]}, but the magnetic forces have no "
            "component along it; put both into columns of the same axis"
        )
    return component, axis is None
