"""Potentials that come with the program: files of `mmtp_jax/potentials`, taken by their names.

A name is spelled as it is listed, without folder and ending: ``Fe``. A file of that name in the
working folder, ``Fe`` or ``Fe.mtp``, is meant where there is one, which is said. ``fe`` and a
``Fe.mtp`` that is not there are errors that name ``Fe``: who writes a path means a file.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from mmtp_jax.options import nearest

logger = logging.getLogger(__name__)

FOLDER = Path(__file__).parents[1] / "potentials"


def names() -> list[str]:
    """Names of the potentials, in the order of the alphabet."""
    return sorted(path.stem for path in FOLDER.glob("*.mtp"))


def card(name: str) -> Path:
    """The page about a potential: its data, errors and range, and what it is not for.

    Raises:
        ValueError: if there is no potential of that name.
    """
    if name not in names():
        raise ValueError(
            f"no potential that comes with the program is called {name}; {_known(name)}"
        )
    return FOLDER / f"{name}.md"


def file_of(path: str | os.PathLike) -> Path:
    """The file that is meant by a path or a name; the path itself where there is none."""
    word = os.fspath(path)
    if Path(word).is_file() or word not in names():
        return Path(word)
    own = Path(f"{word}.mtp")
    return own if own.is_file() else FOLDER / f"{word}.mtp"


def file_to_read(path: str | os.PathLike) -> Path:
    """`file_of`, and which one it is said where it is given by a name.

    Raises:
        FileNotFoundError: for a word that is neither a file nor a name, or could be meant for one.
    """
    word, found = os.fspath(path), file_of(path)
    if word not in names():
        named = Path(word).stem.lower() in map(str.lower, names())
        if not found.is_file() and found.name == word and (not found.suffix or named):
            raise FileNotFoundError(
                f"there is no file '{word}' in this folder; {_known(found.stem)}"
            )
    elif found.parent == FOLDER:
        logger.info(
            "%s is the potential that comes with the program; 'mmtp potentials %s' prints what it "
            "is for", word, word,
        )  # fmt: skip
    else:
        logger.warning(
            "%s: the file %s of this folder is read, not the potential of that name that comes "
            "with the program; move the file to have that", word, found,
        )  # fmt: skip
    return found


def is_name(word: str) -> bool:
    """Whether a word names a potential that comes with the program, and no file."""
    return word in names() and not Path(word).is_file()


def _known(word: str) -> str:
    near = nearest(word, names()) or next((n for n in names() if n.lower() == word.lower()), None)
    return f"potentials that come with the program: {', '.join(names())}" + (
        f"; did you mean {near}?" if near else ""
    )
