"""Labels that their source itself marks as not converged, in whatever words."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms

logger = logging.getLogger(__name__)

_IN_WORDS = re.compile(
    r"(?<![a-z])(un|non|not|no|didn'?t|did not|never|failed to)[\s_-]*(be[\s_-]*)?converge", re.I
)
_CONVERGED = re.compile(r"(^|[^a-z])converge(d|nce)$", re.I)
_FALSE = {"f", "false", "no", "0", "n", "failed"}


def mark_of(atoms: Atoms) -> str | None:
    """What says that the labels of a configuration are not converged, e.g.
    ``EFS_by VASP_not_converged``; None where nothing does."""
    for key, value in atoms.info.items():
        if _says_so(str(key), value):
            return f"{key} {value}"
    return None


def warn_of_unconverged(atoms_list: Sequence[Atoms]) -> None:
    """One line of the log for all configurations that say so, with their words."""
    marks = [mark_of(atoms) for atoms in atoms_list]
    found = Counter(mark for mark in marks if mark is not None)
    if not found:
        return
    words = [f"'{mark}' ({count})" for mark, count in found.most_common(3)]
    if len(found) > len(words):
        words.append(f"{len(found) - len(words)} more")
    first = next(k for k, mark in enumerate(marks) if mark is not None)
    logger.warning(
        "%d of %d configurations are marked as not converged: %s; the first is %s; their labels "
        "are used all the same, remove them if they are wrong",
        sum(found.values()), len(marks), ", ".join(words),
        getattr(atoms_list[first], "source", f"configuration {first + 1}"),
    )  # fmt: skip


def _says_so(key: str, value: Any) -> bool:
    if isinstance(value, str) and _IN_WORDS.search(value):
        return True
    if np.ndim(value) != 0:
        return False
    word = str(value).strip().lower()
    false = word in _FALSE or word == "0.0"
    if _IN_WORDS.search(key.replace("_", " ")):
        return not false and word != "none"
    return bool(_CONVERGED.search(key)) and false
