"""Jobs of an oracle: each in its own folder, several at once, resumed, retried, set aside.

A job whose result is on disk (`mmtp_jax.oracles.job_files`), for the same configuration and the
same oracle, is not run again.
"""

from __future__ import annotations

import logging
import multiprocessing
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ase import Atoms

from mmtp_jax import interruption
from mmtp_jax.io.lock import locked
from mmtp_jax.options import also, made
from mmtp_jax.oracles.attempts import Job
from mmtp_jax.oracles.job_files import found_result, key_of, read_result
from mmtp_jax.oracles.meshes import plan_meshes
from mmtp_jax.oracles.options import JobOptions
from mmtp_jax.oracles.oracle import (
    Failure,
    Labelled,
    Oracle,
    checked,
)
from mmtp_jax.oracles.suspects import suspects_of
from mmtp_jax.structures.screening import Suspect

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Jobs:
    """What became of all configurations, in their order."""

    answers: tuple[Labelled | Failure, ...]
    n_found: int
    """Labels that were on disk already, those of `suspect` among them."""
    suspect: dict[int, Suspect] = field(default_factory=dict)
    """Labels that stand apart from the others, by the number of the configuration, and why;
    ``answers`` has them. They may be converged and wrong."""
    accept_outliers: bool = False
    """Are these taken nevertheless?"""

    @property
    def labelled(self) -> list[Labelled]:
        """Those that may enter a training set."""
        return [self.answers[k] for k in self.taken]

    @property
    def taken(self) -> list[int]:
        """Numbers of the configurations of ``labelled``."""
        return [
            k
            for k, answer in enumerate(self.answers)
            if isinstance(answer, Labelled) and (self.accept_outliers or k not in self.suspect)
        ]

    @property
    def failures(self) -> dict[int, Failure]:
        """The others, by the number of the configuration."""
        return {k: a for k, a in enumerate(self.answers) if isinstance(a, Failure)}


