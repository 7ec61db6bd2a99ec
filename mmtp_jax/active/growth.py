"""An active set takes in rows, block by block: exchanges by maxvol until none adds anything."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from mmtp_jax.active.jacobian_rows import Rows
from mmtp_jax.active.maxvol import MaxVol, maxvol

logger = logging.getLogger(__name__)

Active = Any
"""A `mmtp_jax.ActiveSet`, whose module imports this one."""

IDENTITY = -1
"""Source of an active row that is a row of the identity."""


def kept_blocks(blocks: Iterator[Rows], memory: int) -> Callable[[], Iterable[Rows]] | None:
    """The blocks in memory, or None where they are too large for that."""
    found, used = [], 0
    for rows in blocks:
        found.append(rows)
        used += rows.values.nbytes
        if used > memory:
            return None
    return lambda: found


def with_blocks(
    active: Active, blocks: Callable[[], Iterable[Rows]], fresh: bool, offset: int = 0
) -> tuple[Active, dict[int, float]]:
    """The set after all blocks, and the grade of each configuration when it first came in.

    The blocks are seen again until none has anything to add: an exchange can make a row worth
    taking that was not before.
    """
    entries, again = {}, True
    while again:
        again = False
        for rows in blocks():
            worth = np.arange(len(rows.values))
            if not fresh:
                worth = np.flatnonzero(active.grades_of(rows.values) > 1.0 + active.tolerance)
            if len(worth):
                chosen = Rows(*(part[worth] for part in rows))
                active, news = _exchanged(active, chosen, fresh, offset)
                # A configuration that left and came back has the grade of its return.
                entries = {c: g for c, g in entries.items() if c not in news} | news
                again = again or (bool(news) and not fresh)
            fresh = False
    return active, entries


def _exchanged(
    active: Active, rows: Rows, fresh: bool, offset: int
) -> tuple[Active, dict[int, float]]:
    own = np.flatnonzero(active.configurations != IDENTITY)
    matrix = np.concatenate([active.submatrix[own], rows.values / active.scale])
    start = None if fresh else _start(active, own)
    found = maxvol(
        matrix, missing_scale=active.missing_scale, tolerance=active.tolerance, start=start
    )
    if not found.converged:
        logger.warning("maxvol gave up after %d exchanges", found.n_swaps)
    configuration = np.concatenate([active.configurations[own], rows.configuration + offset])
    atom = np.concatenate([active.atoms[own], rows.atom])
    is_row = found.active >= 0
    row = np.maximum(found.active, 0)
    changed = replace(
        active,
        submatrix=found.submatrix,
        configurations=np.where(is_row, configuration[row], IDENTITY),
        atoms=np.where(is_row, atom[row], IDENTITY),
    )
    return changed, _entries(found, configuration, len(own))


def _start(active: Active, own: np.ndarray) -> np.ndarray:
    """The present rows as a start of maxvol: own rows come first, others are the identity's."""
    start = np.zeros(len(active.scale), int)
    start[own] = np.arange(len(own))
    missing = np.flatnonzero(active.configurations == IDENTITY)
    start[missing] = -1 - np.argmax(active.submatrix[missing], axis=1)
    return start


def _entries(found: MaxVol, configuration: np.ndarray, n_own: int) -> dict[int, float]:
    """Grades of the configurations that came in with new rows, in the order in which they did."""
    entered = np.flatnonzero(found.entry[n_own:] >= 0) + n_own
    inside = np.intersect1d(entered, found.active)
    order = inside[np.argsort(found.entry[inside])]
    entries: dict[int, float] = {}
    for row in order:
        entries.setdefault(int(configuration[row]), float(found.entry_grade[row]))
    return entries
