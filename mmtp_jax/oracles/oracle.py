"""What every labeller does: a configuration with target moments in, labels or a reason out.

A labeller is any picklable object with the methods of `Oracle`: a DFT code with constrained
moments, or a potential (`mmtp_jax.oracles.teacher`). `mmtp_jax.oracles.jobs` runs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from ase import Atoms

from mmtp_jax.io.schema import KMESH, MAKING, collapse, labels_of
from mmtp_jax.oracles.options import JobOptions
from mmtp_jax.structures.making import making_entries, making_text
from mmtp_jax.structures.screening import Diagnostics


@dataclass(frozen=True)
class Provenance:
    """Where labels come from."""

    code: str
    """E.g. ``"ABINIT"``."""
    version: str
    settings: dict[str, Any] = field(default_factory=dict)
    """All that another run would need; numbers, texts and lists, so that JSON can hold it."""
    seconds: float = 0.0
    """Wall time."""
    converged: bool = True
    """Labels that are not converged are refused."""
    diagnostics: Diagnostics | None = None
    """What betrays a state that is converged and wrong, where the code tells it."""
    making: dict[str, Any] = field(default_factory=dict)
    """What labels must share to belong together, beside code and version: `Oracle.making`."""
    kmesh: tuple[int, int, int] | None = None
    """Mesh of k-points."""

    def __post_init__(self) -> None:
        # As they are after a round trip through JSON.
        object.__setattr__(self, "making", making_entries(making_text(self.making)))
        if self.kmesh is not None:
            object.__setattr__(self, "kmesh", tuple(self.kmesh))

    @property
    def info(self) -> dict[str, str]:
        """Entries of ``atoms.info`` that tell how the labels were made."""
        known = {"code": self.code, "version": self.version, **self.making}
        info = {MAKING: making_text(known)}
        if self.kmesh is not None:
            info[KMESH] = "x".join(map(str, self.kmesh))
        return info


@dataclass(frozen=True, eq=False)
class Labelled:
    """A labelled configuration."""

    atoms: Atoms
    """With energy, forces, stress (periodic cells) and achieved ``magmoms`` on its calculator, and
    magnetic forces, where the code gives them, in ``arrays["magnetic_forces"]``."""
    provenance: Provenance
    free: tuple[int, ...] = ()
    """Atoms whose moments the code was free to choose: their targets are only where it started."""


@dataclass(frozen=True)
class Failure:
    """Why there are no labels."""

    reason: str
    """One sentence."""
    provenance: Provenance | None = None
    final: bool = False
    """Another attempt would end in the same way."""


class Oracle(Protocol):
    """A labeller. It must be picklable where jobs run in processes of their own."""

    in_process: bool
    """Is it so quick and safe that jobs run one after the other in the calling process?"""

    def label(self, atoms: Atoms, folder: Path) -> Labelled | Failure:
        """Label one configuration.

        Args:
            atoms: the configuration; ``get_initial_magnetic_moments()`` are the targets.
            folder: an existing folder for the files of this job alone. What an earlier attempt
                left there is still in it.
        """
        ...

    def fingerprint(self) -> str:
        """Text that changes whenever the labels could."""
        ...

    # Optional: making(self) -> dict[str, Any], the code and what else labels must share to belong
    # together (`mmtp_jax.structures.making`), and making_of(self, atoms_list) where they say more;
    # refusal(self, atoms) -> str | None, why there is no
    # point in starting with a configuration; and what `mmtp_jax.oracles.meshes.Meshed` has.


def refusal_of(oracle: Oracle, atoms: Atoms) -> str | None:
    """Why a labeller would refuse a configuration, or None; nothing is run."""
    return oracle.refusal(atoms) if hasattr(oracle, "refusal") else None


def refusals_of(oracle: Oracle, atoms_list: Sequence[Atoms]) -> list[str]:
    """Sentences about the configurations that a labeller would refuse; nothing is run."""
    found = [(k, refusal_of(oracle, atoms)) for k, atoms in enumerate(atoms_list, 1)]
    return [f"configuration {k} would be refused: {why}" for k, why in found if why is not None]


def checked(
    answer: Labelled | Failure, target: Atoms, moment_tolerance: float = JobOptions.moment_tolerance
) -> Labelled | Failure:
    """The answer, or a failure where it must not enter a training set."""
    if isinstance(answer, Failure):
        return answer
    if not isinstance(answer, Labelled):
        return Failure(f"the oracle answered {type(answer).__name__}, not Labelled or Failure")
    reason = _fault(answer, target, moment_tolerance)
    return answer if reason is None else Failure(reason, answer.provenance)


def _fault(answer: Labelled, target: Atoms, moment_tolerance: float) -> str | None:
    atoms = answer.atoms
    if not answer.provenance.converged:
        return "the calculation is not converged"
    if len(atoms) != len(target) or not np.array_equal(atoms.numbers, target.numbers):
        return "the labels are for other atoms than those asked for"
    off = max(
        float(np.abs(atoms.positions - target.positions).max()),
        float(np.abs(atoms.cell.array - target.cell.array).max()),
    )
    if off > 1e-4:
        return f"the labels are for positions or a cell that differ by {off:.2g} Angstrom"
    labels = labels_of(atoms)
    for name in ("energy", "forces"):
        if name not in labels.results:
            return f"there is no {name} among the labels"
    numbers = [labels.results[name] for name in ("energy", "forces")]
    numbers += [v for v in (labels.results.get("stress"), labels.magnetic_forces) if v is not None]
    if not all(np.all(np.isfinite(np.asarray(v, float))) for v in numbers):
        return "a label is not finite"
    if labels.achieved_moments is None:
        return "the achieved moments are not among the labels"
    achieved = np.asarray(labels.achieved_moments, float)
    wanted = np.asarray(target.get_initial_magnetic_moments(), float)
    if achieved.shape != wanted.shape:
        # Of one along a line and one as numbers, the direction means nothing.
        achieved, wanted = collapse(achieved), collapse(wanted)
    if achieved.shape != wanted.shape:
        return f"achieved moments have shape {achieved.shape}, targets {wanted.shape}"
    missed = np.linalg.norm((achieved - wanted).reshape(len(atoms), -1), axis=1)
    missed[list(answer.free)] = 0.0
    worst = int(np.argmax(missed)) if missed.size else 0
    if missed.size and not missed[worst] <= moment_tolerance:
        return (
            f"the moment of atom {worst} is {_moment(achieved[worst])} mu_B and not "
            f"{_moment(wanted[worst])}, a miss of more than {moment_tolerance:g}"
        )
    return None


def _moment(value: np.ndarray) -> str:
    return f"{value:.3f}" if np.ndim(value) == 0 else f"({', '.join(f'{x:.3f}' for x in value)})"
