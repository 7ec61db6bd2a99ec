"""Settings declared once: frozen dataclasses that give TOML files, templates and options.

A settings class is a frozen dataclass of sections; a section is a frozen dataclass whose fields
are made by `setting`. From these come the keys of the TOML file (`read_settings`), its commented
template (`template`), and the options of a command (`add_options`), so that none of them can go
stale. Command-line options win over the file, the file over the defaults (`merge`, `build`).
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import json
import textwrap
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmtp_jax.cli.bounds import Bounds, number
from mmtp_jax.io import documents
from mmtp_jax.io.fields import converted, shown

Values = dict[str, dict[str, Any]]
"""What was given, by section and key; keys that were not given are absent. Of a section that may
be repeated, a list of them."""

COMMAND_LINE = "command line"
"""Source of values whose messages name options, not keys."""

COMMAND_KEY = "command"
"""Key at the top of each file that says which command it is for."""


def setting(
    help: str,
    default: Any = None,
    *,
    example: Any = None,
    flag: str | None = None,
    off: str | None = None,
    off_help: str | None = None,
    short: str | None = None,
    metavar: str | None = None,
    choices: tuple[str, ...] | None = None,
    required: bool = False,
    positional: bool = False,
    aliases: tuple[str, ...] = (),
    words: dict[str, Any] | None = None,
    bounds: Bounds | None = None,
    each: bool = False,
) -> Any:
    """A field of a section.

    Args:
        help: one sentence, for ``--help`` and for the template.
        default: None where it is not set.
        example: value that the template shows where the default is None.
        flag: option on the command line, by default ``--name-of-the-field``.
        off: option that turns off what ``flag`` turns on; every bool needs one.
        off_help: what it does, where that is the option worth showing.
        short: one-letter option.
        metavar: what ``--help`` calls the value.
        choices: allowed words.
        required: the template shows the key without a comment sign.
        positional: an argument rather than an option.
        aliases: older names of the option, which ``--help`` does not show.
        each: of several items, each has the option before it; otherwise one option is before all.
        words: options without a value that stand for one, e.g. ``{"--fixed": "fixed"}``.
        bounds: of a number, or of each in a list.
    """
    metadata = {
        "help": help, "example": example, "flag": flag, "off": off,
        "off_help": off_help, "short": short, "metavar": metavar, "choices": choices,
        "required": required, "positional": positional, "aliases": aliases,
        "words": words or {}, "bounds": bounds, "each": each,
    }  # fmt: skip
    return dataclasses.field(default=default, metadata=metadata)


def label_keys() -> Any:
    """A field: names that labels have in files."""
    return setting(
        "Names that labels have in the files, LABEL=NAME; 'none' for one that is not to be read.",
        (), example=("magmoms=spins",), flag="--key", each=True, metavar="LABEL=NAME",
    )  # fmt: skip


def missing_moments() -> Any:
    """A field: what to do about labelled configurations without moments."""
    return setting(
        "Configurations without magnetic moments: 'error', 'zero' takes their moments for zero, "
        "'skip' leaves them out.",
        "error", choices=("error", "zero", "skip"),
    )  # fmt: skip


def sections_of(settings_class: type) -> dict[str, type]:
    """Name and class of each section; of one that may be repeated, the class of one of them."""
    hints = typing.get_type_hints(settings_class)
    names = [field.name for field in dataclasses.fields(settings_class)]
    repeated = repeated_sections(settings_class)
    return {n: typing.get_args(hints[n])[0] if n in repeated else hints[n] for n in names}


def repeated_sections(settings_class: type) -> set[str]:
    """Names of the sections that may come several times, ``[[name]]``: tuples of a section."""
    hints = typing.get_type_hints(settings_class)
    return {name for name, hint in hints.items() if typing.get_origin(hint) is tuple}


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
    return command, content


def read_settings(path: str | Path, settings_class: type, command: str) -> Values:
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
    return checked(content, settings_class, str(path))


def checked(content: dict[str, Any], settings_class: type, source: str) -> Values:
    """Values with the types of the settings class.

    Raises:
        ValueError: for an unknown section or key, or a value of a wrong type.
    """
    sections = sections_of(settings_class)
    known = {f"{s}.{f.name}" for s, of in sections.items() for f in dataclasses.fields(of)}
    values: Values = {}
    for section, table in content.items():
        if section not in sections:
            key = section if isinstance(table, dict) else f"{section} (outside of any section)"
            near = _nearest(section, set(sections) | known | {k.split(".")[1] for k in known})
            near = next((k for k in sorted(known) if k.endswith(f".{near}")), near)
            raise ValueError(f"{source}: unknown key '{shown(key, str)}'; {_hint(near, sections)}")
        if section in repeated_sections(settings_class):
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
    table: dict[str, Any], section: str, section_class: type, known: set[str], source: str
) -> dict[str, Any]:
    hints = typing.get_type_hints(section_class)
    fields = {field.name: field for field in dataclasses.fields(section_class)}
    values = {}
    for key, value in table.items():
        name = f"{section}.{key}"
        if key not in fields:
            near = _nearest(key, set(fields))
            near = f"{section}.{near}" if near else _nearest(name, known)
            raise ValueError(f"{source}: unknown key '{shown(name, str)}'; {_hint(near, fields)}")
        data = fields[key].metadata
        where = f"{source}: {name}"
        if source == COMMAND_LINE:
            where = data["metavar"] if data["positional"] else flag_of(fields[key])
        choices = data["choices"]
        if choices and value not in choices:
            raise ValueError(f"{where} must be one of {', '.join(choices)}, got {shown(value)}")
        values[key] = _converted(value, hints[key], where)
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


def build(settings_class: type, values: Values) -> Any:
    """The settings with the given values, defaults elsewhere."""
    repeated = repeated_sections(settings_class)
    return settings_class(
        **{
            name: tuple(of(**one) for one in values.get(name, []))
            if name in repeated
            else of(**values.get(name, {}))
            for name, of in sections_of(settings_class).items()
        }
    )


def template(settings_class: type, command: str) -> str:
    """A commented TOML file with every key; ``#key = value`` shows a default or an example."""
    lines = [
        f"# Settings of 'mmtp {command} --settings FILE'. A line '#key = value' shows the default,",
        "# or an example where nothing is set by default; remove the '#' to change it. Options on",
        "# the command line win over this file. Paths start from the folder that mmtp runs in.",
        "",
        f"{COMMAND_KEY} = {json.dumps(command)}",
    ]
    repeated = repeated_sections(settings_class)
    for name, section in sections_of(settings_class).items():
        about = (section.__doc__ or "").strip().splitlines()[0]
        title = f"[[{name}]]" if name in repeated else f"[{name}]"
        lines += ["", title, *_comment(about)]
        for field in dataclasses.fields(section):
            data = field.metadata
            unset = field.default is None or field.default == ()
            shown = data["example"] if unset else field.default
            help = data["help"] + (
                f" One of {', '.join(data['choices'])}." if data["choices"] else ""
            )
            if unset and not data["required"]:
                help += " Not set by default."
            lines += ["", *_comment(help)]
            lines.append(f"{'' if data['required'] else '#'}{field.name} = {_toml(shown)}")
    return "\n".join(lines) + "\n"


