"""Several fits one after the other: which one is running, what Ctrl-C keeps, what is reported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Executor, Future
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

from mmtp_jax.fitting import processes
from mmtp_jax.fitting.fit import Fit, FitProblem
from mmtp_jax.fitting.options import FitOptions
from mmtp_jax.fitting.prepared import PreparedSet
from mmtp_jax.fitting.progress import Progress
from mmtp_jax.fitting.statistics import CONFIDENCE, Statistics, statistics_table
from mmtp_jax.interruption import as_completed, check, deferred
from mmtp_jax.io.compressed import with_word
from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import with_double_precision


@dataclass(frozen=True)
class Task:
    """One of several fits, or all members at once."""

    index: int
    """From 0."""
    n_tasks: int
    name: str
    """In words, e.g. ``fold 2 of 5``."""


Callback = Callable[[Task, Progress | Fit], None]
"""Told the progress of the running fit after every step, and each fit when it is done."""


class Run(NamedTuple):
    """What one fit of a series needs."""

    name: str
    potential: Potential
    training: PreparedSet
    validation: PreparedSet | None
    options: FitOptions
    tested: PreparedSet | None = None


def run_all(
    runs: Sequence[Run],
    callback: Callback | None,
    first: int = 0,
    n_tasks: int | None = None,
    executor: Executor | None = None,
) -> tuple[Fit, ...]:
    """One fit after the other; Ctrl-C drops the one that it stops, unless it is the first.

    Args:
        runs: the fits.
        callback: told progress and results.
        first: index of the first of them among ``n_tasks``, where they are part of more.
        n_tasks: of all.
        executor: where they run, several at once, without news of their progress. Ctrl-C then
            keeps those before the first that is not done.
    """
    fits: list[Fit] = []
    n_tasks = len(runs) if n_tasks is None else n_tasks
    if executor is not None:
        tasks = [Task(first + k, n_tasks, run.name) for k, run in enumerate(runs)]
        return _run_elsewhere(runs, tasks, callback, executor)
    try:
        with deferred():
            for k, (name, *problem) in enumerate(runs):
                processes.check_interruption()
                task = Task(first + k, n_tasks, name)
                fit = FitProblem.of(*problem).run(for_task(callback, task))
                if fit.interrupted and fits:
                    break
                fits.append(fit)
                if callback is not None:
                    callback(task, fit)
                if fit.interrupted:
                    break
    except KeyboardInterrupt:
        if not fits:
            raise
    return tuple(fits)


def _run_elsewhere(
    runs: Sequence[Run], tasks: Sequence[Task], callback: Callback | None, executor: Executor
) -> tuple[Fit, ...]:
    if processes.several():
        raise ValueError("fits of several processes need no executor; leave out one of the two")
    futures: list[Future] = []
    fits: dict[int, Fit] = {}
    try:
        with deferred():
            futures = [executor.submit(_run_alone, _anywhere(run)) for run in runs]
            places = {future: k for k, future in enumerate(futures)}
            for future in as_completed(futures):
                k = places[future]
                try:
                    fits[k] = future.result()
                except ValueError:
                    raise
                except (Exception, CancelledError) as error:
                    # Batch systems tell the workers to end, too.
                    check()
                    raise ChildProcessError(
                        f"the executor lost {tasks[k].name} ({type(error).__name__}: {error})"
                    ) from error
                if callback is not None:
                    callback(tasks[k], fits[k])
    except KeyboardInterrupt:
        if 0 not in fits:
            raise
    finally:
        for future in futures:
            # parsl cannot cancel.
            with suppress(NotImplementedError):
                future.cancel()
    return tuple(fits[k] for k in takewhile(fits.__contains__, range(len(runs))))


def _anywhere(run: Run) -> Run:
    """The same where another folder is the present one."""
    checkpoint = run.options.checkpoint
    if checkpoint is None:
        return run
    return run._replace(options=replace(run.options, checkpoint=Path(checkpoint).absolute()))


@with_double_precision
def _run_alone(run: Run) -> Fit:
    """One fit, in a worker of an executor."""
    _, *problem = run
    return FitProblem.of(*problem).run()


def for_task(callback: Callback | None, task: Task) -> Callable[[Progress], None] | None:
    """The callback of a single fit."""
    return None if callback is None else lambda progress: callback(task, progress)


def is_incomplete(fits: Sequence[Fit], n: int) -> bool:
    """Did Ctrl-C leave fewer than n fits, or one that was not done?"""
    return len(fits) < n or any(fit.interrupted for fit in fits)


def numbered(path: str | Path, k: int) -> Path:
    """``pot.mtp`` of member k: ``pot.k.mtp``."""
    return with_word(path, k)


def numbered_options(options: FitOptions, k: int) -> FitOptions:
    """The options with a checkpoint of their own."""
    if options.checkpoint is None:
        return options
    return replace(options, checkpoint=numbered(options.checkpoint, k))


def errors_over(fits: Sequence[Fit]) -> dict[str, Statistics]:
    """Statistics of the training and, where there is one, the validation set."""
    sets = {
        name: [getattr(fit.report, name) for fit in fits] for name in ("training", "validation")
    }
    return {name: Statistics.of(errors) for name, errors in sets.items() if None not in errors}


def titled_table(over: str, sets: dict[str, Statistics], n_sigma: int) -> str:
    """`statistics_table` below a line that says what it holds."""
    sigma = "sigma" if n_sigma == 1 else f"{n_sigma} sigma"
    title = f"RMSE, mean +- {sigma} ({CONFIDENCE[n_sigma]}) over {over}:"
    return f"{title}\n{statistics_table(sets, n_sigma)}"


def fit_dict(fit: Fit) -> dict[str, Any]:
    """One fit, for JSON."""
    return {
        "loss": fit.loss,
        "validation_loss": fit.validation_loss,
        "n_iterations": fit.n_iterations,
        "converged": fit.converged,
        "message": fit.message,
        "errors": fit.report.as_dict(),
    }
