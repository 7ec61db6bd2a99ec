"""Jobs of an oracle: each in its own folder, several at once, resumed, retried, set aside.

A folder of jobs looks like this, and each file appears whole or not at all:

    job-00000/target.cfg      what is to be labelled
    job-00000/labelled.cfg    the labels
    job-00000/result.json     how it ended, with provenance or the reasons of all failures

A job whose result is there, for the same configuration and the same oracle, is not run again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mmtp_jax.io.atomic import atomic_write
from mmtp_jax.io.cfg import read_cfg, write_cfg
from mmtp_jax.oracles.oracle import (
    MOMENT_TOLERANCE,
    Failure,
    Labelled,
    Oracle,
    Provenance,
    checked,
)

logger = logging.getLogger(__name__)

_POLL = 0.05
"""Seconds between looks at a process."""


@dataclass(frozen=True)
class Jobs:
    """What became of all configurations, in their order."""

    answers: tuple[Labelled | Failure, ...]
    n_found: int
    """Labels that were on disk already."""

    @property
    def labelled(self) -> list[Labelled]:
        """Those that may enter a training set."""
        return [a for a in self.answers if isinstance(a, Labelled)]

    @property
    def failures(self) -> dict[int, Failure]:
        """The others, by the number of the configuration."""
        return {k: a for k, a in enumerate(self.answers) if isinstance(a, Failure)}


def label_all(
    oracle: Oracle,
    atoms_list: Sequence[Atoms],
    folder: str | Path,
    executor: Executor | None = None,
    *,
    retries: int = 1,
    timeout_s: float | None = None,
    moment_tolerance: float = MOMENT_TOLERANCE,
    workers: int = 1,
    callback: Callable[[int], None] | None = None,
) -> Jobs:
    """Label configurations; those that fail are tried again, then set aside with the reason.

    An oracle that is not ``in_process`` runs in a process of its own for each attempt, which a
    crash cannot spread from, and which is killed when its time is over. Scripts that call this
    need the usual ``if __name__ == "__main__":``.

    Args:
        oracle: the labeller.
        atoms_list: configurations; their initial moments are the targets.
        folder: of all jobs; is made if it is not there.
        executor: where jobs run, any of `concurrent.futures`; by default so many ``workers`` here.
        retries: attempts after the first.
        timeout_s: wall time of one attempt.
        moment_tolerance: largest miss of a target moment, mu_B.
        workers: jobs at once, without an executor.
        callback: called with the number of jobs that are done.

    Raises:
        ValueError: if a number is out of range.
    """
    if retries < 0 or workers < 1 or (timeout_s is not None and not timeout_s > 0.0):
        raise ValueError(
            "retries must be at least 0, workers at least 1 and timeout_s positive, got "
            f"{retries}, {workers} and {timeout_s}"
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    keys = [_key(oracle, atoms) for atoms in atoms_list]
    folders = [folder / f"job-{k:05d}" for k in range(len(atoms_list))]
    answers: list[Any] = [_found(f, key) for f, key in zip(folders, keys, strict=True)]
    answers = [
        None if a is None else checked(a, atoms, moment_tolerance)
        for a, atoms in zip(answers, atoms_list, strict=True)
    ]
    # A label on disk that does not pass the present tolerance is computed again.
    answers = [a if isinstance(a, Labelled) else None for a in answers]
    todo = [k for k, answer in enumerate(answers) if answer is None]
    n_found = n_done = len(answers) - len(todo)
    if callback is not None:
        callback(n_done)
    job = _Job(oracle, retries, timeout_s, moment_tolerance)
    for k, answer in _run(job, todo, atoms_list, folders, keys, executor, workers):
        answers[k] = answer
        n_done += 1
        if isinstance(answer, Failure):
            logger.warning("%s: set aside: %s", folders[k].name, answer.reason)
        if callback is not None:
            callback(n_done)
    return Jobs(tuple(answers), n_found)


def _run(
    job: _Job,
    todo: list[int],
    atoms_list: Sequence[Atoms],
    folders: list[Path],
    keys: list[str],
    executor: Executor | None,
    workers: int,
) -> Iterable[tuple[int, Labelled | Failure]]:
    """Number and answer of each job as it ends."""
    if executor is None and (job.in_process or workers == 1):
        for k in todo:
            job(atoms_list[k], folders[k], keys[k])
            yield k, _answer(folders[k])
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
                running[pool.submit(job, atoms_list[k], folders[k], keys[k], *told)] = k
            except Exception as error:
                yield k, _lost(error)
        for future in as_completed(running):
            k = running[future]
            try:
                future.result()
            except (Exception, CancelledError) as error:
                yield k, _lost(error)
                continue
            yield k, _answer(folders[k])
    finally:
        stop.set()
        for future in running:
            future.cancel()
        if own is not None:
            own.shutdown(wait=True, cancel_futures=True)


def _lost(error: BaseException) -> Failure:
    """The executor itself failed: a worker was killed, a machine went away."""
    return Failure(f"the executor lost the job ({type(error).__name__}: {error})")


@dataclass(frozen=True)
class _Job:
    """All attempts at one configuration; picklable."""

    oracle: Oracle
    retries: int
    timeout_s: float | None
    moment_tolerance: float

    @property
    def in_process(self) -> bool:
        return bool(self.oracle.in_process) and self.timeout_s is None

    def __call__(
        self, atoms: Atoms, folder: Path, key: str, stop: threading.Event | None = None
    ) -> None:
        """Try until there are labels; everything is written to the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "result.json").unlink(missing_ok=True)
        write_cfg(folder / "target.cfg", atoms)
        reasons: list[str] = []
        for _ in range(self.retries + 1):
            start = time.perf_counter()
            if self.in_process:
                answer = _attempt(self, atoms, folder, key, reasons)
            else:
                answer = self._in_own_process(atoms, folder, key, reasons, stop)
            if isinstance(answer, Labelled):
                return
            seconds = time.perf_counter() - start
            reasons.append(answer.reason)
            _write_failure(folder, key, answer, reasons, seconds)
            if answer.final:
                return

    def _in_own_process(
        self,
        atoms: Atoms,
        folder: Path,
        key: str,
        reasons: list[str],
        stop: threading.Event | None,
    ) -> Labelled | Failure:
        """One attempt in a process that is killed, with its children, when its time is over."""
        process = multiprocessing.get_context("spawn").Process(
            target=_attempt_alone, args=(self, atoms, folder, key, reasons), daemon=False
        )
        process.start()
        try:
            deadline = None if self.timeout_s is None else time.monotonic() + self.timeout_s
            while process.is_alive():
                process.join(_POLL)
                if stop is not None and stop.is_set():
                    return Failure("it was stopped from outside", final=True)
                if deadline is not None and time.monotonic() > deadline and process.is_alive():
                    return Failure(f"it took longer than {self.timeout_s:g} s and was stopped")
        finally:
            if process.is_alive():
                _kill_group(process)
            process.join()
        if process.exitcode:
            return Failure(f"its process crashed with exit status {process.exitcode}")
        answer = _found(folder, key)
        return answer or Failure("its process ended without a result")


