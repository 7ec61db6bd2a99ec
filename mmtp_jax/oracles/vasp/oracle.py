"""The VASP labeller: from a configuration with target moments to labels or a reason."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms

from mmtp_jax.io.atoms import bare_atoms, with_results
from mmtp_jax.io.schema import axis_of, collapse
from mmtp_jax.oracles.oracle import Failure, Labelled, Provenance
from mmtp_jax.oracles.sampling import mesh_of
from mmtp_jax.oracles.vasp import inputs
from mmtp_jax.oracles.vasp.outputs import Output
from mmtp_jax.oracles.vasp.penalty import magnetic_forces, rescaled_radii
from mmtp_jax.oracles.vasp.settings import VaspSettings
from mmtp_jax.oracles.vasp.stages import (
    Stage,
    StageError,
    compute,
    remove_densities,
    seconds_of,
)
from mmtp_jax.oracles.vasp.summary import summary
from mmtp_jax.oracles.vasp.workflow import UNCONSTRAINED, Outcome, Step, follow
from mmtp_jax.structures.screening import Diagnostics

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class VaspOracle(VaspSettings):
    """Labels from VASP with softly constrained moments (Burov 2026, supplement S1).

    Labels are: the energy TOTEN without the penalty E_p, which TOTEN contains; forces and stress
    as VASP prints them; the moments of OUTCAR, along the axis for targets (n,) and as vectors for
    targets (n, 3), all without spin-orbit coupling. Magnetic forces are no label, as in
    the paper, unless ``magnetic_forces`` asks for their estimate from the constraint.

    Nothing was run with VASP itself: see `mmtp_jax.oracles.vasp`. Whether VASP's forces contain
    what the penalty adds as spheres move with their atoms is not known here; the paper takes them
    as printed.

    Example:
        >>> oracle = VaspOracle("potpaw_PBE", {"Fe": "Fe_pv"}, command="srun vasp_ncl",
        ...                     collinear_command="srun vasp_std")
        >>> jobs = label_all(oracle, selected, "labels", timeout_s=86400)
    """

    in_process: ClassVar[bool] = False

    def label(self, atoms: Atoms, folder: Path) -> Labelled | Failure:
        """Run the workflow; calculations that are complete in the folder are not run again."""
        folder = Path(folder).absolute()
        try:
            job = _job(self, atoms, folder)
            job.compute(UNCONSTRAINED)
            outcome = follow(
                job.targets, job.compute, self.criteria, self.acceptance, self.weights,
                self.first_weight, self.axis,
            )  # fmt: skip
        except StageError as error:
            return Failure(str(error))
        except (FileNotFoundError, ValueError) as error:
            return Failure(str(error), final=True)
        if not self.keep_densities:
            remove_densities(folder)
        return _answer(self, atoms, job, outcome)

    def refusal(self, atoms: Atoms) -> str | None:
        """Why there is no point in starting, or None."""
        try:
            _job(self, atoms, Path())
        except (FileNotFoundError, ValueError) as error:
            return str(error)
        return None


@dataclass(frozen=True, eq=False)
class _Job:
    """One configuration, its atoms in the order of POSCAR."""

    settings: VaspSettings
    order: np.ndarray
    """The atoms in the order of POSCAR."""
    species: tuple[str, ...]
    targets: np.ndarray
    radii: np.ndarray
    divisions: tuple[int, int, int]
    stage: Callable[..., Stage]
    folder: Path
    stages: dict[str, Stage]

    def compute(
        self,
        name: str,
        weight: float = 0.0,
        constraint: np.ndarray | None = None,
        start: str | None = None,
    ) -> Output:
        """Run one calculation; the first has no constraint."""
        settings, about = self.settings, (self.species, self.radii, self.targets)
        if constraint is None:
            tags = inputs.unconstrained_tags(settings, *about)
            collinear = self.targets.ndim == 1
            command = settings.collinear_command if collinear else settings.command
        else:
            tags = inputs.constrained_tags(settings, *about, constraint, weight)
            command = settings.command
        before = None if start is None else self.stages[start]
        stage = self.stages[name] = self.stage(name, inputs.incar(tags), command, before)
        output = compute(stage, self.folder, len(self.targets))
        if constraint is not None:
            wanted = inputs.along(inputs.constrained(constraint), settings.axis)
            _compare_penalty(name, output, wanted)
        return output


def _job(settings: VaspSettings, atoms: Atoms, folder: Path) -> _Job:
    """Everything that all calculations of a configuration share.

    Raises:
        ValueError: if VASP cannot take the configuration.
    """
    targets = collapse(np.asarray(atoms.get_initial_magnetic_moments(), float))
    if targets.shape not in ((len(atoms),), (len(atoms), 3)):
        raise ValueError("the target moments are neither one number nor one vector for each atom")
    if not atoms.pbc.all():
        raise ValueError("VASP needs cells that are periodic in 3 directions")
    if np.linalg.det(atoms.cell.array) <= 0.0:
        raise ValueError("VASP refuses left-handed cells; exchange two vectors of the cell")
    symbols = np.array(atoms.get_chemical_symbols())
    unknown = sorted(set(symbols) - set(settings.potentials))
    if unknown:
        raise ValueError(f"potentials names no POTCAR for {', '.join(unknown)}; add it")
    species = tuple(symbol for symbol in settings.potentials if symbol in symbols)
    kinds = np.array([species.index(symbol) for symbol in symbols])
    order = np.argsort(kinds, kind="stable")
    divisions = settings.kmesh or mesh_of(atoms.cell.array[None], settings.kpoint_spacing)
    common = {
        "KPOINTS": inputs.kpoints(divisions).encode(),
        "POSCAR": inputs.poscar(atoms[order]).encode(),
        "POTCAR": b"".join(settings.potcars[symbol].content for symbol in species),
    }

    def stage(name: str, incar: str, command: str, start: Stage | None) -> Stage:
        return Stage(name, common | {"INCAR": incar.encode()}, command, start)

    radii = np.array([settings.radius(symbol) for symbol in species])
    radii = rescaled_radii(radii, kinds, atoms.get_volume())
    return _Job(settings, order, species, targets[order], radii, divisions, stage, folder, {})


def _answer(
    settings: VaspSettings, atoms: Atoms, job: _Job, outcome: Outcome
) -> Labelled | Failure:
    seconds = sum(seconds_of(stage, job.folder) or 0.0 for stage in job.stages.values())
    refined = outcome.refined
    provenance = Provenance(
        "VASP",
        "unknown" if refined is None else refined.output.version,
        settings.described() | _about(job) | summary(outcome),
        seconds,
        refined is not None and refined.output.converged,
        making=settings.making(),
        kmesh=job.divisions,
    )
    if outcome.reason is not None or refined is None or outcome.fit is None:
        return Failure(outcome.reason or "no refined calculation", provenance, final=True)
    output, constraint = refined.output, refined.output.constraint
    assert constraint is not None
    given = np.asarray(atoms.get_initial_magnetic_moments(), float)
    back = np.argsort(job.order)
    if output.charges is not None:
        charges = tuple(output.charges[back].tolist())
        provenance = replace(provenance, diagnostics=Diagnostics(charges))
    field_forces = None
    if settings.magnetic_forces and _field_fits(refined):
        field, smoothed = (
            inputs.like(v, job.targets, settings.axis)
            for v in (constraint.field, constraint.smoothed)
        )
        field_forces = _shaped(magnetic_forces(field, outcome.fit, smoothed)[back], given)
    results = {
        "energy": output.energy - constraint.penalty,
        "forces": output.forces[back],
        "stress": output.stress,
        "magmoms": _shaped(inputs.like(output.moments, job.targets, settings.axis)[back], given),
    }
    labelled = with_results(bare_atoms(atoms, given), results, field_forces)
    return Labelled(labelled, provenance)


def _shaped(values: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Components (n,) as vectors along the axis of the targets, where these were given as such."""
    if values.ndim == given.ndim:
        return values
    return np.outer(values, np.eye(3)[axis_of(given)])


