"""The comment line of extended XYZ, before ASE takes it apart.

ASE takes the last of two equal keys, reads ``lattice=`` as a mere entry, so that a crystal becomes
a free cluster, refuses a stress of six numbers, and makes six of any nine. This parser refuses the
first two, and hands stress and virial on as the numbers that they are: `mmtp_jax.io.other_names`
says what they mean.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.io.extxyz import key_val_str_to_dict

TENSORS = ("stress", "virial")
CASE = {"lattice": "Lattice", "properties": "Properties", "pbc": "pbc"}
"""Keys that would be taken for misspelt ones, and how they are written."""
_CLOSING = {"'": "'", '"': '"', "{": "}", "[": "]"}
_RUNS = {
    "": re.compile(r"""[^\\'"{\[=\s]+"""),
    **{end: re.compile(rf"[^\\{re.escape(end)}]+") for end in _CLOSING.values()},
}
"""Characters without a meaning of their own, outside of quotes and brackets and inside."""


class CommentLineError(ValueError):
    """A comment line that cannot mean what it says."""


@dataclass
class CommentLine:
    """Parser of comment lines, as ``ase.io.extxyz.read_xyz`` takes one; it counts them."""

    n_lines: int = 0

    def __call__(self, line: str) -> dict[str, Any]:
        """Entries of a line.

        Raises:
            CommentLineError: if a key is there twice or misspelt, or a tensor has not 6 or
                9 numbers.
        """
        self.n_lines += 1
        entries = _entries(line)
        counts = Counter(entry.key for entry in entries if entry.value is not None)
        twice = next((key for key, count in counts.items() if count > 1), None)
        if twice is not None:
            raise CommentLineError(f"the comment line has {twice!r} twice; leave one of them")
        for key in counts:
            right = CASE.get(key.lower(), key)
            if key != right and right not in counts:
                raise CommentLineError(
                    f"the comment line has {key!r}, which no program reads; write {right!r}"
                )
        tensors = [e for e in entries if e.key in TENSORS and e.value is not None]
        if not tensors:
            return key_val_str_to_dict(line)
        rest = " ".join(line[e.start : e.end] for e in entries if e not in tensors)
        info = key_val_str_to_dict(rest) if rest else {}
        return info | {e.key: _numbers(e.key, e.value or "") for e in tensors}


@dataclass(frozen=True)
class _Entry:
    start: int
    end: int
    key: str
    value: str | None
    """None of a word without ``=``."""


def _entries(line: str) -> list[_Entry]:
    """The entries as ASE separates them: quotes and brackets keep blanks, a backslash anything."""
    found: list[_Entry] = []
    start, key, text, closing, escaped = None, None, [], "", False
    line, k = f"{line} ", -1
    while k + 1 < len(line):
        k += 1
        run = None if escaped else _RUNS[closing].match(line, k)
        if run is not None:
            text.append(run[0])
            start, k = k if start is None else start, run.end() - 1
            continue
        char = line[k]
        if escaped:
            text.append(char)
            escaped = False
        elif char == "\\":
            escaped, start = True, k if start is None else start
        elif closing:
            if char == closing:
                closing = ""
            else:
                text.append(char)
        elif char in _CLOSING:
            closing, start = _CLOSING[char], k if start is None else start
        elif char == "=" and key is None:
            if start is None and found and found[-1].value is None:
                # Blanks before the sign.
                last = found.pop()
                start, text = last.start, list(last.key)
            key, text = "".join(text), []
            start = k if start is None else start
        elif char.isspace():
            if text and start is not None:
                word = "".join(text)
                name, value = (word, None) if key is None else (key, word)
                found.append(_Entry(start, k, name, value))
                start, key, text = None, None, []
        else:
            text.append(char)
            start = k if start is None else start
    return found


def _numbers(key: str, text: str) -> np.ndarray:
    words = text.replace(",", " ").split()
    try:
        numbers = np.array(words, float)
    except ValueError:
        numbers = np.empty(0)
    if len(numbers) not in (6, 9) or "_" in text:
        raise CommentLineError(
            f"{key!r} of the comment line is {text!r}; it has to be 6 numbers (xx yy zz yz xz xy) "
            "or the 9 of a matrix"
        )
    return numbers
