"""A potential as labeller: to try a workflow where a DFT code would take days."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ase import Atoms

from mmtp_jax.io.atoms import bare_atoms, with_results
from mmtp_jax.io.making import file_hash, potential_making
from mmtp_jax.io.shipped import file_of
from mmtp_jax.oracles.oracle import Failure, Labelled, Provenance


@dataclass(frozen=True)
class PotentialOracle:
    """Labels from a potential in a file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no potential.
    """

    path: str | Path
    """An ``.mtp`` file, or the name of a potential that comes with the program."""
    species: Sequence[str] | None = None
    """Chemical symbols, for a file that does not name them."""

    in_process: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "_calculator", _calculator(self.path, self.species))

    def __reduce__(self) -> tuple:
        return PotentialOracle, (str(self.path), self.species)

    def label(self, atoms: Atoms, folder: Path) -> Labelled | Failure:
        """Evaluate the potential at the target moments."""
        from mmtp_jax import __version__

        start = time.perf_counter()
        calculator = self._calculator
        try:
            # One line for each configuration would be too many; the provenance keeps them.
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                # Each label tells what is outside, not the first only.
                calculator.outside = type(calculator.outside)()
                calculator.calculate(atoms)
        except ValueError as error:
            return Failure(str(error))
        results = dict(calculator.results)
        kept = ("energy", "forces", "stress", "magmoms")
        labelled = with_results(
            bare_atoms(atoms, atoms.get_initial_magnetic_moments()),
            {name: results.get(name) for name in kept},
            calculator.magnetic_forces,
        )
        settings = {
            "potential": Path(self.path).name,
            "sha256": self.fingerprint(),
            "warnings": [str(warning.message) for warning in caught],
        }
        seconds = time.perf_counter() - start
        provenance = Provenance("mmtp_jax", __version__, settings, seconds, making=self.making())
        return Labelled(labelled, provenance)

    def refusal(self, atoms: Atoms) -> str | None:
        """Why the potential has no energy of it, or None."""
        from mmtp_jax.io.convert import structures_for

        potential, name = self._calculator.potential, [str(atoms.symbols)]
        try:
            structures_for(potential, [atoms], name, moments="initial", vectors=True)
        except ValueError as error:
            return str(error)
        return None

    def making(self) -> dict[str, str]:
        """The program and the potential."""
        return potential_making(self.path)

    def fingerprint(self) -> str:
        """Hash of the file."""
        return file_hash(file_of(self.path))


def _calculator(path: str | Path, species: Sequence[str] | None):
    from mmtp_jax.interfaces.calculator import MMTPCalculator

    return MMTPCalculator(path, species=None if species is None else tuple(species))