def _attempt_alone(job: _Job, *args: Any) -> None:
    """One attempt in a group of processes of its own, so that it ends with its children."""
    os.setpgrp()
    _attempt(job, *args)


def _kill_group(process: Any) -> None:
    """Kill a process and what it has started: a DFT code would go on without it."""
    try:
        # Before it has made its own group, it is in ours.
        if os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.kill()


def _attempt(
    job: _Job, atoms: Atoms, folder: Path, key: str, reasons: list[str]
) -> Labelled | Failure:
    """One attempt; labels and failures are written to the folder."""
    try:
        answer = job.oracle.label(atoms, folder)
    except Exception as error:
        (folder / "traceback.txt").write_text(traceback.format_exc(), encoding="utf-8")
        text = " ".join(str(error).split())
        answer = Failure(f"the oracle raised {type(error).__name__}: {text}")
    answer = checked(answer, atoms, job.moment_tolerance)
    if isinstance(answer, Failure):
        _write_failure(folder, key, answer, [*reasons, answer.reason], 0.0)
        return answer
    write_cfg(folder / "labelled.cfg", answer.atoms)
    content = {
        "status": "labelled",
        "key": key,
        "provenance": asdict(answer.provenance),
        "free": list(answer.free),
        "failed_attempts": reasons,
    }
    _write_json(folder / "result.json", content)
    return answer


def _write_failure(
    folder: Path, key: str, failure: Failure, reasons: list[str], seconds: float
) -> None:
    content = {
        "status": "failed",
        "key": key,
        "reason": failure.reason,
        "final": failure.final,
        "failed_attempts": reasons,
        "seconds": seconds,
        "provenance": None if failure.provenance is None else asdict(failure.provenance),
    }
    _write_json(folder / "result.json", content)


def _found(folder: Path, key: str) -> Labelled | Failure | None:
    """The result on disk, if it is for this configuration and this oracle."""
    try:
        content = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.get("key") != key:
        return None
    return _answer(folder)


def _answer(folder: Path) -> Labelled | Failure:
    """The result on disk, as it was written."""
    try:
        content = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        if content["status"] == "failed":
            return Failure(content["reason"], final=bool(content.get("final", False)))
        (atoms,) = read_cfg(folder / "labelled.cfg")
        free = tuple(content.get("free", ()))
        return Labelled(atoms, Provenance(**content["provenance"]), free)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Failure(f"its result cannot be read ({error})")


def _key(oracle: Oracle, atoms: Atoms) -> str:
    """Hash of what is asked and who is asked."""
    digest = hashlib.sha256(oracle.fingerprint().encode())
    for array in (
        atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc,
        atoms.get_initial_magnetic_moments(),
    ):  # fmt: skip
        array = np.ascontiguousarray(array)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
