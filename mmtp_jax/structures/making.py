"""How labels were made, and which ones were made in different ways.

One text says it, entries ``name: value`` between semicolons:

    code: ABINIT; version: 9.6.2; functional: GGA PBE; ecut_Ha: 16; Cr.U: d 3 eV; ...

Names with a dot are about a species. Two makings differ where both have an entry and its value is
another one; what only one of them has is unknown of the other, and the version is told, not
compared. The mesh of k-points is no part of the text, for it changes with the cell: cells that are
alike must have the same.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmtp_jax.language import argument, counted
from mmtp_jax.structures.cells import ALIKE, PERMUTATIONS, stretches
from mmtp_jax.structures.rules import RULES
from mmtp_jax.structures.structure import Structure

UNKNOWN = "unknown"
_TOLD_ONLY = ("version",)
_MOST_ENTRIES = 4
"""Differences of one making that a message names."""


def making_text(entries: Mapping[str, Any]) -> str:
    """The text of entries; characters that divide it, or that a file format minds, go.

    >>> making_text({"code": "ABINIT", "ecut_Ha": 16.0})
    'code: ABINIT; ecut_Ha: 16'
    """
    return "; ".join(f"{_plain(name)}: {_plain(value)}" for name, value in entries.items())


def read_making(value: Any) -> str:
    """The text of what ``info["making"]`` holds: entries, their JSON, or the text itself.

    >>> read_making({"code": "VASP", "U": {"Fe": 4.0}})
    'code: VASP; U.Fe: 4'
    """
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except ValueError:
            return value
    return making_text(_flat(value)) if isinstance(value, Mapping) else str(value)


def _flat(entries: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Entries of entries get the names of both."""
    found: dict[str, Any] = {}
    for name, value in entries.items():
        of_one = isinstance(value, Mapping)
        found |= _flat(value, f"{prefix}{name}.") if of_one else {f"{prefix}{name}": value}
    return found


def making_entries(text: str) -> dict[str, str]:
    """The entries of a text; one without a name is called ``making``."""
    found = {}
    for part in filter(None, (p.strip() for p in text.split(";"))):
        name, colon, value = part.partition(":")
        found[name.strip() if colon else "making"] = value.strip() if colon else part
    return found


def short_name(text: str) -> str:
    """Code and version, with a digest of everything.

    >>> short_name("code: ABINIT; version: 9.6.2; ecut_Ha: 16")
    'ABINIT 9.6.2 (a10ee5)'
    """
    entries = making_entries(text)
    if not entries:
        return UNKNOWN
    words = (entries.get("code", ""), entries.get("version", ""))
    name = " ".join(word for word in words if word) or "making"
    return f"{name} ({hashlib.sha256(text.encode()).hexdigest()[:6]})"


@dataclass(frozen=True, eq=False)
class Makings:
    """The makings of a set of configurations."""

    names: tuple[str, ...]
    """Of each making, the most frequent first."""
    texts: tuple[str, ...]
    """What is known of each."""
    of: np.ndarray
    """(n,) making of each configuration."""
    differences: tuple[str, ...]
    """One clause for each making beside the first."""
    mesh_differences: tuple[str, ...] = ()
    """One clause for each kind of cells that are alike and have different meshes."""
    meshes: dict[str, int] = field(default_factory=dict)
    """Number of configurations with each mesh of k-points."""

    @property
    def n_unknown(self) -> int:
        """Configurations of which nothing is known."""
        return int(sum(np.sum(self.of == k) for k, t in enumerate(self.texts) if not t))

    def __str__(self) -> str:
        """One line for each making, one for what does not say it; empty where nothing does."""
        lines = []
        for k, (name, text) in enumerate(zip(self.names, self.texts, strict=True)):
            if not text:
                continue
            rest = {n: v for n, v in making_entries(text).items() if n not in ("code", "version")}
            about = f": {making_text(rest)}" if rest else ""
            members = counted(int(np.sum(self.of == k)), "configuration")
            lines.append(f"made by {name}, {members}{about}")
        if self.n_unknown and lines:
            lines.append(f"{self.n_unknown} configurations do not say how they were made")
        if self.meshes:
            each = ", ".join(f"{mesh} in {count}" for mesh, count in self.meshes.items())
            lines.append(f"k-points: {each}")
        return "\n".join(lines)

    def check(self, rule: str = "refuse") -> None:
        """Refuse labels of different making, unless told.

        Raises:
            ValueError: that says what differs, if the rule is "refuse"; or for an unknown rule.
        """
        if rule not in RULES:
            raise ValueError(f"making must be one of {', '.join(RULES)}, got {rule!r}")
        found = [*self.differences, *self.mesh_differences]
        if found and rule == "refuse":
            raise ValueError(
                f"labels of different making do not belong together: {'; '.join(found)}. Leave "
                f"one kind out; or give {argument('making', 'shift')}, which fits a constant of "
                "the energy for each making and species, or 'ignore' in its place"
            )


