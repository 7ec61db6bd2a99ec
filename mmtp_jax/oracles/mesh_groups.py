"""Groups of cells that are alike, and get one mesh; the file that keeps them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mmtp_jax.io.documents import read_json
from mmtp_jax.oracles.sampling import Mesh, evened, mesh_of
from mmtp_jax.structures.cells import ALIKE, PERMUTATIONS, stretches

FORMAT = "mmtp_jax meshes 1"
LINKED = 2.0 * ALIKE
"""|ln stretch| up to which a cell belongs to a group: so no cells alike are torn apart."""
STRAIN = 1.1
"""FFT grids have room for cells that are longer by so much."""


@dataclass(frozen=True)
class Group:
    """Cells that get one mesh."""

    formula: str
    cells: np.ndarray
    """(c, 3, 3) some of them, closer than 10 % to each other one; vectors in one order."""
    mesh: Mesh
    grids: dict[str, list[int]]
    settings: dict[str, Any]
    """Of the labeller, as far as they made this mesh."""
    known: bool = False
    """It was there before this run."""

    @property
    def n_atoms(self) -> int:
        """Atoms in a cell."""
        return sum(count for _, count in _composition(self.formula))


def assign(
    oracle: Any, atoms_list: Sequence[Atoms], groups: list[Group], settings: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Group of each configuration, and for each of its vectors that of the group.

    New groups are added to ``groups``, and cells to the old ones.
    """
    of = np.full(len(atoms_list), -1)
    orders = np.tile(np.arange(3), (len(atoms_list), 1))
    by_formula: dict[str, list[int]] = {}
    for k, atoms in enumerate(atoms_list):
        if atoms.pbc.all() and abs(atoms.cell.volume) > 1e-6:
            by_formula.setdefault(formula_of(atoms), []).append(k)
    for formula, members in by_formula.items():
        cells = np.stack([atoms_list[k].cell.array for k in members])
        rest = np.arange(len(members))
        volumes = np.abs(np.linalg.det(cells))
        known = [g for g, group in enumerate(groups) if group.formula == formula]
        # The nearest of those that are there.
        for limit in (ALIKE, LINKED):
            for g in known:
                rest = _collect(groups, g, cells, members, rest, of, orders, limit)
        while len(rest):
            middle = rest[np.argsort(volumes[rest], kind="stable")[len(rest) // 2]]
            g = len(groups)
            groups.append(Group(formula, cells[middle][None], (1, 1, 1), {}, settings))
            rest = _collect(groups, g, cells, members, rest, of, orders, LINKED)
            inside = [k for k in range(len(members)) if of[members[k]] == g]
            of_group = np.argsort(orders[[members[k] for k in inside]], axis=1)
            sorted_cells = np.take_along_axis(cells[inside], of_group[:, :, None], axis=1)
            # Cells in another order of vectors have another orientation, too.
            plain = (of_group == np.arange(3)).all(axis=1)
            groups[g] = decided(oracle, groups[g], sorted_cells, plain)
    return of, orders


def _collect(
    groups: list[Group],
    g: int,
    cells: np.ndarray,
    members: Sequence[int],
    rest: np.ndarray,
    of: np.ndarray,
    orders: np.ndarray,
    limit: float,
) -> np.ndarray:
    """Take what hangs together with a group out of the rest; returns what stays."""
    k = 0
    while k < len(groups[g].cells) and len(rest):
        found = stretches(groups[g].cells[k], cells[rest])
        best = np.where(found[:, 0] <= ALIKE, 0, found.argmin(axis=1))
        near = found[np.arange(len(rest)), best]
        for j in np.flatnonzero(near <= limit):
            member, order = members[rest[j]], np.array(PERMUTATIONS[best[j]])
            of[member] = g
            orders[member] = np.argsort(order)
            ordered = cells[rest[j]][order]
            if near[j] > ALIKE and all(
                stretches(c, ordered[None])[0, 0] > ALIKE for c in groups[g].cells
            ):
                more = np.concatenate([groups[g].cells, ordered[None]])
                groups[g] = replace(groups[g], cells=more)
        rest = rest[near > limit]
        k += 1
    return rest


def decided(oracle: Any, group: Group, cells: np.ndarray, plain: np.ndarray | None = None) -> Group:
    """The group with its mesh and grids, from all cells (n, 3, 3) of it.

    Those that are ``plain`` (n,) give the cell that stands for all, without the strain of one.
    """
    lengths = np.linalg.norm(cells, axis=2)
    room = np.maximum(evened(lengths.mean(axis=0)) * STRAIN, lengths.max(axis=0))
    mean = cells[slice(None) if plain is None else plain].mean(axis=0)
    if stretches(group.cells[0], mean[None])[0, 0] <= LINKED:
        group = replace(group, cells=np.concatenate([mean[None], group.cells[1:]]))
    return replace(group, mesh=_mesh(oracle, cells), grids=oracle.grids(evened(room)))


def _mesh(oracle: Any, cells: np.ndarray) -> Mesh:
    return oracle.kmesh or mesh_of(cells, oracle.spacing)


def formula_of(atoms: Atoms) -> str:
    return " ".join(f"{s}{n}" for s, n in sorted(atoms.symbols.formula.count().items()))


def _composition(formula: str) -> list[tuple[str, int]]:
    parts = [(word.rstrip("0123456789"), word) for word in formula.split()]
    return [(symbol, int(word[len(symbol) :])) for symbol, word in parts]


def stoichiometry(formula: str) -> str:
    parts = _composition(formula)
    common = math.gcd(*(count for _, count in parts))
    return " ".join(f"{symbol}{count // common}" for symbol, count in parts)


def group_content(group: Group) -> dict[str, Any]:
    return {
        "formula": group.formula, "cells": group.cells.tolist(), "mesh": list(group.mesh),
        "grids": group.grids, "settings": group.settings,
    }  # fmt: skip


def read_groups(path: Path) -> list[Group]:
    if not path.exists():
        return []
    try:
        content = read_json(path)
        if content["format"] != FORMAT:
            raise ValueError(f"its format is not '{FORMAT}'")
        groups = [
            Group(
                str(g["formula"]), np.array(g["cells"], float).reshape(-1, 3, 3),
                tuple(int(n) for n in g["mesh"]), dict(g["grids"]), dict(g["settings"]), True,
            )
            for g in content["groups"]
        ]  # fmt: skip
        if any(len(g.mesh) != 3 or min(g.mesh) < 1 or not len(g.cells) for g in groups):
            raise ValueError("a group has no mesh of three positive numbers, or no cell")
        if any(not np.all(np.abs(np.linalg.det(g.cells)) > 1e-6) for g in groups):
            raise ValueError("a cell has no volume")
        return groups
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(
            f"{path} is not a table of meshes ({error}); put it back, or move it away to decide "
            "on all meshes anew"
        ) from error
