"""What every simulation does on the host: blocks of steps in jit, and what is between two of them.

A compiled program takes steps until it has done those of a block, or something needs the host (a
`Reason`); a step that cannot be taken safely is undone, with its random numbers. Between blocks the
host has neighbours searched, drains the watch, records, and looks for Ctrl-C. What a state is, how
a block is taken and where atoms are for a search belong to each simulation, and only they know the
form of the moments. Who searches, host or device, is the `ListMaker`'s business: where it is the
device, positions stay there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

import jax
import numpy as np

from mmtp_jax.interruption import check
from mmtp_jax.simulation.watch import Watch, drained
from mmtp_jax.structures.list_maker import ListMaker
from mmtp_jax.structures.neighbour_list import NeighbourList
from mmtp_jax.structures.structure import Structure

logger = logging.getLogger(__name__)

SECONDS_PER_BLOCK = 0.5
"""About how long the host waits for steps, so that Ctrl-C and progress need not wait longer."""


class Reason(IntEnum):
    """Why a block came back."""

    DONE = 0
    NEIGHBOURS = 1
    WATCH_IS_FULL = 2
    STOPPED = 3


class Block(NamedTuple):
    """Where the compiled loop is, and what it returns."""

    state: Any
    watched: Any
    """State of the watch."""
    rows: Any
    """Arrays (n, R) of each step, the first ``n_done`` of them; None where there are none."""
    n_done: Any
    """() steps."""
    reason: Any
    """() a `Reason`."""
    stale: Any = None
    """(R,) bool: whose neighbours are not known where the step that was undone leads."""


@dataclass(kw_only=True)
class HostLoop:
    """A simulation on its way.

    Args:
        watch: see `mmtp_jax.simulation.watch`.
        keep: called with what the watch has kept, as it is drained.
        numbers: what the watch calls the replicas, if not 0, 1, ...
    """

    watch: Watch | None = None
    keep: Callable[[list[Any]], None] | None = None
    numbers: Sequence[int] = ()
    kept: list[Any] = field(default_factory=list)
    state: Any = None
    watched: Any = None
    step: int = 0
    """Steps done."""
    maker: ListMaker | None = None
    neighbours: NeighbourList | None = None
    """On the device."""
    n_searches: int = 0
    n_widened: int = 0
    seconds_per_step: float = SECONDS_PER_BLOCK
    has_begun_one: bool = False
    """The last block has done a part of a step, and kept it."""
    interrupted: bool = False
    """Ctrl-C has ended `go`."""

    most_steps = 256
    """Of a block."""
    shown_at_once = "step"
    """What a watch must have room for."""

    # --- what is of each simulation ---

    def take(self, n_steps: int, **options: Any) -> Block:
        """Up to so many steps by the compiled program."""
        raise NotImplementedError

    @property
    def has_ended(self) -> bool:
        """Does nothing go on?"""
        raise NotImplementedError

    def search_again(self, stale: Any) -> None:
        """A list that holds for the next step of the ``stale`` ones, by `renew`."""
        raise NotImplementedError

    def without(self, stale: Any) -> Any:
        """The state after the end of those for whose next step no list holds."""
        raise NotImplementedError

    def add(self, steps: np.ndarray, rows: Any) -> None:
        """Record the rows of steps."""

    # --- what is common to all ---

    def go(self, n_steps: int, due: Callable[[], int], after: Callable[[], None]) -> None:
        """Up to step ``n_steps``, or until nothing goes on, or Ctrl-C.

        Args:
            n_steps: counted from the very start.
            due: steps until ``after`` is to be called next.
            after: called between steps.
        """
        try:
            while self.step < n_steps and not self.has_ended:
                check()
                self.advance(min(due(), n_steps - self.step))
                after()
            check()
        except KeyboardInterrupt:
            self.interrupted = True

    def advance(self, n_steps: int, **options: Any) -> None:
        """Up to so many steps, in as many blocks, and with as many lists, as that needs.

        Raises:
            KeyboardInterrupt: between two blocks, if the run is to end.
            ValueError: if the watch has no room for a single step.
        """
        last, fruitless = self.step + n_steps, None
        blocks = 0
        while self.step < last and not self.has_ended:
            if blocks:
                check()
            blocks, began = blocks + 1, time.perf_counter()
            block = self.take(min(last - self.step, self.patience), **options)
            done, reason = int(block.n_done), Reason(int(block.reason))
            first = self.step + 1
            self.state, self.watched, self.step = block.state, block.watched, self.step + done
            if done:
                # A block that compiles is followed by one of a single step, and forgotten.
                self.seconds_per_step = (time.perf_counter() - began) / done
            if done and block.rows is not None:
                rows = jax.tree.map(lambda a, n=done: np.asarray(a)[:n], block.rows)
                self.add(np.arange(first, first + done), rows)
            if fruitless == reason and not (done or self.has_begun_one):
                self.give_up(reason, block.stale)
                reason = Reason.DONE
            elif reason == Reason.NEIGHBOURS:
                self.search_again(block.stale)
            elif reason == Reason.WATCH_IS_FULL:
                self.drain()
            fruitless = None if reason == Reason.DONE else reason

    @property
    def patience(self) -> int:
        """Steps until the host looks again."""
        return max(1, min(self.most_steps, int(SECONDS_PER_BLOCK / self.seconds_per_step)))

    def search(self, structures: Sequence[Structure], **options: Any) -> None:
        """The first list of neighbours; arguments are those of `ListMaker.first`."""
        self.neighbours = self.maker.first(structures, **options)
        self.n_searches += 1

    def renew(self, positions: Any, cell: Any, which: Any) -> None:
        """The list where the atoms are now; arguments are those of `ListMaker.again`."""
        width = self.neighbours.width
        self.neighbours = self.maker.again(self.neighbours, positions, cell, which)
        self.n_searches += 1
        if self.neighbours.width != width:
            self.n_widened += 1
            logger.info(
                "the list of neighbours is widened from %d to %d places; the program is compiled "
                "again", width, self.neighbours.width,
            )  # fmt: skip

    def give_up(self, reason: Reason, stale: Any) -> None:
        """One step needs more than a fresh list or an empty watch gives."""
        if reason == Reason.WATCH_IS_FULL:
            raise ValueError(
                f"the watch has no room for what one single {self.shown_at_once} shows it; give it "
                "a larger buffer"
            )
        self.state = self.without(stale)

    def drain(self) -> None:
        """Take what the watch has kept."""
        if self.watch is None or self.watched is None:
            return
        snapshots, self.watched = drained(self.watch, self.watched, self.numbers)
        self.kept += snapshots
        if snapshots and self.keep is not None:
            self.keep(snapshots)