def makings_of(structures: Sequence[Structure], species: Sequence[str] = ()) -> Makings:
    """Sort labelled structures by how they were made.

    Args:
        structures: with or without a word on their making.
        species: symbols, for the messages.
    """
    texts = [s.making for s in structures]
    kinds: list[dict[str, str]] = []
    kind_of: dict[str, int] = {}
    for text, _ in sorted(Counter(texts).items(), key=lambda item: -item[1]):
        entries = making_entries(text)
        fits = (k for k, kind in enumerate(kinds) if bool(kind) == bool(entries))
        place = next((k for k in fits if not _differing(kinds[k], entries)), None)
        if place is None:
            place = len(kinds)
            kinds.append({})
        kinds[place] = {**entries, **kinds[place]}
        kind_of[text] = place
    of = np.array([kind_of[text] for text in texts], int)
    of, split, of_meshes = _by_mesh(structures, of, species)
    names, known = [], []
    for kind, mesh in split:
        text = making_text(kinds[kind])
        names.append(short_name(text) + (f", mesh {mesh}" if mesh else ""))
        known.append(text)
    numbers = np.bincount(of, minlength=len(names)) if len(of) else np.zeros(len(names), int)
    order = np.argsort(-numbers, kind="stable")
    of = np.argsort(order)[of] if len(of) else of
    names, known = [names[k] for k in order], [known[k] for k in order]
    differences = _differences(structures, kinds, np.array([kind_of[t] for t in texts], int))
    meshes = Counter(_mesh_text(s.kmesh) for s in structures if s.kmesh is not None)
    return Makings(
        tuple(names),
        tuple(known),
        of,
        tuple(differences),
        tuple(of_meshes),
        dict(meshes.most_common()),
    )


def _differing(one: dict[str, str], other: dict[str, str]) -> list[str]:
    return [
        name
        for name in one
        if name in other and name not in _TOLD_ONLY and not _same(one[name], other[name])
    ]


def _same(one: str, other: str) -> bool:
    if one == other:
        return True
    try:
        return abs(float(one) - float(other)) <= 1e-9 * abs(float(one))
    except ValueError:
        return False


def _differences(
    structures: Sequence[Structure], kinds: list[dict[str, str]], of: np.ndarray
) -> list[str]:
    """What sets each known making apart from the first known one."""
    known = [k for k, kind in enumerate(kinds) if kind]
    found = []
    for k in known[1:]:
        first = next(f for f in known if f < k and _differing(kinds[f], kinds[k]))
        names = _differing(kinds[first], kinds[k])
        words = [f"{n} {kinds[first][n]} against {kinds[k][n]}" for n in names[:_MOST_ENTRIES]]
        if len(names) > _MOST_ENTRIES:
            words.append(f"{len(names) - _MOST_ENTRIES} more")
        members = np.flatnonzero(of == k)
        found.append(
            f"{', '.join(words)} in {len(members)} of {len(of)} configurations (the first is "
            f"{structures[members[0]].name})"
        )
    return found


