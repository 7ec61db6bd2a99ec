"""Monte Carlo of moments and averages over disordered magnetic states of ASE atoms."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from mmtp_jax.fitting.checkpoint import fingerprint
from mmtp_jax.interfaces.equilibration import start_structures
from mmtp_jax.options import also, made, takes
from mmtp_jax.potential.potential import Potential
from mmtp_jax.potential.vectors import check_vectors
from mmtp_jax.simulation.moments.options import MomentOptions
from mmtp_jax.simulation.spins.disorder_sampling import DisorderedStates, sample_states
from mmtp_jax.simulation.spins.options import SIGNS, DisorderOptions, SpinOptions, move_of
from mmtp_jax.simulation.spins.outcome import SpinObserver, SpinSaved, SpinState, SpinWalk
from mmtp_jax.simulation.spins.sampling import walk_spins
from mmtp_jax.simulation.system import system_of
from mmtp_jax.simulation.watch import BoundWatch, Watch
from mmtp_jax.structures.domain import warn_of_turning
from mmtp_jax.structures.neighbours import neighbour_table
from mmtp_jax.structures.structure import Structure, along_z


@also(temperatures_K="temperatures", temperature="temperatures", temperature_K="temperatures")
@takes(SpinOptions)
def montecarlo(
    potential: Potential,
    atoms: Atoms,
    temperatures: float | Sequence[float],
    *,
    copies: int = 1,
    watch: Watch | None = None,
    keep: Callable[[list[Any]], None] | None = None,
    callback: Callable[[int], None] | None = None,
    observer: SpinObserver | None = None,
    resume: SpinState | SpinSaved | None = None,
    **options: Any,
) -> SpinWalk:
    """Sample moments at fixed positions, at several temperatures together.

    Each trial flips one moment, or swaps two opposite ones, and is accepted by Metropolis' rule
    with the energy at magnitudes that are equilibrated anew, or fixed. Moments that are vectors,
    (n, 3), turn instead; their lengths may be sampled, too.

    Args:
        potential: the potential.
        atoms: the configuration; it is not changed. Moments are the initial ones, or where there
            are none those of its results. Their signs, of vectors those along their main axis, are
            the pattern of `SpinSeries.order`. Numbers are vectors along z with ``vectors=True``,
            ``moments="sampled"``, or a ``move`` of vectors.
        temperatures: K, one replica for each.
        copies: independent replicas of each temperature; replica ``t * copies + c`` is copy c of
            temperature t.
        watch: is shown every configuration, see `mmtp_jax.simulation.watch`.
        keep: called with what the watch has kept.
        callback: called with the number of sweeps done.
        observer: told now and then, and at the end, of what the walk can go on from.
        resume: what an observer was told: its sweeps count, and are part of the result. Or the
            ``state`` of an earlier result, whose sweeps do not count.
        **options: the fields of `SpinOptions`, e.g. ``sweeps=2000``, ``move="swap"``,
            ``moments="fixed"``, ``magnetic=("Cr",)``.

    Raises:
        ValueError: if a temperature is negative, no atom is magnetic, the moments of the start,
            or of all trials, cannot be equilibrated, vectors are longer than M_max, or the
            potential has no energy of them.

    Warns:
        ExtrapolationWarning: if vectors turn, and the potential was fitted to collinear ones alone.

    Example:
        >>> walk = mmtp.montecarlo(pot, atoms, [600, 800, 1000], sweeps=2000)
        >>> abs(walk.series.order).mean(axis=0), walk.acceptance
        >>> walk = mmtp.montecarlo(pot, atoms, [600, 800, 1000], moments="sampled")
        >>> walk.series.length.mean(axis=0), walk.moves, walk.largest_turn
    """
    chosen = made(SpinOptions, options, "montecarlo")
    values = np.atleast_1d(np.asarray(temperatures, float))
    if values.ndim != 1 or not np.all(np.isfinite(values) & (values >= 0.0)):
        raise ValueError(f"temperatures must be numbers of at least 0 K, got {temperatures}")
    if copies < 1:
        raise ValueError(f"copies must be at least 1, got {copies}")
    if isinstance(watch, BoundWatch):
        watch.check(potential)
    structure = walk_start(potential, atoms, chosen)
    if structure.vectors and not structure.canted:
        warn_of_turning(potential)
    # Replicas have no names any more.
    neighbour_table(structure, float(potential.cutoff))
    system = system_of([structure] * (len(values) * copies), atoms.get_masses())
    return walk_spins(
        potential, system, np.repeat(values, copies), chosen, watch=watch, keep=keep,
        callback=callback, observer=observer, resume=resume,
    )  # fmt: skip


def walk_start(potential: Potential, atoms: Atoms, options: SpinOptions) -> Structure:
    """The configuration with moments of the kind that the walk is over.

    Raises:
        ValueError: if there is no such walk over its moments, or the potential knows none of them.
    """
    vectors = options.move not in SIGNS
    (structure,) = start_structures(potential, [atoms], vectors=vectors)
    if options.asks_for_vectors and not structure.vectors:
        try:
            check_vectors(potential)
        except ValueError as error:
            raise ValueError(f"{structure.name}: {error}") from error
        return along_z(structure)
    return structure


def walk_fingerprint(
    potential: Potential,
    atoms: Atoms,
    temperatures: Sequence[float],
    copies: int,
    **options: Any,
) -> str:
    """Of all that the course of `montecarlo` depends on; how long it is does not matter."""
    chosen = dataclasses.replace(SpinOptions(**options), sweeps=1, burn_in=0)
    structure = walk_start(potential, atoms, chosen)
    settings = {**vars(chosen), "dtype": str(chosen.dtype), "copies": copies}
    settings["move"] = move_of(chosen, structure.vectors)
    # The moments say whether they are vectors.
    del settings["vectors"]
    if not structure.vectors:
        del settings["measure"]
    arrays = (structure.cell, structure.periodic, structure.positions, structure.types)
    return fingerprint(
        repr(sorted(settings.items())), potential, arrays, structure.magmoms,
        np.asarray(temperatures, float),
    )  # fmt: skip


@takes(DisorderOptions)
def sample_disorder(
    potential: Potential,
    atoms: Atoms,
    n: int = DisorderOptions.n,
    *,
    callback: Callable[[int], None] | None = None,
    **options: Any,
) -> DisorderedStates:
    """Averages over random collinear states without net moment (Kotykhov 2025, Sec. III.B).

    Half of the magnetic atoms of each species are up and half down; of an odd number, the last
    one's sign is random. All states go together. States whose moments cannot be equilibrated do
    not count, and are counted.

    Args:
        potential: the potential.
        atoms: the configuration; it is not changed. Its moments give the magnitudes.
        n: number of states.
        callback: called with the number of states done after each batch.
        **options: the other fields of `DisorderOptions`: ``moments="fixed"``, ``magnetic=("Cr",)``
            (moments of others start from zero where they are equilibrated), ``tolerance``,
            ``seed``, ``dtype``.

    Example:
        >>> states = mmtp.sample_disorder(pot, atoms, n=100)
        >>> states.energy, states.energy_error, states.forces, states.stress
        >>> states.running_mean("energy")
    """
    chosen = made(DisorderOptions, {"n": n, **options}, "sample_disorder")
    (structure,) = start_structures(potential, [atoms])
    return sample_states(
        potential,
        structure,
        n,
        moments=chosen.moments,
        options=MomentOptions(tolerance=chosen.tolerance),
        magnetic=None if chosen.magnetic is None else tuple(chosen.magnetic),
        seed=chosen.seed,
        dtype=chosen.dtype,
        callback=callback,
    )
