"""Settings of a labeller, one by one better than they are, or as somebody gives them."""

from __future__ import annotations

import re
import tomllib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

from ase import Atoms

from mmtp_jax.io.fields import converted, hint_at, shown
from mmtp_jax.oracles.meshes import MeshPlan, plan_meshes
from mmtp_jax.oracles.oracle import Oracle

MESH = "mesh"
"""What the next finer mesh of k-points is called; all labellers with meshes have it."""
_STEPS = 8
"""Steps of 10 % in which k-points come closer, until there are more along all vectors."""


class Varied(Protocol):
    """What a labeller has whose settings can be tried; if it has meshes, they are varied too."""

    def better(self) -> dict[str, dict[str, Any]]:
        """By name the settings that are tried, each better than now; tables hold what changes."""
        ...

    def varied(self, **settings: Any) -> Oracle:
        """The same with other settings."""
        ...


@dataclass(frozen=True)
class Variation:
    """One way to compute all configurations."""

    text: str
    """What is different, e.g. ``"ecut_Ha 20 -> 25"``."""
    oracles: tuple[Oracle, ...]
    """Of each configuration, with its mesh."""
    better: bool
    """It is one of those that the labeller knows to be better than its own settings."""


def variations(
    oracle: Oracle, atoms_list: Sequence[Atoms], plan: MeshPlan | None, vary: Sequence[str] = ()
) -> list[Variation]:
    """The settings as they are, and then each variation.

    Args:
        oracle: the labeller.
        atoms_list: the configurations.
        plan: their meshes; None for a labeller without.
        vary: names of what the labeller betters, or settings as its file has them, ``a=1, b=2``;
            all names if there are none.

    Raises:
        ValueError: if the labeller has no such settings, or one is no setting, cannot be, or is
            what it is already.
    """
    if not hasattr(oracle, "better"):
        raise ValueError(
            f"{type(oracle).__name__} has no settings that could converge; give those of a DFT code"
        )
    meshed = plan is not None
    now = (oracle,) * len(atoms_list) if plan is None else plan.oracles
    tables = oracle.better()
    names = [*([MESH] if meshed else []), *tables]
    found = [Variation("as they are", now, False)]
    for text in vary or names:
        if text == MESH and meshed:
            oracles = _finer(oracle, atoms_list, now)
            both = [(a.kmesh, b.kmesh) for a, b in zip(now, oracles, strict=True) if b.kmesh]
            changes = [_change("k-points", *meshes) for meshes in both]
            found.append(Variation("; ".join(dict.fromkeys(changes)), oracles, True))
            continue
        table = tables[text] if text in tables else _table(text, names, oracle)
        changed = _varied(oracle, table)
        if changed.fingerprint() == oracle.fingerprint():
            raise ValueError(f"{text} changes nothing: the settings have it already")
        oracles = _meshed(changed, oracle, atoms_list, now) if meshed else (changed,) * len(now)
        found.append(Variation(_words(oracle, table), oracles, text in tables))
    return found


def _finer(oracle: Any, atoms_list: Sequence[Atoms], now: Sequence[Any]) -> tuple[Any, ...]:
    """The labellers with the next mesh that has more points along all vectors."""
    if oracle.kmesh is not None:
        mesh = tuple(n + max(1, round(n / 4)) for n in oracle.kmesh)
        return tuple(one.with_mesh(mesh, {}) for one in now)
    for step in range(1, _STEPS + 1):
        spacing = oracle.spacing * 0.9**step
        plan = plan_meshes(oracle.with_spacing(spacing), atoms_list, None)
        meshes = [finer.kmesh for finer in plan.oracles]
        if all(
            n > old for mesh, one in zip(meshes, now, strict=True)
            for n, old in zip(mesh or (), one.kmesh or (), strict=True)
        ):  # fmt: skip
            break
    # Cells that are very long have one point along them whatever the rule.
    return tuple(
        one if mesh is None else one.with_mesh(mesh, {})
        for one, mesh in zip(now, meshes, strict=True)
    )


def _meshed(
    changed: Any, oracle: Any, atoms_list: Sequence[Atoms], now: Sequence[Any]
) -> tuple[Any, ...]:
    """The changed labeller with grids of its own, and the meshes of now where it keeps them."""
    own = plan_meshes(changed, atoms_list, None).oracles
    rules = [(one.kmesh, one.spacing, one.shift) for one in (changed, oracle)]
    if rules[0] != rules[1]:
        return tuple(own)
    return tuple(
        one if old.kmesh is None else one.with_mesh(old.kmesh, {})
        for one, old in zip(own, now, strict=True)
    )


def _table(text: str, names: Sequence[str], oracle: Any) -> dict[str, Any]:
    """Settings that somebody gives in one text."""
    table: dict[str, Any] = {}
    # Shells take the quotes of texts away.
    for given in (text, re.sub(r"=\s*([A-Za-z][\w-]*)", r'="\1"', text)):
        try:
            table = table or tomllib.loads(f"given = {{{given}}}")["given"]
        except tomllib.TOMLDecodeError:
            continue
    if not table:
        # A word without a value may be one of the settings.
        known = [field.name for field in fields(oracle)]
        example = f"{text}=..." if text in known else "'kmesh=[5,5,5]'"
        raise ValueError(
            f"what is varied is one of {', '.join(names)}, or a setting with its value as TOML "
            f"has it, e.g. {example}; got {shown(text)}"
        )
    return table


def _varied(oracle: Any, table: Mapping[str, Any]) -> Any:
    """The labeller with other settings; of tables, only the keys that are given change."""
    hints = typing.get_type_hints(type(oracle))
    known = [field.name for field in fields(oracle)]
    values = {}
    for name, value in table.items():
        if name not in known:
            raise ValueError(f"vary: unknown setting '{shown(name, str)}'; {hint_at(name, known)}")
        old = getattr(oracle, name)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            value = {**old, **value}
        values[name] = converted(value, hints[name], f"vary: {name}")
    try:
        return oracle.varied(**values)
    except ValueError as error:
        raise ValueError(f"vary: {error}") from error


def _words(oracle: Any, table: Mapping[str, Any]) -> str:
    """What changes, in words."""
    words = []
    for name, value in table.items():
        old = getattr(oracle, name)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            words += [_change(f"{name}.{key}", old.get(key), v) for key, v in value.items()]
        elif old != value:
            words.append(_change(name, old, value))
    return ", ".join(words)


def _change(name: str, old: Any, new: Any) -> str:
    return f"{name} {_text(new)}" if old is None else f"{name} {_text(old)} -> {_text(new)}"


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "x".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
