"""One mesh of k-points, and one set of FFT grids, for all cells that are alike.

A rule such as N = |b| / spacing gives cells that differ by a strain of one per cent different
meshes, and with them energies that differ by a hundred meV per atom. So the mesh is decided for a
set: configurations of one composition whose cells hang together by strains of 10 % and 20 % are a
group, and the rule is asked once, for its mean cell. Groups are kept in a file (``meshes.json``),
so that later configurations of the same folder, or the next iteration of a loop, get the same.

Groups of one stoichiometry get equal sampling where there is a mesh for it (supercells of a
crystal, say): `mmtp_jax.oracles.sampling`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from ase import Atoms

from mmtp_jax.io.documents import write_json
from mmtp_jax.io.schema import KMESH, MAKING, SOURCE
from mmtp_jax.oracles.mesh_groups import (
    FORMAT,
    Group,
    assign,
    decided,
    formula_of,
    group_content,
    read_groups,
    stoichiometry,
)
from mmtp_jax.oracles.oracle import Oracle
from mmtp_jax.oracles.sampling import (
    Mesh,
    equal_sampling,
    grids_in_step,
    multiples,
)
from mmtp_jax.structures.cells import ALIKE, stretches
from mmtp_jax.structures.making import (
    Makings,
    making_text,
    makings_of,
    read_making,
    read_mesh,
)
from mmtp_jax.structures.structure import Structure
from mmtp_jax.tables import aligned

_LARGEST_STEP = 4
"""Meshes are not made denser than that for the sake of a common one."""


class Meshed(Protocol):
    """What a labeller has beside the methods of `Oracle` if its mesh is to be decided here."""

    kmesh: Mesh | None
    """Given by the user, for all cells."""

    @property
    def spacing(self) -> float: ...

    @property
    def shift(self) -> tuple[float, float, float]: ...

    def grids(self, lengths: np.ndarray) -> dict[str, list[int]]:
        """FFT grids by name for a cell of these lengths (3,), Angstrom."""
        ...

    def with_mesh(self, mesh: Mesh, grids: dict[str, list[int]]) -> Oracle:
        """The labeller of one group."""
        ...

    def with_spacing(self, spacing: float) -> Meshed:
        """The same with another rule for meshes."""
        ...


@dataclass(frozen=True, eq=False)
class MeshPlan:
    """The labeller of each configuration; prints as a table."""

    oracles: tuple[Oracle, ...]
    groups: tuple[Group, ...]
    of: np.ndarray
    """(n,) group of each configuration; -1 for one without a cell."""
    samplings: tuple[int, ...]
    """Groups with the same number sample reciprocal space at the same points."""
    compared: Makings
    """Of what is labelled now, and what was before."""
    path: Path | None
    others: list[dict[str, Any]] = field(repr=False)
    """Groups of the file that were made with other settings."""

    def __str__(self) -> str:
        names = {n: chr(ord("a") + k % 26) for k, n in enumerate(dict.fromkeys(self.samplings))}
        rows = [("cells of", "configurations", "k-points", "sampling", "grids", "")]
        for k, group in enumerate(self.groups):
            count = int(np.sum(self.of == k))
            if not count:
                continue
            grids = ", ".join(f"{n} {_text(g)}" for n, g in group.grids.items())
            rows.append(
                (group.formula, str(count), _text(group.mesh), names[self.samplings[k]], grids,
                 "as before" if group.known else "")
            )  # fmt: skip
        return "\n".join([aligned(rows, range(len(rows[0])), rule=False), *self.notes])

    @property
    def notes(self) -> list[str]:
        """Stoichiometries whose cells do not all have the same sampling."""
        used = sorted(set(self.of.tolist()) - {-1})
        by_kind: dict[str, set[int]] = {}
        for k in used:
            by_kind.setdefault(stoichiometry(self.groups[k].formula), set()).add(self.samplings[k])
        return [
            f"cells of {kind} have {len(found)} samplings of reciprocal space: where they hold the "
            "same crystal, no common mesh was found along their vectors"
            for kind, found in by_kind.items()
            if len(found) > 1
        ]

    def check(self, mixed: bool = False, making: str = "refuse") -> None:
        """Refuse cells alike with different meshes, and labels beside of another making.

        Args:
            mixed: different meshes are wanted.
            making: rule for labels of different making.

        Raises:
            ValueError: that says which.
        """
        if making == "refuse":
            replace(self.compared, mesh_differences=()).check()
        if self.compared.mesh_differences and not mixed:
            raise ValueError(
                f"cells that are alike would get different meshes: "
                f"{'; '.join(self.compared.mesh_differences)}. Give one mesh for all, or another "
                f"folder than that of {self.path}; or allow mixed meshes (--mixed-meshes)"
            )

    def save(self) -> None:
        """Keep the groups for later runs."""
        content = {
            "format": FORMAT,
            "groups": [*self.others, *map(group_content, self.groups)],
        }
        if self.path is not None:
            write_json(self.path, content)


def plan_meshes(
    oracle: Oracle,
    atoms_list: Sequence[Atoms],
    path: str | Path | None,
    beside: Sequence[Atoms] = (),
) -> MeshPlan | None:
    """Decide on the mesh of each configuration; None for a labeller without meshes.

    Args:
        oracle: the labeller.
        atoms_list: what is to be labelled.
        path: file with the groups of earlier runs; it need not exist. None decides anew.
        beside: labels that exist already; cells like theirs get the same meshes.

    Raises:
        ValueError: if the file is none of ours.
    """
    if not hasattr(oracle, "with_mesh"):
        return None
    path = None if path is None else Path(path)
    settings = {"spacing": oracle.spacing, "kmesh": oracle.kmesh, "shift": list(oracle.shift)}
    settings |= {"grids": oracle.grids(np.full(3, 10.0))}
    settings = json.loads(json.dumps(settings))
    read = [] if path is None else read_groups(path)
    groups = [g for g in read if g.settings == settings]
    others = [group_content(g) for g in read if g.settings != settings]
    if oracle.kmesh is None:
        groups += _groups_of_labels(oracle, beside, settings)
    of, orders = assign(oracle, atoms_list, groups, settings)
    samplings = _sample(oracle, groups)
    made: dict[Any, Oracle] = {}
    oracles = []
    for k, order in zip(of, orders, strict=True):
        if k < 0:
            oracles.append(oracle)
            continue
        key = (int(k), tuple(order))
        if key not in made:
            made[key] = oracle.with_mesh(*_ordered(groups[k], order, oracle.kmesh))
        oracles.append(made[key])
    compared = _compared(oracle, oracles, atoms_list, beside)
    return MeshPlan(tuple(oracles), tuple(groups), of, tuple(samplings), compared, path, others)


def _sample(oracle: Any, groups: list[Group]) -> list[int]:
    """Give new groups of one stoichiometry equal sampling; returns which ones have it."""
    samplings = list(range(len(groups)))
    by_kind: dict[str, list[int]] = {}
    for k, group in enumerate(groups):
        by_kind.setdefault(stoichiometry(group.formula), []).append(k)
    for members in by_kind.values():
        # What is fixed comes first; then the largest: there is a mesh for each part of it.
        members.sort(key=lambda k: (not groups[k].known, -groups[k].n_atoms))
        first = groups[members[0]]
        if not first.known and oracle.kmesh is None:
            groups[members[0]] = _divisible(first, [groups[k] for k in members[1:]])
        for place, k in enumerate(members):
            for base in [j for j in members[:place] if samplings[j] == j]:
                free = not groups[k].known and oracle.kmesh is None
                mesh = equal_sampling(
                    groups[k].cells[0], groups[k].n_atoms, groups[base].cells[0],
                    groups[base].n_atoms, groups[base].mesh, oracle.shift,
                    None if free else groups[k].mesh,
                )  # fmt: skip
                if mesh is not None:
                    groups[k] = replace(groups[k], mesh=mesh)
                    samplings[k] = samplings[base]
                    break
        for k in members:
            same = [j for j in members if samplings[j] == samplings[k]]
            smallest = min(same, key=lambda j: (not groups[j].known, groups[j].n_atoms))
            if k != smallest and not groups[k].known:
                grids = grids_in_step(groups[k], groups[smallest], oracle.shift)
                groups[k] = replace(groups[k], grids=groups[k].grids | grids)
    return samplings


def _divisible(group: Group, others: Sequence[Group]) -> Group:
    """The group with a mesh that cells whose vectors are parts of its own can share."""
    steps = [1, 1, 1]
    for other in others:
        cells = (other.cells[0], other.n_atoms, group.cells[0], group.n_atoms)
        for k, part in enumerate(multiples(*cells) or ()):
            steps[k] = math.lcm(steps[k], part.numerator)
    if max(steps) > _LARGEST_STEP:
        return group
    return replace(
        group, mesh=tuple(-(-n // step) * step for n, step in zip(group.mesh, steps, strict=True))
    )


def _ordered(group: Group, order: np.ndarray, given: Mesh | None) -> tuple[Mesh, dict[str, list]]:
    """Mesh and grids of a cell whose vector k is the vector ``order[k]`` of the group."""
    mesh = given or tuple(group.mesh[k] for k in order)
    return mesh, {name: [grid[k] for k in order] for name, grid in group.grids.items()}


def _groups_of_labels(
    oracle: Any, beside: Sequence[Atoms], settings: dict[str, Any]
) -> list[Group]:
    """Groups of labels that exist already and say their mesh; the most frequent one counts."""
    by_mesh: dict[tuple[str, Mesh], list[np.ndarray]] = {}
    for atoms, s in zip(beside, _structures(beside), strict=True):
        if s.kmesh is not None and s.volume is not None:
            by_mesh.setdefault((formula_of(atoms), s.kmesh), []).append(s.cell)
    groups: list[Group] = []
    for (formula, mesh), cells in sorted(by_mesh.items(), key=lambda item: -len(item[1])):
        rest = np.stack(cells)
        for group in groups:
            if group.formula == formula:
                for cell in group.cells:
                    rest = rest[stretches(cell, rest).min(axis=1, initial=np.inf) > ALIKE]
        while len(rest):
            near = stretches(rest[0], rest)[:, 0] <= ALIKE
            found = decided(oracle, Group(formula, rest[:1], mesh, {}, settings), rest[near])
            groups.append(replace(found, mesh=mesh, known=True))
            rest = rest[~near]
    return groups


def _compared(
    oracle: Any, oracles: Sequence[Any], atoms_list: Sequence[Atoms], beside: Sequence[Atoms]
) -> Makings:
    """What is labelled and what was labelled, with meshes and making."""
    of = getattr(oracle, "making_of", lambda _: oracle.making())
    text = making_text(of(atoms_list))
    targets = [
        replace(s, making=text, kmesh=o.kmesh)
        for s, o in zip(_structures(atoms_list), oracles, strict=True)
    ]
    symbols = _symbols([*atoms_list, *beside])
    return makings_of([*_structures(beside, symbols), *targets], symbols)


def _structures(
    atoms_list: Sequence[Atoms], symbols: Sequence[str] | None = None
) -> list[Structure]:
    """What a comparison of makings needs; whether the rest can be used is for others to say."""
    symbols = symbols or _symbols(atoms_list)
    return [
        Structure(
            cell=np.where(atoms.pbc[:, None], atoms.cell.array, 0.0),
            periodic=np.array(atoms.pbc, bool),
            positions=atoms.positions,
            types=np.array([symbols.index(symbol) for symbol in atoms.symbols], np.int32),
            magmoms=np.zeros(len(atoms)),
            making=read_making(atoms.info.get(MAKING, "")),
            kmesh=read_mesh(atoms.info.get(KMESH)),
            name=getattr(atoms, SOURCE, f"configuration {k}"),
        )
        for k, atoms in enumerate(atoms_list, 1)
    ]


def _symbols(atoms_list: Sequence[Atoms]) -> list[str]:
    return sorted({symbol for atoms in atoms_list for symbol in atoms.symbols})


def _text(numbers: Sequence[int]) -> str:
    return "x".join(map(str, numbers))