def add_options(
    parser: argparse.ArgumentParser, settings_class: type, skip: frozenset[str] = frozenset()
) -> None:
    """Add an option for every field, except those whose ``section.key`` is in ``skip``."""
    for name, section in sections_of(settings_class).items():
        if name in repeated_sections(settings_class):
            continue
        hints = typing.get_type_hints(section)
        about = (section.__doc__ or "").strip().splitlines()[0].rstrip(".")
        group = parser.add_argument_group(about[0].lower() + about[1:])
        for field in dataclasses.fields(section):
            if f"{name}.{field.name}" not in skip:
                _add_option(group, f"{name}.{field.name}", field, hints[field.name])


def options_given(args: argparse.Namespace, settings_class: type) -> Values:
    """The values that were given as options of `add_options`."""
    content: Values = {}
    for name, section in sections_of(settings_class).items():
        for field in dataclasses.fields(section):
            value = getattr(args, f"{name}.{field.name}", None)
            if value is not None and value != []:
                content.setdefault(name, {})[field.name] = value
    return checked(content, settings_class, COMMAND_LINE)


def flag_of(field: dataclasses.Field) -> str:
    """The option of a field."""
    return field.metadata["flag"] or "--" + field.name.replace("_", "-")


def _add_option(group: Any, dest: str, field: dataclasses.Field, hint: Any) -> None:
    data = field.metadata
    help = data["help"]
    if field.default not in (None, ()) and not isinstance(field.default, bool):
        help += f" (default {_words(field.default)})"
    help = help.replace("%", "%%")
    common = {"dest": dest, "default": argparse.SUPPRESS}
    flag = flag_of(field)
    names = [*([data["short"]] if data["short"] else []), flag]
    if hint is bool:
        # The option that only repeats the default undoes a settings file; --help need not show it.
        hidden = argparse.SUPPRESS
        on, off = (hidden, data["off_help"]) if field.default else (help, hidden)
        group.add_argument(*names, action="store_true", help=on, **common)
        group.add_argument(data["off"], action="store_false", help=off, **common)
        return
    kinds = _members(hint)
    many = typing.get_origin(kinds[0]) is tuple
    kind = typing.get_args(kinds[0])[0] if many else kinds[0]
    word = number(kind) if kind in (int, float) else kind
    options = {"help": help, "type": _reader(kinds) if len(kinds) > 1 else word}
    if data["positional"]:
        group.add_argument(dest, nargs="*", metavar=data["metavar"], default=[], **options)
        return
    if many:
        options |= {"action": "append"} if data["each"] else {"nargs": "+"}
    if data["choices"]:
        options["choices"] = data["choices"]
    else:
        options["metavar"] = data["metavar"] or {int: "N", float: "X"}.get(kind, "TEXT")
    group.add_argument(*names, **common, **options)
    if data["aliases"]:
        group.add_argument(*data["aliases"], **common, **options | {"help": argparse.SUPPRESS})
    for word, value in data["words"].items():
        help = f"the same as {flag} {value}"
        group.add_argument(word, action="store_const", const=value, help=help, **common)


