"""Settings of commands, made from declared options: options of the command line, TOML, templates.

The settings of a command are either one class of `mmtp_jax.options`, whose fields are the keys of
its TOML file, or a frozen dataclass of several, its sections. From them come the options of the
command (`mmtp_jax.cli.command_line`), the keys of its file (`read_settings`) and the commented
template (`template`). This module imports no JAX, so that ``mmtp --help`` is quick.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import textwrap
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmtp_jax.io import documents
from mmtp_jax.io.fields import converted, shown
from mmtp_jax.language import flag
from mmtp_jax.options import MOST_ITEMS, default_of, nearest, other_names

Values = dict[str, dict[str, Any]]
"""What was given, by section and key; keys that were not given are absent. Of a section that may
be repeated, a list of them. Of settings without sections, the section is ''."""

COMMAND_LINE = "command line"
"""Source of values whose messages name options, not keys."""

COMMAND_KEY = "command"
"""Key at the top of each file that says which command it is for."""


def note(text: str) -> None:
    """One line ``mmtp COMMAND: text`` on stderr."""
    logging.getLogger("mmtp_jax.cli").info("%s", text)


# --- what is declared ---


def sections_of(of: type) -> dict[str, type]:
    """Name and class of each section; of one that may be repeated, the class of one of them."""
    if any("help" in field.metadata for field in dataclasses.fields(of)):
        return {"": of}
    hints = typing.get_type_hints(of)
    names = [field.name for field in dataclasses.fields(of)]
    repeated = repeated_sections(of)
    return {n: typing.get_args(hints[n])[0] if n in repeated else hints[n] for n in names}


def repeated_sections(of: type) -> set[str]:
    """Names of the sections that may come several times, ``[[name]]``: tuples of a section."""
    hints = typing.get_type_hints(of)
    found = {n for n, hint in hints.items() if typing.get_origin(hint) is tuple}
    return {n for n in found if dataclasses.is_dataclass(typing.get_args(hints[n])[0])}


def fields_of(section: type) -> list[dataclasses.Field]:
    """The fields of a section, those first that the template has without a comment sign."""
    return sorted(dataclasses.fields(section), key=lambda field: not field.metadata["required"])


def flag_of(field: dataclasses.Field) -> str:
    """The option of a field."""
    return field.metadata["flag"] or flag(field.name)


def name_of(section: str, key: str) -> str:
    return f"{section}.{key}" if section else key


# --- files ---


def read_toml(path: str | Path) -> tuple[str, dict[str, Any]]:
    """The command that a settings file is for, and the rest of the file.

    Raises:
        ValueError: if the file is not TOML, or does not say which command it is for.
    """
    content = documents.read_toml(path)
    command = content.pop(COMMAND_KEY, None)
    if not isinstance(command, str):
        raise ValueError(
            f"{path}: the key '{COMMAND_KEY}' is missing or no text; say at the top which command "
            f'the file is for, e.g. {COMMAND_KEY} = "fit"'
        )
    if command in OLD_COMMANDS:
        note(f"{path}: the command '{command}' is now called '{OLD_COMMANDS[command]}'")
    return OLD_COMMANDS.get(command, command), content


OLD_COMMANDS = {"mc": "montecarlo"}
"""Commands of earlier versions, and what they are called now."""


def read_settings(path: str | Path, of: type, command: str) -> Values:
    """The values of a settings file for ``command``, checked.

    Raises:
        ValueError: if the file is for another command, has an unknown key or a value of a wrong
            type; the message names the file and the key.
    """
    found, content = read_toml(path)
    if found != command:
        raise ValueError(
            f"{path}: the settings are for 'mmtp {shown(found, str)}', not for 'mmtp {command}'"
        )
    return checked(content, of, str(path))


def checked(content: dict[str, Any], of: type, source: str) -> Values:
    """Values with the types of the settings class.

    Raises:
        ValueError: for an unknown section or key, or a value of a wrong type.
    """
    sections = sections_of(of)
    if "" in sections:
        content = content if source == COMMAND_LINE else {"": content}
    known = {name_of(s, f.name) for s, cls in sections.items() for f in dataclasses.fields(cls)}
    values: Values = {}
    for section, table in content.items():
        if section not in sections:
            key = section if isinstance(table, dict) else f"{section} (outside of any section)"
            near = nearest(section, {*sections, *known, *(k.split(".")[-1] for k in known)})
            near = next((k for k in sorted(known) if k.endswith(f".{near}")), near)
            raise ValueError(f"{source}: unknown key '{shown(key, str)}'; {_hint(near, sections)}")
        if section in repeated_sections(of):
            if not isinstance(table, list) or not all(isinstance(t, dict) for t in table):
                raise ValueError(f"{source}: '{section}' must be sections, [[{section}]]")
            values[section] = [
                _checked_section(one, section, sections[section], known, source) for one in table
            ]
            continue
        if not isinstance(table, dict):
            raise ValueError(f"{source}: '{section}' must be a section, [{section}]")
        values[section] = _checked_section(table, section, sections[section], known, source)
    return values


def _checked_section(
    table: dict[str, Any], section: str, of: type, known: set[str], source: str
) -> dict[str, Any]:
    hints, others = typing.get_type_hints(of), other_names(of)
    fields = {field.name: field for field in dataclasses.fields(of)}
    values = {}
    for given, value in table.items():
        key, tell = others.get(given, (given, False))
        name = name_of(section, key)
        if tell:
            note(f"{source}: {name_of(section, given)} is now called {name}")
        if key in values:
            raise ValueError(
                f"{source}: {name} is there by two of its names; remove {name_of(section, given)} "
                "or the other"
            )
        if key not in fields:
            near = nearest(key, fields)
            near = name_of(section, near) if near else nearest(name, known)
            raise ValueError(f"{source}: unknown key '{shown(name, str)}'; {_hint(near, fields)}")
        data = fields[key].metadata
        where = f"{source}: {name}"
        if source == COMMAND_LINE:
            where = data["metavar"] if data["positional"] else flag_of(fields[key])
        if isinstance(value, (str, bool)) and value in data["old_values"]:
            note(f"{where}: '{shown(value, str)}' is now called '{data['old_values'][value]}'")
            value = data["old_values"][value]
        choices = data["choices"]
        if choices and value not in choices:
            raise ValueError(f"{where} must be one of {', '.join(choices)}, got {shown(value)}")
        values[key] = _converted(value, hints[key], where)
        if isinstance(values[key], tuple) and len(values[key]) > MOST_ITEMS:
            raise ValueError(f"{where} has {len(values[key])} items; at most {MOST_ITEMS} can be")
        if data["bounds"] is not None:
            data["bounds"].check(values[key], where)
    return values


def merge(*layers: Values) -> Values:
    """One set of values; later layers win key by key."""
    merged: Values = {}
    for layer in layers:
        for section, table in layer.items():
            if isinstance(table, list):
                merged[section] = table
            else:
                merged.setdefault(section, {}).update(table)
    return merged


def build(of: type, values: Values) -> Any:
    """The settings with the given values, defaults elsewhere."""
    repeated, sections = repeated_sections(of), sections_of(of)
    if "" in sections:
        return _filled(of, values.get("", {}))
    return of(
        **{
            name: tuple(_filled(cls, one) for one in values.get(name, []))
            if name in repeated
            else _filled(cls, values.get(name, {}))
            for name, cls in sections.items()
        }
    )


def _filled(of: type, given: dict[str, Any]) -> Any:
    """A section; what may be a number or a list of them is a list, also by default."""
    hints = typing.get_type_hints(of)
    lists = {
        f.name: (default_of(f),)
        for f in dataclasses.fields(of)
        if item_of(hints[f.name]) is not None and isinstance(default_of(f), (int, float))
    }
    return of(**{**lists, **given})


def head(command: str, takes: str) -> str:
    """What is at the top of the settings file of a command that ``takes`` it so."""
    return f"""\
