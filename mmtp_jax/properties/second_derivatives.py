"""The Hessian of the energy of a configuration by positions, strain and moments, by autodiff."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms

from mmtp_jax.interfaces.equilibration import start_structures
from mmtp_jax.interruption import check
from mmtp_jax.potential.confinement import reach
from mmtp_jax.potential.observables import Graph
from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import with_double_precision
from mmtp_jax.properties.coordinates import N_STRAINS, energy_at, places, size_of
from mmtp_jax.properties.response import AT_BOUND, Response
from mmtp_jax.structures.batch import pack
from mmtp_jax.structures.domain import check_domain
from mmtp_jax.structures.neighbours import NeighbourTable, neighbour_table
from mmtp_jax.structures.structure import Structure

Array = Any

ATOMS_PER_BLOCK = 512
"""Directions times atoms that are differentiated together: bounds the memory."""


def response(potential: Potential, atoms: Atoms) -> Response:
    """Second derivatives of the energy by positions, strain and moments, exact by autodiff.

    The atoms are taken as they are. For adiabatic derivatives, where moments follow atoms and
    strain, relax them first with small tolerances (`mmtp_jax.relax`, `mmtp_jax.equilibrate`).

    Args:
        potential: the potential.
        atoms: a configuration; of a supercell, force constants contain the sums over its images.
            Moments are the initial ones, or where there are none those of its results.

    Raises:
        ValueError: if it has no moments, an unknown element, or vectors as moments where the
            potential is not even.

    Example:
        >>> found = mmtp.response(pot, mmtp.relax(pot, atoms, magnetic_tolerance=1e-6).atoms)
        >>> found.force_constants().shape, found.elastic_constants() / ase.units.GPa
    """
    (structure,) = start_structures(potential, [atoms], vectors=True)
    return structure_response(potential, structure)


def hessian_rows(
    potential: Potential, graph: Graph, columns: Array, n_blocks: Array
) -> tuple[Array, Array, Array]:
    """Energy (), its gradient (size,) and rows of its Hessian (blocks, width, size) at x = 0.

    Args:
        potential: the potential.
        graph: one configuration of N atoms, padding included.
        columns: (blocks, width) places in x of the rows; width rows are computed together. A place
            of -1 gives zeros.
        n_blocks: so many of the blocks are computed, the others are zeros: some rows need no
            program of their own.
    """
    size = size_of(graph)
    origin = jnp.zeros(size, graph.vectors.dtype)

    def gradient(x: Array) -> tuple[Array, Array]:
        value, found = jax.value_and_grad(lambda x: energy_at(potential, graph, x))(x)
        return found, value

    first, along, energy = jax.linearize(gradient, origin, has_aux=True)

    def block(k: Array, rows: Array) -> Array:
        return rows.at[k].set(jax.vmap(along)(jax.nn.one_hot(columns[k], size, dtype=origin.dtype)))

    rows = jnp.zeros((*columns.shape, size), origin.dtype)
    return energy, first, jax.lax.fori_loop(0, n_blocks, block, rows)


_hessian_rows = jax.jit(hessian_rows)


@with_double_precision
def structure_response(
    potential: Potential, structure: Structure, *, moments_only: bool = False
) -> Response:
    """The energy of a structure to second order in displacements, strain and moments, in float64.

    The structure is taken as it is: relax it and equilibrate its moments first. With
    ``moments_only`` second derivatives without a moment are NaN, at a fraction of the cost.

    Warns:
        ExtrapolationWarning: if distances or moments lie outside of the potential's intervals.
    """
    check()
    cutoff = float(potential.cutoff)
    table = neighbour_table(structure, cutoff)
    check_domain(potential, [structure], [table]).warn()
    graph = response_graph(structure, table, cutoff)
    n, n_padded = len(structure), graph.types.shape[0]
    of_moment = structure.magmoms.size // n
    real = places(n, n_padded, of_moment)
    magnetic = np.asarray(potential.magnetic)[structure.types]
    u, e, m = slice(0, 3 * n), slice(3 * n, 3 * n + N_STRAINS), slice(3 * n + N_STRAINS, None)
    # Of moments that the potential does not know, all derivatives are zero.
    wanted = np.full(len(real), not moments_only)
    wanted[m] = np.repeat(magnetic, of_moment)
    chosen = np.flatnonzero(wanted)
    columns = blocks_of(real[chosen], graph)
    energy, first, rows = jax.device_get(
        _hessian_rows(
            potential.astype(np.float64), graph, columns, -(-len(chosen) // columns.shape[1])
        )
    )
    whole = np.zeros((len(real), len(real)))
    whole[chosen] = rows.reshape(-1, rows.shape[-1])[: len(chosen), real]
    if moments_only:
        whole[: m.start, m] = whole[m, : m.start].T
        whole[: m.start, : m.start] = np.nan
    whole, first = (whole + whole.T) / 2, first[real]
    volume = structure.volume
    far = reach(potential)
    low, high = (np.asarray(of)[structure.types] for of in (far.low, far.high))
    sizes = structure.lengths if structure.vectors else structure.magmoms
    return Response(
        structure=structure,
        energy=float(energy),
        forces=-first[u].reshape(n, 3),
        stress=None if volume is None else first[e] / volume,
        magnetic_forces=-first[m].reshape(structure.magmoms.shape),
        uu=whole[u, u],
        ue=whole[u, e],
        um=whole[u, m],
        ee=whole[e, e],
        em=whole[e, m],
        mm=whole[m, m],
        at_bound=(sizes <= low + AT_BOUND) | (sizes >= high - AT_BOUND),
        magnetic=magnetic,
    )


def response_graph(structure: Structure, table: NeighbourTable, cutoff: float) -> Graph:
    """One structure padded into fewer shapes than usual: Hessians take seconds to compile."""
    n, width = len(structure), table.index.shape[1]
    return pack(
        [structure], [table], cutoff, n_atoms=_power(n) if n < 16 else 0, width=_half_octave(width)
    ).graph


def blocks_of(columns: np.ndarray, graph: Graph) -> np.ndarray:
    """Places (blocks, width) of the rows of a Hessian, filled up with -1 to those of all atoms."""
    size, n_padded = size_of(graph), graph.types.shape[0]
    width = min(max(ATOMS_PER_BLOCK // n_padded, 1), size)
    found = np.full(-(-size // width) * width, -1)
    found[: len(columns)] = columns
    return found.reshape(-1, width)


def _power(n: int) -> int:
    """The smallest power of two that is not below n, at least 2."""
    return 1 << max(n - 1, 1).bit_length()


def _half_octave(n: int) -> int:
    """The smallest of 16, 24, 32, 48, 64, ... that is not below n."""
    power = max(_power(n), 16)
    return 3 * power // 4 if power > 16 and n <= 3 * power // 4 else power
