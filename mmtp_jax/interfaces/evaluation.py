"""Evaluate a potential on a list of structures: batches in, plain numpy results out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from threading import Lock
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.interruption import check
from mmtp_jax.potential.committee import committee_of
from mmtp_jax.potential.observables import Graph, Observables, evaluate, evaluate_graph
from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import double_precision, require_precision, with_floats
from mmtp_jax.structures.batch import Batch, default_chunk, device_in_use, make_batches
from mmtp_jax.structures.device import OnDevice
from mmtp_jax.structures.domain import DomainReport, check_domain
from mmtp_jax.structures.neighbours import neighbour_table
from mmtp_jax.structures.results import CommitteeResult, Result, result_of, results_of
from mmtp_jax.structures.structure import Structure

Array = Any

MAX_ATOMS = 16384
"""Atoms per batch on a CPU: bounds the memory, about 100 kB per atom at most. On other devices it
is a block, for which they have room."""

TOGETHER: bool | None = None
"""Whether members of one form are evaluated in one call; None: where the device is no CPU."""


def evaluate_structures(
    potential: Potential,
    structures: Sequence[Structure],
    dtype: Any = np.float64,
    max_atoms: int | None = None,
) -> list[Result]:
    """Energies, forces, stresses and magnetic forces of all structures.

    In float32 the constant e0 of each species is added in float64 afterwards, so that energies
    of thousands of eV per atom keep their digits.

    Warns:
        ExtrapolationWarning: if distances or moments lie outside of the potential's intervals.
    """
    structures = list(structures)
    if len(structures) == 1:
        check()
        evaluator = _Last.take(potential, dtype)
        found = [evaluator(structures[0])]
        _Last.evaluator = evaluator
        return found
    return _of_all([potential], structures, dtype, max_atoms)[0]


def evaluate_committee(
    potentials: Sequence[Potential],
    structures: Sequence[Structure],
    dtype: Any = np.float64,
    max_atoms: int | None = None,
) -> list[CommitteeResult]:
    """Mean and spread over the members of a committee, for all structures.

    Members of one form go through one compiled program: one after the other on a CPU, together
    elsewhere.

    Raises:
        ValueError: if there are fewer than two potentials, or their species differ.
    """
    found = _of_all(committee_of(potentials), structures, dtype, max_atoms)
    return [CommitteeResult.of(of_one) for of_one in zip(*found, strict=True)]


def _of_all(
    potentials: Sequence[Potential],
    structures: Sequence[Structure],
    dtype: Any,
    max_atoms: int | None,
) -> list[list[Result]]:
    """The results of each potential; those with the same cutoff share lists of neighbours."""
    structures = list(structures)
    results: list[list[Any]] = [[None] * len(structures) for _ in potentials]
    if not structures:
        return results
    pairs = [(StructureEvaluator(p, dtype), of) for p, of in zip(potentials, results, strict=True)]
    if max_atoms is None:
        blocks = [default_chunk(evaluator.on_device) for evaluator, _ in pairs]
        max_atoms = MAX_ATOMS if device_in_use().platform == "cpu" else min(blocks)
    for cutoff in dict.fromkeys(evaluator.cutoff for evaluator, _ in pairs):
        alike = [pair for pair in pairs if pair[0].cutoff == cutoff]
        tables = [neighbour_table(s, cutoff) for s in structures]
        told = [check_domain(evaluator.potential, structures, tables) for evaluator, _ in alike]
        for report in dict.fromkeys(told):
            report.warn()
        for batch in make_batches(structures, cutoff, max_atoms=max_atoms, tables=tables):
            predicted = _predictions([evaluator for evaluator, _ in alike], batch)
            for (evaluator, of), values in zip(alike, predicted, strict=True):
                for member, result in evaluator.results(batch, structures, *values):
                    of[member] = result
    return results


def _predictions(
    evaluators: Sequence[StructureEvaluator], batch: Batch
) -> list[tuple[np.ndarray, Observables]]:
    """Site energies and observables by each potential, all in one precision, on the host."""
    graph = with_floats(batch.graph, evaluators[0].precision.edges)
    on_device = [evaluator.on_device for evaluator in evaluators]
    forms = [jax.tree.structure(potential) for potential in on_device]
    alone = device_in_use().platform == "cpu" if TOGETHER is None else not TOGETHER
    found: dict[int, Any] = {}
    with double_precision():
        for form in dict.fromkeys(forms):
            members = [k for k, of in enumerate(forms) if of == form]
            chunk = default_chunk(on_device[members[0]])
            if alone or len(members) == 1:
                for k in members:
                    check()
                    found[k] = _on_host(evaluate_graph(on_device[k], graph, chunk))
                continue
            check()
            stacked = jax.tree.map(lambda *of: jnp.stack(of), *(on_device[k] for k in members))
            # Their scratch adds up.
            values = evaluate_members(stacked, graph, max(1, chunk // len(members)))
            values = jax.device_get(values)
            for place, k in enumerate(members):
                found[k] = jax.tree.map(lambda of, place=place: of[place], values)
    return [found[k] for k in range(len(evaluators))]


def _on_host(values: Any) -> Any:
    """As of numpy. From a CPU nothing needs to be copied, which takes a seventh of the time."""
    if device_in_use().platform == "cpu":
        return jax.tree.map(np.asarray, values)
    return jax.device_get(values)


@partial(jax.jit, static_argnames="chunk")
def evaluate_members(potentials: Potential, graph: Graph, chunk: int) -> tuple[Array, Observables]:
    """`evaluate` of members of one form, whose numbers are stacked: everything on a first axis."""
    return jax.vmap(lambda potential: evaluate(potential, graph, chunk))(potentials)


class CommitteeEvaluator:
    """The members of a committee on the device, ready for one structure after the other.

    Raises:
        ValueError: if there are fewer than two potentials, or their species differ.
    """

    def __init__(self, potentials: Sequence[Potential], dtype: Any = np.float64) -> None:
        self._evaluators = [StructureEvaluator(p, dtype) for p in committee_of(potentials)]

    def __call__(
        self, structure: Structure, tell: Callable[[DomainReport], None] = DomainReport.warn
    ) -> CommitteeResult:
        """Mean and spread of all observables; each member tells what is outside."""
        return CommitteeResult.of([evaluator(structure, tell) for evaluator in self._evaluators])


class _Last:
    """The last evaluator of a single structure: whoever moves atoms calls again with the same."""

    evaluator: StructureEvaluator | None = None
    lock = Lock()

    @classmethod
    def take(cls, potential: Potential, dtype: Any) -> StructureEvaluator:
        """That of the potential, for the caller alone; a new one where there is none."""
        with cls.lock:
            found, cls.evaluator = cls.evaluator, None
        if found is not None and found.potential is potential:
            with double_precision():
                if found.precision == require_precision(dtype):
                    return found
        return StructureEvaluator(potential, dtype)


class StructureEvaluator(OnDevice):
    """A potential on the device, ready for one structure after the other.

    Neighbours stay there while atoms move little, see `mmtp_jax.structures.kept_graph`.
    """

    def __call__(
        self, structure: Structure, tell: Callable[[DomainReport], None] = DomainReport.warn
    ) -> Result:
        """All observables of one structure; ``tell`` is told what is outside of the intervals."""
        check()
        values, table = self.evaluated(structure)
        tell(check_domain(self.potential, [structure], [table]))
        sites, values = _on_host(values)
        n = len(structure)
        energies = self._energies(sites[:n], structure.types, structure)
        forces, stress, magnetic = (np.asarray(of, float) for of in values[1:])
        return result_of(structure, energies, forces[:n], stress[0], magnetic[:n])

    def results(
        self, batch: Batch, structures: Sequence[Structure], sites: np.ndarray, values: Observables
    ) -> list[tuple[int, Result]]:
        """(index in ``structures``, result) of every configuration of a batch.

        From what was predicted for it without constant energies.
        """
        sites = np.concatenate([
            self._energies(of_one, types, structures[member])
            for member, of_one, types in zip(
                batch.members, batch.split(sites), batch.split(batch.graph.types), strict=True
            )
        ])  # fmt: skip
        return results_of(batch, structures, sites, values)

    def _energies(self, sites: np.ndarray, types: np.ndarray, structure: Structure) -> np.ndarray:
        """Site energies (n,) of a structure with their constants."""
        energies = np.asarray(sites, float) + self._constants[types]
        if not np.isfinite(energies).all():
            raise ValueError(
                f"{structure.name}: its energy is not a finite number; distances or "
                "moments are far outside of what the potential covers, or its coefficients "
                "are damaged"
            )
        return energies
