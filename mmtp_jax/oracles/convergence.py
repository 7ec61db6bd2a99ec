"""What settings of a labeller do to its labels: each varied on its own, on a few configurations.

Every calculation is a job as those of `mmtp_jax.oracles.jobs`, in a folder named by its key, the
hash of configuration and settings. So none is computed twice, also where what was tried before
becomes the settings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mmtp_jax.io.lock import locked
from mmtp_jax.options import given_to, made
from mmtp_jax.oracles.attempts import Job
from mmtp_jax.oracles.convergence_results import Bounds, Cell, Change, Convergence, Run
from mmtp_jax.oracles.derivatives import Derivative, ends_of
from mmtp_jax.oracles.job_files import found_result, key_of
from mmtp_jax.oracles.jobs import check_targets, run_jobs
from mmtp_jax.oracles.mesh_groups import formula_of
from mmtp_jax.oracles.meshes import MeshPlan, plan_meshes
from mmtp_jax.oracles.options import ConvergenceOptions, RunOptions
from mmtp_jax.oracles.oracle import Failure, Labelled, Oracle
from mmtp_jax.oracles.variations import Variation, variations
from mmtp_jax.tables import aligned

_KEY = 16
"""Letters of the key of a job in the name of its folder."""
_N_DERIVATIVES = 6
"""Calculations, two for each of them."""


@dataclass(frozen=True, eq=False)
class ConvergencePlan:
    """What would run; prints as a table."""

    targets: tuple[Atoms, ...]
    variations: tuple[Variation, ...]
    """The settings as they are come first."""
    meshes: MeshPlan | None
    folder: Path
    options: ConvergenceOptions

    def folder_of(self, oracle: Oracle, atoms: Atoms) -> Path:
        """Of the job of one configuration."""
        return self.folder / key_of(oracle, atoms)[:_KEY]

    def n_found(self, variation: Variation) -> int:
        """Configurations whose labels are there already."""
        pairs = zip(variation.oracles, self.targets, strict=True)
        answers = [found_result(self.folder_of(o, atoms), key_of(o, atoms)) for o, atoms in pairs]
        return sum(isinstance(answer, Labelled) for answer in answers)

    @property
    def n_jobs(self) -> int:
        """All calculations, those that are done among them."""
        more = _N_DERIVATIVES if self.options.check_derivatives else 0
        return len(self.targets) * len(self.variations) + more

    def __str__(self) -> str:
        rows = [("settings", "configurations", "done already")]
        rows += [(v.text, str(len(self.targets)), str(self.n_found(v))) for v in self.variations]
        if self.options.check_derivatives:
            rows.append(("central differences", f"at most {_N_DERIVATIVES}", ""))
        table = aligned(rows, rule=False)
        return table if self.meshes is None else f"{self.meshes}\n\n{table}"


def plan_convergence(
    oracle: Oracle, atoms_list: Sequence[Atoms], folder: str | Path, **options: Any
) -> ConvergencePlan:
    """What `converge` would run; nothing does, and nothing is written. Arguments are the same."""
    chosen = made(ConvergenceOptions, options, "converge")
    check_targets(atoms_list)
    if not atoms_list:
        raise ValueError("there is no configuration to try settings on")
    targets = [atoms.copy() for atoms in atoms_list]
    for atoms, name in zip(targets, _names(targets), strict=True):
        atoms.info["label"] = name
    if chosen.strain is not None:
        cell = targets[0].cell.array.copy()
        cell[2] *= 1.0 + chosen.strain
        strained = targets[0].copy()
        strained.set_cell(cell, scale_atoms=True)
        strained.info["label"] += f", stretched by {100 * chosen.strain:g} %"
        targets.append(strained)
    folder = Path(folder).absolute()
    meshed = hasattr(oracle, "with_mesh")
    plan = plan_meshes(oracle, targets, folder / "meshes.json") if meshed else None
    tried = variations(oracle, targets, plan, chosen.vary)
    return ConvergencePlan(tuple(targets), tuple(tried), plan, folder, chosen)


def converge(
    oracle: Oracle,
    atoms_list: Sequence[Atoms],
    folder: str | Path,
    executor: Executor | None = None,
    *,
    callback: Callable[[int], None] | None = None,
    **options: Any,
) -> Convergence:
    """Vary the settings of a labeller one by one, and tell what that does to labels.

    Args:
        oracle: the labeller, of a DFT code.
        atoms_list: a few configurations that differ; their initial moments are the targets.
        folder: of all jobs; is made if it is not there. What is done is not computed again.
        executor: where jobs run, any of `concurrent.futures`; by default so many ``workers`` here.
        callback: called with the number of jobs that are done.
        **options: the fields of `ConvergenceOptions`, e.g. ``vary=("mesh", "ecut_Ha=30")``.

    Raises:
        ValueError: if configurations have no moments, the labeller has no settings to vary, or one
            that is given cannot be; or another process uses the folder.

    Example:
        >>> oracle = mmtp.read_oracle("abinit.toml")
        >>> print(mmtp.converge(oracle, atoms_list[:3], "jobs", check_derivatives=True))
    """
    plan = plan_convergence(oracle, atoms_list, folder, **options)
    chosen = plan.options
    plan.folder.mkdir(parents=True, exist_ok=True)

    def answers_of(pairs: list[tuple[Oracle, Atoms]], done: int) -> list[Labelled | Failure]:
        about = given_to(RunOptions, chosen)
        about = (about["retries"], about["timeout_s"], about["moment_tolerance"])
        answers, _ = run_jobs(
            [Job(one, *about) for one, _ in pairs],
            [atoms for _, atoms in pairs],
            [plan.folder_of(*pair) for pair in pairs],
            executor,
            chosen.workers,
            None if callback is None else lambda n: callback(done + n),
        )
        return answers

    with locked(plan.folder):
        if plan.meshes is not None:
            plan.meshes.save()
        pairs = [
            pair for v in plan.variations for pair in zip(v.oracles, plan.targets, strict=True)
        ]
        n = len(plan.targets)
        answers = answers_of(pairs, 0)
        by_variation = [answers[k : k + n] for k in range(0, len(answers), n)]
        derivatives: list[Derivative] = []
        more: list[tuple[tuple[Oracle, Atoms], Labelled | Failure]] = []
        if chosen.check_derivatives and (k := _strongest(by_variation[0])) is not None:
            ends = ends_of(plan.targets[k], by_variation[0][k])
            own = plan.variations[0].oracles[k]
            pairs_of_ends = [(own, atoms) for end in ends for atoms in (end.low, end.high)]
            found = answers_of(pairs_of_ends, len(pairs))
            more = list(zip(pairs_of_ends, found, strict=True))
            for end, low, high in zip(ends, found[::2], found[1::2], strict=True):
                if isinstance(low, Labelled) and isinstance(high, Labelled):
                    derivatives.append(end.derivative(low, by_variation[0][k], high))
    failures = [
        f"{plan.folder_of(*pair).name}: {answer.reason}"
        for pair, answer in [*zip(pairs, answers, strict=True), *more]
        if isinstance(answer, Failure)
    ]
    cells = tuple(_cell(atoms) for atoms in plan.targets)
    runs = [
        tuple(
            None if isinstance(answer, Failure) else Run.of(answer, plan.folder_of(one, atoms).name)
            for one, atoms, answer in zip(v.oracles, plan.targets, of, strict=True)
        )
        for v, of in zip(plan.variations, by_variation, strict=True)
    ]
    changes = tuple(
        Change(v.text, v.better, cells, runs[0], of)
        for v, of in zip(plan.variations[1:], runs[1:], strict=True)
    )
    bounds = Bounds(
        chosen.max_energy, chosen.max_force, chosen.max_stress_GPa,
        chosen.max_stress_difference_GPa, chosen.max_magnetic_force,
    )  # fmt: skip
    return Convergence(cells, runs[0], changes, tuple(derivatives), tuple(failures), bounds)


def _strongest(answers: Sequence[Labelled | Failure]) -> int | None:
    """The configuration with the largest force: others may have none by symmetry."""
    largest = [
        float(np.abs(a.atoms.get_forces(apply_constraint=False)).max())
        if isinstance(a, Labelled)
        else -1.0
        for a in answers
    ]
    return int(np.argmax(largest)) if max(largest) >= 0.0 else None


def _names(targets: Sequence[Atoms]) -> list[str]:
    """What each is called: by its label, or its place where labels do not tell them apart."""
    labels = [str(atoms.info.get("label", "")) for atoms in targets]
    if len({*labels, ""}) > len(labels):
        return labels
    return [
        f"configuration {k}" + (f", {label}" if label else "") for k, label in enumerate(labels, 1)
    ]


def _cell(atoms: Atoms) -> Cell:
    return Cell(
        atoms.info["label"], formula_of(atoms), atoms.numbers,
        atoms.get_scaled_positions(wrap=False),
        np.asarray(atoms.get_initial_magnetic_moments(), float),
    )  # fmt: skip
