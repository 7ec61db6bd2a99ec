"""The labels of a loop: those of an iteration, and which of all stand apart from the others.

A calculation can be converged and wrong, and what stands apart among few labels may not among
many. So each iteration judges the labels of all iterations anew, together with the set that the
loop started from, which stays as it was given:

    iteration-000/suspect/suspect.cfg    labels that stand apart, and are in no training set
    iteration-000/suspect/reasons.json   why, by iteration and job
"""

from __future__ import annotations

import shutil
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmtp_jax.io.cfg import read_cfg, write_cfg
from mmtp_jax.io.documents import read_json, write_json
from mmtp_jax.oracles.job_files import read_result
from mmtp_jax.oracles.jobs import Jobs, label_all
from mmtp_jax.oracles.oracle import Labelled, Oracle
from mmtp_jax.oracles.suspects import suspects_of
from mmtp_jax.structures.screening import Suspect

if TYPE_CHECKING:
    from ase import Atoms

    from mmtp_jax.active.learning_iteration import Iteration

JOB = "job"
"""Name in ``info`` of the iteration and job that labelled a configuration."""


@dataclass(frozen=True)
class Labelling:
    """What became of the selected configurations of an iteration."""

    labelled: int
    suspect: int
    grown: bool
    """Is there anything new in the next training set?"""


def label(at: Iteration, oracle: Oracle, executor: Executor | None) -> Labelling:
    """Label what is selected, judge all labels, write the next training set."""
    selected = read_cfg(at.folder / "selected.cfg", at.species)
    options = at.options
    jobs = label_all(
        oracle, selected, at.folder / "labelled", executor, retries=options.retries,
        timeout_s=options.timeout_s, moment_tolerance=options.moment_tolerance,
        workers=options.workers, accept_outliers=True, beside=at.training,
        meshes=at.files.path / "meshes.json", mixed_meshes=options.mixed_meshes,
        making=options.fit.making,
    )  # fmt: skip
    _set_aside(at, jobs, selected)
    labels = _labels(at, jobs)
    training = at.training
    suspects = {}
    if not options.accept_outliers:
        start = [atoms for atoms in training if atoms.info.get(JOB) not in labels]
        found = suspects_of(list(labels.values()), list(labels), start)
        suspects = {suspect.name: suspect for suspect in found.values()}
    before = _suspect_before(at)
    _write_suspects(at, suspects, labels)
    new = [name for name in labels if name.startswith(at.folder.name)]
    kept = [atoms for atoms in training if atoms.info.get(JOB) not in suspects]
    back = [name for name in labels if name in before and name not in suspects]
    added = back + [name for name in new if name not in suspects]
    for name in added:
        labels[name].atoms.info[JOB] = name
    following = [*kept, *(labels[name].atoms for name in added)]
    if added:
        write_cfg(at.files.iteration(at.number + 1) / "train.cfg", following, at.species)
    for name, suspect in suspects.items():
        if name not in before:
            at.log(f"stands apart, and is set aside: {suspect}")
    if back:
        at.log(f"{', '.join(back)}: among more labels no longer apart, and taken")
    n_suspect = sum(name in suspects for name in new)
    apart = f"{n_suspect} of them apart from the others, " if n_suspect else ""
    at.log(f"{len(new)} labelled, {apart}{len(jobs.failures)} failed")
    return Labelling(len(new) - n_suspect, n_suspect, bool(added))


def _set_aside(at: Iteration, jobs: Jobs, selected: list[Atoms]) -> None:
    """Write what could not be labelled, and why."""
    shutil.rmtree(at.folder / "failed", ignore_errors=True)
    if jobs.failures:
        (at.folder / "failed").mkdir()
        failed = [selected[k] for k in jobs.failures]
        write_cfg(at.folder / "failed" / "failed.cfg", failed, at.species)
        reasons = {f"job-{k:05d}": failure.reason for k, failure in jobs.failures.items()}
        write_json(at.folder / "failed" / "reasons.json", reasons)
        for name, reason in reasons.items():
            at.log(f"{name} is set aside: {reason}")


def _labels(at: Iteration, jobs: Jobs) -> dict[str, Labelled]:
    """All labels of the loop so far by iteration and job, from the folders of their jobs."""
    found = {}
    for k in range(at.number):
        folder = at.files.iteration(k)
        for path in sorted((folder / "labelled").glob("job-*")):
            answer = read_result(path)
            if isinstance(answer, Labelled):
                found[f"{folder.name}/{path.name}"] = answer
    for k in jobs.taken:
        found[f"{at.folder.name}/job-{k:05d}"] = jobs.answers[k]
    return found


def _suspect_before(at: Iteration) -> set[str]:
    """Names of the labels that stood apart in the iteration before."""
    if at.number == 0:
        return set()
    path = at.files.iteration(at.number - 1) / "suspect" / "reasons.json"
    try:
        return set(read_json(path)) if path.exists() else set()
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}); restore it, or start the loop in another folder"
        ) from error


def _write_suspects(
    at: Iteration, suspects: dict[str, Suspect], labels: dict[str, Labelled]
) -> None:
    folder = at.folder / "suspect"
    shutil.rmtree(folder, ignore_errors=True)
    if suspects:
        folder.mkdir()
        atoms_list = []
        for name in suspects:
            atoms_list.append(labels[name].atoms.copy())
            atoms_list[-1].calc = labels[name].atoms.calc
            atoms_list[-1].info[JOB] = name
        write_cfg(folder / "suspect.cfg", atoms_list, at.species)
        write_json(folder / "reasons.json", {n: list(s.reasons) for n, s in suspects.items()})
