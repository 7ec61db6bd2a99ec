"""What a set of configurations carries as labels, and what it carries under other names."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms

from mmtp_jax.io.schema import MAGNETIC_FORCES, SOURCE, is_total, labels_of
from mmtp_jax.language import argument, counted
from mmtp_jax.structures.structure import LABELS, Structure

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelCounts:
    """How many labels of each kind a set of configurations carries; prints as a table."""

    configurations: dict[str, int]
    """Number of configurations with a label of this kind (keys as in `LABELS`), and with moments
    ("magmoms")."""
    numbers: dict[str, int]
    """Number of scalars: energy 1, forces 3n, stress 6, magnetic forces and moments n or, of
    vectors, 3n per configuration; 2n of magnetic forces that are known across moments only."""
    n_configurations: int
    n_atoms: int
    ignored: dict[str, int] = field(default_factory=dict)
    """What is there and not used, in words, and in how many configurations."""

    def __str__(self) -> str:
        n, n_atoms = self.n_configurations, self.n_atoms
        lines = [f"{counted(n, 'configuration')}, {counted(n_atoms, 'atom')}"]
        lines.append(f"{'label':<16}{'configurations':>15}{'numbers':>12}")
        for kind in (*LABELS, "magmoms"):
            name = "moments" if kind == "magmoms" else kind.replace("_", " ")
            lines.append(f"{name:<16}{self.configurations[kind]:>15}{self.numbers[kind]:>12}")
        lines += [f"ignored: {what} ({count})" for what, count in self.ignored.items()]
        return "\n".join(lines)


def count_labels(
    structures: Sequence[Structure], atoms_list: Sequence[Atoms] | None = None
) -> LabelCounts:
    """Count the labels of structures.

    Args:
        structures: the configurations.
        atoms_list: what they were made of; given, labels that `to_structures` had to leave out
            are counted as ignored.
    """
    configurations = dict.fromkeys((*LABELS, "magmoms"), 0)
    numbers = dict.fromkeys((*LABELS, "magmoms"), 0)
    ignored: Counter[str] = Counter()
    for structure in structures:
        for kind in LABELS:
            if getattr(structure, kind) is not None:
                configurations[kind] += 1
                numbers[kind] += structure.count(kind)
        if structure.moments_known:
            configurations["magmoms"] += 1
            numbers["magmoms"] += structure.n_magnetic * (3 if structure.vectors else 1)
        if structure.weight == 0.0:
            ignored["all labels of configurations with weight 0"] += 1
    for k, atoms in enumerate(atoms_list or ()):
        labels = labels_of(atoms)
        if labels.magnetic_forces is not None and structures[k].n_magnetic < len(atoms):
            ignored["magnetic forces of atoms of non-magnetic species"] += 1
        if labels.transverse and not structures[k].vectors:
            ignored["magnetic forces across collinear moments"] += 1
        if labels.stale:
            ignored["results of a calculator for other positions, cell or moments"] += 1
        if labels.forces_stale:
            ignored["magnetic forces of other results, positions or moments"] += 1
        if "stress" in labels.results and not atoms.pbc.all():
            ignored["stress of configurations that are not periodic in 3 directions"] += 1
    return LabelCounts(
        configurations=configurations,
        numbers=numbers,
        n_configurations=len(structures),
        n_atoms=sum(len(structure) for structure in structures),
        ignored=dict(ignored),
    )


def unread_labels(atoms_list: Sequence[Atoms], name: str = "the file") -> list[str]:
    """One sentence for each array that looks like a label under a name that is not read.

    >>> unread_labels(atoms_list, "train.xyz")
    ["train.xyz: 'REF_energy' in 100 of 100 configurations is not read as a label; rename it to
    'energy', or map it: keys={"energy": "REF_energy"}"]
    """
    return [
        f"{name}: {key!r} in {count} of {len(atoms_list)} configurations is not read as a label; "
        f"{_advice(key, target)}"
        for (key, target), count in _unread(atoms_list).items()
    ]


def tell_of_other_names(atoms_list: Sequence[Atoms]) -> None:
    """Log, in one line, what looks like labels of atoms that `mmtp_jax.read` has not read."""
    own = [atoms for atoms in atoms_list if not hasattr(atoms, SOURCE)]
    found: Counter[str] = Counter()
    for (key, target), count in _unread(own).items():
        if target not in _WHY_NOT:
            found[key] += count
    if found:
        names = ", ".join(f"{key!r} ({count})" for key, count in found.items())
        logger.warning(
            "%s of %d configurations look like labels and are not used: mmtp_jax.read takes such "
            "names from a file, or says how to map them",
            names,
            len(atoms_list),
        )


def other_columns(atoms_list: Sequence[Atoms]) -> dict[str, int]:
    """Names of columns of atoms that nothing reads, and in how many configurations they are."""
    found: Counter[str] = Counter()
    for atoms in atoms_list:
        found.update(str(name) for name in atoms.arrays if name not in _NOT_LABELS)
    return dict(found)


def _unread(atoms_list: Sequence[Atoms]) -> Counter[tuple[str, str]]:
    """Names that look like labels, with what they look like, and in how many configurations."""
    found: Counter[tuple[str, str]] = Counter()
    for atoms in atoms_list:
        arrays = {key: value for key, value in atoms.arrays.items() if key not in _NOT_LABELS}
        results = getattr(atoms.calc, "results", None) or {}
        known = "magmoms" in results or atoms.has("initial_magmoms")
        total = results.get("magmom")
        if is_total(total, results.get("magmoms")):
            total = None
        for key, value in {"magmom": total, **atoms.info, **arrays}.items():
            target = _target(str(key), value, len(atoms))
            if target is not None and not (known and target == _ONE_MOMENT):
                found[str(key), target] += 1
    return found


_NOT_LABELS = {
    "numbers", "positions", "initial_magmoms", "initial_charges", "momenta", "masses", "tags",
    MAGNETIC_FORCES,
}  # fmt: skip
_OTHER_USES = re.compile(
    r"weight|std|sigma|var|error|uncertainty|cutoff|constrain|per_atom|count|dipole|inertia"
    r"|^mmtp_|predict"
)
_ONE_MOMENT, _MISFIT, _OF_ATOMS = "one moment", "misfit", "virials of atoms"
_RIGHT = {
    "energy": "",
    "forces": "",
    "stress": " if it is in eV/Angstrom^3 and has the sign of ASE",
    "virial": " if it is in eV; the stress is the virial divided by minus the volume",
    "magmoms": "",
    MAGNETIC_FORCES: " if it is -dE/dm in eV/mu_B, as DeePMD's force_mag is",
}
"""Labels, and what has to be true of an entry for one to be it."""
_WHY_NOT = {
    _ONE_MOMENT: "it is one number, not the moment of each atom",
    _MISFIT: "it has not one number, or vector, for each atom",
    _OF_ATOMS: "it looks like virials of atoms, of which there are no labels",
}


def _advice(key: str, target: str) -> str:
    if target in _WHY_NOT:
        return _WHY_NOT[target]
    if key == target:
        return "it is not where labels of its format stand, or not of the form of this label"
    mapping = argument("keys", {target: key})
    return f"rename it to {target!r}, or map it: {mapping}{_RIGHT[target]}"


_Shapes = Callable[[int], set[tuple[int, ...]]]
_PATTERNS: tuple[tuple[str, str, _Shapes], ...] = (
    (MAGNETIC_FORCES,
     r"en_der_m|de_?dm|torque|[bh]_?eff(ective)?\b|^m_?forces?|(mag|spin|mom).*(force|grad|field)"
     r"|(force|grad).*(mag|spin|mom)",
     lambda n: {(n,), (n, 1), (n, 3)}),
    ("forces", r"forces?", lambda n: {(n, 3), (3 * n,)}),
    ("magmoms",
     r"mag_?mom|moments?\b|spins?(_?(z|vec\w*))?\b|magneti[sz]ation|\bmags?\b|(^|_)mags?(_|$)",
     lambda n: {(n,), (n, 1), (n, 3)}),
    ("energy", r"energy|toten|etot", lambda n: {(), (1,)}),
    ("virial", r"virial", lambda n: {(6,), (9,), (3, 3)}),
    (_OF_ATOMS, r"virial", lambda n: {(n, 6), (n, 9), (n, 3, 3)}),
    ("stress", r"stress", lambda n: {(6,), (9,), (3, 3)}),
)  # fmt: skip
"""Label, what names of it look like, and the shapes that it has for n atoms; first match wins."""


def _target(key: str, value: object, size: int) -> str | None:
    """The label that an entry looks like, or None."""
    if _OTHER_USES.search(key.lower()):
        return None
    try:
        array = np.asarray(value)
    except ValueError:
        return None
    if array.dtype.kind not in "fi":
        return None
    for target, pattern, shapes in _PATTERNS:
        if not re.search(pattern, key.lower()):
            continue
        if array.shape in shapes(size):
            return target
        if target == "magmoms":
            return _ONE_MOMENT if array.size == 1 else _MISFIT
    return None
