"""The active set of a potential in a file beside it: ``pot.active.npz`` of ``pot.mtp``.

`mmtp fit` and `mmtp learn` write it, commands and the calculator look for it. It is used only
where it belongs to the potential, whatever its name says.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmtp_jax.io.shipped import file_of

if TYPE_CHECKING:
    from mmtp_jax.active.active_set import ActiveSet
    from mmtp_jax.potential.potential import Potential


def path_beside(potential: str | Path) -> Path:
    """The file of the active set, where that of the potential is, or will be.

    >>> path_beside("run/pot.mtp")
    PosixPath('run/pot.active.npz')
    """
    path = Path(potential)
    stem = path.stem if path.suffix.lower() in (".mtp", ".mmtp") else path.name
    return path.with_name(f"{stem}.active.npz")


def set_of(potential: str | Path) -> Path:
    """`path_beside` of a potential that is there, which may be given by its name."""
    return path_beside(file_of(potential))


def find_beside(path: str | Path, potential: Potential) -> tuple[ActiveSet | None, str]:
    """The active set beside the file of a potential; or why one that is there is not used.

    Args:
        path: of the potential, or its name.
        potential: that was read from it.

    Returns:
        The active set, or None; and a sentence, empty where there is nothing to say.
    """
    file = set_of(path)
    if not file.is_file():
        return None, ""
    from mmtp_jax.active.active_set import ActiveSet

    try:
        return ActiveSet.load(file, potential), ""
    except ValueError as error:
        return None, f"{file} is not used: {error}"
