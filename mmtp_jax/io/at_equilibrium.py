"""Moments declared at equilibrium: where nothing holds them, T = -dE/dm = 0 is a label.

A calculation without a constraint on its moments ends at moments that minimise the energy. That is
so for any definition of the moments of atoms, for the constraint that would hold them there has no
force. No file says so; who made it does, for all files, for some, or for single configurations by
an entry ``moments_at_equilibrium`` of ``info`` (a feature of ``.cfg``).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from ase import Atoms

from mmtp_jax.io.fields import shown
from mmtp_jax.io.outcar import held_moments
from mmtp_jax.io.schema import MAGNETIC_FORCES, labels_of
from mmtp_jax.language import argument

logger = logging.getLogger(__name__)

AT_EQUILIBRIUM = "moments_at_equilibrium"
"""Entry of ``info``, true or false: what a file says of one configuration."""

ALL = "all"
"""In place of files: the moments of all of them."""


class Declared:
    """Gives magnetic forces of zero to configurations, and counts to which.

    Args:
        everywhere: the moments of all files are declared.
        files: those whose moments are.
    """

    def __init__(self, everywhere: bool, files: Iterable[Path] = ()) -> None:
        self.everywhere = everywhere
        self.files = {os.path.realpath(file) for file in files}
        self.given = self.own = self.without = 0

    def of_file(self, path: Path) -> bool:
        """Whether the moments of a file are declared.

        Raises:
            ValueError: if its calculation held them.
        """
        if not self.everywhere and os.path.realpath(path) not in self.files:
            return False
        held = held_moments(path)
        if held is not None:
            raise ValueError(
                f"{path}: {held}, so its moments are not at equilibrium; "
                f"name the files whose moments are free, e.g. {argument(AT_EQUILIBRIUM, 'FILE')}"
            )
        return True

    def settle(self, atoms: Atoms, of_file: bool) -> None:
        """Give magnetic forces to a configuration, fresh from a reader, where it has none.

        Its own entry of ``info`` comes before what is said of its file, and becomes the label.

        Raises:
            ValueError: if the entry is not true or false.
        """
        said = atoms.info.get(AT_EQUILIBRIUM, of_file)
        if said not in (True, False):
            raise ValueError(f"{AT_EQUILIBRIUM} must be true or false, got {shown(said)}")
        if not said:
            return
        atoms.info.pop(AT_EQUILIBRIUM, None)
        labels = labels_of(atoms, fresh=True)
        if labels.magnetic_forces is not None or MAGNETIC_FORCES in atoms.arrays:
            self.own += 1
        elif labels.achieved_moments is None or "energy" not in labels.results:
            self.without += 1
        else:
            atoms.set_array(MAGNETIC_FORCES, np.zeros(np.shape(labels.achieved_moments)))
            self.given += 1

    def tell(self) -> None:
        """Log in one line to how many configurations magnetic forces were given."""
        if not self.given + self.own + self.without:
            return
        text = f"{_count(self.given)}: moments declared at equilibrium, magnetic forces 0"
        if self.own:
            text += f"; {_count(self.own)} declared so {_keep(self.own)} those of the file"
        if self.without:
            text += (
                f"; {_count(self.without)} declared so without an energy or moments of a "
                "calculation (magmoms) to be at equilibrium get none"
            )
        logger.log(logging.WARNING if self.without else logging.INFO, "%s", text)


def _count(n: int) -> str:
    return f"{n} configuration{'' if n == 1 else 's'}"


def _keep(n: int) -> str:
    return "keeps" if n == 1 else "keep"
