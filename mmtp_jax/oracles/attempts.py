"""Attempts at one configuration, in this process or in one of its own, until there are labels."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms

from mmtp_jax import interruption
from mmtp_jax.oracles.job_files import found_result, start_job, write_failure, write_labels
from mmtp_jax.oracles.oracle import Failure, Labelled, Oracle, checked

_POLL = 0.05
"""Seconds between looks at a process."""


@dataclass(frozen=True)
class Job:
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
        start_job(folder, atoms)
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
            write_failure(folder, key, answer, reasons, seconds)
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
                interruption.check()
                process.join(_POLL)
                if stop is not None and stop.is_set():
                    return Failure("it was stopped from outside", final=True)
                if deadline is not None and time.monotonic() > deadline and process.is_alive():
                    return Failure(f"it took longer than {self.timeout_s:g} s and was stopped")
        finally:
            if process.is_alive():
                _kill_group(process)
            process.join()
        # A batch system tells the process to end, too.
        interruption.check()
        if process.exitcode:
            return Failure(f"its process crashed with exit status {process.exitcode}")
        answer = found_result(folder, key)
        return answer or Failure("its process ended without a result")


def _attempt_alone(job: Job, *args: Any) -> None:
    """One attempt in a group of processes of its own, so that it ends with its children."""
    os.setpgrp()
    # Nobody would read the answer.
    interruption.end_with_parent(group=True)
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
    job: Job, atoms: Atoms, folder: Path, key: str, reasons: list[str]
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
        write_failure(folder, key, answer, [*reasons, answer.reason], 0.0)
        return answer
    write_labels(folder, key, answer, reasons)
    return answer
