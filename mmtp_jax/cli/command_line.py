"""The command line of declared settings: arguments and options, and what was given by them."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mmtp_jax.cli.console import check_species, is_potential
from mmtp_jax.cli.settings import (
    COMMAND_LINE,
    OLD_COMMANDS,
    Values,
    about,
    build,
    checked,
    fields_of,
    flag_of,
    item_of,
    length_of,
    members_of,
    merge,
    name_of,
    read_settings,
    repeated_sections,
    sections_of,
    words_of,
)
from mmtp_jax.io.fields import LARGEST, shown
from mmtp_jax.language import flag
from mmtp_jax.options import Bounds, default_of


@dataclass(frozen=True)
class Declared:
    """The settings of a command."""

    of: type
    check: Callable[[Any, Values], None] | None
    """Refuses settings that contradict each other; told what was given, too."""
    takes: str = "--settings FILE"
    """How the command line names a file of them."""

    def validated(self, values: Values) -> Any:
        """The settings with the given values, checked."""
        settings = build(self.of, values)
        if self.check is not None:
            self.check(settings, values)
        return settings


def declare(
    parser: argparse.ArgumentParser,
    of: type,
    check: Callable[[Any, Values], None] | None = None,
) -> None:
    """Make the arguments and options of a command, and ``--settings``; `collect` reads them.

    The command gets a template and can be validated by that alone.
    """
    named = [f.metadata for _, f in _positional(of)]
    # All options would fill a screen before the first word of help.
    parser.usage = " ".join([parser.prog, *(data["metavar"] for data in named), "[options]"])
    parser.add_argument(
        "files",
        nargs="*",
        metavar=" ".join(data["metavar"] for data in named),
        help="; ".join(data["help"].rstrip(".") for data in named),
    )
    parser.add_argument(
        "--settings", metavar="TOML", help="file with any of the settings; options here win"
    )
    add_options(parser, of)
    parser.set_defaults(declared=Declared(of, check))


def add_options(
    parser: argparse.ArgumentParser, of: type, only: frozenset[str] | None = None
) -> None:
    """Add an option for every field, or for those whose ``section.key`` is in ``only``."""
    old: dict[str, str] = {}
    aliases: dict[str, str] = {}
    for name, section in sections_of(of).items():
        if name in repeated_sections(of):
            continue
        hints = typing.get_type_hints(section)
        fields = [
            f for f in fields_of(section)
            if not f.metadata["positional"] and (only is None or name_of(name, f.name) in only)
        ]  # fmt: skip
        if not fields:
            continue
        title = about(section).rstrip(".")
        group = parser.add_argument_group(title[0].lower() + title[1:]) if name else parser
        for field in fields:
            _add_option(group, name_of(name, field.name), field, hints[field.name])
            old |= field.metadata["old_flags"]
            # No options of the parser, for which they would make abbreviations ambiguous.
            aliases |= {flag(alias): flag_of(field) for alias in field.metadata["aliases"]}
    parser.set_defaults(old_flags=old, alias_flags=aliases)


def declared_of(parsers: dict[str, Any]) -> dict[str, Declared]:
    """The settings of each command that has some."""
    found = {name: parser.get_default("declared") for name, parser in parsers.items()}
    return {name: declared for name, declared in found.items() if declared is not None}


def current_words(words: Sequence[str], parsers: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Words of a command line with commands and options by their names of now, and what to say."""
    said, now = [], list(words)
    place = next((k for k, word in enumerate(now) if not word.startswith("-")), None)
    if place is None:
        return now, said
    for k in range(place, min(place + 2, len(now))):
        # Also what a template is asked for.
        new = OLD_COMMANDS.get(now[k]) if k == place or now[place] == "template" else None
        if new is not None:
            said.append(f"'{now[k]}' is now called '{new}'")
            now[k] = new
    parser = parsers.get(now[place])
    for kind in ("old_flags", "alias_flags"):
        for old, new in ((parser and parser.get_default(kind)) or {}).items():
            for k, word in enumerate(now):
                if old != new and (word == old or word.startswith(f"{old}=")):
                    now[k] = new + word.removeprefix(old)
                    if kind == "old_flags":
                        said.append(f"{old} is now called {new}")
    if parser is not None and parser.get_default("declared") is not None:
        now[place + 1 :] = _files_first(now[place + 1 :], parser)
    return now, said


