"""How messages spell an argument: for Python, for the command line, or for a settings file.

>>> argument("species", ("Fe", "Al"))
'species=("Fe", "Al")'
>>> with speaking("options"):
...     argument("species", ("Fe", "Al"))
'--species Fe Al'
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_LANGUAGE: ContextVar[str] = ContextVar("language", default="python")

_FLAGS = {"keys": "key"}
"""Options that are not named as their argument."""


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
    return "--" + _FLAGS.get(name, name).replace("_", "-")


def in_python(text: str) -> str:
    """A part of a message that means something in Python only; empty for other readers."""
    return text if _LANGUAGE.get() == "python" else ""


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
