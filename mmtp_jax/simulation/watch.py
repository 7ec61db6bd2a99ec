"""What may watch a simulation: the grade of extrapolation, for one, or a detector of some event.

A simulation does not know who watches. It shows every configuration that it evaluates, stops the
replicas that the watch wants stopped, and hands over what the watch has kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from mmtp_jax.potential.observables import Graph, Observables
from mmtp_jax.potential.potential import Potential
from mmtp_jax.simulation.system import System
from mmtp_jax.structures.structure import Structure

Array = Any


class Watch(Protocol):
    """A pytree, so that it passes through jit; its methods but `drain` are pure and traced.

    A step is a transaction. When the watch is `full` after it, the step is undone together with
    what was kept in it, the state from before is drained, and the step is taken again. So nothing
    is lost, and a full buffer may drop what it has no room for; but it must have room for all that
    one step can show, the iterates of an equilibration included.
    """

    def start(self, system: System) -> Any:
        """The state before the first configuration: a pytree of arrays."""
        ...

    def look(
        self, state: Any, system: System, graph: Graph, observables: Observables, step: Array
    ) -> Any:
        """Take note of a configuration of each replica; returns the new state.

        Called with every configuration that is evaluated: once per step, or at each iterate of an
        equilibration. ``graph.magmoms`` and ``system.magmoms`` are those of the iterate. Replicas
        that are not ``system.running`` have been seen before. Atoms may be padded.
        """
        ...

    def stops(self, state: Any) -> Array:
        """(R,) or () bool: the replicas that must not go on."""
        ...

    def full(self, state: Any) -> Array:
        """() bool: the host must drain the state before the simulation goes on."""
        ...

    def drain(self, state: Any) -> tuple[list[Any], Any]:
        """On the host: what was kept, and the state without it."""
        ...


@runtime_checkable
class BoundWatch(Protocol):
    """A watch that knows one potential only, as an active set does."""

    def check(self, potential: Potential) -> None:
        """Raises ValueError where the simulation runs with another potential."""
        ...


@runtime_checkable
class GradedWatch(Protocol):
    """A watch that grades what it is shown."""

    def grade(self, state: Any) -> Array:
        """(R,) the largest grade of each replica in the last step that it was shown."""
        ...


def drained(watch: Watch, state: Any, numbers: Sequence[int] = ()) -> tuple[list[Any], Any]:
    """What was kept, and the state without it; the watch calls the replicas by ``numbers``."""
    # One that keeps configurations numbers them by their place in the user's list.
    if len(numbers) and hasattr(watch, "renumbered"):
        state = watch.renumbered(state, numbers)
    return watch.drain(state)


def alike(structures: Sequence[Structure]) -> list[list[int]]:
    """Places of structures with the same atoms and periodic directions: replicas to a watch.

    Collinear moments and vectors are apart.
    """
    kinds: dict[Any, list[int]] = {}
    for k, structure in enumerate(structures):
        periodic = np.asarray(structure.periodic, bool).tobytes()
        kind = (structure.types.tobytes(), periodic, structure.vectors)
        kinds.setdefault(kind, []).append(k)
    return list(kinds.values())
