"""A data set divided over devices, those of this process or of many (`jax.distributed`).

Every device holds a shard of the configurations, packed like all others: a `Targets` whose arrays
have the shards on their first axis, spread by a `NamedSharding`. Parameters are replicated. Sums
over the data set, the loss of Kotykhov 2024, Eq. 8 and the normal equations among them, are those
of each shard added up (`add_up`), so all devices take the same steps.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mmtp_jax.fitting.dataset import Targets, make_targets
from mmtp_jax.fitting.options import check_devices
from mmtp_jax.fitting.prepared import PreparedSet
from mmtp_jax.fitting.report import Errors, comparison, errors_of
from mmtp_jax.fitting.weights import Weights
from mmtp_jax.potential.observables import Graph, Observables, evaluate
from mmtp_jax.potential.potential import Potential
from mmtp_jax.structures.batch import Batch, default_chunk, pack, rounded_size
from mmtp_jax.structures.results import Result, results_of

Array = Any

AXIS = "shards"
SHARDED, REPLICATED = PartitionSpec(AXIS), PartitionSpec()


def mesh_of(devices: int | str | None) -> Mesh | None:
    """The devices of a fit in a row; None for one alone.

    Args:
        devices: their number, ``"all"``, or None: one, but all where the program runs in several
            processes.

    Raises:
        ValueError: if there are not so many, or a process would be left without one.
    """
    check_devices(devices)
    there, several = jax.devices(), jax.process_count() > 1
    n = len(there) if devices == "all" or (devices is None and several) else devices or 1
    if n > len(there):
        raise ValueError(
            f"{n} devices were asked for, but JAX has {len(there)} "
            f"({there[0].platform}); on a CPU set JAX_NUM_CPU_DEVICES={n} first"
        )
    if several and n < len(there):
        raise ValueError(
            f"{n} devices were asked for, but the processes of this program have {len(there)} "
            "together; in several processes a fit takes all of them"
        )
    return None if n == 1 else Mesh(np.array(there[:n]), (AXIS,))


def add_up(function: Callable[..., Any], mesh: Mesh | None) -> Callable[..., Any]:
    """``function(*shared, targets)``, with the results of all shards added up.

    Args:
        function: sums over the data set; ``targets`` are a `Targets` or several.
        mesh: the devices that ``targets`` are spread over; None if they are not, and the function
            is what is returned.
    """
    if mesh is None:
        return function

    def own(shared: tuple[Any, ...], targets: Any) -> Any:
        mine = jax.tree.map(lambda leaf: leaf[0], targets)
        return jax.lax.psum(function(*shared, mine), AXIS)

    # The checks do not know the rule of `linear_map`. Without them a gradient from outside is
    # still that of the sum; one that is taken inside of the function would be that of the shard.
    over = jax.shard_map(
        own, mesh=mesh, in_specs=(REPLICATED, SHARDED), out_specs=REPLICATED, check_vma=False
    )
    return lambda *args: over(args[:-1], args[-1])


def replicated(tree: Any, mesh: Mesh | None) -> Any:
    """The same arrays on every device; as they are without a mesh."""
    return tree if mesh is None else jax.device_put(tree, NamedSharding(mesh, REPLICATED))


def balanced(sizes: Sequence[int], n: int) -> list[np.ndarray]:
    """Indices of n parts of nearly the same total size: the largest first, to the lightest part."""
    loads = [(0, part) for part in range(n)]
    parts: list[list[int]] = [[] for _ in range(n)]
    for k in np.argsort(-np.asarray(sizes), kind="stable"):
        load, part = heapq.heappop(loads)
        parts[part].append(int(k))
        heapq.heappush(loads, (load + int(sizes[k]), part))
    return [np.array(sorted(part), int) for part in parts]


@dataclass(frozen=True)
class Shards:
    """A packed data set, divided over the devices of a mesh."""

    mesh: Mesh
    prepared: PreparedSet
    places: list[list[np.ndarray]]
    """Indices of the structures of each shard, for each graph."""
    targets: list[Targets]
    """Of each graph, with the shards on the first axis of all arrays."""

    @classmethod
    def of(cls, prepared: PreparedSet, weights: Weights, mesh: Mesh) -> Shards:
        """Divide each graph of a set evenly, by the neighbours that its atoms have room for.

        Only the shards of this process are packed.
        """
        sizes = np.array([len(s) for s in prepared.structures])
        places, targets = [], []
        for batch in prepared.batches:
            # All atoms of a graph have rows of one width, so neighbours go as atoms.
            inside = balanced(sizes[batch.members], mesh.size)
            members = [batch.members[part] for part in inside]
            places.append(members)
            targets.append(_spread(prepared, batch, members, weights, mesh))
        return cls(mesh, prepared, places, targets)

    @property
    def fill(self) -> float:
        """Share of the padded rows that hold real neighbours."""
        rows = sum(np.prod(part.graph.neighbours.shape) for part in self.targets)
        return sum(batch.n_neighbours for batch in self.prepared.batches) / int(rows)

    def results(self, potential: Potential) -> list[Result]:
        """Observables of each structure, evaluated by all devices."""
        structures, results = self.prepared.structures, {}
        for members, part in zip(self.places, self.targets, strict=True):
            found = jax.device_get(
                _evaluate_shards(
                    potential, part.graph, chunk=default_chunk(potential), mesh=self.mesh
                )
            )
            for shard, of in enumerate(members):
                offsets = np.concatenate([[0], np.cumsum([len(structures[k]) for k in of])])
                batch = Batch(part.graph, of, offsets.astype(int), 0)
                sites, values = jax.tree.map(lambda leaf, s=shard: leaf[s], found)
                results.update(results_of(batch, structures, sites, values))
        return [results[k] for k in range(len(structures))]

    def errors(self, potential: Potential) -> Errors:
        """Errors of a potential against the labels."""
        structures = self.prepared.structures
        return errors_of(comparison(structures, self.results(potential)), len(structures))


def _spread(
    prepared: PreparedSet, batch: Batch, members: list[np.ndarray], weights: Weights, mesh: Mesh
) -> Targets:
    """One graph in as many shards as there are devices, each on its own."""
    structures, tables = prepared.structures, prepared.tables
    shape = {
        "n_atoms": rounded_size(max(sum(len(structures[k]) for k in of) for of in members)),
        "n_configurations": rounded_size(max(map(len, members))),
        "width": batch.graph.neighbours.shape[1],
        "most": max(map(len, structures)),
    }
    on_devices = []
    for device, of in zip(mesh.devices.flat, members, strict=True):
        if device.process_index != jax.process_index():
            continue
        packed = pack(
            [structures[k] for k in of],
            [tables[k] for k in of],
            prepared.cutoff,
            members=of,
            **shape,
        )
        # Weights are shared among the configurations of the whole set.
        (part,) = make_targets(structures, [packed], weights)
        on_devices.append(jax.device_put(jax.tree.map(lambda leaf: leaf[None], part), device))
    sharding = NamedSharding(mesh, SHARDED)
    return jax.tree.map(
        lambda *leaves: jax.make_array_from_single_device_arrays(
            (mesh.size, *leaves[0].shape[1:]), sharding, list(leaves)
        ),
        *on_devices,
    )


@partial(jax.jit, static_argnames=("chunk", "mesh"))
def _evaluate_shards(
    potential: Potential, graph: Graph, chunk: int | None, mesh: Mesh
) -> tuple[Array, Observables]:
    """Site energies and observables of all shards, first axis, on every device."""

    def own(potential: Potential, graph: Graph) -> tuple[Array, Observables]:
        mine = jax.tree.map(lambda leaf: leaf[0], graph)
        found = evaluate(potential, mine, chunk)
        return jax.tree.map(lambda leaf: jax.lax.all_gather(leaf, AXIS), found)

    return jax.shard_map(
        own, mesh=mesh, in_specs=(REPLICATED, SHARDED), out_specs=REPLICATED, check_vma=False
    )(potential, graph)
