"""The potential as pure functions, for those who write their own JAX.

`graph` and `targets` work on the host, once; everything else goes under ``jit``, ``grad``,
``vmap``, ``jacfwd`` and ``hessian``, with derivatives by positions, cells, moments and parameters.
The parameters are the potential itself, which is a pytree, or ``potential.unflatten(theta)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from jax.core import Tracer

from mmtp_jax.fitting import loss as fitting_loss
from mmtp_jax.fitting.dataset import Targets as PackedTargets
from mmtp_jax.fitting.dataset import make_targets
from mmtp_jax.fitting.prepared import PreparedSet
from mmtp_jax.fitting.weights import Weights
from mmtp_jax.io.convert import structures_for
from mmtp_jax.potential.energy import site_energies
from mmtp_jax.potential.observables import (
    Observables,
    evaluate,
    neighborhoods,
    per_configuration,
)
from mmtp_jax.potential.observables import observables as observables_of_parameters
from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import Precision, require_precision
from mmtp_jax.structures.atom_graph import (
    AtomGraph,
    atom_graph,
    atom_graphs,
    graph_to_evaluate,
    moved,
    used_skin,
)
from mmtp_jax.structures.batch import default_chunk
from mmtp_jax.structures.structure import Structure

Array = Any


def graph(
    potential: Potential,
    atoms: Atoms | Sequence[Atoms],
    *,
    skin: float = 0.5,
    dtype: Any = np.float64,
    stack: bool = False,
    n_atoms: int = 0,
    width: int = 0,
) -> AtomGraph:
    """Configurations with their neighbours, on the device.

    Args:
        potential: gives the species and the cutoff.
        atoms: one configuration or several; moments are chosen as for `mmtp_jax.evaluate`.
        skin: Angstrom by which neighbours beyond the cutoff are kept: atoms may move by half of
            it before pairs are missed, see `move`.
        dtype: float64, float32, or ``"mixed"``, see `mmtp_jax.evaluate`.
        stack: configurations do not become one graph of C, but C graphs of one configuration
            with equal shapes, stacked for ``jax.vmap``.
        n_atoms: least number of atoms (of each, where stacked); what is beyond is padding. With
            ``width`` it keeps the shapes of another graph, so that nothing is compiled anew.
        width: least number of neighbours per atom.

    Raises:
        ValueError: if an element is none of the potential's species, moments are vectors in a part
            of the configurations or for a potential that has no energy of them, numbers are not
            finite, atoms coincide, the skin is negative; or where JAX would
            truncate float64 silently.

    Example:
        >>> with mmtp.double_precision():
        ...     g = mmtp.graph(pot, atoms)
        ...     moved_energy = lambda x: mmtp.energy(pot, mmtp.move(g, positions=x)[0]).sum()
        ...     forces = -jax.grad(moved_energy)(g.positions)
    """
    if not skin >= 0.0:
        raise ValueError(f"skin must be a number >= 0, got {skin} Angstrom")
    precision = require_precision(dtype)
    given = [atoms] if isinstance(atoms, Atoms) else list(atoms)
    if not given:
        raise ValueError("there is no configuration to make a graph of; give at least one")
    structures = structures_for(potential, given, vectors=True)
    if len({structure.vectors for structure in structures}) > 1:
        raise ValueError(
            "moments are vectors in some configurations and numbers in others; make a graph of "
            "each kind"
        )
    cutoff = float(potential.cutoff)
    make = atom_graphs if stack else atom_graph
    found = make(structures, cutoff, skin, precision, n_atoms=n_atoms, width=width)
    return jax.tree.map(jnp.asarray, found)


def move(
    graph: AtomGraph,
    positions: Array | None = None,
    cell: Array | None = None,
    magmoms: Array | None = None,
) -> tuple[AtomGraph, Array]:
    """The same atoms elsewhere, with the neighbours that they had.

    Args:
        graph: the atoms.
        positions: (N, 3) Angstrom. They are Cartesian: a new cell alone does not move atoms.
        cell: (C, 3, 3) Angstrom; (3, 3) for one configuration.
        magmoms: (N,) mu_B; (N, 3) where they are vectors.

    Returns:
        The graph, and for each configuration (C,) whether a pair within the cutoff may be missing
        because atoms or cell have moved by more than the skin allows, or are not finite. Then make
        a new graph.
    """
    there = moved(graph, positions, cell, magmoms)
    return there, used_skin(there) > 1.0


def energy(potential: Potential, graph: AtomGraph) -> Array:
    """Energies (C,) in eV (Burov 2026, Eqs. 1-7).

    In float32 the constant energies of species are added, and atoms summed, in float64 where JAX
    has it.
    """
    return _energy(potential, graph)


def observables(potential: Potential, graph: AtomGraph) -> Observables:
    """Everything that a potential says of a graph, differentiable in its turn.

    Returns:
        ``energy`` (C,) eV; ``forces`` (N, 3) = -dE/dr at fixed moments and cell, eV/Angstrom;
        ``stress`` (C, 3, 3) = (1/V) dE/d(strain), eV/Angstrom^3, zero where a configuration is not
        periodic in three directions; ``magnetic_forces`` = -dE/dm, eV/mu_B, (N,) or (N, 3) as the
        moments.
    """
    return _observables(potential, graph, default_chunk(potential))


class Targets:
    """Labels and weights of configurations, packed with their neighbours for `loss`.

    A pytree once it is packed: it can be an argument of a jitted function, where nothing of it
    becomes a constant of the program.
    """

    def __init__(
        self,
        structures_of: Callable[[Potential], list[Structure]],
        weights: Weights,
        packed: _Packed | None = None,
    ) -> None:
        self._structures_of, self._weights, self._packed = structures_of, weights, packed

    def of(self, potential: Potential) -> list[PackedTargets]:
        """The graphs of the set, for the species and the cutoff of a potential."""
        packed, species = self._packed, potential.species
        cutoff = None if isinstance(potential.cutoff, Tracer) else float(potential.cutoff)
        key = (species, potential.non_magnetic, cutoff)
        if packed is None or (cutoff is not None and key != packed[:3]):
            if cutoff is None or self._structures_of is None:
                raise ValueError(
                    "these targets are not packed for the species and the cutoff of this potential;"
                    " make them with mmtp.targets(atoms_list, weights, potential=potential)"
                )
            self._packed = packed = _pack(self._structures_of, self._weights, potential)
        if packed.species != species:
            raise ValueError(
                f"the targets are packed for the species {' '.join(packed.species)}, the potential "
                f"is for {' '.join(species)}"
            )
        return packed.parts


class _Packed(NamedTuple):
    species: tuple[str, ...]
    non_magnetic: tuple[str, ...]
    cutoff: float
    parts: list[PackedTargets]


def _flatten_targets(targets: Targets) -> tuple[Any, Any]:
    packed = targets._packed
    if packed is None:
        raise ValueError(
            "targets that go into a jitted function need the potential's cutoff before; make them "
            "with mmtp.targets(atoms_list, weights, potential=potential)"
        )
    return (packed.parts,), packed[:3]


def _unflatten_targets(static: Any, children: Any) -> Targets:
    return Targets(None, None, _Packed(*static, *children))


jax.tree_util.register_pytree_node(Targets, _flatten_targets, _unflatten_targets)


def targets(
    atoms_list: Atoms | Sequence[Atoms],
    weights: Weights | None = None,
    *,
    potential: Potential | None = None,
) -> Targets:
    """Labels of configurations and their weights, as `mmtp_jax.fit` uses them.

    Args:
        atoms_list: labelled configurations, of any sizes.
        weights: of energies, forces, stresses and magnetic forces.
        potential: gives the species and the cutoff. Without it neighbours are searched when `loss`
            first sees a potential, which must then be outside of ``jit``, or closed over; with it
            the targets can be arguments of a jitted function.

    Raises:
        ValueError: as for `mmtp_jax.fit`, if a configuration is not usable or nothing has a label.
    """
    given = [atoms_list] if isinstance(atoms_list, Atoms) else list(atoms_list)
    found = Targets(partial(structures_for, atoms_list=given), weights or Weights())
    if potential is not None:
        found.of(potential)
    return found


def _pack(
    structures_of: Callable[[Potential], list[Structure]],
    weights: Weights,
    potential: Potential,
) -> _Packed:
    require_precision(np.float64)
    cutoff = float(potential.cutoff)
    prepared = PreparedSet.of(structures_of(potential), cutoff)
    parts = make_targets(prepared.structures, prepared.batches, weights)
    with jax.ensure_compile_time_eval():
        packed = jax.tree.map(jnp.asarray, parts)
    return _Packed(potential.species, potential.non_magnetic, cutoff, packed)


def loss(potential: Potential, targets: Targets) -> Array:
    """What `mmtp_jax.fit` minimises (Kotykhov 2024, Eq. 8): a scalar, in float64.

    Derivatives by theta, as in the example, follow a rule that costs three evaluations. Those by
    the potential itself are by its cutoffs and intervals as well, and cost more.

    Raises:
        ValueError: if the targets are packed for other species or another cutoff and cannot be
            packed anew.

    Example:
        >>> with mmtp.double_precision():
        ...     data = mmtp.targets(atoms_list, mmtp.Weights(), potential=pot)
        ...     of_theta = lambda theta: mmtp.loss(pot.unflatten(theta), data)
        ...     value, slope = jax.value_and_grad(of_theta)(pot.flatten())
    """
    return _loss(potential, targets.of(potential), default_chunk(potential))


@partial(jax.jit, static_argnames="chunk")
def _loss(potential: Potential, parts: list[PackedTargets], chunk: int) -> Array:
    return fitting_loss.loss(potential.flatten(), potential, parts, chunk)


@jax.jit
def _energy(potential: Potential, graph: AtomGraph) -> Array:
    constants, without = _parts(potential, graph.precision)
    full = graph_to_evaluate(graph)
    return per_configuration(
        full, constants[full.types] + site_energies(without, neighborhoods(full))
    )


@partial(jax.jit, static_argnames="chunk")
def _observables(potential: Potential, graph: AtomGraph, chunk: int) -> Observables:
    constants, without = _parts(potential, graph.precision)
    full, size = graph_to_evaluate(graph, chunk), graph.types.shape[0]
    if graph.precision.edges == graph.precision.contraction:
        found = observables_of_parameters(without.flatten(), without, full, chunk)
    else:
        # A flat array of parameters has one type.
        found = evaluate(without, full, chunk)[1]
    return Observables(
        energy=found.energy + per_configuration(full, constants[full.types]),
        forces=found.forces[:size],
        stress=found.stress,
        magnetic_forces=found.magnetic_forces[:size],
    )


def _parts(potential: Potential, precision: Precision) -> tuple[Array, Potential]:
    """Constant energies of the species, as precise as JAX has it, and the potential without."""
    exact = jnp.float64 if jax.config.jax_enable_x64 else jnp.float32
    cast = jax.tree.map(lambda leaf: jnp.asarray(leaf, precision.edges), potential)
    zeros = jnp.zeros(potential.n_species, precision.contraction)
    without = cast.with_linear_of(
        potential, lambda leaf: jnp.asarray(leaf, precision.contraction)
    ).replace(species_coeffs=zeros)
    return jnp.asarray(potential.species_coeffs, exact), without
