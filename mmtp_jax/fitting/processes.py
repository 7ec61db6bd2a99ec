"""Fits that run in several processes at once (`jax.distributed`): who writes, and what all share.

Every process takes the same decisions in the same order, because each waits for the others in
every sum over the data set. So whatever may differ by round-off between two hosts, or comes from
outside of the program, is taken from one of them and handed to all.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from mmtp_jax import interruption


def several() -> bool:
    """Does this program run in several processes?"""
    return jax.process_count() > 1


def is_first() -> bool:
    """Is this the process that writes files and prints?"""
    return jax.process_index() == 0


def from_first(tree: Any) -> Any:
    """Arrays as the first process has them; the same shapes in all."""
    if not several():
        return tree
    from jax.experimental import multihost_utils

    return jax.device_get(multihost_utils.broadcast_one_to_all(tree))


def check_same(text: str, what: str) -> None:
    """Refuse to go on where the processes differ.

    Args:
        text: hexadecimal digest of what must be the same.
        what: how messages call it.

    Raises:
        ValueError: in all processes, if one has another digest.
    """
    if not several():
        return
    own = np.frombuffer(bytes.fromhex(text), np.uint8)
    if any_of(not np.array_equal(own, from_first(own))):
        raise ValueError(
            f"the processes of this fit have different {what}; give all of them the same files "
            "and settings, on a file system that they share"
        )


def any_of(flag: bool) -> bool:
    """Is it true in any process?"""
    if not several():
        return flag
    from jax.experimental import multihost_utils

    return bool(np.any(multihost_utils.process_allgather(np.array(flag))))


def wait() -> None:
    """Until all processes are here."""
    any_of(False)


def check_interruption() -> None:
    """Raise KeyboardInterrupt in all processes if one was told to end.

    One that stopped in the middle of a step would leave the others waiting.
    """
    if not several():
        interruption.check()
    elif any_of(interruption.take()):
        raise KeyboardInterrupt