@also(jobs="folder")
def label_all(
    oracle: Oracle,
    atoms_list: Sequence[Atoms],
    folder: str | Path,
    executor: Executor | None = None,
    *,
    beside: Sequence[Atoms] = (),
    meshes: str | Path | None = None,
    making: str = "refuse",
    callback: Callable[[int], None] | None = None,
    **options: Any,
) -> Jobs:
    """Label configurations; those that fail are tried again, then set aside with the reason.

    All cells that are alike get one mesh of k-points and one set of FFT grids, now and in later
    calls with the same file of meshes (`mmtp_jax.oracles.meshes`).

    A calculation can be converged and wrong. Labels that stand apart from the others of the run
    (`mmtp_jax.structures.screening`) are set aside too; they are judged again when the same jobs
    are asked for among others.

    An oracle that is not ``in_process`` runs in a process of its own for each attempt, which a
    crash cannot spread from, and which is killed when its time is over. Scripts that call this
    need the usual ``if __name__ == "__main__":``.

    Args:
        oracle: the labeller.
        atoms_list: configurations; their initial moments are the targets.
        folder: of all jobs; is made if it is not there.
        executor: where jobs run, any of `concurrent.futures`; by default so many ``workers`` here.
        beside: labels of the same making that exist already; the new ones are held against them.
        meshes: file with the meshes of cells; ``meshes.json`` in ``folder`` by default.
        making: "ignore" or "shift" allow labels beside of another making.
        callback: called with the number of jobs that are done.
        **options: the fields of `JobOptions`, e.g. ``retries=2``, ``timeout_s=3600``.

    Raises:
        ValueError: if a number is out of range, configurations have no moments, another process
            uses the folder, cells alike would get different meshes, or the labels beside are of
            another making.
        RuntimeError: in a script that calls this as it is imported.
    """
    _refuse_second_import()
    chosen = made(JobOptions, options, "label_all")
    check_targets(atoms_list)
    # Executors may run jobs in other folders than this program.
    folder = Path(folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    folders = [folder / f"job-{k:05d}" for k in range(len(atoms_list))]
    with locked(folder):
        plan = plan_meshes(oracle, atoms_list, meshes or folder / "meshes.json", beside)
        oracles: Sequence[Oracle] = [oracle] * len(atoms_list)
        if plan is not None:
            plan.check(chosen.mixed_meshes, making)
            plan.save()
            oracles = plan.oracles
        jobs = [
            Job(one, chosen.retries, chosen.timeout_s, chosen.moment_tolerance) for one in oracles
        ]
        answers, n_found = run_jobs(jobs, atoms_list, folders, executor, chosen.workers, callback)
    suspect = suspects_of(answers, [f.name for f in folders], beside)
    return Jobs(tuple(answers), n_found, suspect, chosen.accept_outliers)


def _refuse_second_import() -> None:
    """Say what a script lacks that runs once more in each process which it has started."""
    if getattr(multiprocessing.process.current_process(), "_inheriting", False):
        raise RuntimeError(
            "label_all is called as this script is imported, which the process of each job does "
            "once more; put the call, and what goes before it, into a function, and call that one "
            'under if __name__ == "__main__":'
        )


def check_targets(atoms_list: Sequence[Atoms]) -> None:
    """Refuse configurations without moments, which are the targets.

    Raises:
        ValueError: that says how many there are.
    """
    without = [k for k, atoms in enumerate(atoms_list) if not atoms.has("initial_magmoms")]
    if without:
        raise ValueError(
            f"{len(without)} of {len(atoms_list)} configurations have no initial magnetic moments, "
            f"which are the targets (the first is number {without[0] + 1}); set them, to zeros if "
            "they are zero"
        )


def run_jobs(
    jobs: Sequence[Job],
    atoms_list: Sequence[Atoms],
    folders: Sequence[Path],
    executor: Executor | None = None,
    workers: int = 1,
    callback: Callable[[int], None] | None = None,
) -> tuple[list[Labelled | Failure], int]:
    """Answers for all configurations, and how many labels were on disk.

    Args:
        jobs: of each configuration.
        atoms_list: the targets.
        folders: of each, absolute; in a folder that is locked.
        executor: as `label_all`.
        workers: as `label_all`.
        callback: called with the number of jobs that are done.
    """
    keys = [key_of(job.oracle, atoms) for job, atoms in zip(jobs, atoms_list, strict=True)]
    answers: list[Any] = [found_result(f, key) for f, key in zip(folders, keys, strict=True)]
    answers = [
        None if a is None else checked(a, atoms, job.moment_tolerance)
        for a, job, atoms in zip(answers, jobs, atoms_list, strict=True)
    ]
    # A label on disk that does not pass the present tolerance is computed again.
    answers = [a if isinstance(a, Labelled) else None for a in answers]
    todo = [k for k, answer in enumerate(answers) if answer is None]
    n_found = n_done = len(answers) - len(todo)
    if callback is not None:
        callback(n_done)
    for k, answer in _run(jobs, todo, atoms_list, folders, keys, executor, workers):
        answers[k] = answer
        n_done += 1
        if isinstance(answer, Failure):
            logger.warning("%s: set aside: %s", folders[k].name, answer.reason)
        if callback is not None:
            callback(n_done)
    return answers, n_found


def _run(
    jobs: Sequence[Job],
    todo: list[int],
    atoms_list: Sequence[Atoms],
    folders: Sequence[Path],
    keys: list[str],
    executor: Executor | None,
    workers: int,
) -> Iterable[tuple[int, Labelled | Failure]]:
    """Number and answer of each job as it ends."""
    if executor is None and (workers == 1 or all(jobs[k].in_process for k in todo)):
        for k in todo:
            interruption.check()
            jobs[k](atoms_list[k], folders[k], keys[k])
            yield k, read_result(folders[k])
        return
    own = ThreadPoolExecutor(workers) if executor is None else None
    pool = executor or own
    # Threads of our own can be told to stop; an executor of any kind may be on another machine.
    stop = threading.Event()
    told = (stop,) if own is not None else ()
    running: dict[Future, int] = {}
    try:
        for k in todo:
            try:
                running[pool.submit(_do, jobs[k], atoms_list[k], folders[k], keys[k], *told)] = k
            except Exception as error:
                yield k, _lost(error)
        for future in interruption.as_completed(running):
            k = running[future]
            try:
                future.result()
            except (Exception, CancelledError) as error:
                # Batch systems tell the workers to end, too.
                interruption.check()
                yield k, _lost(error)
                continue
            yield k, read_result(folders[k])
    finally:
        stop.set()
        for future in running:
            # parsl cannot cancel.
            with suppress(NotImplementedError):
                future.cancel()
        if own is not None:
            own.shutdown(wait=True, cancel_futures=True)


def _do(job: Job, *args: Any) -> None:
    """A function with a name, which executors ask for."""
    job(*args)


def _lost(error: BaseException) -> Failure:
    """The executor itself failed: a worker was killed, a machine went away."""
    return Failure(f"the executor lost the job ({type(error).__name__}: {error})")