# Settings of 'mmtp {command} {takes}'. A line '#key = value' shows the default,
# or an example where nothing is set by default; remove the '#' to change it. Options on
# the command line win over this file. Paths start from the folder that mmtp runs in.

{COMMAND_KEY} = {json.dumps(command)}
"""


def template(of: type) -> str:
    """Commented TOML with every key; ``#key = value`` shows a default or an example."""
    lines: list[str] = []
    repeated = repeated_sections(of)
    for name, section in sections_of(of).items():
        if name:
            title = f"[[{name}]]" if name in repeated else f"[{name}]"
            lines += ["", title, *_comment(about(section))]
        hints = typing.get_type_hints(section)
        for field in fields_of(section):
            data, default = field.metadata, default_of(field)
            unset = default is None or default == ()
            value = data["example"] if unset else default
            if item_of(hints[field.name]) is not None and not isinstance(value, tuple):
                value = (value,)
            help = data["help"] + (
                f" One of {', '.join(data['choices'])}." if data["choices"] else ""
            )
            if unset and not data["required"]:
                help += " Not set by default."
            lines += ["", *_comment(help)]
            lines.append(f"{'' if data['required'] else '#'}{field.name} = {_toml(value)}")
    return "\n".join(lines) + "\n"


# --- types ---


def members_of(hint: Any) -> list[Any]:
    """The types of a union without None and paths, which are texts."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return [k for k in typing.get_args(hint) if k not in (type(None), Path)]
    return [hint]


def _lists(hint: Any) -> list[Any]:
    sequences = (tuple, typing.get_origin(Sequence[int]))
    return [kind for kind in members_of(hint) if typing.get_origin(kind) in sequences]


def item_of(hint: Any) -> Any:
    """The type of the items, where it may be a list."""
    return next((typing.get_args(kind)[0] for kind in _lists(hint)), None)


def length_of(hint: Any) -> int | None:
    """The number of items, where the type says it."""
    args = typing.get_args(_lists(hint)[0])
    return None if Ellipsis in args or len(args) == 1 else len(args)


def _converted(value: Any, hint: Any, where: str) -> Any:
    if _lists(hint) and not isinstance(value, (list, tuple)):
        # One item stands for a list of one.
        value = [value]
    if value in ([], ()):
        raise ValueError(f"{where} is an empty list")
    return converted(value, hint, where)


def _hint(near: str | None, known: Any) -> str:
    return f"did you mean '{near}'?" if near else f"known are {', '.join(known)}"


def about(section: type) -> str:
    return (section.__doc__ or "").strip().splitlines()[0]


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, 90)]


def words_of(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _toml(value: Any) -> str:
    # JSON spells texts, numbers, booleans and lists as TOML does, but for exponents without a dot.
    return json.dumps(list(value) if isinstance(value, tuple) else value)
