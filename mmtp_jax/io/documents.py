"""JSON and TOML files as a whole: read with every damage told in one sentence, written atomically.

What the values may be is for `mmtp_jax.io.fields` and for those who know them. Imports nothing
heavy, because the command line does.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any, NoReturn

from mmtp_jax.io.atomic import atomic_write

MOST_BYTES = 2**20
"""Of a TOML file; one that a person writes has some thousands."""

# The parser of the standard library takes a time of the square of the parts of a dotted key.
_LONG_KEY = re.compile(r"(?<![\w\-])(?:[\w\-]++\s*+\.\s*+){50}")


def read_toml(path: str | os.PathLike) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not TOML, or larger or deeper than settings are; the file is named.
    """
    path = os.fspath(path)
    with open(path, "rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"{path}: not a file of settings: it is larger than {MOST_BYTES} bytes")
    try:
        text = content.decode()
        if _LONG_KEY.search(text):
            raise ValueError("a key has more than 50 parts")
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError(f"{path}: not a TOML file: it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{path}: not a TOML file: {error}") from error


def parse_json(text: str | bytes) -> dict[str, Any]:
    """An object of JSON without NaN and infinity.

    Raises:
        ValueError: if it is something else; the file is not named.
    """
    try:
        content = json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError(f"it holds no JSON object but a {type(content).__name__}")
    return content


def read_json(path: str | os.PathLike) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds something else, or NaN or infinity; the file is not named.
    """
    return parse_json(Path(path).read_bytes())


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Write JSON, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"it holds the number {constant}")
