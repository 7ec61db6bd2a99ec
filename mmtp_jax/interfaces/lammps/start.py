"""What a run in LAMMPS starts from: species and moments of all atoms, by their ids."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mmtp_jax.interfaces.lammps.evaluator import SharedEvaluator
from mmtp_jax.interfaces.lammps.host import MAGMOM, LammpsHost
from mmtp_jax.interfaces.lammps.ranks import Ranks
from mmtp_jax.potential.potential import Potential
from mmtp_jax.structures.non_magnetic import warn_of_moments

Moments = Mapping[str, float] | np.ndarray | None


def species_by_id(host: LammpsHost, ranks: Ranks) -> np.ndarray:
    """Species index (n,) of all atoms in the order of their ids.

    Raises:
        ValueError: if the ids are not 1 to n.
    """
    n = host.n_atoms

    def add(total: np.ndarray) -> None:
        atoms = host.atoms()
        ids = atoms.ids[: atoms.n_own]
        if len(ids) and not 1 <= ids.min() <= ids.max() <= n:
            raise ValueError(
                f"the ids of {n} atoms must be 1 to {n}, but there is {ids.max()}; write "
                "'reset_atoms id' before the potential is attached"
            )
        total[ids - 1] += atoms.types[: atoms.n_own]
        total[n:][ids - 1] += 1

    found = ranks.total(2 * n, add)
    if np.any(found[n:] != 1):
        raise ValueError(
            "atom ids are not unique; write 'reset_atoms id' before the potential is attached"
        )
    return found[:n].astype(np.int32)


def starting_moments(
    evaluator: SharedEvaluator,
    magmoms: Moments,
    potential: Potential,
    types: np.ndarray,
    had_moments: bool,
) -> np.ndarray:
    """Moments (n,) to start from, mu_B; LAMMPS knows them afterwards, too.

    Args:
        evaluator: of the atoms.
        magmoms: of each species or each atom; None for those of LAMMPS.
        potential: whose species count; moments of non-magnetic ones are zero.
        types: (n,) species index.
        had_moments: did LAMMPS have moments?

    Raises:
        ValueError: if there are none, or not one for each atom.
    """
    n, host, species = len(types), evaluator.host, potential.species
    magnetic = np.asarray(potential.magnetic)[types]
    if magmoms is None:
        if not had_moments:
            raise ValueError(
                "no magnetic moments to start from; give magmoms, or let LAMMPS have the "
                "property d_magmom (fix moments all property/atom d_magmom)"
            )
        start = evaluator.moments_of_lammps()
    elif isinstance(magmoms, Mapping):
        missing = sorted(
            {species[t] for t in np.unique(types)} - {*magmoms, *potential.non_magnetic}
        )
        if missing:
            raise ValueError(
                f"magmoms gives no moment for {', '.join(missing)}; name every species"
            )
        start = np.array([float(magmoms.get(symbol, 0.0)) for symbol in species])[types]
    else:
        start = np.array(magmoms, float)
    if start.shape != (n,) or not np.isfinite(start).all():
        raise ValueError(
            f"magmoms must be one finite moment for each of {n} atoms or each species, got "
            f"shape {start.shape}"
        )
    lost = np.abs(start[~magnetic & (start != 0.0)])
    if lost.size and evaluator.ranks.rank == 0:
        warn_of_moments(potential, lost)
    start = np.where(magnetic, start, 0.0)
    host.own(MAGMOM)[:] = start[host.own_ids() - 1]
    return start
