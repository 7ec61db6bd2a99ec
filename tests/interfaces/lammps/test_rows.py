"""Rows of a rank whose neighbours are partly atoms of other ranks."""

import numpy as np
import pytest

from mmtp_jax.interfaces.lammps import rows as rows_module
from mmtp_jax.interfaces.lammps.evaluation import RankValues, evaluate_rows, packed
from mmtp_jax.interfaces.lammps.rows import RankAtoms, Sizes, find_rows

N_OWN, RADIUS = 5, 4.5


@pytest.mark.usefixtures("gpu_path")
def test_gathered_sums_over_ghosts_are_those_of_scatters(monkeypatch, random_potential):
    rng = np.random.default_rng(2)
    grid = np.stack(np.meshgrid(*[range(3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    positions = 2.4 * rng.permutation(grid) + rng.uniform(-0.2, 0.2, grid.shape)
    # Ghosts of own atoms, and ghosts of others of which some are images of the same atom.
    ids = np.concatenate([np.arange(1, N_OWN + 1), rng.integers(1, 14, len(grid) - N_OWN)])
    types = (np.arange(20) % 2)[ids]
    atoms = RankAtoms(positions, types, ids, N_OWN)
    potential = random_potential(0, cutoff=4.2)

    def evaluated(gathers):
        monkeypatch.setattr(rows_module, "adds_by_gathering", lambda: gathers)
        found = find_rows(atoms, 13, RADIUS, Sizes(shared=True, chunk=None))
        assert (found.rows.sums is not None) == gathers
        magmoms = np.linspace(-2.0, 2.0, len(found.ids))
        positions = found.padded(atoms.positions)
        given = (potential, found.rows, packed(positions, magmoms), None)
        lowered = evaluate_rows.trace(*given).lower(lowering_platforms=("cuda",)).as_text()
        assert ("stablehlo.scatter" in lowered) != gathers
        return found, RankValues.of(np.asarray(evaluate_rows(*given)), found.sizes.own)

    (_, wanted), (found, got) = evaluated(False), evaluated(True)
    assert np.abs(wanted.forces[found.sizes.own :]).max() > 1e-3
    for name, a, b in zip(got._fields, got, wanted, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10 * np.abs(b).max(), err_msg=name)
    # Another list has as much room.
    again = find_rows(atoms, 13, RADIUS - 1.0, found.sizes)
    assert again.rows.sums.incoming.shape == found.rows.sums.incoming.shape
