"""How messages spell an argument: for Python, for the command line, or for a settings file.

>>> argument("species", ("Fe", "Al"))
'species=("Fe", "Al")'
>>> with speaking("options"):
...     argument("species", ("Fe", "Al"))
'--species Fe Al'
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_LANGUAGE: ContextVar[str] = ContextVar("language", default="python")

_FLAGS = {"keys": "key"}
"""Options that are not named as their argument."""

_UNITS = ("_K", "_GPa", "_THz", "_meV", "_fs", "_s")
"""Ends of names that options are spelled without."""


def flag(name: str) -> str:
    """The option of a key: ``temperature_K`` is ``--temperature``."""
    unit = next((unit for unit in _UNITS if name.endswith(unit)), "")
    return "--" + name.removesuffix(unit).replace("_", "-")


def listed(values: Iterable[Any]) -> str:
    """Numbers or words of a list, in a message for any reader.

    >>> listed(("Fe", "Al")), listed([1.0, 0.25])
    ('Fe, Al', '1, 0.25')
    """
    return ", ".join(of if isinstance(of, str) else f"{of:g}" for of in values)


def counted(n: int, noun: str) -> str:
    """A number of things.

    >>> counted(2, "configuration"), counted(1, "atom")
    ('2 configurations', '1 atom')
    """
    return f"{n} {noun}{'' if n == 1 else 's'}"


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """A block in which messages are for readers of "python", of "options", or of "toml"."""
    before = _LANGUAGE.set(language)
    try:
        yield
    finally:
        _LANGUAGE.reset(before)


def named(name: str) -> str:
    """The name of an argument, as the reader gives it."""
    if _LANGUAGE.get() != "options":
        return name
    return flag(_FLAGS.get(name, name))


def numbers(shape: tuple[int, ...]) -> str:
    """How many numbers an array has.

    >>> numbers((2, 3)), numbers((6,)), numbers(())
    ('2 x 3 numbers', '6 numbers', 'one number')
    """
    return "one number" if shape == () else f"{' x '.join(map(str, shape))} numbers"


def reason(error: Exception) -> str:
    """What is wrong with a value or a file that could not be read, not in words of Python."""
    text = str(error)
    if isinstance(error, UnicodeDecodeError):
        return f"its byte {error.start} is no UTF-8"
    if found := re.fullmatch(r"could not convert (?:string|.* array) to float: (.*)", text):
        return f"{found[1]} is no number"
    if "setting an array element" in text or "inhomogeneous" in text:
        return "its rows differ in their lengths"
    return "it holds something else" if isinstance(error, TypeError) else text


def in_python(text: str) -> str:
    """A part of a message that means something in Python only; empty for other readers."""
    return text if _LANGUAGE.get() == "python" else ""


def atoms_entry(of: str, name: object) -> str:
    """An entry of the dictionaries of `ase.Atoms`; for other readers its name alone.

    >>> atoms_entry("info", "dipole")
    "info['dipole']"
    """
    return f"{of}[{name!r}]" if _LANGUAGE.get() == "python" else str(name)


def argument(
    name: str, value: int | str | tuple[str, ...] | Mapping[str, Any], toml: str = ""
) -> str:
    """An argument and its value, as the reader gives it; in a settings file perhaps as ``toml``."""
    language = _LANGUAGE.get()
    if isinstance(value, int) and language == "options":
        return f"{named(name)} {value}"
    pairs = isinstance(value, Mapping)
    items = [f"{k}={v}" for k, v in value.items()] if pairs else value
    if language == "options":
        words = items if isinstance(items, str) else " ".join(items)
        return f"{named(name)} {words}"
    if language == "toml":
        return toml or f"{name} = {json.dumps(items)}"
    text = json.dumps(value)
    return f"{name}=({text[1:-1]})" if isinstance(value, tuple) else f"{name}={text}"
