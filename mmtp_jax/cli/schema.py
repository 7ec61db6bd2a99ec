"""JSON schema of settings files, for editors that check and complete TOML by one."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmtp_jax.cli.settings import (
    COMMAND_KEY,
    about,
    fields_of,
    item_of,
    members_of,
    repeated_sections,
    sections_of,
)
from mmtp_jax.options import Bounds, default_of, other_names
from mmtp_jax.oracles.configure import CODE_KEY

DRAFT = "https://json-schema.org/draft/2020-12/schema"

_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
_BOUNDS = {"least": "minimum", "above": "exclusiveMinimum", "most": "maximum",
           "below": "exclusiveMaximum"}  # fmt: skip


def schema(of: type, command: str | None = None) -> dict[str, Any]:
    """The schema (draft 2020-12) of a settings file; unknown keys are errors in it, too.

    Args:
        of: the class of the settings.
        command: that the file is for, where it says so at its top.
    """
    properties: dict[str, Any] = {}
    for name, section in sections_of(of).items():
        if not name:
            properties |= _properties(section)
            continue
        table = _table(_properties(section), about(section))
        repeated = name in repeated_sections(of)
        properties[name] = {"type": "array", "items": table} if repeated else table
    title = "Settings" if command is None else f"Settings of mmtp {command}"
    required = []
    if command is not None:
        properties = {COMMAND_KEY: {"const": command}, **properties}
        required = [COMMAND_KEY]
    head = {"$schema": DRAFT, "title": title}
    return head | _table(properties) | {"required": required}


def code_schema(code: str, of: type) -> dict[str, Any]:
    """The schema of the settings file of a DFT code, which `mmtp_jax.oracles.configure` reads.

    Args:
        code: as the file names it, and its section.
        of: the dataclass of its labeller; types are those of its hints, and what a key means is
            said by the text below its field.
    """
    hints, said = typing.get_type_hints(of), _texts(of)
    fields = [field for field in dataclasses.fields(of) if field.init]
    properties = {}
    for field in fields:
        one = properties[field.name] = {**_of_hint(hints[field.name])}
        if field.name in said:
            one["description"] = said[field.name]
        if isinstance(field.default, (bool, int, float, str, tuple)):
            default = field.default
            one["default"] = list(default) if isinstance(default, tuple) else default
    none = dataclasses.MISSING
    needed = [f.name for f in fields if f.default is none and f.default_factory is none]
    properties = {CODE_KEY: {"const": code}, code: _table(properties) | {"required": needed}}
    head = {"$schema": DRAFT, "title": f"Settings of the labeller {code}"}
    return head | _table(properties) | {"required": list(properties)}


def _of_hint(hint: Any) -> dict[str, Any]:
    """What `mmtp_jax.io.fields.converted` takes for a type."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        kinds = [_of_hint(kind) for kind in inner if kind is not type(None)]
        kinds = [kind for k, kind in enumerate(kinds) if kind not in kinds[:k]]
        return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    if origin in (Mapping, dict):
        return {"type": "object", "additionalProperties": _of_hint(inner[1])}
    if origin is tuple and Ellipsis not in inner:
        items = [_of_hint(kind) for kind in inner]
        return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}
    if origin in (tuple, list, Sequence):
        return {"type": "array", "items": _of_hint(inner[0])}
    kind = _TYPES.get(str if hint is Path else hint)
    return {"type": kind} if kind else {}


def _texts(of: type) -> dict[str, str]:
    """The texts below the fields of a class and of those it is made from."""
    found: dict[str, str] = {}
    for one in (c for c in reversed(of.__mro__) if dataclasses.is_dataclass(c)):
        (made,) = ast.parse(textwrap.dedent(inspect.getsource(one))).body
        for field, text in zip(made.body, made.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                found[field.target.id] = " ".join(text.value.value.replace("`", "").split())
    return found


def _table(properties: dict[str, Any], description: str = "") -> dict[str, Any]:
    said = {"description": description} if description else {}
    return {"type": "object", **said, "properties": properties, "additionalProperties": False}


def _properties(section: type) -> dict[str, Any]:
    hints = typing.get_type_hints(section)
    found = {field.name: _of_field(field, hints[field.name]) for field in fields_of(section)}
    # Names of earlier versions are taken, and should not be marked as wrong.
    for other, (now, _) in other_names(section).items():
        found[other] = found[now] | {"deprecated": True}
    return found


def _of_field(field: Any, hint: Any) -> dict[str, Any]:
    data, default = field.metadata, default_of(field)
    bounds = _bounds(data["bounds"])
    choices = {"enum": list(data["choices"])} if data["choices"] else {}
    item = item_of(hint)
    kinds = [_TYPES[k] for k in members_of(hint) if k in _TYPES] or ["string", "number"]
    one = {"type": kinds[0] if len(kinds) == 1 else kinds, **bounds, **choices}
    if item is not None:
        items = [_TYPES[k] for k in members_of(item) if k in _TYPES] or ["string", "number"]
        each = {"type": items[0] if len(items) == 1 else items, **bounds, **choices}
        # One item stands for a list of one.
        one = {"anyOf": [{"type": "array", "items": each, "minItems": 1}, each]}
    said = {"description": data["help"]}
    if default is not None and default != ():
        said["default"] = list(default) if isinstance(default, tuple) else default
    return one | said


def _bounds(bounds: Bounds | None) -> dict[str, Any]:
    if bounds is None:
        return {}
    found = {
        name: getattr(bounds, own) for own, name in _BOUNDS.items()
        if getattr(bounds, own) is not None
    }  # fmt: skip
    return found | ({"multipleOf": 2} if bounds.even else {})