def _by_mesh(
    structures: Sequence[Structure], of: np.ndarray, species: Sequence[str]
) -> tuple[np.ndarray, list[tuple[int, str]], list[str]]:
    """Makings split where cells that are alike have different meshes.

    Returns:
        The making of each, what each is (kind, mesh if it is not the usual one), and clauses.
    """
    keys = [(int(kind), "") for kind in of]
    clauses = []
    for members, in_order in _alike(structures, of):
        meshes = [_mesh_text(mesh) for mesh in in_order]
        numbers = Counter(meshes)
        if len(numbers) == 1:
            continue
        usual = numbers.most_common(1)[0][0]
        for k, mesh in zip(members, meshes, strict=True):
            if mesh != usual:
                keys[k] = (int(of[k]), mesh)
        each = ", ".join(f"{n} have {mesh}" for mesh, n in numbers.most_common())
        clauses.append(
            f"of {len(members)} cells alike of {formula(structures[members[0]].types, species)} "
            f"{each} k-points (the first is {structures[members[0]].name})"
        )
    split = sorted(set(keys))
    places = {key: k for k, key in enumerate(split)}
    return np.array([places[key] for key in keys], int), split, clauses


def _alike(
    structures: Sequence[Structure], of: np.ndarray
) -> list[tuple[list[int], list[tuple[int, ...]]]]:
    """Groups of structures of one making and composition whose cells are alike.

    Returns:
        Their numbers, and their meshes, in the order that the vectors of the first have.
    """
    groups: dict[Any, list[int]] = {}
    for k, s in enumerate(structures):
        if s.kmesh is not None and s.volume is not None:
            groups.setdefault((int(of[k]), np.bincount(s.types).tobytes()), []).append(k)
    found = []
    for group in groups.values():
        rest = np.array(group)
        while len(rest):
            first = structures[rest[0]]
            distances = stretches(first.cell, np.stack([structures[k].cell for k in rest]))
            meshes = np.array([structures[k].kmesh for k in rest])
            permuted = np.stack([meshes[:, p] for p in PERMUTATIONS], axis=1)
            agree = (permuted == np.array(first.kmesh)).all(axis=2)
            inside = (distances <= ALIKE).any(axis=1)
            # Of orders in which cells are alike, one in which meshes are the same.
            rank = np.where(agree & (distances <= ALIKE), -1.0, distances)
            best = permuted[np.arange(len(rest)), rank.argmin(axis=1)]
            found.append((rest[inside].tolist(), list(map(tuple, best[inside].tolist()))))
            rest = rest[~inside]
    return found


def formula(types: np.ndarray, species: Sequence[str] = ()) -> str:
    """Composition, e.g. ``Cr4N4``; by the numbers of the types where symbols are not known."""
    numbers = np.bincount(types)
    names = species if len(species) >= len(numbers) else [f"type{k}:" for k in range(len(numbers))]
    return "".join(f"{names[k]}{n}" for k, n in enumerate(numbers) if n)


def read_mesh(value: Any) -> tuple[int, int, int] | None:
    """A mesh of k-points as three numbers, from ``"4x4x2"`` or three whole numbers; else None."""
    if isinstance(value, str):
        value = re.findall(r"\d+", value) if re.fullmatch(r"\d+(x\d+){2}", value.strip()) else None
    try:
        mesh = tuple(int(n) for n in value)
        exact = all(float(n) == m for n, m in zip(value, mesh, strict=True))
    except (TypeError, ValueError, OverflowError):
        return None
    return mesh if len(mesh) == 3 and exact and min(mesh) > 0 else None


def _mesh_text(mesh: tuple[int, int, int] | None) -> str:
    return "no mesh" if mesh is None else "x".join(map(str, mesh))


def _plain(value: Any) -> str:
    text = f"{value:.12g}" if isinstance(value, float) else str(value)
    if isinstance(value, (list, tuple)):
        text = " ".join(_plain(v) for v in value)
    return " ".join(re.sub(r"[;:=\\\"'{}\[\]]", " ", text).split())
