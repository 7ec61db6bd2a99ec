"""Values of ``atoms.info`` that no plain text can say as one line of JSON, and back.

ASE writes and reads the mark ``_JSON`` in extended XYZ; features of ``.cfg`` files use the same.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

MARK = "_JSON "
"""What a value that is written as JSON begins with."""


def to_json(value: Any) -> str | None:
    """The mark and the value as JSON in ASCII, on one line; None where JSON has no word for it."""
    try:
        return MARK + json.dumps(value, default=_plain)
    # Other objects, numbers of too many digits, loops and towers of lists.
    except (TypeError, ValueError, RecursionError):
        return None


def from_json(text: str) -> Any:
    """The value of a text that `to_json` made; lists of numbers are arrays, as ASE has it.

    Raises:
        ValueError: if what follows the mark is no JSON.
    """
    try:
        value = json.loads(text.removeprefix(MARK))
    except RecursionError:
        raise ValueError("JSON is nested too deep") from None
    if not isinstance(value, list):
        return value
    try:
        array = np.array(value)
    except ValueError:  # rows of several lengths
        return value
    return array if array.dtype.kind in "ifb" else value


def same(given: Any, found: Any) -> bool:
    """Whether a value that was read is the one that was written.

    Lists, tuples and arrays of equal shape and content are the same, and NumPy's scalars are
    Python's. NaN is NaN. True is not 1, 1 is not 1.0 (except beside fractions in one list), and
    text is not the number that it spells.

    >>> same((1, 2), np.array([1, 2])), same("5", 5)
    (True, False)
    """
    arrays = isinstance(given, np.ndarray) and isinstance(found, np.ndarray)
    if arrays and given.shape != found.shape:
        return False
    try:
        return _same(_plain(given), _plain(found))
    except (TypeError, RecursionError):
        return False


def _plain(value: Any) -> Any:
    """Lists and scalars of Python for those of NumPy.

    Raises:
        TypeError: if JSON has no word for it.
    """
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if value is None or isinstance(value, (bool, int, float, str, list, tuple, dict)):
        return value
    raise TypeError(f"{type(value).__name__} is nothing that a text can hold")


def _same(given: Any, found: Any, in_list: bool = False) -> bool:
    if isinstance(given, dict) and isinstance(found, dict):
        return given.keys() == found.keys() and all(same(given[k], found[k]) for k in given)
    if isinstance(given, (list, tuple)) and isinstance(found, (list, tuple)):
        return len(given) == len(found) and all(
            _same(_plain(a), _plain(b), True) for a, b in zip(given, found, strict=True)
        )
    kinds = [_kind(given), _kind(found)]
    if kinds[0] != kinds[1] and not (in_list and set(kinds) == {int, float}):
        return False
    return given == found or (given != given and found != found)


def _kind(value: Any) -> type:
    return next((k for k in (bool, int, float, str) if isinstance(value, k)), type(value))
