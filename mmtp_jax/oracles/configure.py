"""Labellers from TOML files: which code, and a table with its settings.

    code = "abinit"

    [abinit]
    ecut_Ha = 15
    datasets = {Fe = "Fe.xml"}

The table has the name of the code, and its keys are the fields of the labeller's dataclass.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from mmtp_jax.oracles.oracle import Oracle

CODES = {
    "abinit": ("mmtp_jax.oracles.abinit.oracle", "AbinitOracle"),
    "potential": ("mmtp_jax.oracles.teacher", "PotentialOracle"),
    "vasp": ("mmtp_jax.oracles.vasp", "VaspOracle"),
}
"""Module and class of the labeller of each code."""
CODE_KEY = "code"


def read_oracle(path: str | os.PathLike) -> Oracle:
    """The labeller that a TOML file describes.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not TOML, an unknown code or key, or a value that cannot be; the
            message names the file and the key.

    Example:
        >>> oracle = read_oracle("abinit.toml")
    """
    with open(path, "rb") as file:
        try:
            content = tomllib.load(file)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not a TOML file: {error}") from error
    return oracle_of(content, os.fspath(path))


def oracle_of(content: Mapping[str, Any], source: str = "oracle") -> Oracle:
    """The labeller that the content of such a file describes.

    Args:
        content: the key ``code`` and a table of settings.
        source: what messages call it.

    Raises:
        ValueError: as `read_oracle`.
    """
    code = content.get(CODE_KEY)
    if code not in CODES:
        raise ValueError(
            f"{source}: the key '{CODE_KEY}' must be one of {', '.join(CODES)}, got {code!r}"
        )
    for key in content:
        if key not in (CODE_KEY, code):
            raise ValueError(
                f"{source}: unknown key '{key}'; the settings are in the section [{code}]"
            )
    table = content.get(code, {})
    if not isinstance(table, Mapping):
        raise ValueError(f"{source}: '{code}' must be a section, [{code}]")
    module, name = CODES[code]
    oracle_class = getattr(import_module(module), name)
    values = checked_fields(table, oracle_class, f"{source}: {code}")
    try:
        return oracle_class(**values)
    except FileNotFoundError:
        raise
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


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
            near = difflib.get_close_matches(key, fields, 1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(fields)}"
            raise ValueError(f"{where}: unknown key '{key}'; {hint}")
        values[key] = _converted(value, hints[key], f"{where}.{key}")
    for name, field in fields.items():
        none = dataclasses.MISSING
        if field.default is none and field.default_factory is none and name not in values:
            raise ValueError(f"{where}: the key '{name}' is missing")
    return values


class _Wrong(Exception):
    """The value is of another type."""


def _converted(value: Any, hint: Any, where: str) -> Any:
    try:
        return _as(value, hint)
    except _Wrong:
        raise ValueError(f"{where} must be {_name_of(hint)}, got {value!r}") from None


def _as(value: Any, hint: Any) -> Any:
    """The value as what a type hint says."""
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
    elif hint is float and isinstance(value, (int, float)) and math.isfinite(value):
        return float(value)
    elif isinstance(hint, type) and hint is not float and isinstance(value, hint):
        return value
    elif hint is Path and isinstance(value, str):
        return Path(value)
    raise _Wrong


_NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


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
