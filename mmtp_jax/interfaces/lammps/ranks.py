"""Sums over MPI ranks in which a rank that failed takes part, so that none waits for it.

Every number of a sum has its place by atom id, so one reduction brings home what the atoms of a
rank do to the atoms of others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


class RankError(RuntimeError):
    """Another rank failed; the message says which, and why."""


class Ranks:
    """The MPI ranks of a LAMMPS, by its communicator."""

    def __init__(self, communicator: Any) -> None:
        from mpi4py import MPI

        self.communicator = communicator
        self.rank, self.size = communicator.rank, communicator.size
        self.n_reductions = 0
        self._agreed_on: BaseException | None = None
        self._max, self._in_place = MPI.MAX, MPI.IN_PLACE
        self._shared = MPI.COMM_TYPE_SHARED

    def total(self, size: int, add: Callable[[np.ndarray], None]) -> np.ndarray:
        """The sum (size,) over all ranks of what ``add`` has put into an array of zeros.

        Raises:
            RankError: on all ranks, if ``add`` raised on one; there its own error is raised.
        """
        buffer, error = np.zeros(size + 1), None
        try:
            add(buffer[1:])
        except BaseException as caught:
            error = caught
            buffer[0] = 1.0
        if self.size > 1:
            # All implementations of MPI that we know give the same bits to each rank, as the
            # standard advises; the ranks then take the same decisions.
            self.communicator.Allreduce(self._in_place, buffer)
            self.n_reductions += 1
        self._agree(error, bool(buffer[0]))
        return buffer[1:]

    def largest(self, value: Callable[[], float]) -> float:
        """The largest of a number of each rank; errors as in `total`."""
        found, error = np.array([0.0, -np.inf]), None
        try:
            found[1] = value()
        except BaseException as caught:
            error = caught
            found[0] = 1.0
        if self.size > 1:
            self.communicator.Allreduce(self._in_place, found, op=self._max)
            self.n_reductions += 1
        self._agree(error, bool(found[0]))
        return float(found[1])

    def place_on_node(self) -> int:
        """Which of the ranks of its machine this is, from 0."""
        if self.size == 1:
            return 0
        node = self.communicator.Split_type(self._shared)
        place = node.rank
        node.Free()
        return place

    def together(self, action: Callable[[], None]) -> None:
        """Do something that may fail on some ranks only; errors as in `total`."""
        self.total(0, lambda _: action())

    def agreed(self, error: BaseException) -> BaseException:
        """An error that all ranks raise, because they have the same numbers."""
        self._agreed_on = error
        return error

    def is_agreed(self, error: BaseException) -> bool:
        """Do all ranks know that one failed?"""
        return error is self._agreed_on

    def abort(self) -> None:
        """End all ranks: the way out where they may no longer be at the same place."""
        self.communicator.Abort(1)

    def _agree(self, error: BaseException | None, failed: bool) -> None:
        if not failed:
            return
        message = None if error is None else f"{type(error).__name__}: {error}"
        messages = self.communicator.allgather(message) if self.size > 1 else [message]
        if error is not None:
            raise self.agreed(error)
        first = next(k for k, text in enumerate(messages) if text is not None)
        raise self.agreed(RankError(f"rank {first} failed: {messages[first]}"))