def _files_first(words: list[str], parser: argparse.ArgumentParser) -> list[str]:
    """Words of a command with files that follow a list of other things before all options.

    ``--temperature 300 600 start.cfg`` has two temperatures and a file. All words after ``--`` are
    files.
    """
    words, after = (
        (words[: words.index("--")], words[words.index("--") + 1 :])
        if "--" in words
        else (words, [])
    )
    lists = {
        word: action
        for action in parser._actions
        for word in action.option_strings
        if action.nargs == "+" and action.metavar not in _FILES
    }
    kept, files, of = [], [], None
    for word in words:
        if word.startswith("--") or (word.startswith("-") and word[1:2].isalpha()):
            name = word.partition("=")[0]
            near = [a for known, a in lists.items() if known.startswith(name)]
            of = lists.get(name) or (near[0] if len(near) == 1 else None)
            kept.append(word)
        elif of is not None and _is_file(word, of):
            files.append(word)
        else:
            kept.append(word)
    first = next((k for k, word in enumerate(kept) if word.startswith("-")), len(kept))
    return kept[:first] + files + after + kept[first:]


def _is_file(word: str, of: argparse.Action) -> bool:
    """Whether a word in a list of numbers or words is the name of a file."""
    try:
        float(word)
    except ValueError:
        pass
    else:
        return False
    looks = re.search(r"\.[A-Za-z]\w*$|/", word) is not None and "=" not in word
    # `Fe` may be a file by chance, but among numbers it can be nothing else.
    return looks or (of.type not in (str, None) and os.path.exists(word))


_FILES = ("DATA", "FILE", "TOML", "CSV", "NPZ", "MTP")
"""What help calls values that are files."""


def options_given(args: argparse.Namespace, of: type) -> Values:
    """The values that were given as options of `add_options`."""
    content: Values = {}
    for name, section in sections_of(of).items():
        for field in dataclasses.fields(section):
            value = getattr(args, name_of(name, field.name), None)
            if value == [] and (alone := field.metadata["alone"]) is not None:
                value = [alone]
            if value is not None and value != []:
                content.setdefault(name, {})[field.name] = value
    return checked(content, of, COMMAND_LINE)


def collect(args: argparse.Namespace) -> tuple[Any, Values]:
    """The settings of a command of `declare` from its file and its options, and what was given.

    Raises:
        ValueError: if they cannot be, or something is missing.
    """
    of = args.declared.of
    in_file = read_settings(args.settings, of, args.command) if args.settings else {}
    files = checked(_files(args.files, in_file, of), of, COMMAND_LINE)
    given = merge(in_file, options_given(args, of), files)
    settings = args.declared.validated(given)
    for section in sections_of(of):
        # Before what is missing: files may have gone to --species.
        check_species(getattr(getattr(settings, section) if section else settings, "species", ()))
    _refuse_missing(settings, args.command)
    return settings, given


def inputs_of(settings: Any, args: argparse.Namespace) -> list[str]:
    """The files that a command reads: its arguments, and those that options name."""
    named = ("active_set", "structure", "references", "reference", "beside", "oracle")
    sections = [getattr(settings, s) if s else settings for s in sections_of(type(settings))]
    found: list[str | None] = [args.settings]
    for section in sections:
        for field in dataclasses.fields(section) if dataclasses.is_dataclass(section) else ():
            if field.metadata["positional"] or field.name in named:
                value = getattr(section, field.name)
                found += value if isinstance(value, tuple) else [value]
    return [path for path in found if isinstance(path, str)]


def given_by(args: argparse.Namespace, of: type) -> Any:
    """What the options of `add_options` say, defaults elsewhere."""
    return build(of, options_given(args, of))


def _positional(of: type) -> list[tuple[str, dataclasses.Field]]:
    return [
        (name, field)
        for name, section in sections_of(of).items()
        for field in dataclasses.fields(section)
        if field.metadata["positional"]
    ]


