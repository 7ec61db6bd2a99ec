"""JSON schema of settings files, for editors that check and complete TOML by one."""

from __future__ import annotations

import typing
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
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}
    return head | _table(properties) | {"required": required}


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
