"""Changes of signs that are tried: the flip of one moment, and the swap of two opposite ones.

A change and its reverse are proposed with the same probability, so that Metropolis' rule alone
makes detailed balance. A flip takes any magnetic atom. A swap takes any magnetic atom, and then
any other of the same species that points the other way; the numbers of both kinds, and with them
the probabilities, are the same before and after.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.language import named
from mmtp_jax.potential.potential import Potential
from mmtp_jax.simulation.dynamics.thermostats import key_of
from mmtp_jax.structures.domain import moment_at_end

Array = Any

_PURPOSE = 7
"""Of random numbers; those of `thermostats` are smaller."""


class Proposal(NamedTuple):
    """One change of signs for each of R replicas."""

    atoms: Array
    """(R, A) atoms that change, A = 1 for a flip and 2 for a swap."""
    possible: Array
    """(R,) bool: there is such a change. All moments up leave nothing to swap."""
    log_uniform: Array
    """(R,) the logarithm of a random number between 0 and 1, for Metropolis' rule."""


def propose(
    move: str, keys: Array, step: Array, trial: Array, magmoms: Array, types: Array, magnetic: Array
) -> Proposal:
    """Draw one change for each replica, a function of its key, the step and the trial.

    Args:
        move: one of `options.MOVES`.
        keys: (R, 2) raw random keys.
        step: () of the dynamics; 0 at fixed geometry.
        trial: () number of the trial.
        magmoms: (R, n) mu_B.
        types: (n,) species.
        magnetic: (n,) bool, atoms that may change their sign.
    """

    def numbers(raw: Array) -> Array:
        key = jax.random.fold_in(key_of(raw, step, _PURPOSE), trial)
        return jax.random.uniform(key, (3,))

    u = jax.vmap(numbers)(keys)
    first = one_of(magnetic, u[:, 0])
    log_uniform = jnp.log1p(-u[:, 2])
    if move == "flip":
        return Proposal(first[:, None], jnp.ones(first.shape, bool), log_uniform)
    up = magmoms > 0
    own = jnp.take_along_axis(up, first[:, None], axis=1)
    opposite = magnetic & (up != own) & (types == types[first][:, None])
    second, possible = _chosen(opposite, u[:, 1])
    return Proposal(jnp.stack([first, second], axis=1), possible, log_uniform)


def of_atoms(values: Array, atoms: Array) -> Array:
    """Those (R, A) or (R, A, 3) of some atoms (R, A), of (R, n) or (R, n, 3)."""
    return values[jnp.arange(values.shape[0])[:, None], atoms]


def replaced(values: Array, atoms: Array, new: Array) -> Array:
    """The values (R, n) or (R, n, 3) with other ones at some atoms (R, A)."""
    # Where nothing can be swapped both atoms are one, and both numbers.
    rows = jnp.arange(values.shape[0])[:, None]
    return values.at[rows, atoms].set(new, unique_indices=True)


def changed(move: str, values: Array) -> Array:
    """Moments, or signs, (R, A) of the atoms of a change after it: reversed, or exchanged."""
    return -values if move == "flip" else values[:, ::-1]


def one_of(magnetic: Array, uniform: Array) -> Array:
    """One of the magnetic atoms (R,), all equally likely, by numbers (R,) between 0 and 1."""
    count = jnp.cumsum(magnetic)
    wanted = jnp.minimum(jnp.floor(uniform * count[-1]).astype(count.dtype), count[-1] - 1)
    return jnp.searchsorted(count, wanted, side="right")


def magnetic_atoms(
    types: np.ndarray,
    magmoms: np.ndarray,
    potential: Potential,
    magnetic: tuple[str, ...] | None = None,
) -> np.ndarray:
    """Atoms (n,) whose moments may change: of the given species, or with a moment at the start.

    Args:
        types: (n,) species index.
        magmoms: (R, n) or (R, n, 3) moments of the start, mu_B.
        potential: whose species count; atoms of non-magnetic ones have no moment to change.
        magnetic: symbols of the magnetic species; None for all atoms with a moment in any replica.

    Raises:
        ValueError: if a symbol is unknown or non-magnetic, no atom is magnetic, or a magnetic
            atom has no moment.
    """
    species, still = potential.species, potential.non_magnetic
    magmoms = np.asarray(magmoms)
    given = magmoms != 0.0 if magmoms.ndim == 2 else np.any(magmoms != 0.0, axis=2)
    has_moment = given & np.asarray(potential.magnetic)[np.asarray(types)]
    if magnetic is None:
        found = has_moment.any(axis=0)
    else:
        unknown = sorted(set(magnetic) - set(species))
        if unknown:
            raise ValueError(
                f"{named('magnetic')} names {', '.join(unknown)}, but the potential is for "
                f"{', '.join(species)}"
            )
        torn = sorted(set(magnetic) & set(still))
        if torn:
            raise ValueError(
                f"magnetic names {', '.join(torn)}, which is non-magnetic in this potential"
            )
        found = np.isin(np.asarray(species)[np.asarray(types)], magnetic)
    if not found.any():
        raise ValueError(
            "no atom is magnetic, so there is no moment to change; give the atoms moments, or name "
            "the magnetic species"
        )
    if not has_moment[:, found].all():
        raise ValueError(
            "a magnetic atom has no moment to start from; give all of them one, or name the "
            "magnetic species"
        )
    return found


def pattern_of(magmoms: np.ndarray, magnetic: np.ndarray) -> np.ndarray:
    """Signs (n,) that the order is measured against: of moments (n,), or of vectors (n, 3).

    Those are the signs along their main axis, the one of the largest sum of squares, on which the
    first magnetic moment that has a part along it is positive.
    """
    if magmoms.ndim == 1:
        return np.sign(magmoms)
    chosen = np.where(magnetic[:, None], magmoms, 0.0)
    along = chosen @ np.linalg.eigh(chosen.T @ chosen)[1][:, -1]
    along[np.abs(along) < 1e-6 * np.abs(along).max()] = 0.0
    return np.sign(along) * np.sign(along[np.flatnonzero(along)[0]])


def check_lengths(types: np.ndarray, magmoms: np.ndarray, potential: Potential) -> None:
    """ValueError if vectors (R, n, 3) of the start are longer than M_max of their species."""
    largest = np.asarray(potential.max_magmom)[np.asarray(types)]
    for of_replica in magmoms:
        beyond = np.linalg.norm(of_replica, axis=1) > largest * (1 + 1e-9)
        if np.any(beyond & np.asarray(potential.magnetic)[np.asarray(types)]):
            raise ValueError(
                f"{moment_at_end(potential, types, of_replica)}; start from shorter moments"
            )


def _chosen(mask: Array, uniform: Array) -> tuple[Array, Array]:
    """One of the true places (R,) of each row of (R, n), all equally likely; is there any?"""
    count = jnp.cumsum(mask, axis=1)
    total = count[:, -1]
    wanted = jnp.minimum(jnp.floor(uniform * total).astype(count.dtype), total - 1)
    return jnp.argmax(count > wanted[:, None], axis=1), total > 0