def _files(files: list[str], in_file: Values, of: type) -> Values:
    """Files by what they are: one of a kind in the order of the fields, the others of a list.

    Where one is the potential, it is the file that ends in .mtp, or the name of one that comes
    with the program; or where none is and the settings file gives none, the first. Where it may be
    several, all such are.

    Raises:
        ValueError: if there are several potentials, or too many files.
    """
    rest, given = list(files), Values()
    for section, field in _positional(of):
        missing = field.name not in in_file.get(section, {})
        many = item_of(typing.get_type_hints(sections_of(of)[section])[field.name]) is not None
        if field.name == "potential":
            taken = [file for file in rest if is_potential(file)]
            if len(taken) > 1 and not many:
                raise ValueError(f"give one potential, got {' and '.join(taken)}")
            taken = taken or (rest[:1] if missing else [])
        else:
            taken = list(rest) if many else rest[:1]
        for file in taken:
            rest.remove(file)
        if taken:
            given.setdefault(section, {})[field.name] = tuple(taken) if many else taken[0]
    if rest:
        raise ValueError(f"there are more files than are needed: {' '.join(rest)}")
    return given


def _refuse_missing(settings: Any, command: str) -> None:
    of = type(settings)
    wanted = _positional(of)
    values = {name_of(s, f.name): getattr(getattr(settings, s) if s else settings, f.name)
              for s, cls in sections_of(of).items() if s not in repeated_sections(of)
              for f in dataclasses.fields(cls)}  # fmt: skip
    if any(values[name_of(s, f.name)] in (None, ()) for s, f in wanted):
        names = " and ".join(f.metadata["positional"] for _, f in wanted)
        examples = " ".join(words_of(f.metadata["example"]) for _, f in wanted)
        raise ValueError(f"give {names}, e.g. mmtp {command} {examples}, or a file with --settings")
    for section, cls in sections_of(of).items():
        for field in dataclasses.fields(cls):
            if field.metadata["needed"] and values[name_of(section, field.name)] in (None, ()):
                raise ValueError(
                    f"give {flag_of(field)}, e.g. {flag_of(field)} "
                    f"{words_of(field.metadata['example'])}"
                )


def number(kind: type, bounds: Bounds | None = None) -> Callable[[str], Any]:
    """A ``type`` of argparse: a finite number within bounds.

    Example:
        >>> parser.add_argument("--timeout", type=number(float, POSITIVE))
    """

    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or abs(value) > LARGEST or value != value:
            wanted = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"must be {wanted}, got {shown(text)}")
        try:
            (bounds or Bounds()).check(value, "it")
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error).removeprefix("it ")) from None
        return value

    return read


def _add_option(group: Any, dest: str, field: dataclasses.Field, hint: Any) -> None:
    data, default = field.metadata, default_of(field)
    help = data["help"]
    if default not in (None, ()) and not isinstance(default, bool):
        help += f" (default {words_of(default)})"
    help = help.replace("%", "%%")
    common = {"dest": dest, "default": argparse.SUPPRESS}
    option = flag_of(field)
    names = [*([data["short"]] if data["short"] else []), option]
    hidden = argparse.SUPPRESS
    if hint is bool:
        # The option that only repeats the default undoes a settings file; --help need not show it.
        on, off = (hidden, data["off_help"]) if default else (help, hidden)
        group.add_argument(*names, action="store_true", help=on, **common)
        off_flag = data["off"] or f"--no-{option.lstrip('-')}"
        group.add_argument(off_flag, action="store_false", help=off, **common)
        return
    item = item_of(hint)
    kinds = members_of(hint) if item is None else [members_of(item)[0]]
    reader = number(kinds[0]) if kinds[0] in (int, float) else kinds[0]
    options = {"help": help, "type": _reader(kinds) if len(kinds) > 1 else reader}
    if data["choices"]:
        options["choices"] = data["choices"]
    else:
        options["metavar"] = data["metavar"] or {int: "N", float: "X"}.get(kinds[0], "TEXT")
    if item is not None:
        n = length_of(hint)
        several = "*" if data["alone"] else n or "+"
        options |= {"action": "append"} if data["each"] else {"nargs": several}
        if n and data["metavar"] and len(words := data["metavar"].split()) == n:
            options["metavar"] = tuple(words)
    group.add_argument(*names, **common, **options)
    for word, value in data["words"].items():
        help = f"the same as {option} {value}"
        group.add_argument(word, action="store_const", const=value, help=help, **common)


def _reader(kinds: list[Any]) -> Callable[[str], Any]:
    """From a word of the command line to a number of the first type, or else the text."""

    def read(text: str) -> Any:
        try:
            return kinds[0](text)
        except ValueError:
            return text

    return read
