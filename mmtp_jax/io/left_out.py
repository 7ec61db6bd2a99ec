"""What a file does not hold of configurations that are written to it, in one line of the log."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_properties

from mmtp_jax.io.schema import MAGNETIC_FORCES, Labels, along_moments
from mmtp_jax.io.values import same
from mmtp_jax.language import atoms_entry

logger = logging.getLogger(__name__)

_KNOWN = {*all_properties, MAGNETIC_FORCES}


def dropped(atoms: Atoms, labels: Labels, vectors: bool = False) -> list[str]:
    """What is no part of the schema that all formats share; ``labels`` are those of ``atoms``.

    With ``vectors`` moments along one axis stay vectors, and so do magnetic forces.
    """
    results = getattr(atoms.calc, "results", None) or {}
    if labels.stale:
        return ["results for other positions, cell or initial moments"]
    found = [atoms_entry("results", name) for name in results if name not in _KNOWN]
    two = [results[name] for name in ("energy", "free_energy") if results.get(name) is not None]
    if len(two) == 2 and not same(*two):
        found.append("energy other than the free energy, which is written")
    forces, moments = labels.magnetic_forces, labels.moments
    three = all(np.shape(values) == (len(atoms), 3) for values in (forces, moments))
    if three and not vectors and not labels.transverse and along_moments(forces, moments)[1]:
        found.append("magnetic forces across the collinear moments")
    return found


class LeftOut:
    """Counts what is left out, and says it once for each file.

    Example:
        >>> left_out = LeftOut("a.cfg")
        >>> left_out.count(["constraints", "info['t']"]); left_out.count(["constraints"])
        >>> print(left_out)
        a.cfg: left out of 2 configurations: constraints (2), info['t'] (1)
    """

    def __init__(self, name: str) -> None:
        self.name, self.configurations = name, 0
        self._counts: Counter[str] = Counter()

    def count(self, parts: Iterable[str]) -> None:
        """Count one configuration and the parts of it that are left out."""
        self.configurations += 1
        self._counts.update(dict.fromkeys(parts, 1))

    def __str__(self) -> str:
        parts = ", ".join(f"{part} ({count})" for part, count in self._counts.items())
        plural = "s" if self.configurations > 1 else ""
        return f"{self.name}: left out of {self.configurations} configuration{plural}: {parts}"

    def say(self) -> None:
        """Log it, where there is anything."""
        if self._counts:
            logger.warning("%s", self)