def _reader(kinds: list[Any]) -> Callable[[str], Any]:
    """From a word of the command line to a number of the first type, or else the text."""

    def read(text: str) -> Any:
        try:
            return kinds[0](text)
        except ValueError:
            return text

    return read


def _members(hint: Any) -> list[Any]:
    """The types of a union without None."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return [kind for kind in typing.get_args(hint) if kind is not type(None)]
    return [hint]


def _converted(value: Any, hint: Any, where: str) -> Any:
    lists = [kind for kind in _members(hint) if typing.get_origin(kind) is tuple]
    if lists and not isinstance(value, (list, tuple)):
        # One item stands for a list of one.
        value = [value]
    if value in ([], ()):
        raise ValueError(f"{where} is an empty list")
    return converted(value, hint, where)


def _nearest(word: str, known: set[str]) -> str | None:
    close = difflib.get_close_matches(word[:100], sorted(known), 1, cutoff=0.5)
    return close[0] if close else None


def _hint(near: str | None, known: Any) -> str:
    return f"did you mean '{near}'?" if near else f"known are {', '.join(known)}"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, 90)]


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _toml(value: Any) -> str:
    # JSON spells texts, numbers, booleans and lists as TOML does, but for exponents without a dot.
    return json.dumps(list(value) if isinstance(value, tuple) else value)