def _about(job: _Job) -> dict[str, Any]:
    """What all calculations share, for the provenance."""
    return {
        "kpoints": list(job.divisions),
        "order_in_poscar": job.order.tolist(),
        "rwigs": dict(zip(job.species, np.round(job.radii, 6).tolist(), strict=True)),
    }


def _field_fits(step: Step) -> bool:
    """Whether the printed field is that of the printed penalty: E_p = sum field^2 / lambda."""
    constraint = step.output.constraint
    if constraint is None or constraint.field is None:
        return False
    energy = float(np.sum(constraint.field**2)) / constraint.weight
    return abs(energy - constraint.penalty) <= 1e-3 * abs(constraint.penalty) + 1e-9


def _compare_penalty(name: str, output: Output, wanted: np.ndarray) -> None:
    """Warn where VASP's penalty is not the one that this workflow takes it for."""
    constraint = output.constraint
    assert constraint is not None
    distance = np.abs(constraint.smoothed - wanted)
    energy = constraint.weight * np.sum(distance**2)
    # The moments are rounded to 0.001, and those of the step before the last.
    slack = constraint.weight * np.sum(2.0 * distance * 2e-3 + 4e-6) + 1e-3 * energy
    if abs(energy - constraint.penalty) > slack:
        logger.warning(
            "%s: VASP's penalty E_p is %.4g eV, and lambda sum (MW_int - M_CONSTR)^2 is %.4g eV; "
            "check RWIGS and M_CONSTR", name, constraint.penalty, energy,
        )  # fmt: skip
