"""Values of files as the types of a dataclass: what a TOML or JSON file says, checked.

The hints of the fields are the only declaration of types: numbers, texts, booleans, lists, tables,
and unions of these. Imports nothing heavy, because the command line does.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

LARGEST = 2**63 - 1
"""Whole numbers beyond it fit no array, and are mistakes."""

_LONGEST = 60
"""Letters of a value that a message shows."""


def checked_fields(table: Mapping[str, Any], of: type, where: str) -> dict[str, Any]:
    """Values for the fields of a dataclass, with the types that these have.

    Args:
        table: what a file holds.
        of: the dataclass.
        where: what messages call the table.

    Raises:
        ValueError: for unknown and missing keys, and values of a wrong type.
    """
    fields = {f.name: f for f in dataclasses.fields(of) if f.init}
    hints = typing.get_type_hints(of)
    values = {}
    for key, value in table.items():
        if key not in fields:
            raise ValueError(f"{where}: unknown key '{shown(key, str)}'; {hint_at(key, fields)}")
        values[key] = converted(value, hints[key], f"{where}.{key}")
    for name, field in fields.items():
        none = dataclasses.MISSING
        if field.default is none and field.default_factory is none and name not in values:
            raise ValueError(f"{where}: the key '{name}' is missing")
    return values


def hint_at(key: str, known: Iterable[str]) -> str:
    """What may have been meant by an unknown key."""
    known = list(known)
    near = difflib.get_close_matches(key, known, 1, cutoff=0.5) if len(key) < _LONGEST else []
    return f"did you mean '{near[0]}'?" if near else f"known are {', '.join(known)}"


def converted(value: Any, hint: Any, where: str) -> Any:
    """A value as what a type hint says.

    Raises:
        ValueError: if it is something else; ``where`` says of what.
    """
    try:
        return _as(value, hint)
    except _Wrong:
        raise ValueError(f"{where} must be {_name_of(hint)}, got {shown(value)}") from None


def spelled(value: Any) -> str:
    """A value as TOML has it, which readers of Python understand as well.

    >>> spelled((1, 2.5)), spelled(["Fe", True]), spelled({"a": None})
    ('[1, 2.5]', "['Fe', true]", '{a = nothing}')
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, bool) or value is None:
        return "nothing" if value is None else str(value).lower()
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{k} = {spelled(v)}' for k, v in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(spelled, value))}]"
    return repr(value)


def shown(value: Any, form: Any = spelled) -> str:
    """A value for a message, shortened where it is long."""
    try:
        text = form(value)
    except (RecursionError, ValueError):
        return f"a {type(value).__name__} that is too large to show"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text)} letters)"


class _Wrong(Exception):
    """The value is of another type."""


def _as(value: Any, hint: Any) -> Any:
    if hint is Any:
        return value
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        for one in inner:
            try:
                return _as(value, one)
            except _Wrong:
                continue
    elif origin in (Mapping, dict) and isinstance(value, Mapping):
        return {str(k): _as(v, inner[1]) for k, v in value.items()}
    elif origin in (tuple, list, Sequence) and isinstance(value, (list, tuple)):
        if origin is tuple and Ellipsis not in inner:
            if len(inner) == len(value):
                return tuple(_as(v, h) for v, h in zip(value, inner, strict=True))
        else:
            return tuple(_as(v, inner[0]) for v in value)
    elif isinstance(value, bool) or hint is bool:
        if isinstance(value, bool) and hint is bool:
            return value
    elif isinstance(value, int) and abs(value) > LARGEST:
        raise _Wrong
    elif hint is float and isinstance(value, (int, float)) and math.isfinite(value):
        return float(value)
    elif dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        try:
            return hint(**checked_fields(value, hint, hint.__name__))
        except ValueError:
            raise _Wrong from None
    elif isinstance(hint, type) and hint is not float and isinstance(value, hint):
        return value
    elif hint is Path and isinstance(value, str):
        return Path(value)
    raise _Wrong


_NAMES = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    type(None): "nothing",
}


def _name_of(hint: Any) -> str:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_name_of(h) for h in inner if h not in (type(None), Path))
    if origin in (Mapping, dict):
        return f"a table, each value {_name_of(inner[1])}"
    if origin is tuple and Ellipsis not in inner:
        return f"a list of {len(inner)}, each item {_name_of(inner[0])}"
    if origin in (tuple, list, Sequence):
        return f"a list, each item {_name_of(inner[0])}"
    return _NAMES.get(hint, getattr(hint, "__name__", str(hint)))
